//! Servers over their life: checks before use, age, idleness, a minimum; databases by pattern; Unix sockets.

use std::collections::BTreeSet;

use crate::harness::{Setup, direct, eventually};
use crate::pause::{backends, table};

const PID: &str = "select pg_backend_pid()";

#[test]
fn server_check_query_runs_before_each_use_if_the_delay_is_zero() {
    let table = table();
    let check = format!("insert into {table} values (1)");
    let pooler = Setup::new().set("server_check_delay", 0).set("server_check_query", check.as_str()).start();
    let mut client = pooler.client();
    let counted = || direct::value(&format!("select count(*) from {table}")).parse::<u32>().expect("a count");
    client.rows("select 1");
    let before = counted();
    (0..5).for_each(|_| drop(client.rows("select 1")));
    assert_eq!(counted(), before + 5);
}

#[test]
fn a_server_that_fails_its_check_is_replaced_unseen() {
    let setup =
        Setup::new().set("server_check_delay", 0).set("server_check_query", "select slow_row(0) from sink_missing");
    let pooler = setup.set("query_wait_timeout", 2).allow("sink_missing").allow("check").allow("pooler error").start();
    let mut client = pooler.client();
    let first = client.value(PID);
    let second = client.try_rows(PID).map(|rows| rows[0][0].clone());
    assert_ne!(second, Ok(Some(first)));
}

#[test]
fn an_empty_check_query_keeps_the_server() {
    let pooler = Setup::new().set("server_check_delay", 0).set("default_pool_size", 1).start();
    let mut client = pooler.client();
    let pid = client.value(PID);
    (0..10).for_each(|_| assert_eq!(client.value(PID), pid));
}

#[test]
fn a_server_lifetime_of_zero_uses_each_server_once() {
    let pooler = Setup::new().set("server_lifetime", 0).set("default_pool_size", 1).start();
    let mut client = pooler.client();
    let pids: BTreeSet<_> = (0..5).map(|_| client.value(PID)).collect();
    assert_eq!(pids.len(), 5);
    client.rows("begin");
    let pid = client.value(PID);
    assert_eq!(client.value(PID), pid, "a transaction keeps its server");
    client.rows("commit");
    eventually("none is left", || backends(&pooler) == 0);
}

#[test]
fn a_server_that_has_lived_long_enough_is_closed() {
    let pooler = Setup::new().set("server_lifetime", 1).set("default_pool_size", 1).start();
    let mut client = pooler.client();
    let pid = client.value(PID);
    eventually("another one serves", || client.value(PID) != pid);
}

#[test]
fn idle_servers_are_closed_down_to_min_pool_size() {
    let pooler = Setup::new().set("server_idle_timeout", "300ms").set("min_pool_size", 1).start();
    let mut clients: Vec<_> = (0..4).map(|_| pooler.client()).collect();
    clients.iter_mut().for_each(|client| drop(client.rows("begin")));
    assert_eq!(backends(&pooler), 4);
    clients.iter_mut().for_each(|client| drop(client.rows("commit")));
    eventually("only the minimum is left", || backends(&pooler) == 1);
}

#[test]
fn min_pool_size_is_filled_for_a_pool_that_has_a_client() {
    let pooler = Setup::new().set("min_pool_size", 3).start();
    assert_eq!(backends(&pooler), 0);
    let mut client = pooler.client();
    client.rows("select 1");
    eventually("three servers are there", || backends(&pooler) == 3);
    let mut console = pooler.console();
    eventually("they are idle", || console.count(&pooler.setup.user, "sv_idle") == 3);
}

#[test]
fn min_pool_size_is_filled_for_a_forced_user_without_any_client() {
    let setup = Setup::new().set("min_pool_size", 2);
    let user = setup.user.clone();
    let pooler = setup.database_set("app", "user", user.as_str()).start();
    eventually("two servers are there", || backends(&pooler) == 2);
}

#[test]
fn any_name_matches_the_database_called_star() {
    let pooler =
        Setup::new().without_database("app").database("*").allow("does not exist").allow("pooler error").start();
    for name in ["app", "other"] {
        let mut client = pooler.login().database(name).open(&pooler.address());
        assert_eq!(client.value("select current_database()"), name);
    }
    let report = pooler.login().database("missing").try_open(&pooler.address()).expect_err("not on the server");
    assert_eq!(report.code, "3D000");
    let names: Vec<_> = pooler.console().show("DATABASES").iter().map(|row| row["name"].clone()).collect();
    assert!(names.contains(&"app".to_owned()) && names.contains(&"other".to_owned()), "{names:?}");
}

#[test]
fn a_forced_user_has_one_pool_for_all_clients() {
    let setup = Setup::new().set("default_pool_size", 1);
    let user = setup.user.clone();
    let pooler = setup.database_set("app", "user", user.as_str()).secret("guest", lab::PASSWORD).start();
    let mut guest = crate::harness::Login::new("guest").open(&pooler.address());
    let mut regular = pooler.client();
    assert_eq!(guest.value("select current_user"), user);
    assert_eq!(guest.value(PID), regular.value(PID));
    let databases = pooler.console().show("DATABASES");
    let row = databases.iter().find(|row| row["name"] == "app").expect("listed");
    assert_eq!(row["force_user"], user);
}

