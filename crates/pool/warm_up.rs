//! Opening servers before anybody asks for them: as many as were in use before a restart.

use crate::settings::since;
use crate::{Command, Commands, Pool, Purpose};
use std::time::{Duration, Instant};

/// What is not open by then is left to those who come and ask: the numbers are of another time.
const LONGEST: Duration = Duration::from_secs(30);

/// A warm-up under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WarmUp {
    servers: usize,
    begun: Instant,
}

impl<S, W> Pool<S, W> {
    /// Opens servers until there are so many, or `pool_size` if that is less, and then leaves them to
    /// `server_idle_timeout`.
    ///
    /// Only one is opened before there is one that works; after that as many side by side as `max_opening` allows. While
    /// the pool is held nothing is opened. The first failure and the first denial by the budget are the end of it, and so
    /// are 30 s. Another call begins anew.
    pub fn warm_up(&mut self, servers: u32, now: Instant, out: &mut Commands<S, W>) {
        let servers = self.settings.pool_size.unwrap_or(u32::MAX).min(servers) as usize;
        self.warm_up = Some(WarmUp { servers, begun: now });
        self.open_for_warm_up(now, out);
    }

    /// The most servers that were lent at the same moment since this was asked last.
    pub fn take_peak(&mut self) -> usize {
        std::mem::replace(&mut self.peak, self.servers.lent())
    }

    /// A server has been given to a borrower.
    pub(crate) fn note_lent(&mut self, now: Instant) {
        self.pace.lent(now);
        self.peak = self.peak.max(self.servers.lent());
    }

    pub(crate) fn open_for_warm_up(&mut self, now: Instant, out: &mut Commands<S, W>) {
        while let Some(WarmUp { servers, begun }) = self.warm_up {
            if self.servers.live() + self.servers.opening_fresh() >= servers || since(begun, now) >= LONGEST {
                self.warm_up = None;
            } else if self.may_open_warm(now) {
                out.push(Command::Open(self.servers.begin_opening(Purpose::MinPoolSize, now)));
            } else {
                return;
            }
        }
    }

    fn may_open_warm(&self, now: Instant) -> bool {
        let is_proved = self.servers.live() > 0;
        self.may_fill_to(self.settings.pool_size, now) && (is_proved || self.servers.opening() == 0)
    }
}
