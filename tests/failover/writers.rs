//! Clients that insert numbered rows one by one, and remember which were acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::{Address, Client, Login, Pooler, Report, eventually};
use crate::scene::Scene;

/// Writers at work, until they are stopped.
pub struct Writers {
    table: String,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    /// The longest that one insert took since somebody asked, in microseconds.
    slowest: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Diary>>,
}

/// What one writer has seen.
#[derive(Default)]
struct Diary {
    acknowledged: Vec<u64>,
    unknown: Vec<u64>,
    errors: Vec<Report>,
    longest: Duration,
}

/// What all have seen, after it was compared with the table.
#[derive(Debug)]
pub struct Outcome {
    acknowledged: usize,
    pub errors: Vec<Report>,
    /// The longest that one insert took.
    pub longest: Duration,
}

impl Writers {
    /// Starts as many, each on a connection of its own.
    pub fn start(scene: &Scene, count: u64, table: &str) -> Writers {
        Writers::through(&scene.pooler, count, table)
    }

    /// The same through another pooler.
    pub fn through(pooler: &Pooler, count: u64, table: &str) -> Writers {
        let (stop, done, slowest) = (Arc::new(AtomicBool::new(false)), Arc::default(), Arc::default());
        let threads = (0..count).map(|number| {
            let writer = Writer {
                number,
                table: table.to_owned(),
                address: pooler.address(),
                login: pooler.login(),
                stop: stop.clone(),
                done: Arc::clone(&done),
                slowest: Arc::clone(&slowest),
            };
            thread::spawn(move || writer.run())
        });
        let writers = Writers { table: table.to_owned(), threads: threads.collect(), stop, done, slowest };
        writers.advance(10 * count);
        writers
    }

    /// Waits until that many more rows are acknowledged.
    pub fn advance(&self, count: u64) {
        let wanted = self.done.load(Ordering::Relaxed) + count;
        eventually("the writers go on", || self.done.load(Ordering::Relaxed) >= wanted);
    }

    /// The longest that one insert took since this was asked last.
    pub fn slowest(&self) -> Duration {
        Duration::from_micros(self.slowest.swap(0, Ordering::Relaxed))
    }

    /// Stops them, and compares what they saw with the table of the present primary: every acknowledged row is there,
    /// none twice, and no row that nobody wrote.
    pub fn finish(self, scene: &Scene) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let diaries: Vec<Diary> =
            self.threads.into_iter().map(|thread| thread.join().expect("a writer fails")).collect();
        let sql = format!("select writer, number, count(*) from {} group by 1, 2", self.table);
        let rows = scene.formation.psql(scene.primary(), &sql).expect("the table can be read");
        let mut found: BTreeMap<(u64, u64), u64> = rows.lines().map(row).collect();
        assert!(found.values().all(|count| *count == 1), "rows that were written twice");
        for (writer, diary) in diaries.iter().enumerate() {
            for number in &diary.acknowledged {
                assert!(found.remove(&(writer as u64, *number)).is_some(), "row {number} of writer {writer} is lost");
            }
            for number in &diary.unknown {
                found.remove(&(writer as u64, *number));
            }
        }
        assert!(found.is_empty(), "rows that nobody wrote: {found:?}");
        let acknowledged = diaries.iter().map(|diary| diary.acknowledged.len()).sum();
        let longest = diaries.iter().map(|diary| diary.longest).max().unwrap_or_default();
        let outcome =
            Outcome { acknowledged, longest, errors: diaries.into_iter().flat_map(|diary| diary.errors).collect() };
        let Outcome { acknowledged, longest, errors } = &outcome;
        eprintln!(
            "{}: {acknowledged} rows, the slowest took {longest:?}, {} errors: {errors:?}",
            self.table,
            errors.len()
        );
        outcome
    }
}

struct Writer {
    number: u64,
    table: String,
    address: Address,
    login: Login,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    slowest: Arc<AtomicU64>,
}

impl Writer {
    fn run(self) -> Diary {
        let mut diary = Diary::default();
        let mut client: Option<Client> = None;
        for number in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let began = Instant::now();
            let mut present = client.take().unwrap_or_else(|| self.login.open(&self.address));
            match present.try_rows(&format!("insert into {} values ({}, {number})", self.table, self.number)) {
                Ok(_) => {
                    diary.acknowledged.push(number);
                    self.done.fetch_add(1, Ordering::Relaxed);
                    client = Some(present);
                }
                Err(report) => {
                    diary.unknown.push(number);
                    diary.errors.push(report);
                }
            }
            let took = began.elapsed();
            self.slowest.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
            diary.longest = diary.longest.max(took);
        }
        diary
    }
}

fn row(line: &str) -> ((u64, u64), u64) {
    let mut numbers = line.split('|').map(|number| number.parse().expect("a number"));
    let mut next = || numbers.next().expect("three numbers");
    ((next(), next()), next())
}
