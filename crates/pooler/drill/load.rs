//! The small load of a drill: writers that insert numbered rows through the pooler, and remember what they were told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use config::Config;
use proxy::visitor::{Failure, Visitor};

use super::subject::Subject;
use super::verdict::Rows;

/// Enough to tell a slow session from a slow formation, and nothing that anybody else would feel.
const WRITERS: usize = 4;
/// Between two rows of a writer.
const PAUSE: Duration = Duration::from_millis(20);
/// Before a new login, when the last one failed.
const RETRY: Duration = Duration::from_millis(100);
/// How long a row that is under way at the end may still take.
const GRACE: Duration = Duration::from_secs(2);
/// The timeline of whoever writes the row, which each promotion changes: addresses may be the same behind NAT.
const TIMELINE: &str = "substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";

/// Writers at work, until they are stopped.
pub struct Load {
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<Diary>>,
}

struct Shared {
    config: Arc<Config>,
    subject: Arc<Subject>,
    table: String,
    stopped: OnceLock<Instant>,
    /// Acknowledged rows of each writer.
    acknowledged: [AtomicU64; WRITERS],
    /// The longest that one waited, in microseconds.
    gap: AtomicU64,
    first_timeline: OnceLock<String>,
    moved: OnceLock<Instant>,
    first_error: OnceLock<String>,
}

/// What one writer was told.
#[derive(Debug, Default)]
pub struct Diary {
    acknowledged: Vec<u64>,
    /// Rows that are not there, says an error that left the session as it was.
    refused: Vec<u64>,
    errors: BTreeMap<String, u64>,
    reconnects: u64,
}

impl Load {
    /// Starts writers on a table.
    pub fn start(config: &Arc<Config>, subject: &Arc<Subject>, table: &str) -> Self {
        let shared = Arc::new(Shared {
            config: Arc::clone(config),
            subject: Arc::clone(subject),
            table: table.to_owned(),
            stopped: OnceLock::new(),
            acknowledged: Default::default(),
            gap: AtomicU64::new(0),
            first_timeline: OnceLock::new(),
            moved: OnceLock::new(),
            first_error: OnceLock::new(),
        });
        let writers = (0..WRITERS).map(|writer| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.write(writer))
        });
        Self { writers: writers.collect(), shared }
    }

    /// How many rows each writer has had acknowledged.
    pub fn progress(&self) -> [u64; WRITERS] {
        std::array::from_fn(|writer| self.shared.acknowledged[writer].load(Ordering::Relaxed))
    }

    /// The first error that a writer was told.
    pub fn first_error(&self) -> Option<&str> {
        self.shared.first_error.get().map(String::as_str)
    }

    /// When the first row was acknowledged that another primary has written than the first ones.
    pub fn moved(&self) -> Option<Instant> {
        self.shared.moved.get().copied()
    }

    /// The longest that a writer waited since this was asked last.
    pub fn take_gap(&self) -> Duration {
        Duration::from_micros(self.shared.gap.swap(0, Ordering::Relaxed))
    }

    /// Has them end, and waits until they have.
    pub fn stop(&mut self) -> Vec<Diary> {
        let _ = self.shared.stopped.set(Instant::now());
        // A writer that panics has said so; the others keep their places.
        self.writers.drain(..).map(|writer| writer.join().unwrap_or_default()).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn write(&self, writer: usize) -> Diary {
        let (mut diary, mut session) = (Diary::default(), None);
        // When the present wait began: errors do not end it.
        let mut waits: Option<Instant> = None;
        let mut number = 0;
        while self.stopped.get().is_none() {
            waits.get_or_insert_with(Instant::now);
            let Some(client) = self.session(&mut session, &mut diary) else { continue };
            match client.ask(&self.insert(writer, number), || self.is_over()) {
                Ok(answer) => {
                    diary.acknowledged.push(number);
                    self.acknowledged[writer].fetch_add(1, Ordering::Relaxed);
                    self.notice(answer.rows.first().and_then(|row| row.first()?.as_deref()));
                    self.waited(waits.take());
                    thread::sleep(PAUSE);
                }
                Err(failure) => {
                    if !failure.is_over && !leaves_open(&failure) {
                        diary.refused.push(number);
                    }
                    if failure.is_over {
                        session = None;
                    }
                    self.failed(&failure, &mut diary);
                }
            }
            number += 1;
        }
        self.waited(waits);
        diary
    }

    fn insert(&self, writer: usize, number: u64) -> String {
        format!("insert into {} values ({writer}, {number}) returning {TIMELINE}", self.table)
    }

    /// The present session, or a new one; none while nobody is let in.
    fn session<'a>(&self, session: &'a mut Option<Visitor>, diary: &mut Diary) -> Option<&'a mut Visitor> {
        if session.is_none() {
            let Subject { database, user, secret, .. } = &*self.subject;
            match Visitor::of_database(&self.config, database, user, secret.as_ref()) {
                Ok(opened) => *session = Some(opened),
                Err(failure) => {
                    self.failed(&failure, diary);
                    thread::sleep(RETRY);
                }
            }
        }
        session.as_mut()
    }

    fn is_over(&self) -> bool {
        self.stopped.get().is_some_and(|since| since.elapsed() > GRACE)
    }

    fn notice(&self, timeline: Option<&str>) {
        let timeline = timeline.unwrap_or_default();
        if self.first_timeline.get_or_init(|| timeline.to_owned()) != timeline {
            self.moved.get_or_init(Instant::now);
        }
    }

    fn waited(&self, since: Option<Instant>) {
        let waited = since.map_or(Duration::ZERO, |since| since.elapsed());
        self.gap.fetch_max(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn failed(&self, failure: &Failure, diary: &mut Diary) {
        let sqlstate = failure.sqlstate.clone().unwrap_or_else(|| "lost".to_owned());
        self.first_error.get_or_init(|| format!("{sqlstate} {}", failure.message));
        *diary.errors.entry(sqlstate).or_default() += 1;
        diary.reconnects += u64::from(failure.is_over);
    }
}

/// Whether a statement may have been executed although its error left the session as it was (class 08: 08007).
fn leaves_open(failure: &Failure) -> bool {
    failure.sqlstate.as_ref().is_none_or(|sqlstate| sqlstate.starts_with("08"))
}

/// What all writers were told, together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Rows that were acknowledged.
    pub acknowledged: u64,
    /// Errors by SQLSTATE.
    pub errors: BTreeMap<String, u64>,
    /// Sessions that ended.
    pub reconnects: u64,
}

