//! Two poolers before one formation.

use std::time::{Duration, Instant};

use crate::command::Failover;
use crate::harness::{Pooler, Setup, eventually};
use crate::scene::{Scene, following};
use crate::writers::Writers;

fn sharing(setup: Setup) -> Setup {
    setup.set("control_secret", "known to poolers only").set("pause_expiry", 6)
}

/// A second one, as ready as the first.
fn another(scene: &Scene, edit: fn(Setup) -> Setup) -> Pooler {
    let monitor = scene.formation.monitor_uri().expect("there is a monitor");
    let pooler = edit(following(&monitor)).start();
    pooler.client().value("select 1");
    pooler
}

#[test]
fn both_pause_and_both_follow() {
    let scene = Scene::with(sharing);
    let second = another(&scene, sharing);
    let (here, there) = (scene.table("here"), scene.table("there"));
    let before = scene.primary();
    let writers = [Writers::start(&scene, 8, &here), Writers::through(&second, 8, &there)];
    let steps = Failover::run(&scene.pooler, "").expect("it is possible");
    assert!(steps.iter().any(|step| step.contains("1 other pooler is ready")), "{steps:?}");
    assert!(steps.last().is_some_and(|step| step.starts_with("confirm: 1 other pooler follows")), "{steps:?}");
    for writers in writers {
        writers.advance(100);
        let outcome = writers.finish(&scene);
        assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    }
    assert_ne!(scene.primary(), before);
    let shown = second.console().show("FAILOVERS");
    assert!(shown.len() == 1 && shown[0]["kind"] == "planned", "{shown:?}");
}

#[test]
fn without_a_secret_it_is_refused_while_there_is_another() {
    let scene = Scene::new();
    let second = another(&scene, |setup| setup);
    let refused = Failover::run(&scene.pooler, "").expect_err("the other one cannot be told");
    assert!(refused.code == "55000" && refused.message.contains("control_secret"), "{refused:?}");
    let other_secret: fn(Setup) -> Setup = |setup| setup.set("control_secret", "another one, as long");
    drop(second);
    let third = another(&scene, other_secret);
    let refused = Failover::run(&scene.pooler, "").expect_err("the other one cannot be told");
    assert_eq!(refused.code, "55000");
    drop(third);
    Failover::run(&scene.pooler, "DRY_RUN").expect("it is alone again");
}

#[test]
fn a_coordinator_that_dies_in_the_pause_is_noticed_and_the_other_goes_on() {
    let mut scene = Scene::with(sharing);
    let second = another(&scene, sharing);
    let before = scene.primary();
    let mut busy = scene.pooler.client();
    busy.rows("begin");
    busy.rows("select 1");
    let mut failover = Failover::begin(&scene.pooler, "");
    failover.await_step("checkpoint");
    eventually("the other one pauses", || second.log().contains("a planned failover is under way"));
    let killed = Instant::now();
    scene.pooler.signal("KILL");
    scene.pooler.ending();
    let mut client = second.client();
    client.value("select 1");
    assert!(killed.elapsed() < Duration::from_secs(6), "before the end of the pause: {:?}", killed.elapsed());
    assert!(second.log().contains("the coordinator of the planned failover is gone"));
    assert_eq!(scene.primary(), before);
    Failover::run(&second, "").expect("the lock is free, and nobody else is there");
    assert_eq!(scene.port_of(&mut client), scene.primary_port());
}

#[test]
fn a_coordinator_that_dies_behind_the_commit_point_is_not_missed() {
    let mut scene = Scene::with(sharing);
    let second = another(&scene, sharing);
    let table = scene.table("orphaned");
    let before = scene.primary();
    let writers = Writers::through(&second, 8, &table);
    Failover::begin(&scene.pooler, "").await_step("commit");
    scene.pooler.signal("KILL");
    scene.pooler.ending();
    writers.advance(100);
    let outcome = writers.finish(&scene);
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    assert_ne!(scene.primary(), before);
}
