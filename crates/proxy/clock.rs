//! Times as plain numbers, so that they fit into atomics.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

static START: LazyLock<(Instant, SystemTime)> = LazyLock::new(|| (Instant::now(), SystemTime::now()));

/// Microseconds since the process began to look at the clock; never 0, which stands for "never".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(pub u64);

impl Micros {
    /// The present.
    pub fn now() -> Self {
        Self::of(Instant::now())
    }

    /// The same moment as a number.
    pub fn of(instant: Instant) -> Self {
        Self(instant.saturating_duration_since(START.0).as_micros() as u64 + 1)
    }

    /// How long ago `earlier` was, in microseconds.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This much later.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_micros() as u64))
    }

    /// The time of day at this moment.
    pub fn wall(self) -> SystemTime {
        START.1 + Duration::from_micros(self.0)
    }
}
