//! PAUSE and RESUME: what is promised when PAUSE has answered, and what clients notice of it.

use crate::harness::client::Received;
use crate::harness::load::{Load, transaction_into};
use crate::harness::{Pooler, Setup, direct, eventually};
use std::time::{Duration, Instant};

/// A table that every role of the tests may use.
pub fn table() -> String {
    let name = direct::unique("rows");
    direct::ask(&format!("create table {name} (id int); grant all on {name} to app"));
    name
}

/// How many server connections the setup's role has, as PostgreSQL sees it.
pub fn backends(pooler: &Pooler) -> usize {
    let sql = format!("select count(*) from pg_stat_activity where usename = '{}'", pooler.setup.user);
    direct::value(&sql).parse().expect("a count")
}

#[test]
fn ten_pauses_under_load_leave_no_server_and_lose_no_transaction() {
    let table = table();
    let pooler = Setup::new().set("default_pool_size", 5).start();
    let load = Load::start(20, &pooler.address(), &pooler.login(), transaction_into(&table));
    let mut console = pooler.console();
    for _ in 0..10 {
        load.advance(30);
        assert_eq!(console.run("PAUSE"), "PAUSE");
        assert_eq!(backends(&pooler), 0, "PAUSE has answered");
        assert_eq!(console.run("RESUME"), "RESUME");
    }
    load.advance(30);
    let outcome = load.finish();
    assert_eq!(outcome.errors, []);
    assert_eq!(direct::value(&format!("select count(*) from {table}")), outcome.done.to_string());
}

#[test]
fn pause_of_one_database_leaves_the_other_alone() {
    let pooler = Setup::new().database("other").start();
    let (mut app, mut other) = (pooler.client(), pooler.login().database("other").open(&pooler.address()));
    app.rows("select 1");
    other.rows("select 1");
    let mut console = pooler.console();
    assert_eq!(console.run("PAUSE app"), "PAUSE");
    let left = format!("select string_agg(datname, ',') from pg_stat_activity where usename = '{}'", pooler.setup.user);
    assert_eq!(direct::value(&left), "other");
    app.send_query("select 2");
    other.rows("select 2");
    assert!(matches!(app.receive(Duration::from_millis(50)), Received::Nothing));
    let paused = |name: &str, console: &mut crate::harness::Console| {
        let rows = console.show("DATABASES");
        rows.iter().find(|row| row["name"] == name).expect("the database is listed")["paused"].clone()
    };
    assert_eq!((paused("app", &mut console), paused("other", &mut console)), ("1".into(), "0".into()));
    assert_eq!(console.run("RESUME app"), "RESUME");
    assert_eq!(app.answer(), Ok(vec![vec![Some("2".into())]]));
}

#[test]
fn a_pause_for_a_time_ends_by_itself() {
    let pooler = Setup::new().start();
    let mut client = pooler.client();
    client.rows("select 1");
    let mut console = pooler.console();
    let began = Instant::now();
    assert_eq!(console.run("PAUSE FOR 4"), "PAUSE");
    assert_eq!(backends(&pooler), 0);
    client.rows("select 2");
    assert!(began.elapsed() >= Duration::from_secs(4), "it waited for the end");
    assert_eq!(console.error("RESUME").code, "55000", "it is over");
}

#[test]
fn those_who_wait_are_shown_with_the_reason() {
    let pooler = Setup::new().start();
    let mut client = pooler.client();
    client.rows("select 1");
    let mut console = pooler.console();
    for (database, why) in [("", "paused"), (" app", "database is paused")] {
        assert_eq!(console.run(&format!("PAUSE{database}")), "PAUSE");
        client.send_query("select 2");
        let mut waiting = Vec::new();
        eventually("it waits", || {
            waiting = console.show("WAITING").into_iter().filter(|row| row["database"] == "app").collect();
            !waiting.is_empty()
        });
        assert_eq!((waiting.len(), waiting[0]["why"].as_str()), (1, why));
        assert_eq!(console.run(&format!("RESUME{database}")), "RESUME");
        assert_eq!(client.answer(), Ok(vec![vec![Some("2".into())]]));
    }
}

#[test]
fn pause_waits_for_an_open_transaction_and_lets_it_finish() {
    let pooler = Setup::new().start();
    let mut client = pooler.client();
    client.rows("begin");
    let (mut first, mut second) = (pooler.console(), pooler.console());
    first.client.send_query("PAUSE");
    eventually("the pause has begun", || {
        second.show("STATE").iter().any(|row| row["key"] == "paused" && row["value"] == "yes")
    });
    assert!(matches!(first.client.receive(Duration::from_millis(50)), Received::Nothing));
    assert_eq!(client.value("select 'still here'"), "still here");
    client.rows("commit");
    let answer = first.client.until(b'Z');
    assert!(answer.iter().any(|message| message.tag == b'C' && message.text() == "PAUSE"), "{answer:?}");
    assert_eq!(backends(&pooler), 0);
    second.run("RESUME");
    client.rows("select 1");
}

