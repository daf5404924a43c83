//! Somebody else moves the primary.

use std::time::Duration;

use crate::scene::Scene;
use crate::writers::Writers;

#[test]
fn a_switchover_by_somebody_else_is_followed() {
    let scene = Scene::new();
    let table = scene.table("planned");
    let mut idle: Vec<_> = (0..4).map(|_| scene.pooler.client()).collect();
    let before = scene.primary();
    let writers = Writers::start(&scene, 8, &table);
    scene.formation.perform_failover(None).expect("the monitor agrees");
    let after = scene.formation.wait_primary(Some(before), Duration::from_secs(30)).expect("another primary");
    writers.advance(200);
    let outcome = writers.finish(&scene);
    assert!(outcome.errors.len() <= 8, "more than one insert was lost per client");
    for client in &mut idle {
        assert_eq!(scene.port_of(client), scene.primary_port(), "an idle client is still there, on the new primary");
    }
    let databases = scene.pooler.console().show("DATABASES");
    let app = databases.iter().find(|row| row["name"] == "app").expect("it is shown");
    assert_eq!((app["host"].as_str(), app["port"].clone()), ("127.0.0.1", scene.primary_port().to_string()));
    let target = after.to_string();
    scene.await_row("the new primary is shown", |row| row["node"] == target && row["target"] == "yes");
}
