//! The monitor dies, or is impersonated.

use lab::Member;

use crate::harness::eventually;
use crate::scene::Scene;
use crate::writers::Writers;

#[test]
fn a_monitor_that_dies_and_comes_back_is_not_felt() {
    let scene = Scene::new();
    let table = scene.table("monitorless");
    let writers = Writers::start(&scene, 8, &table);
    scene.formation.kill(Member::Monitor).expect("it can be killed");
    scene.await_row("the monitor's silence is noticed", |row| row["monitor"] == "silent");
    writers.advance(200);
    assert!(!scene.pooler.log().contains("transactions wait"), "nothing is held");
    scene.formation.restart(Member::Monitor).expect("it comes back");
    scene.await_row("the monitor is heard again", |row| row["monitor"] == "heard" && row["gate"] == "open");
    writers.advance(200);
    let outcome = writers.finish(&scene);
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
}

#[test]
fn a_spoofed_notification_costs_a_pause_at_most() {
    let scene = Scene::new();
    let table = scene.table("spoofed");
    let writers = Writers::start(&scene, 8, &table);
    let primary = scene.primary();
    let rows = scene.rows();
    let row = rows.iter().find(|row| row["target"] == "yes").expect("a target");
    let sql = format!(
        "select pg_notify('state', json_build_object('type', 'state', 'formation', 'default', 'groupId', 0, \
         'nodeId', nodeid, 'name', nodename, 'host', nodehost, 'port', nodeport, 'reportedState', 'primary', \
         'goalState', 'draining', 'health', 'good')::text) from pooler.nodes where nodename = '{}'",
        row["node"]
    );
    for _ in 0..3 {
        scene.formation.psql_as(Member::Monitor, "pooler_monitor", "pg_auto_failover", &sql).expect("anybody may");
        writers.advance(100);
    }
    let told = |words: &str| scene.pooler.log().matches(words).count();
    eventually("each one is taken back", || told("goes on with") >= 3);
    assert_eq!(told("transactions wait: a notification says"), 3);
    assert_eq!(told("pool paused"), 0, "no server was closed for it");
    let outcome = writers.finish(&scene);
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    assert_eq!(scene.primary(), primary);
}
