//! The primary dies, or hangs.

use std::time::Duration;

use lab::Part;

use crate::scene::Scene;
use crate::writers::Writers;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_primary_that_dies_is_replaced() {
    let scene = Scene::new();
    let table = scene.table("unplanned");
    let mut idle: Vec<_> = (0..4).map(|_| scene.pooler.client()).collect();
    let before = scene.primary();
    let writers = Writers::start(&scene, 8, &table);
    scene.formation.kill(before).expect("it can be killed");
    scene.formation.wait_primary(Some(before), LIMIT).expect("another primary");
    writers.advance(200);
    let outcome = writers.finish(&scene);
    assert!(outcome.errors.len() <= 8, "more than one insert was lost per client");
    for client in &mut idle {
        assert_eq!(scene.port_of(client), scene.primary_port(), "an idle client is still there, on the new primary");
    }
}

#[test]
fn a_primary_that_hangs_is_replaced_and_acknowledges_nothing_when_it_comes_back() {
    let scene = Scene::new();
    let table = scene.table("frozen");
    let before = scene.primary();
    let writers = Writers::start(&scene, 8, &table);
    scene.formation.freeze(before, Part::All).expect("it can be frozen");
    scene.formation.wait_primary(Some(before), LIMIT).expect("another primary");
    writers.advance(200);
    scene.formation.thaw(before).expect("it can be thawed");
    writers.advance(1000);
    // What the old one acknowledged would be missing on the new one.
    let outcome = writers.finish(&scene);
    assert!(outcome.errors.len() <= 8, "more than one insert was lost per client");
    let mut client = scene.pooler.client();
    assert_eq!(scene.port_of(&mut client), scene.primary_port());
}
