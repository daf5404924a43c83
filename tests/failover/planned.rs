//! The pooler itself moves the primary.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lab::Member;

use crate::command::Failover;
use crate::harness::{Client, Setup, eventually};
use crate::scene::Scene;
use crate::writers::Writers;

const LIMIT: Duration = Duration::from_secs(30);
const STEPS: [&str; 7] = ["lock", "check", "poolers", "checkpoint", "pause", "commit", "open"];

/// A failover that waits for the end of a transaction.
fn waiting_for(client: &mut Client, scene: &Scene) -> Failover {
    client.rows("begin");
    client.rows("select 1");
    let mut failover = Failover::begin(&scene.pooler, "");
    failover.await_step("checkpoint");
    failover
}

#[test]
fn a_planned_failover_is_a_pause_without_an_error() {
    let scene = Scene::new();
    let table = scene.table("commanded");
    let mut idle: Vec<_> = (0..4).map(|_| scene.pooler.client()).collect();
    let before = scene.primary();
    let writers = Writers::start(&scene, 8, &table);
    let steps = Failover::run(&scene.pooler, "").expect("it is possible");
    writers.advance(200);
    let outcome = writers.finish(&scene);
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    assert_ne!(scene.primary(), before);
    for client in &mut idle {
        assert_eq!(scene.port_of(client), scene.primary_port(), "an idle client is still there, on the new primary");
    }
    let names: Vec<_> = steps.iter().map(|step| step.split(':').next().unwrap_or_default()).collect();
    assert_eq!(names, STEPS, "{steps:?}");
    let shown = scene.pooler.console().show("FAILOVERS");
    let shown: Vec<_> = shown.iter().map(|row| (row["step"].as_str(), row["outcome"].as_str())).collect();
    assert_eq!(shown, STEPS.map(|step| (step, "done")));
}

/// All that is sent by way of the pooler arrives, in its order, before, during and after the pause.
#[test]
fn a_planned_failover_ends_no_listener_and_loses_no_notification() {
    let scene = Scene::new();
    let before = scene.primary();
    let (mut listener, mut sender) = (scene.pooler.client(), scene.pooler.client());
    listener.rows("listen events");
    let is_over = Arc::new(AtomicBool::new(false));
    let stop = is_over.clone();
    let sending = thread::spawn(move || {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            sender.rows(&format!("notify events, '{count}'"));
            count += 1;
        }
        sender.rows("notify events, 'end'");
        count
    });
    Failover::run(&scene.pooler, "").expect("it is possible");
    assert_ne!(scene.primary(), before);
    thread::sleep(Duration::from_millis(300));
    is_over.store(true, Ordering::Relaxed);
    let count: usize = sending.join().expect("all is sent");
    for number in 0..count {
        assert_eq!(listener.message().body[4..], *format!("events\0{number}\0").as_bytes(), "of {count}");
    }
    assert_eq!(listener.message().body[4..], *b"events\0end\0");
    assert_eq!(scene.port_of(&mut listener), scene.primary_port());
}

#[test]
fn a_dry_run_touches_nothing_and_says_why_it_would_not_go() {
    let scene = Scene::new();
    let before = scene.primary();
    let mut client = scene.pooler.client();
    let pid = client.value("select pg_backend_pid()");
    let steps = Failover::run(&scene.pooler, "main DRY_RUN").expect("it would be possible");
    assert!(steps.len() == 4 && steps[3].contains("a failover is possible"), "{steps:?}");
    let refused = Failover::run(&scene.pooler, &format!("TO {before} DRY_RUN")).expect_err("it is there");
    assert_eq!(refused.code, "55000");
    assert!(refused.message.contains("is the primary already"), "{refused:?}");
    let refused = Failover::run(&scene.pooler, "other").expect_err("there is no such formation");
    assert_eq!(refused.code, "55000");
    assert_eq!(client.value("select pg_backend_pid()"), pid, "its server was not even closed");
    assert!(scene.primary() == before && !scene.pooler.log().contains("transactions wait"));
    assert!(scene.pooler.console().show("FAILOVERS").is_empty());
}

#[test]
fn a_transaction_that_does_not_end_stops_it_and_nothing_happens() {
    let scene = Scene::with(|setup: Setup| setup.set("pause_expiry", 2));
    let before = scene.primary();
    let mut client = scene.pooler.client();
    let failover = waiting_for(&mut client, &scene);
    let mut other = scene.pooler.client();
    other.send_query("select 2");
    let why = || scene.pooler.console().show("WAITING").into_iter().map(|row| row["why"].clone()).collect::<Vec<_>>();
    eventually("it is said why", || why().contains(&"a planned failover is under way".to_owned()));
    // A second one, from whomever, does not get in between.
    assert_eq!(Failover::run(&scene.pooler, "").expect_err("there is one").code, "55P03");
    let refused = failover.end().expect_err("a transaction is open");
    assert_eq!(refused.code, "57014");
    assert!(refused.message.contains("1 server is still in use here"), "{refused:?}");
    assert_eq!(other.answer().expect("it goes on").len(), 1);
    client.rows("commit");
    assert_eq!(scene.primary(), before);
}

