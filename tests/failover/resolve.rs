//! COMMIT that was sent to a primary which died before it was acknowledged (setting `resolve_commit`): what the client is
//! told is what the table shows.

use std::time::Duration;

use lab::{Member, Options, Part, Postgres};
use protocol::messages;

use crate::harness::client::Received;
use crate::harness::{Client, Message, Pooler, Setup, eventually};
use crate::scene::Scene;

const LIMIT: Duration = Duration::from_secs(30);

/// How a client sends its COMMIT.
#[derive(Clone, Copy, Debug)]
enum By {
    Query,
    /// Parse, Bind, Execute and Sync.
    Batch,
}

const BOTH: [By; 2] = [By::Query, By::Batch];

/// Clients whose COMMIT waits for a standby that hangs.
struct Waiting {
    // Before the pooler, which is at rest when they are gone.
    clients: Vec<Client>,
    scene: Scene,
    table: String,
    primary: Member,
    standby: Member,
}

fn scene(replication: &str) -> Scene {
    let scene = Scene::with(|setup| setup.set("resolve_commit", 1).allow("COMMIT of"));
    scene.formation.psql(scene.primary(), &format!("alter role app {replication}")).expect("a role can be altered");
    scene
}

impl Waiting {
    /// `cut_off`: also what was sent to the standby never gets there.
    fn new(scene: Scene, table: &str, cut_off: bool) -> Waiting {
        let table = scene.table(table);
        let primary = scene.primary();
        let standby = *scene.formation.nodes().iter().find(|node| **node != primary).expect("there is a standby");
        let mut clients: Vec<Client> = BOTH.iter().map(|_| scene.pooler.client()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.rows("begin");
            client.rows(&format!("insert into {table} values ({number}, 1)"));
        }
        scene.formation.freeze(standby, Part::All).expect("it can be frozen");
        if cut_off {
            let sql = "select pg_terminate_backend(pid) from pg_stat_replication";
            scene.formation.psql(primary, sql).expect("its connection can be ended");
        }
        for (by, client) in BOTH.iter().zip(&mut clients) {
            send_commit(client, *by);
        }
        let sql = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
        let waiting = || scene.formation.psql(primary, sql).expect("it can be asked").trim() == "2";
        eventually("both wait for the standby", waiting);
        Waiting { clients, scene, table, primary, standby }
    }

    /// The numbers of those whose rows are there.
    fn found(&self) -> String {
        let sql = format!("select string_agg(writer::text, ' ' order by writer) from {}", self.table);
        self.scene.formation.psql(self.scene.primary(), &sql).expect("the table can be read").trim().to_owned()
    }
}

fn send_commit(client: &mut Client, by: By) {
    match by {
        By::Query => client.send_query("commit"),
        By::Batch => {
            let mut batch = Vec::new();
            messages::extended_query(&mut batch, b"COMMIT", &[]);
            client.send(&batch);
        }
    }
}

/// What a client hears up to ReadyForQuery, a letter for each message; of an error its SQLSTATE.
fn heard(client: &mut Client) -> String {
    let shown = |message: &Message| match message.tag {
        b'E' => message.report().code,
        b'C' | b'Z' => format!("{}:{}", char::from(message.tag), message.text()),
        tag => char::from(tag).to_string(),
    };
    client.until(b'Z').iter().map(shown).collect::<Vec<_>>().join(" ")
}

const COMMITTED: [&str; 2] = ["C:COMMIT Z:I", "1 2 C:COMMIT Z:I"];
const ROLLED_BACK: [&str; 2] = ["40001 Z:I", "1 2 40001 Z:I"];
const UNKNOWN: [&str; 2] = ["08007 Z:I", "1 2 08007 Z:I"];

#[track_caller]
fn all_hear(waiting: &mut Waiting, expected: [&str; 2]) {
    let heard = [0, 1].map(|number| heard(&mut waiting.clients[number]));
    assert_eq!(heard, expected, "{}", waiting.scene.pooler.log());
    for client in &mut waiting.clients {
        assert_eq!(client.value("select 1"), "1", "the session goes on");
    }
}

#[test]
fn a_commit_that_the_successor_has_is_acknowledged() {
    let mut waiting = Waiting::new(scene("replication"), "resolve_kept", false);
    let Waiting { scene, primary, standby, .. } = &waiting;
    scene.formation.kill(*primary).expect("it can be killed");
    scene.formation.thaw(*standby).expect("it can be thawed");
    scene.formation.wait_primary(Some(*primary), LIMIT).expect("another primary");
    all_hear(&mut waiting, COMMITTED);
    assert_eq!(waiting.found(), "0 1");
}

#[test]
fn a_commit_that_the_successor_does_not_have_is_rolled_back() {
    let mut waiting = Waiting::new(scene("replication"), "resolve_lost", true);
    let Waiting { scene, primary, standby, .. } = &waiting;
    scene.formation.kill(*primary).expect("it can be killed");
    scene.formation.thaw(*standby).expect("it can be thawed");
    scene.formation.wait_primary(Some(*primary), LIMIT).expect("another primary");
    all_hear(&mut waiting, ROLLED_BACK);
    assert_eq!(waiting.found(), "");
}

#[test]
fn a_commit_that_a_primary_has_after_its_crash_is_acknowledged() {
    let mut waiting = Waiting::new(scene("replication"), "resolve_crash", false);
    let Waiting { scene, primary, standby, .. } = &waiting;
    scene.formation.kill_postgres(*primary).expect("it can be killed");
    scene.formation.thaw(*standby).expect("it can be thawed");
    all_hear(&mut waiting, COMMITTED);
    assert_eq!(waiting.found(), "0 1");
}

