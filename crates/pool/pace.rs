//! Is a server about to come back sooner than a new one could be opened?

use crate::settings::{after, since};
use std::time::{Duration, Instant};

/// The least pause before a postponed opening is looked at again: timers are no finer.
const LEAST_PATIENCE: Duration = Duration::from_millis(1);

/// A queue that has formed this often since the last opening is no burst: the pool is too small for its load.
const PERSISTENT: u32 = 100;
/// How fast such a pool grows at most: each hand-over costs more than an idle server would, but not much more.
const GROWTH_PAUSE: Duration = Duration::from_millis(10);

/// An exponentially weighted moving average of durations.
#[derive(Clone, Copy, Debug)]
struct Average {
    nanos: u64,
}

impl Average {
    /// Takes in one more sample, with a weight of 1 / 2^`shift`.
    fn add(average: &mut Option<Average>, sample: Duration, shift: u32) {
        let sample = u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX);
        let nanos = match *average {
            Some(Average { nanos }) => nanos - (nanos >> shift) + (sample >> shift),
            None => sample,
        };
        *average = Some(Average { nanos });
    }
}

/// What opening a server costs, and how long one is lent; measured as they happen.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    open: Option<Average>,
    lease: Option<Average>,
    last_lent: Option<Instant>,
    /// Openings postponed since the last one that was begun, and when that was.
    postponed: u32,
    grown_at: Option<Instant>,
}

/// Whether to open a server for someone in line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Now,
    /// A return is imminent: look again at that moment.
    Later(Instant),
}

impl Pace {
    /// An opening was put off because a return is imminent.
    pub(crate) fn postponed(&mut self) {
        self.postponed = self.postponed.saturating_add(1);
    }

    /// An opening was begun.
    pub(crate) fn grown(&mut self, now: Instant) {
        (self.postponed, self.grown_at) = (0, Some(now));
    }

    fn is_too_small(&self, now: Instant) -> bool {
        self.postponed >= PERSISTENT && self.grown_at.is_none_or(|at| since(at, now) >= GROWTH_PAUSE)
    }

    pub(crate) fn opened(&mut self, took: Duration) {
        Average::add(&mut self.open, took, 2);
    }

    pub(crate) fn lent(&mut self, now: Instant) {
        self.last_lent = Some(now);
    }

    pub(crate) fn returned(&mut self, took: Duration) {
        Average::add(&mut self.lease, took, 4);
    }

    /// `arrived`: the first in line for whom no server is being opened; `waiting`: how many such there are;
    /// `returning`: how many servers are lent and will be lent again.
    pub(crate) fn verdict(&self, arrived: Instant, waiting: usize, returning: usize, now: Instant) -> Verdict {
        let (Some(open), Some(lease), Some(last_lent)) = (self.open, self.lease, self.last_lent) else {
            return Verdict::Now;
        };
        if returning == 0 || self.is_too_small(now) {
            return Verdict::Now;
        }
        let patience = Duration::from_nanos(open.nanos).max(LEAST_PATIENCE);
        // Nothing was lent for that long, so every lease is at least that old: the average says nothing about these.
        if since(last_lent, now) > patience || since(arrived, now) >= patience {
            return Verdict::Now;
        }
        let expected = lease.nanos.saturating_mul(waiting as u64) / returning as u64;
        match after(arrived, patience) {
            Some(at) if expected < open.nanos / 2 => Verdict::Later(at),
            Some(_) | None => Verdict::Now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_queue_that_forms_again_and_again_makes_the_pool_grow_slowly() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.opened(10 * MS);
        pace.returned(MS / 10);
        pace.lent(now);
        for _ in 0..PERSISTENT {
            assert!(matches!(pace.verdict(now, 1, 10, now), Verdict::Later(_)));
            pace.postponed();
        }
        assert_eq!(pace.verdict(now, 1, 10, now), Verdict::Now);
        pace.grown(now);
        (0..PERSISTENT).for_each(|_| pace.postponed());
        assert!(matches!(pace.verdict(now, 1, 10, now), Verdict::Later(_)));
        assert_eq!(pace.verdict(now + GROWTH_PAUSE, 1, 10, now + GROWTH_PAUSE), Verdict::Now);
    }

    fn measured(open: Duration, lease: Duration, now: Instant) -> Pace {
        let mut pace = Pace::default();
        pace.opened(open);
        pace.returned(lease);
        pace.lent(now);
        pace
    }

    #[test]
    fn what_was_never_measured_postpones_nothing() {
        let now = Instant::now();
        assert_eq!(Pace::default().verdict(now, 1, 10, now), Verdict::Now);
    }

    #[test]
    fn short_leases_are_waited_for() {
        let now = Instant::now();
        let pace = measured(10 * MS, MS, now);
        assert_eq!(pace.verdict(now, 4, 1, now), Verdict::Later(now + 10 * MS));
        assert_eq!(pace.verdict(now, 5, 1, now), Verdict::Now);
        assert_eq!(pace.verdict(now, 5, 2, now), Verdict::Later(now + 10 * MS));
    }

    #[test]
    fn nobody_waits_longer_than_an_opening_takes() {
        let now = Instant::now();
        let pace = measured(10 * MS, MS, now + 9 * MS);
        assert_eq!(pace.verdict(now, 1, 1, now + 9 * MS), Verdict::Later(now + 10 * MS));
        assert_eq!(pace.verdict(now, 1, 1, now + 10 * MS), Verdict::Now);
    }

    #[test]
    fn servers_lent_for_long_are_not_waited_for() {
        let lent = Instant::now();
        let now = lent + 11 * MS;
        assert_eq!(measured(10 * MS, MS, lent).verdict(now, 1, 1, now), Verdict::Now);
    }

    #[test]
    fn an_average_settles_on_what_it_is_fed() {
        let mut average = None;
        Average::add(&mut average, 100 * MS, 4);
        for _ in 0..200 {
            Average::add(&mut average, MS, 4);
        }
        let nanos = average.unwrap().nanos;
        assert!((990_000..1_010_000).contains(&nanos), "{nanos}");
    }
}
