//! The course of a drill: baseline, failover, what came of it.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use config::Config;
use proxy::visitor::Visitor;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::cause::{self, Done, Running};
use super::load::{self, Load};
use super::standing::{Node, Standing};
use super::subject::{Cause, Subject};
use super::table::Table;
use super::verdict::{End, Findings};
use super::watch::Watch;
use super::{consent, seconds};
use crate::failover::step;

/// How many rows each writer has acknowledged before, and after.
const ROWS: u64 = 20;
/// How long those may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much longer than the target a new primary is waited for: by how much it was missed matters, too.
const LONGER: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// Runs it; what was found, if it has begun.
pub fn run(config: Config, subject: &Arc<Subject>, yes: bool) -> (End, Option<Findings>) {
    match Drill::prepare(Arc::new(config), Arc::clone(subject), yes).and_then(Drill::run) {
        Ok((end, findings)) => (end, Some(findings)),
        Err(end) => (end, None),
    }
}

/// A drill whose baseline is healthy.
struct Drill {
    config: Arc<Config>,
    subject: Arc<Subject>,
    primary: Node,
    interrupted: Arc<AtomicBool>,
    // Before the table: writers end first.
    load: Load,
    table: Table,
}

impl Drill {
    fn prepare(config: Arc<Config>, subject: Arc<Subject>, yes: bool) -> Result<Self, End> {
        let not_usable = |why: String| End::NotBegun(format!("the pooler's console cannot be used: {why}"));
        let mut console = Visitor::of_console(&config).map_err(|failure| not_usable(failure.message))?;
        let deadline = Instant::now() + PATIENCE;
        let standing = Standing::ask(&mut console, &subject.formation, || Instant::now() > deadline);
        let standing = standing.map_err(|failure| not_usable(failure.message))?;
        let primary = standing.healthy();
        let primary = primary.map_err(|why| End::NotBegun(format!("formation {}: {why}", subject.formation)))?.clone();
        if !yes {
            consent::ask(&subject, &standing, &primary)?;
        }
        // Not before: a question at the terminal can be interrupted as ever.
        let interrupted: Arc<AtomicBool> = Arc::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let watched = signal_hook::flag::register(signal, Arc::clone(&interrupted));
            watched.map_err(|error| End::NotBegun(error.to_string()))?;
        }
        let table = Table::make(&config, &subject).map_err(End::NotBegun)?;
        let load = Load::start(&config, &subject, &table.name);
        let drill = Self { config, subject, primary, interrupted, load, table };
        drill.baseline()?;
        let _ = writeln!(io::stdout(), "formation {}: {}", drill.subject.formation, standing.shown());
        Ok(drill)
    }

    /// Every writer has its rows acknowledged, and none was told of an error.
    fn baseline(&self) -> Result<(), End> {
        let in_time = self.advance(ROWS);
        if self.is_interrupted() {
            return Err(End::Declined("interrupted".to_owned()));
        }
        match self.load.first_error() {
            Some(error) => Err(End::NotBegun(format!("a writer was told: {error}"))),
            None if !in_time => {
                Err(End::NotBegun(format!("{ROWS} rows are not acknowledged within {}", seconds(PATIENCE))))
            }
            None => Ok(()),
        }
    }

    /// Whether each writer has so many more rows acknowledged in time.
    fn advance(&self, rows: u64) -> bool {
        let (before, deadline) = (self.load.progress(), Instant::now() + PATIENCE);
        loop {
            if self.load.progress().iter().zip(before).all(|(now, before)| *now >= before + rows) {
                return true;
            }
            if Instant::now() > deadline || self.is_interrupted() {
                return false;
            }
            thread::sleep(POLL);
        }
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn run(mut self) -> Result<(End, Findings), End> {
        let Self { config, subject, primary, .. } = &self;
        let watch = Watch::start(config, &subject.formation, &primary.name).map_err(End::NotBegun)?;
        self.load.take_gap();
        let began = Instant::now();
        let mut running = cause::begin(config, subject, primary, began)?;
        let trouble = self.failover(&mut running, began)?;
        let moved = self.load.moved();
        if let Some(moved) = moved {
            step(began, &format!("a new primary writes since {}", seconds(moved - began)));
            self.advance(ROWS);
        }
        drop(running);
        let diaries = self.load.stop();
        let rows = self.table.rows().map(|found| load::compare(&diaries, &found));
        let total = load::total(&diaries);
        let findings = Findings {
            target: self.subject.target,
            detected: watch.held().map(|held| held - began),
            writable: moved.map(|moved| moved - began),
            gap: Some(self.load.take_gap()),
            rows: rows.inspect_err(|why| eprintln!("{why}")).ok(),
            acknowledged: total.acknowledged,
            errors: total.errors,
            reconnects: total.reconnects,
        };
        let reasons: Vec<String> = trouble.into_iter().chain(findings.reasons()).collect();
        Ok((if reasons.is_empty() { End::Passed } else { End::Failed(reasons) }, findings))
    }

    /// Waits until another primary writes and all that was to be done for it is done, or for too long; what went wrong.
    fn failover(&self, running: &mut Running, began: Instant) -> Result<Option<String>, End> {
        // A command may well be cut off from what it has killed; the console's FAILOVER ends by itself and says how.
        let is_command = matches!(self.subject.cause, Cause::Killed(_));
        while began.elapsed() < self.subject.target + LONGER {
            match running.poll() {
                Some(Done::NotAtAll(end)) => return Err(end),
                Some(Done::Badly(why)) => return Ok(Some(why)),
                Some(Done::Noted(note)) => step(began, &note),
                Some(Done::Well) | None => {}
            }
            if is_command || running.is_over() {
                if self.load.moved().is_some() {
                    return Ok(None);
                }
                if self.is_interrupted() {
                    return Ok(Some("interrupted".to_owned()));
                }
            }
            thread::sleep(POLL);
        }
        Ok(None)
    }
}
