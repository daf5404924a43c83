//! A formation whose monitor says what a test wants: a PostgreSQL with a table. Its nodes are PostgreSQL servers of one
//! system, on timeline 1, none of which copies another.

use lab::{Options, Postgres};

use crate::harness::console::Row;
use crate::harness::{Pooler, Setup, eventually};
use crate::scene::following;

const TABLE: &str = "\
create schema pooler;
create table pooler.nodes (
    formationid text default 'default', groupid int default 0, nodeid bigint primary key, nodename text,
    nodehost text default '127.0.0.1', nodeport int, nodecluster text default 'default', sysidentifier bigint,
    reportedstate text, goalstate text, health int default 1, reportedpgisrunning bool default true,
    reportedtli int default 1, reportedlsn pg_lsn default '0/1', candidatepriority int default 50,
    replicationquorum bool default true, reporttime timestamptz default now(),
    statechangetime timestamptz default now(), number_sync_standbys int default 0);";

/// How a node is started.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum As {
    Writable,
    Recovering,
}

/// Its monitor and its nodes, which count from 1.
pub struct Stage {
    pub monitor: Postgres,
    pub nodes: Vec<Postgres>,
}

impl Stage {
    /// The monitor calls the first node the primary, and the others its standbys, whatever they are.
    pub fn of(nodes: &[As]) -> Stage {
        Stage::behind(Options::default(), nodes)
    }

    /// The same, with such a monitor.
    pub fn behind(monitor: Options, nodes: &[As]) -> Stage {
        let monitor = Postgres::start(monitor).expect("a server starts");
        let start = |kind: &As| {
            let options = Options::default();
            Postgres::start(if *kind == As::Recovering { options.file("standby.signal", "") } else { options })
        };
        let nodes: Vec<_> = nodes.iter().map(|kind| start(kind).expect("a server starts")).collect();
        let stage = Stage { monitor, nodes };
        stage.write(TABLE);
        for (index, node) in stage.nodes.iter().enumerate() {
            let (id, port, state) = (index + 1, node.port(), if index == 0 { "primary" } else { "secondary" });
            let values = format!("({id}, 'node{id}', {port}, '{state}', '{state}')");
            stage.write(&format!(
                "insert into pooler.nodes (nodeid, nodename, nodeport, reportedstate, goalstate) values {values}"
            ));
        }
        stage
    }

    /// Runs SQL on the monitor.
    pub fn write(&self, sql: &str) {
        self.monitor.psql(sql).expect("the monitor obeys");
    }

    /// Has the monitor say that a node is in this state, and is to stay there.
    pub fn state(&self, node: usize, state: &str) {
        self.go(node, state, state);
    }

    /// Has the monitor say that a node is in the one state, and is to change to the other.
    pub fn go(&self, node: usize, reported: &str, goal: &str) {
        self.write(&format!(
            "update pooler.nodes set reportedstate = '{reported}', goalstate = '{goal}', \
             statechangetime = clock_timestamp() where nodeid = {node}"
        ));
    }

    /// A node's port, as PostgreSQL shows it.
    pub fn port(&self, node: usize) -> String {
        self.nodes[node - 1].port().to_string()
    }

    /// What a pooler needs to follow it; database `app` is the primary's.
    pub fn setup(&self) -> Setup {
        following(&format!("postgres://postgres@127.0.0.1:{}/app", self.monitor.port()))
    }

    /// A pooler that has proved the primary.
    pub fn pooler(&self, edit: impl FnOnce(Setup) -> Setup) -> Pooler {
        let pooler = edit(self.setup()).start();
        await_row(&pooler, "a proved primary", |row| row["gate"] == "open");
        pooler
    }
}

/// Waits until a row of SHOW FORMATIONS is as wanted.
pub fn await_row(pooler: &Pooler, what: &str, mut is_it: impl FnMut(&Row) -> bool) {
    eventually(what, || pooler.console().show("FORMATIONS").iter().any(&mut is_it));
}