#[test]
fn without_the_right_to_read_the_log_a_commit_that_may_be_another_ones_stays_unknown() {
    let mut waiting = Waiting::new(scene("noreplication"), "resolve_no_right", false);
    let Waiting { scene, primary, standby, .. } = &waiting;
    scene.formation.kill(*primary).expect("it can be killed");
    scene.formation.thaw(*standby).expect("it can be thawed");
    scene.formation.wait_primary(Some(*primary), LIMIT).expect("another primary");
    all_hear(&mut waiting, UNKNOWN);
    assert_eq!(waiting.found(), "0 1");
}

#[test]
fn a_question_that_fails_is_the_commits_error_and_ends_nothing_else() {
    let scene = scene("replication");
    let table = scene.table("resolve_refused");
    let rights = |word: &str| {
        let function = "function pg_logical_emit_message(bool, text, text)";
        let sql = format!("{word} execute on {function} {} public", if word == "grant" { "to" } else { "from" });
        scene.formation.psql(scene.primary(), &sql).expect("rights can be given and taken");
    };
    rights("revoke");
    let mut client = scene.pooler.client();
    for by in BOTH {
        client.rows("begin");
        client.rows(&format!("insert into {table} values (0, 0)"));
        send_commit(&mut client, by);
        let heard = heard(&mut client);
        assert!(["42501 Z:E", "1 2 42501 Z:E"].contains(&&*heard), "{heard}");
        client.rows("rollback");
    }
    rights("grant");
    for by in BOTH {
        client.rows("begin");
        client.rows(&format!("insert into {table} values (0, 0)"));
        send_commit(&mut client, by);
        assert!(heard(&mut client).ends_with("C:COMMIT Z:I"));
    }
    assert_eq!(client.value(&format!("select count(*) from {table}")), "2");
}

/// A server that nobody follows, and a table in it.
fn plain() -> (Postgres, Pooler) {
    let postgres = Postgres::start(Options::default()).expect("a server starts");
    postgres.psql("alter role app replication; create table t (number int); grant all on t to app").expect("SQL");
    let setup = Setup::on(&postgres).set("resolve_commit", 1).set("server_login_retry", 1);
    let setup = ["COMMIT of", "server login failed", "pooler error"].into_iter().fold(setup, Setup::allow);
    (postgres, setup.start())
}

fn waits(postgres: &Postgres, event: &str) {
    let sql = format!("select count(*) from pg_stat_activity where wait_event = '{event}' and query ilike 'commit'");
    eventually("COMMIT is under way", || postgres.psql(&sql).expect("it can be asked").trim() == "1");
}

#[test]
fn a_commit_that_was_kept_from_waiting_for_its_standby_counts_when_the_standby_has_it() {
    let (postgres, pooler) = plain();
    let mut client = pooler.client();
    client.rows("begin");
    client.rows("insert into t values (1)");
    postgres.psql("alter system set synchronous_standby_names = 'nobody'").expect("a setting");
    postgres.psql("select pg_reload_conf()").expect("it is read");
    send_commit(&mut client, By::Query);
    waits(&postgres, "SyncRep");
    postgres.psql("select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'").expect("SQL");
    assert!(matches!(client.receive(LIMIT), Received::Message(message) if message.tag == b'N'), "it is warned");
    assert!(matches!(client.receive(Duration::from_secs(1)), Received::Nothing), "nobody has it so far");
    postgres.psql("alter system reset synchronous_standby_names").expect("a setting");
    postgres.psql("select pg_reload_conf()").expect("it is read");
    assert_eq!(heard(&mut client), COMMITTED[0]);
    assert_eq!(client.value("select count(*) from t"), "1");
}

#[test]
fn a_commit_that_a_crash_has_kept_from_being_made_is_rolled_back_whoever_has_its_id_now() {
    let (mut postgres, pooler) = plain();
    let slow =
        "create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(1000); return null; end'";
    let trigger = "create constraint trigger slow after insert on t deferrable initially deferred for each row execute function slow()";
    postgres.psql(&format!("{slow}; {trigger}")).expect("SQL");
    let mut client = pooler.client();
    client.rows("begin");
    client.rows("insert into t values (1)");
    let id = client.value("select pg_current_xact_id()");
    send_commit(&mut client, By::Query);
    waits(&postgres, "PgSleep");
    postgres.crash().expect("it can be killed");
    postgres.restart().expect("it comes back");
    // Its log ends before the transaction, or with it: ids go on from there.
    while postgres.psql("select pg_current_xact_id()").expect("an id").trim() < &*id {}
    postgres.psql("create table much as select g from generate_series(1, 1000) g").expect("SQL");
    // A dying server may warn before.
    let heard = heard(&mut client);
    assert!(heard.ends_with(ROLLED_BACK[0]), "{heard}");
    assert_eq!(client.value("select count(*) from t"), "0");
}

#[test]
fn a_block_that_only_reads_writes_no_mark() {
    let (postgres, pooler) = plain();
    let mut client = pooler.client();
    let end = || postgres.psql("select pg_current_wal_insert_lsn()").expect("SQL");
    for by in BOTH {
        // Others may write at the same moment.
        eventually("nothing is written", || {
            let before = end();
            client.rows("begin");
            client.rows("select count(*) from t");
            send_commit(&mut client, by);
            assert!(heard(&mut client).ends_with("C:COMMIT Z:I"));
            end() == before
        });
    }
}
