//! Clients that go away without a word: their work is rolled back or finished, and their server is used again.

use protocol::messages;

use crate::harness::{Client, Pooler, Setup, direct, eventually};
use crate::pause::{backends, table};

fn one_server() -> Pooler {
    Setup::new().set("default_pool_size", 1).start()
}

fn count(table: &str) -> String {
    direct::value(&format!("select count(*) from {table}"))
}

/// Makes commits that insert into the table take a while.
fn slow_commit(table: &str) {
    direct::ask(&format!(
        "create function {table}_slowly() returns trigger language plpgsql as $$ begin perform pg_sleep(0.5); return null; end $$;
         create constraint trigger slowly after insert on {table} deferrable initially deferred
         for each row execute function {table}_slowly()"
    ));
}

fn wait_until_active(pooler: &Pooler) {
    let query =
        format!("select count(*) from pg_stat_activity where usename = '{}' and state = 'active'", pooler.setup.user);
    eventually("a query runs", || direct::value(&query) == "1");
}

#[test]
fn a_transaction_of_a_vanished_client_is_rolled_back_and_its_server_used_again() {
    let (pooler, table) = (one_server(), table());
    let mut client = pooler.client();
    client.rows("begin");
    client.rows(&format!("insert into {table} values (1)"));
    let pid = client.value("select pg_backend_pid()");
    drop(client);
    let mut next = pooler.client();
    assert_eq!(next.value("select pg_backend_pid()"), pid);
    assert_eq!(next.value(&format!("select count(*) from {table}")), "0");
    assert_eq!(backends(&pooler), 1);
}

#[test]
fn a_failed_transaction_of_a_vanished_client_is_rolled_back_too() {
    let pooler = one_server();
    let mut client = pooler.client();
    let pid = client.value("select pg_backend_pid()");
    client.rows("begin");
    client.error("select 1/0");
    drop(client);
    assert_eq!(pooler.client().value("select pg_backend_pid()"), pid);
}

#[test]
fn a_terminate_inside_a_transaction_rolls_it_back() {
    let (pooler, table) = (one_server(), table());
    let mut client = pooler.client();
    client.rows("begin");
    client.rows(&format!("insert into {table} values (1)"));
    client.bye();
    assert_eq!(pooler.client().value(&format!("select count(*) from {table}")), "0");
}

#[test]
fn a_long_select_of_a_vanished_client_is_canceled() {
    let pooler = one_server();
    let mut client = pooler.client();
    client.send_query("select pg_sleep(60)");
    wait_until_active(&pooler);
    drop(client);
    let mut next = pooler.client();
    next.rows("select 'soon, not in a minute'");
}

#[test]
fn a_long_select_in_a_transaction_of_a_vanished_client_is_canceled() {
    let (pooler, table) = (one_server(), table());
    let mut client = pooler.client();
    client.rows("begin");
    client.rows(&format!("insert into {table} values (1)"));
    client.send_query("select pg_sleep(60)");
    wait_until_active(&pooler);
    drop(client);
    assert_eq!(pooler.client().value(&format!("select count(*) from {table}")), "0");
}

#[test]
fn an_insert_of_a_vanished_client_is_not_canceled() {
    let (pooler, table) = (one_server(), table());
    let mut client = pooler.client();
    client.send_query(&format!("insert into {table} select slow_row(0.5)"));
    wait_until_active(&pooler);
    drop(client);
    eventually("the insert is done", || count(&table) == "1");
    pooler.client().rows("select 1");
}

#[test]
fn a_commit_of_a_vanished_client_is_not_canceled() {
    let (pooler, table) = (one_server(), table());
    slow_commit(&table);
    let mut client = pooler.client();
    client.rows("begin");
    client.rows(&format!("insert into {table} values (1)"));
    client.send_query("commit");
    wait_until_active(&pooler);
    drop(client);
    eventually("the commit is done", || count(&table) == "1");
    pooler.client().rows("select 1");
}

#[test]
fn a_commit_in_the_extended_protocol_of_a_vanished_client_is_not_canceled() {
    let (pooler, table) = (one_server(), table());
    slow_commit(&table);
    let mut client = pooler.client();
    let mut batch = Vec::new();
    for sql in ["begin", &format!("insert into {table} values (1)"), "commit"] {
        messages::extended_query(&mut batch, sql.as_bytes(), &[]);
    }
    client.send(&batch);
    wait_until_active(&pooler);
    drop(client);
    eventually("the commit is done", || count(&table) == "1");
}

#[test]
fn a_copy_of_a_vanished_client_leaves_nothing() {
    let (pooler, table) = (one_server(), table());
    let mut client = pooler.client();
    client.send_query(&format!("copy {table} from stdin"));
    client.until(b'G');
    let mut data = Vec::new();
    messages::message(&mut data, b'd', |out| out.extend_from_slice(b"1\n"));
    client.send(&data);
    drop(client);
    assert_eq!(pooler.client().value(&format!("select count(*) from {table}")), "0");
}

#[test]
fn half_a_message_of_a_vanished_client_reaches_nobody() {
    let pooler = one_server();
    let mut whole = Vec::new();
    messages::query(&mut whole, b"select 'half'");
    let mut idle: Client = pooler.client();
    idle.send(&whole[..7]);
    drop(idle);
    let mut busy = pooler.client();
    busy.rows("begin");
    busy.send(&whole[..7]);
    drop(busy);
    let mut large = pooler.client();
    let mut message = Vec::new();
    messages::query(&mut message, &[b'x'; 100_000]);
    large.send(&message[..50_000]);
    drop(large);
    assert_eq!(pooler.client().value("select 'whole'"), "whole");
}

#[test]
fn a_client_that_vanishes_from_the_queue_is_not_served() {
    let (pooler, table) = (one_server(), table());
    let mut holder = pooler.client();
    holder.rows("begin");
    let mut waiter = pooler.client();
    waiter.send_query(&format!("insert into {table} values (1)"));
    let mut console = pooler.console();
    eventually("it waits", || console.count(&pooler.setup.user, "cl_waiting") == 1);
    drop(waiter);
    eventually("it left", || console.count(&pooler.setup.user, "cl_waiting") == 0);
    holder.rows("commit");
    pooler.client().rows("select 1");
    assert_eq!(count(&table), "0");
}

#[test]
fn a_client_that_vanishes_amid_a_large_result_leaves_a_usable_pool() {
    let pooler = one_server();
    for _ in 0..5 {
        let mut client = pooler.client();
        client.send_query("select repeat('x', 100000) from generate_series(1, 1000)");
        client.until(b'D');
        drop(client);
    }
    pooler.client().rows("select 1");
}

#[test]
fn a_storm_of_vanishing_clients_leaves_a_pool_at_rest() {
    let pooler = Setup::new().set("default_pool_size", 3).set("max_client_conn", 500).start();
    let requests = [
        "begin",
        "select pg_sleep(0.01)",
        "begin; insert into sink values (1)",
        "select 1/0",
        "select repeat('x', 1000000)",
    ];
    for round in 0..60 {
        let mut client = pooler.client();
        client.send_query(requests[round % requests.len()]);
        if round % 3 == 0 {
            client.until(b'Z');
        }
    }
    pooler.rest();
    pooler.client().rows("select 1");
    assert!(backends(&pooler) <= 3);
}
