//! Somebody else moves the primary while transactions of several lengths are under way: `SOAK_SWITCHOVERS` (10) with
//! `SOAK_WRITERS` (50), spread evenly over the lengths.

use std::time::Duration;

use super::clerks::{Clerks, Work};
use super::{STABLE, say, wanted};
use crate::scene::Scene;

/// What a transaction lasts, in milliseconds, besides what its statements take.
const LENGTHS: [u64; 4] = [1, 20, 70, 200];

#[test]
#[ignore = "for figures"]
fn switchovers_by_somebody_else_under_load() {
    let (switchovers, writers) = (wanted("SOAK_SWITCHOVERS", 10), wanted("SOAK_WRITERS", 50) as usize);
    let scene = Scene::with(|setup| setup.set("default_pool_size", 50));
    let work: Vec<Work> = LENGTHS.map(|length| Work::Block(Duration::from_millis(length))).to_vec();
    let work: Vec<Work> = work.into_iter().cycle().take(writers).collect();
    let mut errors: Vec<Vec<u64>> = vec![Vec::new(); LENGTHS.len()];
    let mut moved = Vec::new();
    for number in 0..switchovers {
        scene.formation.wait_stable(STABLE).expect("the formation is stable");
        scene.await_row("a successor", |row| row["goal"] == "secondary" && row["says"] == "is in recovery");
        // New clerks each time: errors are counted by switchover.
        let table = scene.table(&format!("soak_foreign_{number}"));
        let clerks = Clerks::start(&scene.pooler.address(), &scene.pooler.login(), &work, &table);
        let switchover = scene.formation.switchover(None).expect("the monitor agrees");
        clerks.advance(5 * writers as u64);
        moved.push(switchover.writable_after);
        let findings = clerks.dismiss(&scene);
        for (errors, (work, tally)) in errors.iter_mut().zip(&findings.by_work) {
            say("somebody else's switchover", &format!("{work:?}: {tally}"));
            assert!(tally.is_whole(), "rows are lost, doubled, or there by halves");
            errors.push(tally.error_count());
        }
    }
    say("somebody else's switchover", &format!("{writers} writers; writable after {moved:.3?}"));
    for (length, errors) in LENGTHS.iter().zip(errors) {
        let good = errors.iter().filter(|count| **count == 0).count();
        let what = format!("transactions of {length} ms");
        say(&what, &format!("no error in {good} of {switchovers} runs; errors of each run: {errors:?}"));
    }
}
