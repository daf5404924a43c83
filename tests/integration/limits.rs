//! Limits on numbers: of clients, of servers, and the reserve beyond them.

use crate::harness::{Client, Login, Pooler, Report, Setup, direct, eventually};
use crate::pause::backends;

fn refused(result: Result<Client, Report>) -> (String, String, String) {
    let report = result.expect_err("the limit is reached");
    (report.severity, report.code, report.message)
}

fn fatal(code: &str, message: &str) -> (String, String, String) {
    ("FATAL".into(), code.into(), message.into())
}

/// Two roles of the test's own, both in the users file.
fn with_second_role(setup: Setup) -> (Setup, String) {
    let role = direct::unique("second");
    direct::ask(&direct::make_role(&role));
    (setup.secret(&role, lab::PASSWORD), role)
}

#[test]
fn max_client_conn_refuses_the_next_client_but_not_the_console() {
    let pooler = Setup::new().set("max_client_conn", 2).allow("max_client_conn").start();
    let mut first = pooler.client();
    let second = pooler.client();
    let expected = fatal("53300", "no more connections allowed (max_client_conn)");
    assert_eq!(refused(pooler.login().try_open(&pooler.address())), expected);
    pooler.console().show("POOLS");
    second.bye();
    eventually("there is room again", || pooler.login().try_open(&pooler.address()).is_ok());
    first.rows("select 1");
}

#[test]
fn max_user_client_connections_counts_one_user() {
    let (setup, other) = with_second_role(Setup::new().set("max_user_client_connections", 1));
    let pooler = setup.allow("max_user_client_connections").start();
    let _first = pooler.client();
    let expected = fatal("53300", "client connections exceeded (max_user_client_connections)");
    assert_eq!(refused(pooler.login().try_open(&pooler.address())), expected);
    Login::new(&other).open(&pooler.address()).rows("select 1");
}

#[test]
fn max_db_client_connections_counts_one_database() {
    let setup = Setup::new().database("other").database_set("app", "max_db_client_connections", 1);
    let pooler = setup.allow("max_db_client_connections").start();
    let _first = pooler.client();
    let expected = fatal("53300", "client connections exceeded (max_db_client_connections)");
    assert_eq!(refused(pooler.login().try_open(&pooler.address())), expected);
    pooler.login().database("other").open(&pooler.address()).rows("select 1");
}

#[test]
fn a_users_own_limit_of_clients_wins_over_the_global_one() {
    let setup = Setup::new();
    let user = setup.user.clone();
    let setup = setup.set("max_user_client_connections", 1).user_set(&user, "max_user_client_connections", 2);
    let pooler = setup.allow("max_user_client_connections").start();
    let _both = (pooler.client(), pooler.client());
    assert_eq!(refused(pooler.login().try_open(&pooler.address())).1, "53300");
}

#[test]
fn a_pool_never_opens_more_servers_than_its_size() {
    let pooler = Setup::new().set("default_pool_size", 3).start();
    let mut clients: Vec<_> = (0..12).map(|_| pooler.client()).collect();
    clients.iter_mut().for_each(|client| client.send_query("select pg_sleep(0.03)"));
    let mut most = 0;
    for client in &mut clients {
        most = most.max(backends(&pooler));
        assert!(client.answer().is_ok());
    }
    assert!(most <= 3, "{most} servers");
}

#[test]
fn the_reserve_is_used_after_reserve_pool_timeout() {
    let setup =
        Setup::new().set("default_pool_size", 1).set("reserve_pool_size", 1).set("reserve_pool_timeout", "200ms");
    let pooler = setup.allow("taking connection from reserve_pool").start();
    let (mut first, mut second, mut third) = (pooler.client(), pooler.client(), pooler.client());
    first.rows("begin");
    let since = std::time::Instant::now();
    second.rows("begin");
    assert!(since.elapsed() >= std::time::Duration::from_millis(150), "the reserve came after {:?}", since.elapsed());
    third.send_query("select 'third'");
    let mut console = pooler.console();
    eventually("the third waits", || console.count(&pooler.setup.user, "cl_waiting") == 1);
    assert_eq!(backends(&pooler), 2);
    first.rows("commit");
    assert!(third.answer().is_ok());
    second.rows("commit");
}

#[test]
fn max_db_connections_counts_all_pools_and_evicts_an_idle_sibling() {
    let (setup, other) = with_second_role(Setup::new().database_set("app", "max_db_connections", 1));
    let pooler = setup.start();
    pooler.client().rows("select 1");
    let mut second = Login::new(&other).open(&pooler.address());
    assert_eq!(second.value("select current_user"), other);
    eventually("the sibling's server is gone", || backends(&pooler) == 0);
    second.rows("begin");
    let mut first = pooler.client();
    first.send_query("select current_user");
    let mut console = pooler.console();
    eventually("the first waits", || console.count(&pooler.setup.user, "cl_waiting") == 1);
    second.rows("commit");
    assert!(first.answer().is_ok());
}

#[test]
fn max_user_connections_counts_over_all_databases() {
    let pooler = Setup::new().database("other").set("max_user_connections", 1).start();
    let mut app = pooler.client();
    let mut other = pooler.login().database("other").open(&pooler.address());
    app.rows("begin");
    other.send_query("select 1");
    eventually("the other's server is gone", || backends(&pooler) == 1);
    app.rows("commit");
    assert!(other.answer().is_ok());
    for _ in 0..5 {
        app.rows("select 1");
        other.rows("select 1");
        eventually("the old one has ended", || backends(&pooler) == 1);
    }
}

#[test]
fn waiting_clients_are_served_first_come_first_served() {
    let pooler: Pooler = Setup::new().set("default_pool_size", 1).start();
    let table = crate::pause::table();
    let mut holder = pooler.client();
    holder.rows("begin");
    let mut console = pooler.console();
    let mut waiters = Vec::new();
    for number in 0..8_u64 {
        let mut waiter = pooler.client();
        waiter.send_query(&format!("insert into {table} values ({number})"));
        eventually("it waits", || console.count(&pooler.setup.user, "cl_waiting") == number + 1);
        waiters.push(waiter);
    }
    holder.rows("commit");
    waiters.iter_mut().for_each(|waiter| assert!(waiter.answer().is_ok()));
    let order = direct::value(&format!("select string_agg(id::text, ' ' order by xmin::text::bigint) from {table}"));
    assert_eq!(order, "0 1 2 3 4 5 6 7");
}
