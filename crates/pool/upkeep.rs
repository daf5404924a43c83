//! What time and a reload do to a pool.

use crate::settings::since;
use crate::{CloseReason, Command, Commands, Pool, Purpose, Settings};
use std::time::Instant;

impl<S, W> Pool<S, W> {
    /// Maintenance, to be called about three times a second: closes what is too old or idle for too long, opens one server
    /// towards `min_pool_size`, goes on with a warm-up, ends holds, and repeats any review that was lost.
    pub fn tick(&mut self, now: Instant, out: &mut Commands<S, W>) {
        self.expire_holds(now, out);
        self.close_surplus(now, out);
        self.close_idle_too_long(now, out);
        self.close_too_old(now, out);
        self.awaits_budget = false;
        self.open_for_waiters(now, out);
        self.fill(now, out);
        self.open_for_warm_up(now, out);
    }

    /// New settings after a reload. Surplus idle servers are closed now, surplus lent ones on return.
    pub fn reconfigure(&mut self, settings: Settings, now: Instant, out: &mut Commands<S, W>) {
        self.settings = settings;
        self.close_surplus(now, out);
        self.open_for_waiters(now, out);
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn close_surplus(&mut self, now: Instant, out: &mut Commands<S, W>) {
        while self.is_surplus() && self.close_longest_idle(CloseReason::Surplus, now, out) {}
    }

    fn close_idle_too_long(&mut self, now: Instant, out: &mut Commands<S, W>) {
        let Some(timeout) = self.settings.server_idle_timeout else {
            return;
        };
        while self.servers.total() > self.settings.min_pool_size as usize
            && self.servers.longest_idle_since().is_some_and(|start| since(start, now) >= timeout)
        {
            self.close_longest_idle(CloseReason::IdleTimeout, now, out);
        }
    }

    fn close_too_old(&mut self, now: Instant, out: &mut Commands<S, W>) {
        // Single use is about use: an idle server has not had its one yet.
        if self.settings.server_lifetime.is_zero() {
            return;
        }
        let mut next = self.servers.longest_idle();
        while let Some(key) = next {
            next = self.servers.next_idle(key);
            if self.retires(key, now) {
                let server = self.servers.pick_up(key, None);
                self.close(key, server, CloseReason::Lifetime, now, out);
            }
        }
    }

    /// One server a round, as in PgBouncer: filling up must not be a storm of logins.
    fn fill(&mut self, now: Instant, out: &mut Commands<S, W>) {
        let wanted = self.settings.pool_size.unwrap_or(u32::MAX).min(self.settings.min_pool_size);
        if self.may_fill_to(Some(wanted), now) {
            out.push(Command::Open(self.servers.begin_opening(Purpose::MinPoolSize, now)));
        }
    }

    /// Whether one more server may be opened for which nobody waits.
    pub(crate) fn may_fill_to(&self, most: Option<u32>, now: Instant) -> bool {
        self.serves()
            && most.is_none_or(|most| self.servers.total() < most as usize)
            && self.backoff.retry_at(now).is_none()
            && self.may_open_another()
    }
}
