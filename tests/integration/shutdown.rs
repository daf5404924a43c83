//! The ways to end: SHUTDOWN in its forms, and signals.

use crate::harness::client::Received;
use crate::harness::pooler::await_log;
use crate::harness::stream::Stream;
use crate::harness::{Pooler, Setup, eventually};
use std::time::Duration;

fn refuses_connections(pooler: &Pooler) -> bool {
    Stream::connect(&pooler.address()).is_err()
}

fn pooler() -> Pooler {
    let setup = Setup::new().allow("shutting down").allow("SIG").allow("signal").allow("hut");
    setup.start()
}

#[test]
fn shutdown_ends_at_once_without_an_answer() {
    let mut pooler = pooler();
    let mut client = pooler.client();
    client.rows("begin");
    let mut console = pooler.console();
    console.client.send_query("SHUTDOWN");
    assert!(pooler.ending().success());
    console.client.until_closed();
    client.until_closed();
}

#[test]
fn shutdown_wait_for_clients_lets_them_work_until_they_leave() {
    let mut pooler = pooler();
    let mut client = pooler.client();
    client.rows("select 1");
    let mut console = pooler.console();
    assert_eq!(console.run("SHUTDOWN WAIT_FOR_CLIENTS"), "SHUTDOWN");
    eventually("nobody new gets in", || refuses_connections(&pooler));
    client.rows("select 'still here'");
    client.rows("begin");
    client.rows("commit");
    drop(console);
    assert!(pooler.is_running());
    client.bye();
    assert!(pooler.ending().success());
}

#[test]
fn shutdown_wait_for_servers_ends_when_transactions_have_ended() {
    let mut pooler = pooler();
    let (mut busy, mut idle) = (pooler.client(), pooler.client());
    busy.rows("begin");
    let mut console = pooler.console();
    assert_eq!(console.run("SHUTDOWN WAIT_FOR_SERVERS"), "SHUTDOWN");
    idle.send_query("select 1");
    assert_eq!(idle.last_words().message, "server shutting down");
    assert_eq!(busy.value("select 'finishing'"), "finishing");
    assert!(pooler.is_running());
    busy.rows("commit");
    assert!(pooler.ending().success());
}

#[test]
fn sigterm_waits_for_clients_and_a_second_one_does_not() {
    let mut pooler = pooler();
    let mut client = pooler.client();
    client.rows("begin");
    pooler.signal("TERM");
    eventually("nobody new gets in", || refuses_connections(&pooler));
    client.rows("select 1");
    client.rows("commit");
    assert!(pooler.is_running());
    pooler.signal("TERM");
    assert!(pooler.ending().success());
}

#[test]
fn sigint_waits_for_servers() {
    let mut pooler = pooler();
    let mut client = pooler.client();
    client.rows("begin");
    pooler.signal("INT");
    eventually("nobody new gets in", || refuses_connections(&pooler));
    assert!(pooler.is_running());
    client.rows("commit");
    assert!(pooler.ending().success());
}

#[test]
fn sigquit_ends_at_once() {
    let mut pooler = pooler();
    let mut client = pooler.client();
    client.rows("begin");
    pooler.signal("QUIT");
    assert!(pooler.ending().success());
    client.until_closed();
}

#[test]
fn sigterm_without_clients_ends_at_once() {
    let mut pooler = pooler();
    pooler.signal("TERM");
    assert!(pooler.ending().success());
}

#[test]
fn sighup_reloads() {
    let mut pooler = pooler();
    pooler.rewrite(|setup| setup.set("default_pool_size", 17));
    pooler.signal("HUP");
    let mut console = pooler.console();
    eventually("it has reloaded", || console.setting("default_pool_size") == "17");
}

#[test]
fn sigusr1_pauses_and_sigusr2_resumes() {
    let pooler = pooler();
    let mut client = pooler.client();
    client.rows("select 1");
    pooler.signal("USR1");
    let mut console = pooler.console();
    let paused = |console: &mut crate::harness::Console, value: &str| {
        console.show("STATE").iter().any(|row| row["key"] == "paused" && row["value"] == value)
    };
    eventually("it is paused", || paused(&mut console, "yes"));
    client.send_query("select 'after the pause'");
    assert!(matches!(client.receive(Duration::from_millis(50)), Received::Nothing));
    pooler.signal("USR2");
    eventually("it is resumed", || paused(&mut console, "no"));
    assert_eq!(client.answer(), Ok(vec![vec![Some("after the pause".into())]]));
}

#[test]
fn sighup_reopens_the_log_file() {
    let scratch = lab::Scratch::new(&lab::Account::current().expect("an account")).expect("a directory");
    let path = scratch.path().join("pooler.log");
    let pooler = Setup::new().set("logfile", path.to_str().expect("UTF-8")).start();
    eventually("the log file is there", || path.exists());
    std::fs::rename(&path, scratch.path().join("pooler.log.1")).expect("log files can be rotated");
    pooler.signal("HUP");
    eventually("there is a new one", || path.exists());
    pooler.client().rows("select 1");
    eventually("it is written to", || std::fs::read_to_string(&path).is_ok_and(|text| text.contains("login attempt")));
}

#[test]
fn a_reload_may_name_a_log_file() {
    let mut pooler = pooler();
    let path = pooler.path("pooler.log");
    let name = path.to_str().expect("UTF-8").to_owned();
    pooler.rewrite(|setup| setup.set("logfile", name.as_str()));
    pooler.console().run("RELOAD");
    eventually("the log file is there", || path.exists());
}

#[test]
fn the_log_names_logins_and_their_ends() {
    let pooler = pooler();
    pooler.client().rows("select 1");
    let who = format!("app/{}@127.0.0.1:", pooler.setup.user);
    await_log(&pooler, &who);
    await_log(&pooler, "login attempt: ");
    await_log(&pooler, "closing because: ");
    await_log(&pooler, "new connection to server");
}
