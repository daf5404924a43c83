//! Planned failovers in a row under load: `SOAK_FAILOVERS` (20) with `SOAK_WRITERS` (50), in a formation of `SOAK_NODES` (2).

use std::time::Duration;

use super::clerks::{Clerks, Findings, Work};
use super::{STABLE, median_and_longest, say, wanted};
use crate::command::Failover;
use crate::harness::{Setup, eventually};
use crate::scene::{Scene, following};

/// How often, and by how many.
fn counts() -> (u64, usize) {
    (wanted("SOAK_FAILOVERS", 20), wanted("SOAK_WRITERS", 50) as usize)
}

/// Once it stands firm, moves the primary that often; the longest wait each time.
fn move_about(scene: &Scene, failovers: u64, clerks: &[&Clerks], writers: u64) -> Vec<Duration> {
    let each = |_| {
        scene.formation.wait_stable(STABLE).expect("the formation is stable");
        // The former primary is a standby again, as far as the pooler knows.
        scene.await_row("a successor", |row| row["goal"] == "secondary" && row["says"] == "is in recovery");
        clerks.iter().for_each(|clerks| clerks.advance(20 * writers));
        clerks.iter().for_each(|clerks| _ = clerks.take_gap());
        // A standby that is slow to answer may move the formation's states once more.
        eventually("it is possible", || match Failover::run(&scene.pooler, "") {
            Err(report) if report.code == "55000" => false,
            done => done.is_ok() || panic!("{done:?}"),
        });
        clerks.iter().for_each(|clerks| clerks.advance(20 * writers));
        let gap = clerks.iter().map(|clerks| clerks.take_gap()).max().unwrap_or_default();
        say("planned", &format!("longest gap {gap:.3?}"));
        gap
    };
    (0..failovers).map(each).collect()
}

fn conclude(what: &str, scene: &Scene, mut gaps: Vec<Duration>, all: Vec<Findings>) {
    let nodes = scene.formation.nodes().len();
    let (failovers, what) = (gaps.len(), format!("{what}, {nodes} nodes"));
    let (median, longest) = median_and_longest(&mut gaps);
    say(
        &what,
        &format!("{failovers} failovers: longest gap median {median:.3?}, maximum {longest:.3?}; all {gaps:.3?}"),
    );
    for findings in &all {
        let p99 = findings.percentile(99);
        say(&what, &format!("{}; 99 of 100 waits at most {p99:.3?}", findings.all()));
    }
    let without_error = |findings: &Findings| findings.all().is_whole() && findings.all().error_count() == 0;
    assert!(all.iter().all(without_error), "no planned failover may cost anything but time");
}

fn planned(what: &str, edit: impl FnOnce(Setup) -> Setup) {
    let (failovers, writers) = counts();
    let scene = Scene::with(|setup| edit(setup.set("default_pool_size", 50)));
    let table = scene.table("soak_planned");
    let clerks = Clerks::start(&scene.pooler.address(), &scene.pooler.login(), &vec![Work::Single; writers], &table);
    let gaps = move_about(&scene, failovers, &[&clerks], writers as u64);
    scene.formation.wait_stable(STABLE).expect("the formation is stable");
    let findings = clerks.dismiss(&scene);
    conclude(&format!("{what}, {writers} writers"), &scene, gaps, vec![findings]);
}

#[test]
#[ignore = "for figures"]
fn planned_failovers_under_load() {
    planned("planned", |setup| setup);
}

#[test]
#[ignore = "for figures"]
fn planned_failovers_under_load_opened_early() {
    planned("planned, opened early", |setup| setup.set("failover_early_open", true));
}

#[test]
#[ignore = "for figures"]
fn planned_failovers_before_two_poolers() {
    let (failovers, writers) = counts();
    let edit = |setup: Setup| setup.set("control_secret", "between poolers").set("default_pool_size", 25);
    let scene = Scene::with(edit);
    let monitor = scene.formation.monitor_uri().expect("there is a monitor");
    let second = edit(following(&monitor)).start();
    second.client().value("select 1");
    let tables = [scene.table("soak_here"), scene.table("soak_there")];
    let work = vec![Work::Single; writers.div_ceil(2)];
    let clerks = [(&scene.pooler, &tables[0]), (&second, &tables[1])]
        .map(|(pooler, table)| Clerks::start(&pooler.address(), &pooler.login(), &work, table));
    let gaps = move_about(&scene, failovers, &[&clerks[0], &clerks[1]], work.len() as u64);
    scene.formation.wait_stable(STABLE).expect("the formation is stable");
    let findings = clerks.map(|clerks| clerks.dismiss(&scene));
    conclude(&format!("planned, two poolers, {} writers each", work.len()), &scene, gaps, findings.into());
}
