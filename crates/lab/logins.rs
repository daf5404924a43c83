//! A load of logins: each connects, logs in, says Terminate and closes. Open-loop at a fixed rate, or as fast as some
//! connections at a time allow.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lab::{LabError, Login};

use crate::{Failure, LoginsArguments};

/// A peer that refuses at once must not be asked again at once.
const AFTER_A_FAILURE: Duration = Duration::from_millis(10);

/// When logins are due.
struct Schedule {
    start: Instant,
    length: Duration,
    interval: Option<Duration>,
    taken: AtomicU64,
}

/// What one thread, or all together, saw.
#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    failed: u64,
    first_failure: Option<LabError>,
}

/// Runs for the time asked, lets every login end, and prints `key value` lines.
pub fn run(arguments: &LoginsArguments) -> Result<(), Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port));
    let mut login = Login::new(address, &arguments.user, &arguments.database);
    if let Some(password) = &arguments.password {
        login = login.password(password);
    }
    if arguments.tls {
        login = login.tls()?;
    }
    let schedule = Schedule {
        start: Instant::now(),
        length: Duration::from_secs_f64(arguments.seconds),
        interval: arguments.rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
        taken: AtomicU64::new(0),
    };
    let began = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let tally = thread::scope(|scope| {
        let work = || work(&login, &schedule, arguments.query);
        let threads: Vec<_> = (0..arguments.clients).map(|_| scope.spawn(work)).collect();
        let joined: Result<Vec<Tally>, _> = threads.into_iter().map(|thread| thread.join()).collect();
        joined.map(|tallies| tallies.into_iter().fold(Tally::default(), Tally::and))
    });
    let tally = tally.map_err(|_| "a thread of the load panicked")?;
    Ok(report(tally, &schedule, began)?)
}

impl Schedule {
    /// Waits until the next login is due and says when that was; None when the time is over. A login that finds no free
    /// thread is late, and the wait counts as its latency.
    fn next(&self) -> Option<Instant> {
        let end = self.start + self.length;
        let due = match self.interval {
            None => Instant::now(),
            Some(interval) => {
                let number = self.taken.fetch_add(1, Ordering::Relaxed);
                self.start + interval.mul_f64(number as f64)
            }
        };
        if due < end {
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        (due.max(Instant::now()) < end).then_some(due)
    }

    /// How many logins the rate asks for; None without a rate.
    fn asked(&self) -> Option<u64> {
        let interval = self.interval?;
        Some((self.length.as_secs_f64() / interval.as_secs_f64()).round() as u64)
    }
}

impl Tally {
    fn and(mut self, mut other: Tally) -> Tally {
        self.latencies.append(&mut other.latencies);
        self.failed += other.failed;
        self.first_failure = self.first_failure.or(other.first_failure);
        self
    }

    fn percentile(&self, share: f64) -> Duration {
        let place = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(place.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// One thread's share. A login's latency ends with ReadyForQuery (and its query); Terminate is not waited for.
fn work(login: &Login, schedule: &Schedule, query: bool) -> Tally {
    let mut tally = Tally::default();
    while let Some(due) = schedule.next() {
        let done = login.open().and_then(|mut client| {
            if query {
                client.query("select 1")?;
            }
            let latency = due.elapsed();
            // The other side may have closed first, as the floor does.
            let _ = client.end();
            Ok(latency)
        });
        match done {
            Ok(latency) => tally.latencies.push(latency),
            Err(error) => {
                tally.failed += 1;
                tally.first_failure.get_or_insert(error);
                thread::sleep(AFTER_A_FAILURE);
            }
        }
    }
    tally
}

fn report(mut tally: Tally, schedule: &Schedule, began: Duration) -> io::Result<()> {
    let elapsed = schedule.start.elapsed();
    tally.latencies.sort_unstable();
    let succeeded = tally.latencies.len() as u64;
    let missed = schedule.asked().map_or(0, |asked| asked.saturating_sub(succeeded + tally.failed));
    if let Some(error) = &tally.first_failure {
        eprintln!("lab: the first of {} failures: {error}", tally.failed);
    }
    let mut out = io::stdout();
    writeln!(out, "began {:.6}", began.as_secs_f64())?;
    writeln!(out, "seconds {:.6}", elapsed.as_secs_f64())?;
    writeln!(out, "succeeded {succeeded}")?;
    writeln!(out, "failed {}", tally.failed)?;
    writeln!(out, "missed {missed}")?;
    writeln!(out, "p50_us {}", tally.percentile(0.50).as_micros())?;
    writeln!(out, "p99_us {}", tally.percentile(0.99).as_micros())
}