/// Adds diaries up.
pub fn total(diaries: &[Diary]) -> Total {
    let mut total = Total::default();
    for diary in diaries {
        total.acknowledged += diary.acknowledged.len() as u64;
        total.reconnects += diary.reconnects;
        for (sqlstate, count) in &diary.errors {
            *total.errors.entry(sqlstate.clone()).or_default() += count;
        }
    }
    total
}

/// Compares diaries with the rows of the table: writer, number, and how often it is there.
pub fn compare(diaries: &[Diary], found: &[(usize, u64, u64)]) -> Rows {
    let found: BTreeMap<(usize, u64), u64> =
        found.iter().map(|(writer, number, count)| ((*writer, *number), *count)).collect();
    let mut rows = Rows { lost: 0, doubled: found.values().map(|count| count.saturating_sub(1)).sum() };
    for (writer, diary) in diaries.iter().enumerate() {
        let there = |number: &&u64| found.contains_key(&(writer, **number));
        rows.lost += (diary.acknowledged.len() - diary.acknowledged.iter().filter(there).count()) as u64;
        rows.doubled += diary.refused.iter().filter(there).count() as u64;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_accounted_for() {
        let diary = |acknowledged: &[u64], refused: &[u64]| Diary {
            acknowledged: acknowledged.to_vec(),
            refused: refused.to_vec(),
            ..Diary::default()
        };
        let diaries = [diary(&[0, 1], &[2]), diary(&[0, 2], &[])];
        // The second writer's row 1 is one of which nothing was said: it may be there.
        let all = [(0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1), (1, 2, 1)];
        assert_eq!(compare(&diaries, &all), Rows { lost: 0, doubled: 0 });
        assert_eq!(compare(&diaries, &all[1..]), Rows { lost: 1, doubled: 0 });
        let twice: Vec<_> = all.iter().map(|(writer, number, _)| (*writer, *number, 2)).collect();
        assert_eq!(compare(&diaries, &twice), Rows { lost: 0, doubled: 5 });
        let refused = [&all[..], &[(0, 2, 1)]].concat();
        assert_eq!(compare(&diaries, &refused), Rows { lost: 0, doubled: 1 });
    }

    #[test]
    fn an_error_that_leaves_it_open_is_no_refusal() {
        let failure =
            |sqlstate: &str| Failure { sqlstate: Some(sqlstate.to_owned()), message: String::new(), is_over: false };
        assert!(leaves_open(&failure("08007")));
        assert!(!leaves_open(&failure("40001")) && !leaves_open(&failure("57P03")));
    }
}
