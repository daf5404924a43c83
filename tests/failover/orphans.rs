//! A coordinator that dies, at every step of a planned failover: whoever it has told to pause goes on by itself.

use std::time::{Duration, Instant};

use lab::Member;

use crate::command::Failover;
use crate::harness::{Pooler, Setup, eventually};
use crate::scene::{Scene, following};
use crate::writers::Writers;

/// How long a pause lasts at most, in seconds.
const PAUSE: u64 = 6;

fn sharing(setup: Setup) -> Setup {
    setup.set("control_secret", "known to poolers only").set("pause_expiry", PAUSE as i64)
}

/// Two poolers: the first will die.
fn scene() -> (Scene, Pooler) {
    let scene = Scene::with(sharing);
    let second = sharing(following(&scene.formation.monitor_uri().expect("there is a monitor"))).start();
    second.client().value("select 1");
    (scene, second)
}

fn die(scene: &mut Scene) -> Instant {
    scene.pooler.signal("KILL");
    scene.pooler.ending();
    Instant::now()
}

/// The other one serves again within the pause, its clients have only waited, and nothing is in the way of the next
/// failover.
fn goes_on(scene: &Scene, second: &Pooler, writers: Writers, killed: Instant) {
    writers.advance(200);
    let silence = killed.elapsed();
    assert!(silence < Duration::from_secs(PAUSE), "it took {silence:?}");
    let outcome = writers.finish(scene);
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    eventually("the next one is possible", || Failover::run(second, "DRY_RUN").is_ok());
}

/// Somebody who keeps the monitor from deciding anything, though not from being read, until this is dropped.
fn undecided(scene: &Scene) -> lab::Client {
    let address = scene.formation.address(Member::Monitor).expect("it has an address");
    let mut client = lab::Client::connect(address, "postgres", "pg_auto_failover").expect("anybody may");
    client.query("begin; lock table pgautofailover.node in share row exclusive mode").expect("it is locked");
    client
}

/// The failover up to the moment when the monitor has been told and has not decided.
fn told(scene: &Scene) -> lab::Client {
    let mut busy = scene.pooler.client();
    busy.rows("begin");
    busy.rows("select 1");
    let mut failover = Failover::begin(&scene.pooler, "");
    failover.await_step("checkpoint");
    let undecided = undecided(scene);
    busy.rows("commit");
    failover.await_step("pause");
    let monitor = |sql: &str| scene.formation.psql_as(Member::Monitor, "postgres", "pg_auto_failover", sql);
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ~ 'switchover'";
    eventually("the monitor is told", || monitor(waiting).is_ok_and(|found| found == "1"));
    undecided
}

#[test]
fn what_the_monitor_decides_after_its_coordinators_death_counts() {
    let (mut scene, second) = scene();
    let (table, before) = (scene.table("orphans_told"), scene.primary());
    let writers = Writers::through(&second, 8, &table);
    let undecided = told(&scene);
    let killed = die(&mut scene);
    drop(undecided);
    goes_on(&scene, &second, writers, killed);
    assert_ne!(scene.primary(), before);
}

#[test]
fn a_decision_that_dies_with_its_coordinator_has_never_been_made() {
    let (mut scene, second) = scene();
    let (table, before) = (scene.table("orphans_untold"), scene.primary());
    let writers = Writers::through(&second, 8, &table);
    let undecided = told(&scene);
    let killed = die(&mut scene);
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where query ~ 'switchover' and \
               pid <> pg_backend_pid()";
    scene.formation.psql_as(Member::Monitor, "postgres", "pg_auto_failover", end).expect("it is ended");
    drop(undecided);
    goes_on(&scene, &second, writers, killed);
    assert_eq!(scene.primary(), before);
}

/// The coordinator dies as soon as it has said that the step before is done: somewhere in the next one.
#[test]
#[ignore = "slow: make soak"]
fn a_coordinator_that_dies_at_any_step_is_not_missed() {
    for step in ["begin", "lock", "check", "poolers", "checkpoint", "pause", "commit", "open"] {
        let (mut scene, second) = scene();
        let table = scene.table("orphans");
        let writers = Writers::through(&second, 8, &table);
        let mut failover = Failover::begin(&scene.pooler, "");
        if step != "begin" {
            failover.await_step(step);
        }
        let killed = die(&mut scene);
        eprintln!("killed after {step}");
        goes_on(&scene, &second, writers, killed);
    }
}
