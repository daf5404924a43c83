//! What a pool is told about its size and its patience.

use std::time::{Duration, Instant};

/// The settled settings of one pool, in PgBouncer's words. [`Default`] is PgBouncer's default.
///
/// Pool modes are not among them: when a server comes back is its owner's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most servers (idle, lent and opening together). `None` is no limit (PgBouncer's `pool_size = 0`).
    pub pool_size: Option<u32>,
    /// Servers kept open even when nobody asks; the pool never opens more than `pool_size` for it.
    pub min_pool_size: u32,
    /// Servers above `pool_size` for those who have waited `reserve_pool_timeout`.
    pub reserve_pool_size: u32,
    /// How long one waits before the reserve may be used; `None` disables the reserve.
    pub reserve_pool_timeout: Option<Duration>,
    /// Age at which a server that is not lent is closed; zero means that a server is used once.
    pub server_lifetime: Duration,
    /// How long a server may be idle before it is closed, down to `min_pool_size`; `None` is for ever.
    pub server_idle_timeout: Option<Duration>,
    /// Longest pause between two attempts while opening fails. The first pause is 50 ms, each next one twice as long.
    pub server_login_retry: Duration,
    /// Lend the server that was idle longest, not the one used last.
    pub server_round_robin: bool,
    /// Most servers being opened at the same moment; at least one.
    pub max_opening: u32,
    /// How many later waiters on the worker that returns a server may overtake the one who is first in line.
    pub handover_slack: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            pool_size: Some(20),
            min_pool_size: 0,
            reserve_pool_size: 0,
            reserve_pool_timeout: Some(Duration::from_secs(5)),
            server_lifetime: Duration::from_secs(3600),
            server_idle_timeout: Some(Duration::from_secs(600)),
            server_login_retry: Duration::from_secs(15),
            server_round_robin: false,
            max_opening: 4,
            handover_slack: 0,
        }
    }
}

impl Settings {
    /// The most servers there may ever be: `pool_size` and the reserve, if it is enabled.
    pub(crate) fn most_servers(&self) -> Option<u32> {
        let reserve = self.reserve_pool_timeout.map_or(0, |_| self.reserve_pool_size);
        self.pool_size.map(|size| size.saturating_add(reserve))
    }

    /// The pause between two closings for age, so that a pool opened in one burst is not closed in one
    /// (PgBouncer: `server_lifetime / pool_size`).
    pub(crate) fn lifetime_gap(&self) -> Duration {
        match self.pool_size {
            Some(size) => self.server_lifetime / size.max(1),
            None => Duration::ZERO,
        }
    }
}

/// When `delay` after `start` is; `None` when that is beyond what an `Instant` can say, which is never.
pub(crate) fn after(start: Instant, delay: Duration) -> Option<Instant> {
    start.checked_add(delay)
}

/// How long `start` is ago; zero when it is not.
pub(crate) fn since(start: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(start)
}
