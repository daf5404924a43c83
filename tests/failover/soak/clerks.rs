//! Clients that write as long as they are let, through the pooler or another one, and count what they were told. Unlike
//! the other tests' writers they judge nothing, and they come back when they are sent away.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::{Address, Client, Login, Report, eventually};
use crate::scene::Scene;
use crate::writers::tag_of;

/// For an answer: a failover may take its time, with the pooler or without.
const PATIENCE: Duration = Duration::from_secs(60);
/// Before the next login, after one that failed or a session that was ended.
const RETRY: Duration = Duration::from_millis(20);
/// The error of a connection that ended without one.
const LOST: &str = "lost";

/// What a clerk writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A row in a statement by itself.
    Single,
    /// Two rows in a block that lasts so long; an error ends it.
    Block(Duration),
    /// The same, but errors are ignored, and COMMIT comes all the same.
    Careless,
}

impl Work {
    fn rows(self) -> u64 {
        if self == Work::Single { 1 } else { 2 }
    }
}

/// Clerks at work, until they are dismissed.
pub struct Clerks {
    table: String,
    work: Vec<Work>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Diary>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicU64,
    /// The longest wait since somebody asked, in microseconds.
    gap: AtomicU64,
}

/// What a clerk was told.
#[derive(Default)]
struct Diary {
    acknowledged: Vec<u64>,
    /// Transactions of which it was told that they are not there.
    undone: Vec<u64>,
    /// When each wait for an acknowledgement ended, and how long it was.
    waits: Vec<(Instant, Duration)>,
    errors: BTreeMap<String, u64>,
    reconnects: u64,
}

/// What several clerks were told, and what of it is true.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub acknowledged: u64,
    pub lost: u64,
    /// There too often, or although the clerk was told that they are not.
    pub doubled: u64,
    /// Blocks of which only a part is there.
    pub halves: u64,
    pub errors: BTreeMap<String, u64>,
    /// The most that one clerk was told.
    pub most_errors: u64,
    pub reconnects: u64,
}

/// All that was found out.
pub struct Findings {
    /// For each kind of work, in the order of their first clerks.
    pub by_work: Vec<(Work, Tally)>,
    /// Every wait for an acknowledgement, the shortest first.
    pub waits: Vec<Duration>,
    /// When each ended, the earliest first.
    pub ends: Vec<Instant>,
}

impl Clerks {
    /// Starts one for each piece of work, at whoever listens there.
    pub fn start(address: &Address, login: &Login, work: &[Work], table: &str) -> Clerks {
        let shared: Arc<Shared> = Arc::default();
        let threads = work.iter().enumerate().map(|(number, work)| {
            let clerk = Clerk {
                number,
                work: *work,
                table: table.to_owned(),
                address: address.clone(),
                login: login.clone(),
                shared: Arc::clone(&shared),
            };
            thread::spawn(move || clerk.run())
        });
        let clerks = Clerks { table: table.to_owned(), work: work.to_vec(), threads: threads.collect(), shared };
        clerks.advance(10 * work.len() as u64);
        clerks
    }

    /// Waits until so many more transactions are acknowledged.
    pub fn advance(&self, count: u64) {
        let wanted = self.shared.done.load(Ordering::Relaxed) + count;
        eventually("the clerks go on", || self.shared.done.load(Ordering::Relaxed) >= wanted);
    }

    /// The longest that one waited for an acknowledgement since this was asked last, errors and logins included.
    pub fn take_gap(&self) -> Duration {
        Duration::from_micros(self.shared.gap.swap(0, Ordering::Relaxed))
    }

    /// Ends their work, and compares what they were told with the table of the present primary.
    pub fn dismiss(self, scene: &Scene) -> Findings {
        self.shared.stop.store(true, Ordering::Relaxed);
        let diaries: Vec<Diary> = self.threads.into_iter().map(|thread| thread.join().expect("a clerk")).collect();
        let sql = format!("select writer, number, count(*) from {} group by 1, 2", self.table);
        let rows = scene.formation.psql(scene.primary(), &sql).expect("the table can be read");
        let mut found: Vec<BTreeMap<u64, u64>> = vec![BTreeMap::new(); diaries.len()];
        for line in rows.lines() {
            let numbers: Vec<u64> = line.split('|').map(|number| number.parse().expect("a number")).collect();
            found[numbers[0] as usize].insert(numbers[1], numbers[2]);
        }
        let mut findings = Findings { by_work: Vec::new(), waits: Vec::new(), ends: Vec::new() };
        for ((work, diary), found) in self.work.into_iter().zip(diaries).zip(found) {
            findings.waits.extend(diary.waits.iter().map(|(_, wait)| *wait));
            findings.ends.extend(diary.waits.iter().map(|(end, _)| *end));
            let tally = diary.tally(work, &found);
            match findings.by_work.iter_mut().find(|(other, _)| *other == work) {
                Some((_, all)) => *all += tally,
                None => findings.by_work.push((work, tally)),
            }
        }
        findings.waits.sort();
        findings.ends.sort();
        findings
    }
}

