//! What can be seen of a pool from outside.

use crate::Pool;
use std::time::Instant;

/// How many servers and waiters are where, for SHOW POOLS and the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ready to be lent.
    pub idle: usize,
    /// With a borrower, or in the ticket of a waiter that has not claimed it yet.
    pub lent: usize,
    /// With the opener, connecting or in login.
    pub opening: usize,
    /// Terminate sent, end of file not seen; no longer counted against any limit.
    pub closing: usize,
    /// Clients in line.
    pub waiting: usize,
    /// Lent or opening servers that RECONNECT or a new epoch closes on return: WAIT_CLOSE answers when there are none.
    pub close_needed: usize,
    /// Since when the first in line waits (`maxwait`).
    pub oldest_wait_since: Option<Instant>,
}

impl<S, W> Pool<S, W> {
    /// Counts in O(1).
    pub fn counts(&self) -> Counts {
        Counts {
            idle: self.servers.idle(),
            lent: self.servers.lent(),
            opening: self.servers.opening(),
            closing: self.servers.closing(),
            waiting: self.queue.len(),
            close_needed: self.servers.stale_lent() + self.servers.opening() - self.servers.opening_fresh(),
            oldest_wait_since: self.queue.oldest_since(),
        }
    }

    /// The idle servers, in no order.
    pub fn idle(&self) -> impl Iterator<Item = &S> {
        self.servers.iter_idle()
    }
}
