//! What no server tells of, and functions hide: `session_hidden` says what becomes of it in transaction mode.

use std::collections::BTreeMap;

use crate::harness::{Pooler, Setup, direct};
use crate::prepared::{parse, run};

fn servers(count: i64, hidden: &str) -> Setup {
    Setup::new()
        .set("default_pool_size", count)
        .set("max_pinned", 1)
        .database_set("app", "session_hidden", hidden)
        .allow("session_hidden")
        .allow("max_pinned")
}

/// A function that leaves a parameter set, and a call of it in which nothing of that is seen.
fn hiding_place() -> String {
    let function = direct::unique("hides");
    direct::ask(&format!(
        "create function {function}() returns void language plpgsql as \
         $$ begin perform set_config('app.hidden', 'left', false); end $$"
    ));
    format!("do $$ begin perform {function}(); end $$")
}

const LEFT: &str = "select coalesce(current_setting('app.hidden', true), '')";

#[track_caller]
fn reasons(pooler: &Pooler) -> Vec<String> {
    let rows = pooler.console().show("CLIENTS");
    let mine = rows.into_iter().filter(|row| row["user"] == pooler.setup.user);
    mine.map(|row: BTreeMap<_, _>| row["pinned"].clone()).filter(|reason| !reason.is_empty()).collect()
}

#[test]
fn it_is_left_on_the_server_unless_that_is_reset() {
    let hides = hiding_place();
    for (hidden, left) in [("ignore", "left"), ("reset", "")] {
        let pooler = servers(1, hidden).start();
        let (mut client, mut other) = (pooler.client(), pooler.client());
        let mut bytes = Vec::new();
        parse(&mut bytes, "s", "select 7");
        run(&mut bytes, "s");
        client.send(&bytes);
        client.until(b'Z');
        client.rows(&hides);
        assert_eq!(other.value(LEFT), left, "{hidden}");
        bytes.clear();
        run(&mut bytes, "s");
        client.send(&bytes);
        assert_eq!(client.answer().expect("it is told again")[0][0].as_deref(), Some("7"));
        assert_eq!(reasons(&pooler), Vec::<String>::new());
    }
}

#[test]
fn a_server_is_reset_also_behind_a_prepared_statement_and_one_whose_client_has_left() {
    let pooler = servers(1, "reset").start();
    let hides = hiding_place();
    let mut other = pooler.client();
    for name in ["", "named"] {
        let mut client = pooler.client();
        let mut bytes = Vec::new();
        parse(&mut bytes, name, &hides);
        run(&mut bytes, name);
        client.send(&bytes);
        client.until(b'Z');
        assert_eq!(other.value(LEFT), "", "{name}");
        client.rows(&format!("begin; {hides}"));
        drop(client);
        assert_eq!(other.value(LEFT), "", "{name}");
    }
}

#[test]
fn who_keeps_its_server_for_something_else_keeps_it_for_what_would_be_reset() {
    let pooler = servers(2, "reset").start();
    let mut client = pooler.client();
    client.rows("select pg_advisory_lock(4717)");
    client.rows(&hiding_place());
    assert_eq!(reasons(&pooler), ["advisory lock, hidden state"]);
    client.rows("select pg_advisory_unlock(4717)");
    assert_eq!(reasons(&pooler), ["hidden state"]);
    assert_eq!(client.value(LEFT), "left");
    drop(client);
    let mut others = [pooler.client(), pooler.client()];
    for other in &mut others {
        other.rows("begin");
        assert_eq!(other.value(LEFT), "");
    }
    others.iter_mut().for_each(|other| drop(other.rows("commit")));
}

#[test]
fn a_client_may_keep_its_server_for_it() {
    let pooler = servers(2, "pin").start();
    let (mut client, mut other) = (pooler.client(), pooler.client());
    client.rows("select 1");
    assert_eq!(reasons(&pooler), Vec::<String>::new());
    // What else is suspected of it is not there, and is no reason to give the server up.
    client.rows("do $$ begin execute 'select setseed(0.5)'; end $$");
    assert_eq!(reasons(&pooler), ["hidden state"]);
    client.rows("select pg_advisory_lock(4718)");
    client.rows("select pg_advisory_unlock_all()");
    client.rows("discard all");
    assert_eq!(reasons(&pooler), ["hidden state"]);
    let report = other.error("select setseed(0.5)");
    assert_eq!((report.code.as_str(), other.value("select 1").as_str()), ("53400", "1"));
    assert_eq!(reasons(&pooler), ["hidden state"]);
    drop(client);
    crate::harness::eventually("the place is free", || other.value("select count(setseed(0.5))") == "1");
}

#[test]
fn a_database_may_refuse_it() {
    let pooler = servers(1, "refuse").start();
    let mut client = pooler.client();
    for sql in ["do $$ begin end $$", "CALL x()", "load 'x'", "select 1, LastVal()", "begin; select dblink('x', 'y')"] {
        let report = client.error(sql);
        let expected = "hidden state is not available in this database (session_hidden)";
        assert_eq!((report.code.as_str(), report.message.as_str()), ("0A000", expected), "{sql}");
        client.rows("rollback");
    }
    for name in ["", "named"] {
        let mut bytes = Vec::new();
        parse(&mut bytes, name, "select currval($1)");
        run(&mut bytes, name);
        client.send(&bytes);
        assert_eq!(client.answer().expect_err("refused").code, "0A000");
    }
    assert_eq!(client.value("select 'lastval()' -- setseed"), "lastval()");
}