impl Diary {
    fn tally(self, work: Work, found: &BTreeMap<u64, u64>) -> Tally {
        let there = |number: &&u64| found.contains_key(*number);
        let beyond: u64 = found.values().map(|count| count.saturating_sub(work.rows())).sum();
        let errors = self.errors.values().sum();
        Tally {
            acknowledged: self.acknowledged.len() as u64,
            lost: (self.acknowledged.len() - self.acknowledged.iter().filter(there).count()) as u64,
            doubled: beyond + self.undone.iter().filter(there).count() as u64,
            halves: found.values().filter(|count| **count < work.rows()).count() as u64,
            errors: self.errors,
            most_errors: errors,
            reconnects: self.reconnects,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.acknowledged += other.acknowledged;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.halves += other.halves;
        self.most_errors = self.most_errors.max(other.most_errors);
        self.reconnects += other.reconnects;
        for (sqlstate, count) in other.errors {
            *self.errors.entry(sqlstate).or_default() += count;
        }
    }
}

impl Tally {
    /// How many errors there were.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Nothing is lost, doubled or there by halves, whatever errors there were.
    pub fn is_whole(&self) -> bool {
        (self.lost, self.doubled, self.halves) == (0, 0, 0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { acknowledged, lost, doubled, halves, errors, most_errors, reconnects } = self;
        write!(f, "{acknowledged} acknowledged, {lost} lost, {doubled} doubled, {halves} by halves, ")?;
        let count = self.error_count();
        write!(
            f,
            "{count} errors {errors:?} (at most {most_errors} of one client each time), {reconnects} sessions ended"
        )
    }
}

impl Findings {
    /// All kinds of work together.
    pub fn all(&self) -> Tally {
        self.by_work.iter().fold(Tally::default(), |mut all, (_, tally)| {
            all += tally.clone();
            all
        })
    }

    /// So many hundredths of all waits were no longer.
    pub fn percentile(&self, hundredths: usize) -> Duration {
        self.waits.get(self.waits.len() * hundredths / 100).copied().unwrap_or_default()
    }
}

struct Clerk {
    number: usize,
    work: Work,
    table: String,
    address: Address,
    login: Login,
    shared: Arc<Shared>,
}

/// How a transaction ended that was not acknowledged.
struct Failed {
    report: Report,
    /// It may be there all the same.
    is_open: bool,
}

impl Clerk {
    fn run(self) -> Diary {
        let (mut diary, mut session) = (Diary::default(), None);
        // When the present wait began: an error does not end it.
        let mut waits: Option<Instant> = None;
        let mut number = 0;
        while !self.shared.stop.load(Ordering::Relaxed) {
            let since = *waits.get_or_insert_with(Instant::now);
            let mut client = match session.take().map_or_else(|| self.login.try_open(&self.address), Ok) {
                Ok(client) => client,
                Err(report) => {
                    diary.note(&report);
                    thread::sleep(RETRY);
                    continue;
                }
            };
            let ended = self.write(&mut client, number);
            if let Err(Failed { report, is_open }) = ended {
                diary.note(&report);
                if !is_open {
                    diary.undone.push(number);
                }
                if report.severity == "ERROR" {
                    session = Some(client);
                } else {
                    thread::sleep(RETRY);
                }
            } else {
                let (now, wait) = (Instant::now(), since.elapsed());
                diary.acknowledged.push(number);
                diary.waits.push((now, wait));
                self.shared.done.fetch_add(1, Ordering::Relaxed);
                self.shared.gap.fetch_max(wait.as_micros() as u64, Ordering::Relaxed);
                waits = None;
                session = Some(client);
            }
            number += 1;
        }
        diary
    }

    fn write(&self, client: &mut Client, number: u64) -> Result<(), Failed> {
        let insert = format!("insert into {} values ({}, {number})", self.table, self.number);
        let is_careless = match self.work {
            Work::Single => {
                let ended = run(client, &insert);
                return ended.map(drop).map_err(|report| Failed { is_open: is_open(&report), report });
            }
            Work::Block(_) => false,
            Work::Careless => true,
        };
        let mut error = None;
        for sql in ["begin", &insert, &insert, "wait"] {
            let ended = match (sql, self.work) {
                ("wait", Work::Block(length)) => run(client, &format!("select pg_sleep({})", length.as_secs_f64())),
                ("wait", _) => break,
                (sql, _) => run(client, sql),
            };
            let Err(report) = ended else { continue };
            let is_over = report.severity != "ERROR";
            let report = error.get_or_insert(report).clone();
            if is_over || !is_careless {
                if !is_over {
                    // A session that ends now has nothing to roll back.
                    let _ = run(client, "rollback");
                }
                // COMMIT was never sent.
                return Err(Failed { report, is_open: false });
            }
        }
        match (run(client, "commit"), error) {
            (Ok(tag), None) if tag == "COMMIT" => Ok(()),
            (Ok(_), Some(report)) => Err(Failed { report, is_open: false }),
            (Ok(tag), None) => Err(Failed { report: Report::silence(&tag), is_open: false }),
            (Err(report), _) => Err(Failed { is_open: is_open(&report), report }),
        }
    }
}

impl Diary {
    fn note(&mut self, report: &Report) {
        let code = if report.code.is_empty() { LOST } else { &report.code };
        *self.errors.entry(code.to_owned()).or_default() += 1;
        self.reconnects += u64::from(report.severity != "ERROR");
    }
}

/// Whether what was to be committed may be there: the session is over, or the error says that nobody knows (class 08).
fn is_open(report: &Report) -> bool {
    report.severity != "ERROR" || report.code.starts_with("08")
}

fn run(client: &mut Client, sql: &str) -> Result<String, Report> {
    tag_of(client, sql, PATIENCE)
}