#[test]
fn an_operator_can_end_it_before_the_commit_point_and_not_after_it() {
    let scene = Scene::new();
    let before = scene.primary();
    let mut client = scene.pooler.client();
    let failover = waiting_for(&mut client, &scene);
    failover.cancel();
    let refused = failover.end().expect_err("canceled");
    assert!(refused.code == "57014" && refused.message.contains("the operator"), "{refused:?}");
    client.rows("commit");
    // The session of an operator who is gone ends it as well.
    drop(waiting_for(&mut client, &scene));
    eventually("it is given up", || scene.pooler.log().matches("was given up").count() >= 2);
    client.rows("commit");
    assert_eq!(scene.primary(), before);
    let mut failover = Failover::begin(&scene.pooler, "");
    failover.await_step("commit").cancel();
    let steps = failover.end().expect("there is no way back");
    assert!(steps.iter().any(|step| step.contains("there is no way back: ")), "{steps:?}");
    assert_ne!(scene.primary(), before);
}

#[test]
fn force_ends_a_transaction_that_does_not_end_by_itself() {
    let scene = Scene::with(|setup: Setup| setup.set("pause_expiry", 8));
    let before = scene.primary();
    let mut client = scene.pooler.client();
    client.rows("begin");
    client.rows("select 1");
    let to = scene.formation.nodes().into_iter().find(|node| *node != before).expect("a standby");
    Failover::run(&scene.pooler, &format!("main TO {to} FORCE")).expect("it goes on");
    assert_eq!(scene.primary(), to);
    client.try_rows("select 1").expect_err("its server is gone");
}

#[test]
fn a_successor_that_is_opened_early_becomes_an_ordinary_primary() {
    let scene = Scene::with(|setup: Setup| setup.set("failover_early_open", true));
    let table = scene.table("early");
    let before = scene.primary();
    let writers = Writers::start(&scene, 8, &table);
    let mut client = scene.pooler.client();
    Failover::run(&scene.pooler, "").expect("it is possible");
    let waits = client.value("show synchronous_commit");
    client.rows("discard all");
    assert_eq!(client.value("show default_transaction_read_only"), "off", "also after DISCARD ALL");
    eventually("it is writable by default", || scene.pooler.log().contains("is writable by default now"));
    writers.advance(100);
    eventually("no server that was opened early is lent", || client.value("show synchronous_commit") == "on");
    let outcome = writers.finish(&scene);
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    let log = scene.pooler.log();
    assert!(log.contains(", early, epoch 2") && ["local", "on"].contains(&waits.as_str()), "{waits}");
    assert_ne!(scene.primary(), before);
}

#[test]
fn a_monitor_that_dies_in_the_pause_stops_it_and_traffic_goes_on() {
    let scene = Scene::new();
    let before = scene.primary();
    let mut client = scene.pooler.client();
    let failover = waiting_for(&mut client, &scene);
    let mut other = scene.pooler.client();
    other.send_query("select 2");
    scene.formation.kill(Member::Monitor).expect("it can be killed");
    let refused = failover.end().expect_err("nobody can be told");
    assert!(refused.code == "57014" && refused.message.contains("the monitor is lost"), "{refused:?}");
    assert_eq!(other.answer().expect("it goes on").len(), 1);
    client.rows("commit");
    let refused = Failover::run(&scene.pooler, "").expect_err("nobody can be asked");
    assert_eq!(refused.code, "55000");
    scene.formation.restart(Member::Monitor).expect("it comes back");
    assert_eq!(scene.primary(), before);
}

/// For good: a standby that allows fewer than its primary ever did does not start. So it is also the first to allow more.
fn allow_prepared_transactions(scene: &Scene) {
    let (primary, mut nodes) = (scene.primary(), scene.formation.nodes());
    nodes.sort_by_key(|node| *node == primary);
    for node in nodes {
        scene.formation.psql(node, "alter system set max_prepared_transactions = 5").expect("it can be set");
        // Its keeper starts it again.
        scene.formation.kill_postgres(node).expect("it can be killed");
        let shown = || scene.formation.psql(node, "show max_prepared_transactions");
        eventually("it is there again", || shown().is_ok_and(|shown| shown == "5"));
        scene.formation.wait_stable(LIMIT).expect("the formation is stable");
    }
}

#[test]
#[ignore = "slow: make soak"]
fn a_prepared_transaction_is_committed_on_the_next_primary() {
    let scene = Scene::new();
    allow_prepared_transactions(&scene);
    scene.await_row("it is proved", |row| row["gate"] == "open" && row["target"] == "yes");
    scene.await_row("a successor", |row| row["goal"] == "secondary" && row["says"] == "is in recovery");
    let (table, before) = (scene.table("two_phases"), scene.primary());
    let mut client = scene.pooler.client();
    client.rows("begin");
    client.rows(&format!("insert into {table} values (1, 1)"));
    client.rows("prepare transaction 'half way'");
    Failover::run(&scene.pooler, "").expect("it is possible");
    assert_ne!(scene.primary(), before);
    assert_eq!(client.value("select gid from pg_prepared_xacts"), "half way");
    client.rows("commit prepared 'half way'");
    assert_eq!(client.value(&format!("select count(*) from {table}")), "1");
}
