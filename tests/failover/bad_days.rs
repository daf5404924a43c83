//! What else happens on a bad day: restarts in place, slow standbys, maintenance, a monitor that dies half way.

use std::thread;
use std::time::Duration;

use lab::{Member, Part};

use crate::harness::eventually;
use crate::scene::{Scene, following};
use crate::writers::Writers;

const LIMIT: Duration = Duration::from_secs(30);

fn standby(scene: &Scene) -> Member {
    let primary = scene.primary();
    scene.formation.nodes().into_iter().find(|node| *node != primary).expect("a standby")
}

/// Whether it is started again in time or replaced is pg_auto_failover's choice.
#[test]
fn a_primary_whose_server_dies_keeps_its_epoch_if_it_comes_back_and_is_left_if_it_is_replaced() {
    let scene = Scene::new();
    let table = scene.table("in_place");
    let primary = scene.primary();
    let mut idle = scene.pooler.client();
    idle.value("select 1");
    let epoch = scene.rows()[0]["epoch"].clone();
    let writers = Writers::start(&scene, 8, &table);
    scene.formation.kill_postgres(primary).expect("it can be killed");
    let log = || scene.pooler.log();
    eventually("it goes on", || log().contains("goes on with") || log().contains(", epoch 2, "));
    writers.advance(200);
    let outcome = writers.finish(&scene);
    assert!(outcome.errors.len() <= 8, "more than one insert was lost per client");
    let kept = scene.rows()[0]["epoch"] == epoch;
    assert_eq!(scene.primary() == primary, kept, "{}", log());
    assert_eq!(idle.value("select 1"), "1");
}

#[test]
fn a_session_that_somebody_ends_costs_the_others_nothing() {
    let scene = Scene::new();
    let primary = scene.primary();
    let (mut victim, mut idle) = (scene.pooler.client(), scene.pooler.client());
    victim.rows("begin");
    let pid = victim.value("select pg_backend_pid()");
    let kept = idle.value("select pg_backend_pid()");
    scene.formation.psql(primary, &format!("select pg_terminate_backend({pid})")).expect("it is ended");
    assert_eq!(victim.error("select 1").code, "40001");
    eventually("it was a false alarm", || scene.pooler.log().contains("goes on with"));
    assert_eq!(idle.value("select pg_backend_pid()"), kept);
}

#[test]
fn commits_that_wait_for_a_standby_are_no_reason_to_stop_or_to_cancel() {
    let scene = Scene::new();
    let table = scene.table("slow");
    let primary = scene.primary();
    let writers = Writers::start(&scene, 8, &table);
    scene.formation.freeze(standby(&scene), Part::All).expect("it can be frozen");
    // A client that disappears while its insert may be committing.
    let mut gone = scene.pooler.client();
    gone.send_query(&format!("insert into {table} values (-1, 0)"));
    // And one that wants its COMMIT back.
    let mut impatient = scene.pooler.client();
    impatient.rows("begin");
    impatient.rows(&format!("insert into {table} values (-2, 0)"));
    impatient.send_query("commit");
    let waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep' and \
                   (query like '%(-1, 0)' or query = 'commit')";
    let waits = || scene.formation.psql(primary, waiting).is_ok_and(|found| found == "2");
    eventually("both wait for the standby", waits);
    drop(gone);
    impatient.cancel();
    impatient.answer().expect("it was not canceled");
    writers.advance(200);
    let taken = scene.formation.psql(primary, &format!("delete from {table} where writer < 0 returning writer"));
    let taken = taken.expect("an answer");
    assert!(taken.contains("-1") && taken.contains("-2"), "they were not canceled: {taken}");
    let outcome = writers.finish(&scene);
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    let log = scene.formation.log(primary, 10_000);
    assert!(!log.contains("canceling wait for synchronous replication"), "{log}");
    assert!(!scene.pooler.log().contains("transactions wait"), "nothing is held");
}

