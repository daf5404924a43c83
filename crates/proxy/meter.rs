//! How busy a thread is.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Busy from here on, a thread is the limit of what the pooler can do.
const CEILING: f64 = 0.95;

/// Share of the last second that a thread was at work.
#[derive(Debug, Default)]
pub struct Busy(AtomicU32);

impl Busy {
    /// 0 to 1.
    pub fn share(&self) -> f64 {
        f64::from(self.0.load(Ordering::Relaxed)) / 1e6
    }
}

/// Whether a thread with this busy share can do no more.
pub fn is_at_ceiling(busy_share: f64) -> bool {
    busy_share >= CEILING
}

/// Measures the thread that reads it.
#[derive(Debug)]
pub struct Meter {
    since: Instant,
    cpu: Duration,
}

impl Meter {
    /// Begins to measure this thread.
    pub fn start() -> Self {
        Self { since: Instant::now(), cpu: thread_cpu() }
    }

    /// Notes the share once a second has passed.
    pub fn read(&mut self, busy: &Busy) {
        let elapsed = self.since.elapsed();
        if elapsed >= Duration::from_secs(1) {
            let now = Self::start();
            let share = (now.cpu - self.cpu).as_secs_f64() / elapsed.as_secs_f64();
            busy.0.store((share * 1e6) as u32, Ordering::Relaxed);
            *self = now;
        }
    }
}

fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
