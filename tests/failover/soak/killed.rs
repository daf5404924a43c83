//! kill -9 of the primary, server and keeper, under load: `SOAK_KILLS` (10) with `SOAK_WRITERS` (50); with
//! `SOAK_RESOLVE=1` the pooler finds out what has become of a COMMIT.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use lab::LabError;

use super::clerks::{Clerks, Findings, Tally, Work};
use super::{STABLE, median_and_longest, say, wanted};
use crate::drill;
use crate::scene::Scene;

/// Of the prober.
const EVERY: Duration = Duration::from_millis(10);
/// For the probers to log in; and so long before a successor takes writes nobody acknowledges anything any more.
const QUIET: Duration = Duration::from_millis(500);
const LIMIT: Duration = Duration::from_secs(60);

/// Half of the clerks write row by row; of the others every second one goes on to COMMIT whatever it is told.
fn work(writers: usize) -> Vec<Work> {
    let block = Work::Block(Duration::ZERO);
    [Work::Single, block, Work::Single, Work::Careless].into_iter().cycle().take(writers).collect()
}

/// Tries to write to the node, without a pooler, until it takes the row; when that was. The session stays: a standby's
/// survives the promotion, so that nothing is measured but the node.
fn probe(node: SocketAddr) -> Option<Instant> {
    let began = Instant::now();
    let mut session: Option<lab::Client> = None;
    while began.elapsed() < LIMIT {
        let present = session.take().or_else(|| lab::Client::connect(node, "app", "app").ok());
        if let Some(mut client) = present {
            match client.query("insert into soak_probe values (0, 0)") {
                Ok(()) => return Some(Instant::now()),
                // In recovery, or read-only by default: it may ask again.
                Err(LabError::Protocol(said)) if said.contains(" 25006") => session = Some(client),
                Err(_) => {}
            }
        }
        thread::sleep(EVERY);
    }
    // It is not the one that takes over.
    None
}

/// One kill: from the death of the primary to the first direct write, from there to the first row acknowledged to a
/// clerk, and what the clerks found.
fn kill(scene: &Scene, work: &[Work], table: &str) -> (Duration, Duration, Findings) {
    scene.formation.wait_stable(STABLE).expect("the formation is stable");
    scene.await_row("a successor", |row| row["goal"] == "secondary" && row["says"] == "is in recovery");
    // New ones for each kill: how many errors one of them has seen is counted by kill.
    let clerks = Clerks::start(&scene.pooler.address(), &scene.pooler.login(), work, &scene.table(table));
    let before = scene.primary();
    let (tell, told) = mpsc::channel();
    for heir in scene.formation.nodes().into_iter().filter(|node| *node != before) {
        let (tell, address) = (tell.clone(), scene.formation.address(heir).expect("it has an address"));
        thread::spawn(move || probe(address).map(|at| tell.send(at)));
    }
    thread::sleep(QUIET);
    scene.formation.kill(before).expect("it can be killed");
    let killed = Instant::now();
    let writable = told.recv_timeout(LIMIT).expect("a node takes writes");
    clerks.advance(20 * work.len() as u64);
    // Before it comes back, which takes a minute while others keep the machine busy.
    let findings = clerks.dismiss(scene);
    scene.formation.restart(before).expect("it comes back");
    // Whatever the old primary acknowledged is long over by then; and a pooler may be faster than the prober.
    let first = findings.ends.iter().find(|end| **end > writable - QUIET).expect("rows are acknowledged");
    (writable - killed, first.saturating_duration_since(writable), findings)
}

#[test]
#[ignore = "for figures"]
fn killed_primaries_under_load() {
    let (kills, writers) = (wanted("SOAK_KILLS", 10), wanted("SOAK_WRITERS", 50) as usize);
    let resolves = wanted("SOAK_RESOLVE", 0);
    let scene =
        Scene::with(|setup| setup.set("default_pool_size", 50).set("resolve_commit", resolves == 1).allow("COMMIT of"));
    let right = if resolves == 1 { "replication" } else { "noreplication" };
    scene.formation.psql(scene.primary(), &format!("alter role app {right}")).expect("a role can be altered");
    scene.table("soak_probe");
    let nodes = scene.formation.nodes().len();
    let what = format!("kill -9, {writers} writers, {nodes} nodes, resolve_commit = {resolves}");
    let (mut outages, mut delays, mut tallies) = (Vec::new(), Vec::new(), BTreeMap::<String, Tally>::new());
    for number in 0..kills {
        let (outage, delay, findings) = kill(&scene, &work(writers), &format!("soak_killed_{number}"));
        say(&what, &format!("direct write after {outage:.3?}, the pooler's {delay:.3?} later; {}", findings.all()));
        outages.push(outage);
        delays.push(delay);
        for (work, tally) in findings.by_work {
            *tallies.entry(format!("{work:?}")).or_default() += tally;
        }
    }
    let (median, longest) = median_and_longest(&mut outages);
    say(&what, &format!("{kills} kills: first direct write after median {median:.3?}, maximum {longest:.3?}"));
    let (median, longest) = median_and_longest(&mut delays);
    say(&what, &format!("first row through the pooler after that: median {median:.3?}, maximum {longest:.3?}"));
    for (work, tally) in &tallies {
        say(&what, &format!("{work}: {tally}"));
    }
    assert!(tallies.values().all(Tally::is_whole), "rows are lost, doubled, or there by halves");
    for (outcome, count) in outcomes(&scene.pooler.log()) {
        say(&what, &format!("COMMIT of a lost server: {count} {outcome}"));
    }
    if resolves == 1 {
        let unknown = |(work, tally): (&String, &Tally)| work != "Single" && tally.errors.contains_key("08007");
        assert!(!tallies.iter().any(unknown), "the outcome of a block's COMMIT stayed unknown");
    }
}

/// What the log says has become of COMMITs.
fn outcomes(log: &str) -> BTreeMap<&str, usize> {
    let mut outcomes = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains(" COMMIT of transaction ")) {
        let outcome = ["committed", "rolled back"].into_iter().find(|word| line.contains(&format!(": {word}, found")));
        *outcomes.entry(outcome.unwrap_or("unknown")).or_default() += 1;
    }
    outcomes
}

/// Ends a member of the lab's formation, whose processes are known by the directory they work in.
const KILL: &str = r#"
pids=$(for process in /proc/[0-9]*; do
    case $(readlink "$process/cwd")/ in
        "$DIRECTORY/work/$POOLER_DRILL_NODE"/* | "$DIRECTORY/data/$POOLER_DRILL_NODE"/*) echo "${process#/proc/}" ;;
    esac
done)
kill -STOP $pids && kill -KILL $pids"#;

#[test]
#[ignore = "for figures"]
fn a_drill_that_kills_the_primary() {
    let scene = Scene::new();
    let before = scene.primary();
    let command = format!("DIRECTORY='{}'{KILL}", scene.formation.directory().display());
    let (code, said) = drill::end(drill::begin(&scene, &["--yes", "--kill", "--kill-command", &command]));
    say("drill --kill", &format!("exit {code:?}: {said}"));
    assert_eq!(code, Some(0));
    assert_ne!(scene.primary(), before);
    drill::nothing_is_left(&scene);
    // It is dead: this removes what it left.
    scene.formation.kill(before).and_then(|()| scene.formation.restart(before)).expect("it comes back");
}