#[test]
#[ignore = "slow: make soak"]
fn a_monitor_that_dies_in_a_switchover_leaves_no_primary_until_it_is_back() {
    // Before its standby is promoted, and after.
    for delay in [30, 400] {
        let scene = Scene::new();
        let table = scene.table("half_way");
        let writers = Writers::start(&scene, 8, &table);
        scene.formation.perform_failover(None).expect("the monitor agrees");
        thread::sleep(Duration::from_millis(delay));
        scene.formation.kill(Member::Monitor).expect("it can be killed");
        eventually("the silence is noticed", || scene.rows()[0]["monitor"] == "silent");
        scene.formation.restart(Member::Monitor).expect("it comes back");
        writers.advance(200);
        let outcome = writers.finish(&scene);
        assert!(outcome.errors.len() <= 8, "more than one insert was lost per client");
    }
}

#[test]
#[ignore = "slow: make soak"]
fn maintenance_of_a_standby_is_not_felt_and_that_of_the_primary_is_a_switchover() {
    let scene = Scene::new();
    let table = scene.table("maintained");
    let (primary, standby) = (scene.primary(), standby(&scene));
    let writers = Writers::start(&scene, 8, &table);
    let shows = |node: Member, state: &str| {
        let name = node.to_string();
        scene.await_row("its state", |row| row["node"] == name && row["reported"] == state && row["goal"] == state);
    };
    scene.formation.maintenance(standby, true).expect("a standby is not needed");
    shows(standby, "maintenance");
    writers.advance(200);
    assert!(!scene.pooler.log().contains("transactions wait"), "nothing is held");
    scene.formation.maintenance(standby, false).expect("it ends");
    scene.formation.wait_stable(LIMIT).expect("the standby is back");
    scene.formation.maintenance(primary, true).expect("another one takes over");
    shows(primary, "maintenance");
    shows(standby, "wait_primary");
    writers.advance(200);
    scene.formation.maintenance(primary, false).expect("it ends");
    shows(primary, "secondary");
    let outcome = writers.finish(&scene);
    assert!(outcome.errors.len() <= 8, "more than one insert was lost per client");
    assert_eq!(scene.primary(), standby);
}

#[test]
fn a_reload_a_pause_or_a_shutdown_in_the_middle_of_a_failover_does_what_it_always_does() {
    let mut scene = Scene::new();
    let monitor = scene.formation.monitor_uri().expect("there is a monitor");
    let mut other = following(&monitor).start();
    let mut clients = [scene.pooler.client(), scene.pooler.client(), other.client()];
    clients.iter_mut().for_each(|client| assert_eq!(client.value("select 1"), "1"));
    let [first, second, others] = &mut clients;
    let before = scene.primary();
    scene.formation.kill(before).expect("it can be killed");
    scene.await_row("the loss is noticed", |row| row["gate"] == "held");
    eventually("by both", || other.console().show("FORMATIONS")[0]["gate"] == "held");
    first.send_query("show port");
    others.send_query("show port");
    let mut console = scene.pooler.console();
    console.run("PAUSE");
    // The formation is watched anew: all it knew has to be proved again.
    scene.pooler.rewrite(|setup| setup.set("failover_wait_timeout", 50));
    console.run("RELOAD");
    other.console().client.send_query("SHUTDOWN");
    others.answer().expect_err("it is gone");
    assert!(other.ending().success());
    scene.formation.wait_primary(Some(before), LIMIT).expect("another primary");
    scene.await_row("it is proved", |row| row["gate"] == "open");
    second.send_query("show port");
    eventually("the PAUSE outlasts the failover", || console.count("app", "cl_waiting") == 2);
    console.run("RESUME");
    let port = scene.primary_port().to_string();
    for client in [first, second] {
        assert_eq!(client.answer().expect("it has only waited")[0][0], Some(port.clone()));
    }
}
