//! Cancel requests: to the right server, to nobody else's query, and out of the queue.

use std::thread;

use protocol::messages;

use crate::harness::{Client, Pooler, Setup, direct, eventually};

/// Waits until the server sees a query of this client's server at work.
fn wait_until_active(pooler: &Pooler, sql: &str) {
    let query = format!(
        "select count(*) from pg_stat_activity where usename = '{}' and state = 'active' and query = '{sql}'",
        pooler.setup.user
    );
    eventually("the query runs", || direct::value(&query) != "0");
}

#[test]
fn a_cancel_reaches_the_query_of_its_own_client_only() {
    let pooler = Setup::new().set("default_pool_size", 2).start();
    let (mut first, mut second) = (pooler.client(), pooler.client());
    first.send_query("select pg_sleep(30)");
    second.send_query("select slow_row(0.5)");
    wait_until_active(&pooler, "select pg_sleep(30)");
    wait_until_active(&pooler, "select slow_row(0.5)");
    first.cancel();
    assert_eq!(first.answer().expect_err("canceled").code, "57014");
    assert!(second.answer().is_ok());
    first.rows("select 'the session goes on'");
}

#[test]
fn a_cancel_never_hits_the_query_of_the_next_client() {
    let pooler = Setup::new().set("default_pool_size", 1).start();
    let (mut first, mut second) = (pooler.client(), pooler.client());
    for round in 0..60 {
        first.send_query(if round % 2 == 0 { "select 1" } else { "select pg_sleep(0.002)" });
        thread::scope(|scope| {
            let canceler = scope.spawn(|| cancel_by_key(&pooler, first.key_data()));
            second.send_query("select pg_sleep(0.003)");
            assert!(second.answer().is_ok(), "round {round}");
            canceler.join().expect("the cancel was sent");
        });
        if let Err(report) = first.answer() {
            assert_eq!(report.code, "57014");
        }
        second.rows("select pg_sleep(0.001)");
    }
    first.rows("select 1");
}

fn cancel_by_key(pooler: &Pooler, (pid, key): (u32, Vec<u8>)) {
    let mut out = Vec::new();
    messages::cancel_request(&mut out, pid, &key);
    let mut other = Client::connect(&pooler.address());
    other.send(&out);
    assert_eq!(other.until_closed(), []);
}

#[test]
fn a_client_that_waits_for_a_server_can_be_canceled_and_goes_on() {
    let pooler = Setup::new().set("default_pool_size", 1).start();
    let (mut holder, mut waiter) = (pooler.client(), pooler.client());
    holder.rows("begin");
    waiter.send_query("select 'never run'");
    let mut console = pooler.console();
    eventually("the client waits", || console.count(&pooler.setup.user, "cl_waiting") == 1);
    waiter.cancel();
    let report = waiter.answer().expect_err("canceled");
    assert_eq!((report.severity.as_str(), report.code.as_str()), ("ERROR", "57014"));
    assert_eq!(console.count(&pooler.setup.user, "cl_waiting"), 0);
    holder.rows("commit");
    assert_eq!(waiter.value("select 'goes on'"), "goes on");
}

#[test]
fn a_whole_batch_that_waits_is_canceled_with_one_error() {
    let pooler = Setup::new().set("default_pool_size", 1).start();
    let (mut holder, mut waiter) = (pooler.client(), pooler.client());
    holder.rows("begin");
    let mut batch = Vec::new();
    messages::extended_query(&mut batch, b"select 1", &[]);
    waiter.send(&batch);
    let mut console = pooler.console();
    eventually("the client waits", || console.count(&pooler.setup.user, "cl_waiting") == 1);
    waiter.cancel();
    let answer = waiter.until(b'Z');
    let tags: Vec<char> = answer.iter().map(|message| char::from(message.tag)).collect();
    assert_eq!(tags, ['E', 'Z'], "{answer:?}");
    holder.rows("commit");
    waiter.send(&batch);
    assert!(waiter.answer().is_ok());
}

#[test]
fn a_cancel_of_an_idle_client_does_nothing() {
    let pooler = Setup::new().start();
    let mut client = pooler.client();
    client.cancel();
    client.rows("select 1");
    client.cancel();
    client.rows("begin");
    client.cancel();
    client.rows("select 1");
    client.rows("commit");
}

#[test]
fn a_cancel_with_a_wrong_key_or_process_does_nothing() {
    let pooler = Setup::new().start();
    let mut client = pooler.client();
    let (pid, key) = client.key_data();
    client.send_query("select slow_row(0.3)");
    wait_until_active(&pooler, "select slow_row(0.3)");
    cancel_by_key(&pooler, (pid, key.iter().map(|byte| !byte).collect()));
    cancel_by_key(&pooler, (pid, key[..3].iter().copied().chain([key[3] ^ 1]).collect()));
    cancel_by_key(&pooler, (pid.wrapping_add(1), key));
    assert!(client.answer().is_ok());
}

#[test]
fn a_cancel_inside_a_transaction_fails_the_transaction_only() {
    let pooler = Setup::new().start();
    let mut client = pooler.client();
    client.rows("begin");
    client.send_query("select pg_sleep(31)");
    wait_until_active(&pooler, "select pg_sleep(31)");
    client.cancel();
    assert_eq!(client.answer().expect_err("canceled").code, "57014");
    assert_eq!(client.error("select 1").code, "25P02");
    client.rows("rollback");
    client.rows("select 1");
}

#[test]
fn a_cancel_works_while_the_pool_is_full() {
    let pooler = Setup::new().set("default_pool_size", 1).start();
    let mut client = pooler.client();
    client.send_query("select pg_sleep(32)");
    wait_until_active(&pooler, "select pg_sleep(32)");
    let mut waiters: Vec<_> = (0..5).map(|_| pooler.client()).collect();
    waiters.iter_mut().for_each(|waiter| waiter.send_query("select 1"));
    client.cancel();
    assert_eq!(client.answer().expect_err("canceled").code, "57014");
    waiters.iter_mut().for_each(|waiter| assert!(waiter.answer().is_ok()));
}

#[test]
fn many_cancels_at_once_are_all_delivered() {
    let pooler = Setup::new().set("default_pool_size", 8).start();
    let mut clients: Vec<_> = (0..8).map(|_| pooler.client()).collect();
    for _ in 0..3 {
        clients.iter_mut().for_each(|client| client.send_query("select pg_sleep(33)"));
        let running = format!(
            "select count(*) from pg_stat_activity where usename = '{}' and state = 'active' and query = 'select pg_sleep(33)'",
            pooler.setup.user
        );
        eventually("all run", || direct::value(&running) == "8");
        thread::scope(|scope| {
            for client in &clients {
                scope.spawn(|| client.cancel());
            }
        });
        clients.iter_mut().for_each(|client| assert_eq!(client.answer().expect_err("canceled").code, "57014"));
    }
}
