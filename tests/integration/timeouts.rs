//! Limits on time: each with PgBouncer's words and PostgreSQL's SQLSTATE, and none for the others.

use std::time::{Duration, Instant};

use crate::harness::{Client, Setup, direct, eventually};

#[track_caller]
fn ends_with(client: &mut Client, code: &str, message: &str) {
    let report = client.last_words();
    let got = (report.severity.as_str(), report.code.as_str(), report.message.as_str());
    assert_eq!(got, ("FATAL", code, message));
}

#[test]
fn query_wait_timeout_ends_a_client_that_waited_too_long() {
    let setup = Setup::new().set("default_pool_size", 1).set("query_wait_timeout", "300ms");
    let pooler = setup.allow("query_wait_timeout").start();
    let (mut holder, mut waiter) = (pooler.client(), pooler.client());
    holder.rows("begin");
    let since = Instant::now();
    waiter.send_query("select 1");
    ends_with(&mut waiter, "53300", "query_wait_timeout");
    assert!(since.elapsed() >= Duration::from_millis(250), "after {:?}", since.elapsed());
    holder.rows("commit");
}

#[test]
fn a_users_own_query_wait_timeout_wins() {
    let setup = Setup::new();
    let user = setup.user.clone();
    let setup = setup.set("default_pool_size", 1).user_set(&user, "query_wait_timeout", "200ms");
    let pooler = setup.allow("query_wait_timeout").start();
    let (mut holder, mut waiter) = (pooler.client(), pooler.client());
    holder.rows("begin");
    waiter.send_query("select 1");
    ends_with(&mut waiter, "53300", "query_wait_timeout");
    holder.rows("commit");
}

#[test]
fn idle_transaction_timeout_rolls_back_and_frees_the_server() {
    let setup = Setup::new().set("default_pool_size", 1).set("idle_transaction_timeout", "300ms");
    let pooler = setup.allow("idle transaction timeout").start();
    let table = crate::pause::table();
    let (mut idler, mut other) = (pooler.client(), pooler.client());
    idler.rows("begin");
    idler.rows(&format!("insert into {table} values (1)"));
    ends_with(&mut idler, "25P03", "idle transaction timeout");
    assert_eq!(other.value(&format!("select count(*) from {table}")), "0");
}

#[test]
fn idle_transaction_timeout_spares_a_transaction_at_work() {
    let pooler = Setup::new().set("idle_transaction_timeout", "300ms").start();
    let mut client = pooler.client();
    client.rows("begin");
    client.rows("select pg_sleep(0.6)");
    client.rows("commit");
}

#[test]
fn transaction_timeout_ends_a_transaction_that_is_never_idle() {
    let pooler = Setup::new().set("transaction_timeout", "400ms").allow("transaction timeout").start();
    let mut client = pooler.client();
    client.rows("begin");
    let deadline = Instant::now() + Duration::from_secs(10);
    let report = loop {
        assert!(Instant::now() < deadline, "no timeout");
        if let Err(report) = client.try_rows("select pg_sleep(0.02)") {
            break report;
        }
    };
    assert_eq!(report.message, "transaction timeout");
}

#[test]
fn query_timeout_cancels_the_query_on_the_server_too() {
    let pooler = Setup::new().set("query_timeout", "300ms").allow("query timeout").start();
    let mut client = pooler.client();
    client.send_query("select pg_sleep(34)");
    ends_with(&mut client, "57014", "query timeout");
    let running = "select count(*) from pg_stat_activity where query = 'select pg_sleep(34)' and state = 'active' and pid <> pg_backend_pid()";
    eventually("the server has stopped", || direct::value(running) == "0");
}

#[test]
fn query_timeout_also_counts_in_the_queue() {
    let setup = Setup::new().set("default_pool_size", 1).set("query_timeout", "300ms").set("query_wait_timeout", 0);
    let pooler = setup.allow("query_timeout").start();
    let (mut holder, mut waiter) = (pooler.client(), pooler.client());
    holder.rows("begin");
    waiter.send_query("select 1");
    ends_with(&mut waiter, "57014", "query_timeout");
    holder.rows("commit");
}

#[test]
fn client_idle_timeout_ends_idle_clients_only() {
    let pooler = Setup::new().set("client_idle_timeout", "300ms").allow("client_idle_timeout").start();
    let (mut idler, mut worker) = (pooler.client(), pooler.client());
    worker.rows("begin");
    ends_with(&mut idler, "57P05", "client_idle_timeout");
    worker.rows("select pg_sleep(0.4)");
    worker.rows("commit");
}

#[test]
fn client_login_timeout_ends_whoever_does_not_log_in() {
    let pooler = Setup::new().set("client_login_timeout", "300ms").allow("client_login_timeout").start();
    let mut silent = Client::connect(&pooler.address());
    let mut half = Client::connect(&pooler.address());
    half.send(&[0, 0, 0, 50, 0, 3]);
    let mut passwordless = Client::connect(&pooler.address());
    passwordless.send(&pooler.login().startup());
    assert_eq!(passwordless.message().tag, b'R');
    for client in [&mut silent, &mut half, &mut passwordless] {
        ends_with(client, "57014", "client_login_timeout");
    }
}

#[test]
fn a_waiting_client_is_told_so_once() {
    let setup = Setup::new().set("default_pool_size", 1).set("query_wait_notify", 1).set("query_wait_timeout", 60);
    let pooler = setup.start();
    let (mut holder, mut waiter) = (pooler.client(), pooler.client());
    holder.rows("begin");
    waiter.send_query("select 'answer'");
    let notice = waiter.message();
    assert_eq!(notice.tag, b'N', "{notice:?}");
    assert_eq!(notice.report().message, "No server connection available in postgres backend, client being queued");
    holder.rows("commit");
    assert_eq!(waiter.answer(), Ok(vec![vec![Some("answer".into())]]));
}

#[test]
fn login_notify_message_comes_with_the_greeting() {
    let pooler = Setup::new().set("login_notify_message", "welcome aboard").start();
    let client = pooler.client();
    let notice = client.greeting.iter().find(|message| message.tag == b'N').expect("a notice");
    assert_eq!(notice.report().message, "welcome aboard");
}
