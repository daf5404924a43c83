//! A formation, a pooler before it, and what the two agree on.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use lab::{Formation, FormationOptions, Member};

use crate::harness::console::Row;
use crate::harness::{Client, Pooler, Setup, eventually};

/// The formation that all tests of this process use in turn. It ends with the process.
static FORMATION: LazyLock<Mutex<Formation>> = LazyLock::new(|| {
    let nodes = crate::soak::wanted("SOAK_NODES", 2) as u8;
    let options = FormationOptions { nodes, ..FormationOptions::default() };
    Mutex::new(Formation::start(options).expect("a formation starts"))
});

/// One test's formation, stable, and a pooler that follows it.
pub struct Scene {
    // Before the formation: a pooler that is at rest ends first.
    pub pooler: Pooler,
    pub formation: MutexGuard<'static, Formation>,
}

impl Scene {
    pub fn new() -> Scene {
        Scene::with(|setup| setup)
    }

    /// With other settings.
    pub fn with(edit: impl FnOnce(Setup) -> Setup) -> Scene {
        let formation = FORMATION.lock().unwrap_or_else(PoisonError::into_inner);
        formation.up().expect("the formation comes back");
        let monitor = formation.monitor_uri().expect("there is a monitor");
        let pooler = edit(following(&monitor)).start();
        let scene = Scene { pooler, formation };
        scene.await_row("a proved primary", |row| row["gate"] == "open");
        scene
    }

    /// Makes a table for the writers.
    pub fn table(&self, name: &str) -> String {
        let primary = self.primary();
        let sql = format!(
            "drop table if exists {name}; create table {name} (writer int, number int); grant all on {name} to app"
        );
        self.formation.psql(primary, &sql).expect("a table can be made");
        name.to_owned()
    }

    pub fn primary(&self) -> Member {
        self.formation.primary().expect("there is a primary")
    }

    /// SHOW FORMATIONS: a row for each node.
    pub fn rows(&self) -> Vec<Row> {
        self.pooler.console().show("FORMATIONS")
    }

    /// Waits until a row of SHOW FORMATIONS is as wanted.
    pub fn await_row(&self, what: &str, mut is_it: impl FnMut(&Row) -> bool) {
        eventually(what, || self.rows().iter().any(&mut is_it));
    }

    /// Which node's port a client of the pooler ends up at.
    pub fn port_of(&self, client: &mut Client) -> u16 {
        client.value("show port").parse().expect("a port")
    }

    /// The present primary's port.
    pub fn primary_port(&self) -> u16 {
        self.formation.address(self.primary()).expect("it has an address").port()
    }
}

/// Database `app` follows the formation; its servers log in as `app`, and so do probes.
pub fn following(monitor: &str) -> Setup {
    let setup = Setup::at((1, String::new()), "app").without_database("app");
    let setup = setup.database_set("app", "formation", "main").database_set("app", "user", "app");
    let setup = setup.set("formations.main.monitor", monitor).set("pause_expiry", 10);
    ["formation default/0", "formation main", "server login failed", "pooler error"]
        .into_iter()
        .fold(setup, |setup, words| setup.allow(words))
}
