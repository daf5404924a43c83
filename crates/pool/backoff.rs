//! The pause after a failed opening.

use crate::settings::after;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Whether opening works, and when to try again if it does not.
#[derive(Debug)]
pub(crate) enum Backoff {
    /// The last attempt succeeded, or there was none.
    Working,
    Failing {
        /// When the failure that set the pause was reported.
        failed_at: Instant,
        pause: Duration,
        /// The server itself answered with an error: trying again will hardly help those who wait.
        fatal: bool,
    },
}

impl Backoff {
    /// Counts a failure. Attempts that ran side by side fail as one: only one that began after the last failure makes
    /// the pause longer.
    pub(crate) fn fail(&mut self, asked_at: Instant, fatal: bool, longest: Duration, now: Instant) {
        *self = match *self {
            Backoff::Working => Backoff::Failing { failed_at: now, pause: FIRST_PAUSE.min(longest), fatal },
            Backoff::Failing { failed_at, pause, .. } if asked_at <= failed_at => {
                Backoff::Failing { failed_at, pause, fatal }
            }
            Backoff::Failing { pause, .. } => {
                Backoff::Failing { failed_at: now, pause: pause.saturating_mul(2).min(longest), fatal }
            }
        };
    }

    /// When opening may be tried again, if that is still to come.
    pub(crate) fn retry_at(&self, now: Instant) -> Option<Instant> {
        match *self {
            Backoff::Working => None,
            Backoff::Failing { failed_at, pause, .. } => after(failed_at, pause).filter(|at| now < *at),
        }
    }

    /// How many may be opened at once: one is enough to find out whether it works again.
    pub(crate) fn most_at_once(&self, max_opening: u32) -> u32 {
        match self {
            Backoff::Working => max_opening.max(1),
            Backoff::Failing { .. } => 1,
        }
    }

    /// Within the pause after an error of the server.
    pub(crate) fn is_fatal(&self, now: Instant) -> bool {
        match self {
            Backoff::Working | Backoff::Failing { fatal: false, .. } => false,
            Backoff::Failing { fatal: true, .. } => self.retry_at(now).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(300);

    fn pause(backoff: &Backoff, now: Instant) -> Option<Duration> {
        backoff.retry_at(now).map(|at| at - now)
    }

    #[test]
    fn the_pause_doubles_up_to_server_login_retry() {
        let mut now = Instant::now();
        let mut backoff = Backoff::Working;
        for expected in [50, 100, 200, 300, 300] {
            backoff.fail(now, false, LONGEST, now);
            assert_eq!(pause(&backoff, now), Some(Duration::from_millis(expected)));
            now = backoff.retry_at(now).unwrap();
            assert_eq!(backoff.retry_at(now), None);
        }
    }

    #[test]
    fn attempts_side_by_side_fail_as_one() {
        let asked = Instant::now();
        let now = asked + Duration::from_millis(5);
        let mut backoff = Backoff::Working;
        for _ in 0..4 {
            backoff.fail(asked, true, LONGEST, now);
        }
        assert_eq!(pause(&backoff, now), Some(Duration::from_millis(50)));
    }
}
