//! Session, transaction and statement mode: when a server goes back, and what is done to it then.

use crate::harness::{Setup, direct, eventually};
use crate::pause::{backends, table};

const PID: &str = "select pg_backend_pid()";

#[test]
fn in_session_mode_a_client_keeps_its_server_and_its_state() {
    let pooler = Setup::new().set("pool_mode", "session").start();
    let (mut first, mut second) = (pooler.client(), pooler.client());
    first.rows("create temp table mine (id int); set work_mem = '1234kB'; prepare p as select 42");
    let pid = first.value(PID);
    assert_ne!(second.value(PID), pid);
    assert_eq!(first.value(PID), pid);
    assert_eq!(first.value("select count(*) from mine"), "0");
    assert_eq!(first.value("show work_mem"), "1234kB");
    assert_eq!(first.value("execute p"), "42");
}

#[test]
fn after_a_session_server_reset_query_cleans_the_server_for_the_next() {
    let pooler = Setup::new().set("pool_mode", "session").set("default_pool_size", 1).start();
    let mut first = pooler.client();
    first.rows("create temp table mine (id int); set work_mem = '1234kB'; prepare p as select 42");
    let pid = first.value(PID);
    first.bye();
    let mut second = pooler.client();
    assert_eq!(second.value(PID), pid, "the server is used again");
    assert_eq!(second.error("select count(*) from mine").code, "42P01");
    assert_eq!(second.error("execute p").code, "26000");
    assert_ne!(second.value("show work_mem"), "1234kB");
}

#[test]
fn without_server_reset_query_a_session_inherits_what_was_left() {
    let setup = Setup::new().set("pool_mode", "session").set("default_pool_size", 1).set("server_reset_query", "");
    let pooler = setup.start();
    let mut first = pooler.client();
    first.rows("set work_mem = '1234kB'");
    first.bye();
    assert_eq!(pooler.client().value("show work_mem"), "1234kB");
}

#[test]
fn a_server_reset_query_of_ones_own_runs_after_each_session() {
    let table = table();
    let setup = Setup::new()
        .set("pool_mode", "session")
        .set("server_reset_query", format!("insert into {table} values (1)").as_str());
    let pooler = setup.start();
    let counted = format!("select count(*) from {table}");
    for number in 1..4 {
        let mut client = pooler.client();
        client.rows("select 1");
        client.bye();
        eventually("it has run", || direct::value(&counted) == number.to_string());
    }
}

#[test]
fn a_reset_query_that_fails_closes_the_server() {
    let setup =
        Setup::new().set("pool_mode", "session").set("server_reset_query", "select 1/0").set("default_pool_size", 1);
    let pooler = setup.allow("division by zero").allow("reset").start();
    let mut first = pooler.client();
    let pid = first.value(PID);
    first.bye();
    assert_ne!(pooler.client().value(PID), pid);
}

#[test]
fn server_reset_query_always_runs_it_after_each_transaction_too() {
    let setup = Setup::new().set("server_reset_query_always", true).set("default_pool_size", 1);
    let pooler = setup.start();
    let mut client = pooler.client();
    let pid = client.value(PID);
    client.rows("set work_mem = '1234kB'");
    assert_ne!(client.value("show work_mem"), "1234kB");
    assert_eq!(client.value(PID), pid);
}

#[test]
fn in_transaction_mode_many_clients_share_one_server() {
    let pooler = Setup::new().set("default_pool_size", 1).start();
    let mut clients: Vec<_> = (0..5).map(|_| pooler.client()).collect();
    let pids: std::collections::BTreeSet<_> = clients.iter_mut().map(|client| client.value(PID)).collect();
    assert_eq!(pids.len(), 1);
    let (first, others) = clients.split_first_mut().expect("five");
    first.rows("begin");
    others[0].send_query("select 'waits'");
    first.rows("select 1");
    first.rows("commit");
    assert!(others[0].answer().is_ok());
}

#[test]
fn in_statement_mode_transactions_are_refused() {
    let pooler = Setup::new().set("pool_mode", "statement").allow("statement pooling mode").start();
    let mut client = pooler.client();
    client.rows("select 1");
    client.rows("insert into sink values (1); select 2");
    client.send_query("begin");
    let report = client.last_words();
    let got = (report.severity.as_str(), report.message.as_str());
    assert_eq!(got, ("FATAL", "transaction blocks not allowed in statement pooling mode"));
    pooler.client().rows("select 1");
}

#[test]
fn a_database_and_a_user_may_have_modes_of_their_own() {
    let setup = Setup::new().database("other").database_set("other", "pool_mode", "session");
    let user = direct::unique("moded");
    direct::ask(&direct::make_role(&user));
    let setup = setup.secret(&user, lab::PASSWORD).user_set(&user, "pool_mode", "statement");
    let pooler = setup.allow("statement pooling mode").start();
    let mut session = pooler.login().database("other").open(&pooler.address());
    session.rows("set work_mem = '1234kB'");
    assert_eq!(session.value("show work_mem"), "1234kB");
    let mut statement = crate::harness::Login::new(&user).open(&pooler.address());
    assert_eq!(statement.error("begin").message, "transaction blocks not allowed in statement pooling mode");
    let mut console = pooler.console();
    assert_eq!(console.pool(&user)["pool_mode"], "statement");
}

#[test]
fn notifications_reach_a_listening_session() {
    let pooler = Setup::new().set("pool_mode", "session").start();
    let (mut listener, mut sender) = (pooler.client(), pooler.client());
    let channel = direct::unique("channel");
    listener.rows(&format!("listen {channel}"));
    sender.rows(&format!("notify {channel}, 'hello'"));
    let notification = listener.message();
    assert_eq!(notification.tag, b'A', "{notification:?}");
    let expected = format!("{channel}\0hello\0");
    assert_eq!(&notification.body[4..], expected.as_bytes());
}

#[test]
fn a_notification_that_a_hidden_listen_brings_never_reaches_another_client() {
    let pooler = Setup::new().set("default_pool_size", 1).allow("otification").start();
    let (mut listener, mut other) = (pooler.client(), pooler.client());
    let (channel, function) = (direct::unique("channel"), direct::unique("listens"));
    let body = format!("begin execute 'listen {channel}'; end");
    direct::ask(&format!("create function {function}() returns void language plpgsql as $${body}$$"));
    listener.rows(&format!("select {function}()"));
    direct::ask(&format!("notify {channel}, 'secret'"));
    for _ in 0..10 {
        let answer = other.ask("select 1");
        assert!(answer.iter().all(|message| message.tag != b'A'), "{answer:?}");
    }
}

#[test]
fn a_session_whose_client_leaves_in_a_transaction_is_rolled_back() {
    let (setup, table) = (Setup::new().set("pool_mode", "session").set("default_pool_size", 1), table());
    let pooler = setup.start();
    let mut client = pooler.client();
    client.rows("begin");
    client.rows(&format!("insert into {table} values (1)"));
    drop(client);
    assert_eq!(pooler.client().value(&format!("select count(*) from {table}")), "0");
    assert!(backends(&pooler) <= 1);
}
