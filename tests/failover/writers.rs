//! Clients that insert numbered rows, one by one or two in a transaction block, and remember which were acknowledged.
//! They keep their session for as long as they may.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::client::Received;
use crate::harness::wait::LIMIT;
use crate::harness::{Address, Client, Login, Pooler, Report, eventually};
use crate::scene::Scene;

/// Writers at work, until they are stopped.
pub struct Writers {
    table: String,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Diary>>,
}

/// How a writer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// A row in a statement by itself.
    Single,
    /// Two rows in a block; an error ends it with ROLLBACK.
    Careful,
    /// Two rows in a block, which goes on to COMMIT whatever the answers are.
    Careless,
}

/// What one writer has seen.
#[derive(Default)]
struct Diary {
    acknowledged: Vec<u64>,
    /// Rows that may be there, those together that are there together.
    unknown: Vec<Vec<u64>>,
    errors: Vec<Report>,
    /// Sessions that were ended.
    ended: usize,
    longest: Duration,
}

/// What all have seen, after it was compared with the table.
#[derive(Debug)]
pub struct Outcome {
    acknowledged: usize,
    pub errors: Vec<Report>,
    /// The most that one writer has seen.
    pub most_errors: usize,
    /// Sessions that were ended.
    pub ended: usize,
    /// The longest that one insert took.
    longest: Duration,
}

impl Writers {
    /// Starts as many that write row by row, each on a connection of its own.
    pub fn start(scene: &Scene, count: u64, table: &str) -> Writers {
        Writers::through(&scene.pooler, count, table)
    }

    /// The same through another pooler.
    pub fn through(pooler: &Pooler, count: u64, table: &str) -> Writers {
        Writers::start_as(pooler, &vec![Manner::Single; count as usize], table)
    }

    /// Starts one for each manner.
    pub fn start_as(pooler: &Pooler, manners: &[Manner], table: &str) -> Writers {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let threads = manners.iter().enumerate().map(|(number, manner)| {
            let writer = Writer {
                number,
                manner: *manner,
                table: table.to_owned(),
                address: pooler.address(),
                login: pooler.login(),
                stop: stop.clone(),
                done: Arc::clone(&done),
            };
            thread::spawn(move || writer.run())
        });
        let writers = Writers { table: table.to_owned(), threads: threads.collect(), stop, done };
        writers.advance(10 * manners.len() as u64);
        writers
    }

    /// Waits until that many more rows are acknowledged.
    pub fn advance(&self, count: u64) {
        let wanted = self.done.load(Ordering::Relaxed) + count;
        eventually("the writers go on", || self.done.load(Ordering::Relaxed) >= wanted);
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
            for together in &diary.unknown {
                let there = together.iter().filter(|number| found.remove(&(writer as u64, **number)).is_some()).count();
                assert!(there == 0 || there == together.len(), "half of {together:?} of writer {writer} is there");
            }
        }
        assert!(found.is_empty(), "rows that nobody wrote: {found:?}");
        let acknowledged = diaries.iter().map(|diary| diary.acknowledged.len()).sum();
        let longest = diaries.iter().map(|diary| diary.longest).max().unwrap_or_default();
        let most_errors = diaries.iter().map(|diary| diary.errors.len()).max().unwrap_or_default();
        let ended = diaries.iter().map(|diary| diary.ended).sum();
        let errors = diaries.into_iter().flat_map(|diary| diary.errors).collect();
        let outcome = Outcome { acknowledged, longest, most_errors, ended, errors };
        let Outcome { acknowledged, longest, errors, .. } = &outcome;
        eprintln!(
            "{}: {acknowledged} rows, the slowest took {longest:?}, {} errors: {errors:?}",
            self.table,
            errors.len()
        );
        outcome
    }
}

struct Writer {
    number: usize,
    manner: Manner,
    table: String,
    address: Address,
    login: Login,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

impl Writer {
    fn run(self) -> Diary {
        let mut diary = Diary::default();
        let mut client: Option<Client> = None;
        let step = if self.manner == Manner::Single { 1 } else { 2 };
        for first in (0..).step_by(step) {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let began = Instant::now();
            let rows: Vec<u64> = (first..first + step as u64).collect();
            let present = client.get_or_insert_with(|| self.login.open(&self.address));
            match self.write(present, &rows) {
                Ok(()) => {
                    diary.acknowledged.extend(rows);
                    self.done.fetch_add(1, Ordering::Relaxed);
                }
                Err(report) => {
                    if report.severity != "ERROR" {
                        diary.ended += 1;
                        client = None;
                    }
                    // What was rolled back may not be there.
                    diary.unknown.extend((report.code != "40001").then_some(rows));
                    diary.errors.push(report);
                }
            }
            diary.longest = diary.longest.max(began.elapsed());
        }
        diary
    }

    fn write(&self, client: &mut Client, rows: &[u64]) -> Result<(), Report> {
        let insert = |row: &u64| format!("insert into {} values ({}, {row})", self.table, self.number);
        if self.manner == Manner::Single {
            return client.try_rows(&insert(&rows[0])).map(drop);
        }
        let statements = [vec!["begin".into()], rows.iter().map(insert).collect(), vec!["commit".into()]].concat();
        let mut error = None;
        for sql in statements {
            let is_last = sql == "commit";
            match tag_of(client, &sql, LIMIT) {
                Ok(tag) => assert!(!is_last || error.is_none() || tag == "ROLLBACK", "{tag} after {error:?}"),
                Err(report) if self.manner == Manner::Careful => {
                    // A session that was ended has nothing to roll back.
                    let _ = tag_of(client, "rollback", LIMIT);
                    return Err(report);
                }
                Err(report) => error = error.or(Some(report)),
            }
        }
        error.map_or(Ok(()), Err)
    }
}

/// Runs a statement: the tag of its CommandComplete, or its error. Where the session ends with it, its severity is FATAL.
pub fn tag_of(client: &mut Client, sql: &str, limit: Duration) -> Result<String, Report> {
    client.send_query(sql);
    let (mut tag, mut failure) = (String::new(), None);
    loop {
        match client.receive(limit) {
            Received::Message(message) => match message.tag {
                b'C' => tag = message.text(),
                b'E' => failure = failure.or(Some(message.report())),
                b'Z' => return failure.map_or(Ok(tag), Err),
                _ => {}
            },
            // Last words say more than the end of the connection, whatever their severity.
            other => {
                let silence = || Report::silence(&format!("{other:?}"));
                return Err(failure.map_or_else(silence, |report| Report { severity: "FATAL".into(), ..report }));
            }
        }
    }
}

fn row(line: &str) -> ((u64, u64), u64) {
    let mut numbers = line.split('|').map(|number| number.parse().expect("a number"));
    let mut next = || numbers.next().expect("three numbers");
    ((next(), next()), next())
}