#[test]
fn a_resume_meanwhile_answers_the_pausing_console_with_an_error() {
    let pooler = Setup::new().start();
    let mut client = pooler.client();
    client.rows("begin");
    let (mut first, mut second) = (pooler.console(), pooler.console());
    first.client.send_query("PAUSE");
    eventually("the pause has begun", || {
        second.show("STATE").iter().any(|row| row["key"] == "paused" && row["value"] == "yes")
    });
    second.run("RESUME");
    let answer = first.client.until(b'Z');
    assert_eq!(answer[0].tag, b'E', "{answer:?}");
    assert_eq!(answer[0].report().severity, "ERROR");
    client.rows("commit");
    client.rows("select 1");
}

#[test]
fn pauses_and_resumes_out_of_turn_are_errors() {
    let pooler = Setup::new().start();
    let mut console = pooler.console();
    assert_eq!(console.error("RESUME").message, "pooler is not paused/suspended");
    assert_eq!(console.error("RESUME app").message, "database app is not paused");
    assert_eq!(console.error("PAUSE nowhere").message, "no such database: nowhere");
    assert_eq!(console.error("PAUSE pgbouncer").message, "cannot pause admin db: pgbouncer");
    console.run("PAUSE");
    assert_eq!(console.error("PAUSE").message, "already suspended/paused");
    console.run("RESUME");
    console.run("PAUSE app");
    console.run("PAUSE app");
    console.run("RESUME app");
}

#[test]
fn who_waits_during_a_pause_is_subject_to_query_wait_timeout() {
    let pooler = Setup::new().set("query_wait_timeout", "300ms").allow("query_wait_timeout").start();
    let mut client = pooler.client();
    client.rows("select 1");
    let mut console = pooler.console();
    console.run("PAUSE");
    client.send_query("select 1");
    let report = client.last_words();
    assert_eq!(
        (report.severity.as_str(), report.code.as_str(), report.message.as_str()),
        ("FATAL", "53300", "query_wait_timeout")
    );
    console.run("RESUME");
    pooler.client().rows("select 1");
}

#[test]
fn a_login_to_a_pool_whose_greeting_is_known_succeeds_during_a_pause() {
    let pooler = Setup::new().start();
    pooler.client().rows("select 1");
    let mut console = pooler.console();
    console.run("PAUSE");
    let mut client = pooler.client();
    client.send_query("select 'waited'");
    eventually("the client waits", || console.count(&pooler.setup.user, "cl_waiting") == 1);
    console.run("RESUME");
    assert_eq!(client.answer(), Ok(vec![vec![Some("waited".into())]]));
}

#[test]
fn in_session_mode_a_pause_waits_until_the_clients_have_left() {
    let pooler = Setup::new().set("pool_mode", "session").start();
    let mut client = pooler.client();
    client.rows("select 1");
    let mut console = pooler.console();
    console.client.send_query("PAUSE");
    assert!(matches!(console.client.receive(Duration::from_millis(100)), Received::Nothing));
    client.rows("select 'linked sessions go on'");
    client.bye();
    console.client.until(b'Z');
    assert_eq!(backends(&pooler), 0);
    console.run("RESUME");
}

#[test]
fn reconnect_replaces_every_server_without_an_error() {
    let table = table();
    let pooler = Setup::new().set("default_pool_size", 4).start();
    let load = Load::start(12, &pooler.address(), &pooler.login(), transaction_into(&table));
    let pids = format!("select pid from pg_stat_activity where usename = '{}'", pooler.setup.user);
    let mut console = pooler.console();
    for _ in 0..5 {
        load.advance(20);
        let before = direct::ask(&pids);
        assert_eq!(console.run("RECONNECT"), "RECONNECT");
        assert_eq!(console.run("WAIT_CLOSE"), "WAIT_CLOSE");
        assert!(console.show("SERVERS").iter().all(|row| row["close_needed"] == "0"), "WAIT_CLOSE has answered");
        eventually("the old servers are gone", || {
            let after = direct::ask(&pids);
            before.iter().all(|pid| !after.contains(pid))
        });
    }
    let outcome = load.finish();
    assert_eq!(outcome.errors, []);
    assert_eq!(direct::value(&format!("select count(*) from {table}")), outcome.done.to_string());
}
