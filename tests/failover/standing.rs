//! Without a primary, without a formation, and before there is a client.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::pooler::PROGRAM;
use crate::harness::{Setup, eventually};
use crate::scene::{Scene, following};

#[test]
fn whoever_waits_too_long_is_told_and_may_ask_again() {
    let scene = Scene::with(|setup: Setup| setup.set("failover_wait_timeout", 1));
    let mut client = scene.pooler.client();
    client.value("select 1");
    let (pooler, formation) = (&scene.pooler, &scene.formation);
    // Both nodes: nobody can take over.
    formation.nodes().iter().for_each(|node| formation.kill(*node).expect("it can be killed"));
    eventually("the loss is noticed", || pooler.log().contains("transactions wait"));
    let began = Instant::now();
    let refused = client.error("select 1");
    assert_eq!((refused.severity.as_str(), refused.code.as_str()), ("ERROR", "57P03"), "{refused:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
    let again = client.error("select 1");
    assert_eq!(again.code, "57P03", "the session goes on: {again:?}");
    // The greeting is known: whoever logs in now is let in, and waits like the others.
    let mut late = pooler.client();
    assert_eq!(late.error("select 1").code, "57P03");
    // One who knows no greeting can let nobody in.
    let monitor = formation.monitor_uri().expect("there is a monitor");
    let newcomer = following(&monitor).set("failover_wait_timeout", 1).start();
    let refused = newcomer.login().try_open(&newcomer.address()).expect_err("there is nobody to greet");
    assert_eq!((refused.severity.as_str(), refused.code.as_str()), ("FATAL", "57P03"), "{refused:?}");
    formation.up().expect("both come back");
    newcomer.client().value("select 1");
    scene.await_row("the gate opens again", |row| row["gate"] == "open");
    assert_eq!(client.value("select 1"), "1");
    assert_eq!(late.value("select 1"), "1");
}

#[test]
fn a_formation_that_is_taken_away_or_put_back_by_a_reload_is_obeyed() {
    let mut scene = Scene::new();
    let mut client = scene.pooler.client();
    assert_eq!(scene.port_of(&mut client), scene.primary_port());
    let port = i64::from(scene.primary_port());
    let monitor = scene.formation.monitor_uri().expect("there is a monitor");
    let direct = |_: Setup| {
        let fixed = Setup::at((1, String::new()), "app").without_database("app").database_set("app", "user", "app");
        fixed.database_set("app", "host", "127.0.0.1").database_set("app", "port", port)
    };
    scene.pooler.rewrite(direct);
    scene.pooler.console().run("RELOAD");
    assert_eq!(scene.rows().len(), 0);
    assert_eq!(client.value("select 1"), "1");
    scene.pooler.rewrite(|_| following(&monitor));
    scene.pooler.console().run("RELOAD");
    assert_eq!(client.value("select 1"), "1", "it waits for the proof");
    assert_eq!(scene.rows().len(), 2);
}

#[test]
fn a_check_logs_in_to_the_primary() {
    let scene = Scene::new();
    let mut check = Command::new(PROGRAM);
    let checked = check.arg("check").arg(scene.pooler.path("pooler.toml")).arg("--connect").output().expect("it runs");
    let said = String::from_utf8_lossy(&checked.stderr);
    let expected = format!("at 127.0.0.1:{}: ok", scene.primary_port());
    assert!(checked.status.success() && said.contains(&expected), "{said}");
}