#[test]
fn connect_query_runs_once_on_each_new_server() {
    let table = table();
    let query = format!("insert into {table} values (1)");
    let pooler = Setup::new().database_set("app", "connect_query", query.as_str()).set("default_pool_size", 2).start();
    let (mut first, mut second) = (pooler.client(), pooler.client());
    let counted = || direct::value(&format!("select count(*) from {table}"));
    (0..3).for_each(|_| drop(first.rows("select 1")));
    assert_eq!(counted(), "1");
    first.rows("begin");
    second.rows("select 1");
    first.rows("commit");
    assert_eq!(counted(), "2");
}

#[test]
fn a_connect_query_that_fails_is_logged_and_the_server_used() {
    let pooler = Setup::new().database_set("app", "connect_query", "select 1/0").allow("division by zero").start();
    pooler.client().rows("select 1");
    assert!(pooler.log().contains("division by zero"), "the log says nothing");
}

#[test]
fn unix_sockets_serve_on_both_sides() {
    let setup = Setup::new();
    let directory = setup.server.1.clone();
    let pooler = setup.database_set("app", "host", directory.as_str()).start();
    let mut client = pooler.login().open(&pooler.socket());
    assert_eq!(client.value("select inet_client_addr() is null"), "t");
    client.send_query("select pg_sleep(36)");
    let running = "select count(*) from pg_stat_activity where query = 'select pg_sleep(36)' and state = 'active' and pid <> pg_backend_pid()";
    eventually("it runs", || direct::value(running) == "1");
    client.cancel();
    assert_eq!(client.answer().expect_err("canceled").code, "57014");
    let rows = pooler.console().show("SERVERS");
    assert_eq!(rows.iter().find(|row| row["database"] == "app").expect("a server")["addr"], "unix");
}

#[test]
fn the_unix_socket_has_the_mode_that_was_asked_for_and_goes_away() {
    use std::os::unix::fs::PermissionsExt;
    let mut pooler = Setup::new().set("unix_socket_mode", "0700").start();
    let crate::harness::Address::Unix(path) = pooler.socket() else { panic!("a path") };
    let mode = std::fs::metadata(&path).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    pooler.signal("TERM");
    assert!(pooler.ending().success());
    assert!(!path.exists(), "the socket is left behind");
}

#[test]
fn server_round_robin_uses_every_idle_server() {
    let pooler = Setup::new().set("default_pool_size", 3).set("server_round_robin", true).start();
    let mut clients: Vec<_> = (0..3).map(|_| pooler.client()).collect();
    clients.iter_mut().for_each(|client| drop(client.rows("begin")));
    clients.iter_mut().for_each(|client| drop(client.rows("commit")));
    let client = &mut clients[0];
    let pids: Vec<_> = (0..6).map(|_| client.value(PID)).collect();
    assert_eq!(pids[..3], pids[3..]);
    assert_eq!(pids.iter().collect::<BTreeSet<_>>().len(), 3);
}

#[test]
fn the_server_used_last_is_used_first() {
    let pooler = Setup::new().set("default_pool_size", 3).start();
    let mut clients: Vec<_> = (0..3).map(|_| pooler.client()).collect();
    clients.iter_mut().for_each(|client| drop(client.rows("begin")));
    clients.iter_mut().for_each(|client| drop(client.rows("commit")));
    let pids: BTreeSet<_> = (0..6).map(|_| clients[0].value(PID)).collect();
    assert_eq!(pids.len(), 1);
}

#[test]
fn a_list_of_hosts_survives_one_that_is_not_there() {
    let setup = Setup::new().database_set("app", "host", "127.0.0.2,127.0.0.1").set("server_login_retry", "100ms");
    let pooler = setup.set("default_pool_size", 2).allow("connect").allow("server").start();
    let (mut first, mut second) = (pooler.client(), pooler.client());
    first.rows("begin");
    second.rows("select 1");
    first.rows("commit");
}

#[test]
fn an_ini_file_in_pgbouncers_dialect_works_too() {
    let setup = Setup::new();
    let (user, port) = (setup.user.clone(), setup.server.0);
    let pooler = setup.start();
    let listen = crate::harness::pooler::port();
    let ini = format!(
        ";; as PgBouncer reads it\n[databases]\napp = host=127.0.0.1 port={port} pool_size=2\n* = host=127.0.0.1 port={port}\n\
         [users]\n{user} = pool_mode=transaction\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {listen}\n\
         unix_socket_dir =\nauth_type = trust\nauth_file = {}\nadmin_users = admin\n",
        pooler.path("userlist.txt").display()
    );
    pooler.write("pgbouncer.ini", &ini);
    let text = crate::command::run(&pooler, &["check", "pgbouncer.ini"]);
    assert!(text.status.success(), "{text:?}");
    pooler.write("pooler.toml", &String::from_utf8_lossy(&text.stdout));
    pooler.write("direct.ini", &ini);
    crate::command::with_program(&pooler, "direct.ini", listen, |address| {
        let mut client = crate::harness::Login::new(&user).open(address);
        assert_eq!(client.value("select current_user"), user);
    });
}
