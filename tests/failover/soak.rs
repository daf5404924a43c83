//! Many failovers in a row, for figures: `cargo test --test failover soak -- --ignored --nocapture`.

use std::time::Duration;

use crate::command::Failover;
use crate::harness::Setup;
use crate::scene::Scene;
use crate::writers::Writers;

/// How often, with how many writers: `SOAK_FAILOVERS` and `SOAK_WRITERS` change it, and `SOAK_NODES` the formation.
const FAILOVERS: u64 = 5;
const WRITERS: u64 = 50;

/// A number from the environment.
pub fn wanted(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn planned(name: &str, edit: fn(Setup) -> Setup) {
    let scene = Scene::with(|setup| edit(setup.set("default_pool_size", 50)));
    let table = scene.table(name);
    let (failovers, count) = (wanted("SOAK_FAILOVERS", FAILOVERS), wanted("SOAK_WRITERS", WRITERS));
    let writers = Writers::start(&scene, count, &table);
    let mut gaps = Vec::new();
    for _ in 0..failovers {
        scene.formation.wait_stable(Duration::from_secs(60)).expect("the formation is stable");
        // Its node is a standby again, as far as the pooler knows.
        scene.await_row("a successor", |row| row["goal"] == "secondary" && row["says"] == "is in recovery");
        writers.advance(20 * count);
        writers.slowest();
        Failover::run(&scene.pooler, "").expect("it is possible");
        writers.advance(20 * count);
        gaps.push(writers.slowest());
    }
    // One that was opened early is not the monitor's primary yet.
    scene.formation.wait_stable(Duration::from_secs(60)).expect("the formation is stable");
    let outcome = writers.finish(&scene);
    gaps.sort();
    let errors = outcome.errors.len();
    let (median, longest) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
    eprintln!(
        "{name}: {failovers} failovers, {count} writers: {errors} errors, median gap {median:?}, longest {longest:?}"
    );
    eprintln!("{name}: {gaps:?}");
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
}

#[test]
#[ignore = "for figures"]
fn planned_failovers_under_load() {
    planned("soak", |setup| setup);
}

#[test]
#[ignore = "for figures"]
fn planned_failovers_under_load_opened_early() {
    planned("soak_early", |setup| setup.set("failover_early_open", true));
}
