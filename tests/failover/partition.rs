//! Networks that are cut: between the pooler and a node, the pooler and the monitor, a primary and its formation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lab::{Cable, Formation, Member, Part};

use crate::harness::{Client, Pooler, eventually};
use crate::scene::{Scene, following};
use crate::writers::Writers;

const LIMIT: Duration = Duration::from_secs(30);

/// The pooler reaches a node through a cable, and nobody else does.
struct Detour<'a> {
    formation: &'a Formation,
    node: Member,
    cable: Cable,
}

impl Detour<'_> {
    fn to(scene: &Scene, node: Member) -> Detour<'_> {
        let formation: &Formation = &scene.formation;
        let cable = Cable::to(formation.address(node).expect("it has an address")).expect("a cable");
        let port = cable.address().port();
        formation.detour(node, Some(port)).expect("the view can be changed");
        let detour = Detour { formation, node, cable };
        let port = port.to_string();
        scene.await_row("the detour", |row| row["port"] == port && row["gate"] == "open" && row["target"] == "yes");
        detour
    }
}

impl Drop for Detour<'_> {
    fn drop(&mut self) {
        let removed = self.formation.detour(self.node, None);
        assert!(thread::panicking() || removed.is_ok(), "{removed:?}");
    }
}

/// A client whose commits wait for no standby: a former primary would acknowledge them for as long as it is asked.
struct Careless {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Careless {
    /// Starts one. `moved` is set as soon as a server other than the one on this port has acknowledged a row.
    fn start(pooler: &Pooler, table: &str, former: u16, moved: &Arc<AtomicBool>) -> Careless {
        let stop = Arc::new(AtomicBool::new(false));
        let (address, login, stopped, moved) = (pooler.address(), pooler.login(), stop.clone(), moved.clone());
        let sql = format!(
            "begin; set local synchronous_commit = local; insert into {table} values (0, 0); commit; show port"
        );
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                write_until_lost(login.open(&address), &sql, former, &moved, &stopped);
            }
        });
        Careless { stop, thread }
    }

    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a former primary has acknowledged nothing");
    }
}

fn write_until_lost(mut client: Client, sql: &str, former: u16, moved: &AtomicBool, stopped: &AtomicBool) {
    while !stopped.load(Ordering::Relaxed) {
        let is_over = moved.load(Ordering::SeqCst);
        let Ok(rows) = client.try_rows(sql) else { return };
        let port: u16 = rows[0][0].as_deref().and_then(|port| port.parse().ok()).expect("a port");
        assert!(port != former || !is_over, "acknowledged by the former primary");
        if port != former {
            moved.store(true, Ordering::SeqCst);
        }
    }
}

#[test]
fn a_primary_that_only_the_pooler_cannot_reach_is_waited_for() {
    let scene = Scene::new();
    let table = scene.table("unreached");
    let primary = scene.primary();
    let detour = Detour::to(&scene, primary);
    let epoch = scene.rows()[0]["epoch"].clone();
    let writers = Writers::start(&scene, 8, &table);
    detour.cable.freeze().expect("it can be frozen");
    scene.await_row("its silence is noticed", |row| row["gate"] == "held");
    let mut client = scene.pooler.client();
    client.send_query("select 1");
    detour.cable.heal().expect("it can be healed");
    client.answer().expect("it has only waited");
    writers.advance(200);
    let outcome = writers.finish(&scene);
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    assert_eq!((scene.primary(), &scene.rows()[0]["epoch"]), (primary, &epoch));
}

#[test]
fn what_was_on_its_way_to_a_former_primary_is_acknowledged_to_nobody() {
    let scene = Scene::new();
    let table = scene.table("on_its_way");
    let before = scene.primary();
    let detour = Detour::to(&scene, before);
    let writers = Writers::start(&scene, 8, &table);
    detour.cable.freeze().expect("it can be frozen");
    scene.await_row("its silence is noticed", |row| row["gate"] == "held");
    scene.formation.perform_failover(None).expect("the monitor agrees");
    scene.formation.wait_primary(Some(before), LIMIT).expect("another primary");
    writers.advance(200);
    detour.cable.heal().expect("it can be healed");
    writers.advance(200);
    let outcome = writers.finish(&scene);
    assert!(outcome.errors.len() <= 8, "more than one insert was lost per client");
}

#[test]
fn a_primary_that_only_the_pooler_reaches_is_left_when_it_is_replaced() {
    let scene = Scene::new();
    let (table, careless) = (scene.table("one_way"), scene.table("careless"));
    let before = scene.primary();
    let writers = Writers::start(&scene, 4, &table);
    let moved = Arc::new(AtomicBool::new(false));
    let clients = [0; 4].map(|_| Careless::start(&scene.pooler, &careless, scene.primary_port(), &moved));
    // Its sessions go on, unseen by the monitor.
    scene.formation.freeze(before, Part::Keeper).expect("it can be frozen");
    scene.formation.freeze(before, Part::Postmaster).expect("it can be frozen");
    scene.formation.wait_primary(Some(before), LIMIT).expect("another primary");
    writers.advance(200);
    eventually("the others go on, too", || moved.load(Ordering::SeqCst));
    writers.advance(200);
    clients.into_iter().for_each(Careless::finish);
    scene.formation.thaw(before).expect("it can be thawed");
    writers.advance(200);
    let outcome = writers.finish(&scene);
    assert!(outcome.errors.len() <= 4, "more than one insert was lost per client");
}

#[test]
fn without_its_monitor_a_pooler_keeps_the_primary_and_follows_no_other() {
    let scene = Scene::new();
    let table = scene.table("alone");
    let address = scene.formation.address(Member::Monitor).expect("it has an address");
    let cable = Cable::to(address).expect("a cable");
    let monitor = scene.formation.monitor_uri().expect("there is a monitor");
    let monitor = monitor.replace(&format!(":{}/", address.port()), &format!(":{}/", cable.address().port()));
    let pooler = following(&monitor).start();
    let writers = Writers::through(&pooler, 8, &table);
    let shows = |column: &str, value: &str| pooler.console().show("FORMATIONS")[0][column].contains(value);
    cable.freeze().expect("it can be frozen");
    eventually("the monitor's silence is noticed", || shows("monitor", "silent"));
    writers.advance(200);
    assert!(!pooler.log().contains("transactions wait"), "nothing is held");
    let before = scene.primary();
    scene.formation.perform_failover(None).expect("the monitor agrees");
    scene.formation.wait_primary(Some(before), LIMIT).expect("another primary");
    eventually("the loss is noticed", || shows("gate", "held"));
    let mut client = pooler.client();
    client.send_query("show port");
    assert!(shows("gate", "held") && shows("monitor", "silent"), "nobody says that it is a successor");
    cable.heal().expect("it can be healed");
    let rows = client.answer().expect("it has only waited");
    assert_eq!(rows[0][0], Some(scene.primary_port().to_string()));
    writers.advance(200);
    let outcome = writers.finish(&scene);
    assert!(outcome.errors.len() <= 8, "more than one insert was lost per client");
}
