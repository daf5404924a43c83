//! When a server is opened, and what its opening leads to.

use crate::backoff::Backoff;
use crate::pace::Verdict;
use crate::settings::{after, since};
use crate::{CloseReason, Command, Commands, OpenTicket, Pool, Purpose, Refused, WorkerId};
use std::time::Instant;

/// What to do for the first in line for whom no server is being opened.
enum Step {
    /// Nobody is there, or only a server that returns or an opening that ends can help.
    Nothing,
    Open(Purpose),
    /// Not yet; look again at that moment.
    Later(Instant),
}

impl<S, W> Pool<S, W> {
    /// A server has been opened and is logged in; its socket belongs to `worker`. It goes to the first in line, or
    /// becomes idle, or is closed if the world has moved on meanwhile.
    pub fn opened(&mut self, ticket: OpenTicket, server: S, worker: WorkerId, now: Instant, out: &mut Commands<S, W>) {
        let opening = self.servers.arrive(&ticket, worker, now);
        if opening.fresh {
            self.pace.opened(since(opening.asked_at, now));
            self.backoff = Backoff::Working;
        }
        self.settle(ticket.id.slot, server, now, out);
        self.open_for_waiters(now, out);
        self.open_for_warm_up(now, out);
    }

    /// Opening has failed. The next attempt comes after a pause of 50 ms, doubling up to `server_login_retry`.
    ///
    /// `fatal_to_waiters`: the server answered with an error that waiting will not cure (28P01, 3D000, …). If the pool has
    /// no server at all, everyone in line is refused with [`Refused::OpenFailed`], and so is whoever arrives during the
    /// pause; the owner keeps the server's words for them. Otherwise those in line keep waiting.
    pub fn open_failed(&mut self, ticket: OpenTicket, fatal_to_waiters: bool, now: Instant, out: &mut Commands<S, W>) {
        let opening = self.servers.abandon_opening(&ticket);
        if opening.fresh {
            self.warm_up = None;
            self.backoff.fail(opening.asked_at, fatal_to_waiters, self.settings.server_login_retry, now);
            if fatal_to_waiters && self.servers.total() == 0 {
                self.refuse_everyone(Refused::OpenFailed, out);
            }
        }
        self.open_for_waiters(now, out);
    }

    /// The budget has no room for this server, and no sibling could be evicted. The pool does not ask again until
    /// [`review`](Pool::review) or [`tick`](Pool::tick).
    ///
    /// While [`wants_server`](Pool::wants_server) says so, the owner calls `review` when a permit is given back, and
    /// evicts a sibling's server as soon as one becomes idle.
    pub fn open_denied(&mut self, ticket: OpenTicket, now: Instant, out: &mut Commands<S, W>) {
        let opening = self.servers.abandon_opening(&ticket);
        match ticket.purpose {
            Purpose::Waiter | Purpose::Reserve => self.awaits_budget |= opening.fresh,
            // Somebody may have arrived since, relying on this server; evicting a sibling for them was not tried.
            // For a warm-up it is not tried at all.
            Purpose::MinPoolSize => self.warm_up = None,
        }
        self.open_for_waiters(now, out);
    }

    /// Whether somebody waits and only the budget stands in the way.
    pub fn wants_server(&self) -> bool {
        self.awaits_budget && self.serves() && self.queue.len() > self.servers.opening_fresh()
    }

    /// Since when the server that was idle longest has been idle, for choosing which sibling gives one up.
    pub fn longest_idle_since(&self) -> Option<Instant> {
        self.servers.longest_idle_since()
    }

    /// Gives up the server that was idle longest for a sibling pool. That somebody is idle means that nobody waits here,
    /// or may be served.
    /// As in PgBouncer, `min_pool_size` does not protect it. False if nothing is idle.
    pub fn evict_idle(&mut self, now: Instant, out: &mut Commands<S, W>) -> bool {
        self.close_longest_idle(CloseReason::Evicted, now, out)
    }

    /// Looks again at what was postponed: answers [`Command::ReviewAt`], and is to be called when the budget has room.
    pub fn review(&mut self, now: Instant, out: &mut Commands<S, W>) {
        self.expire_holds(now, out);
        self.awaits_budget = false;
        self.open_for_waiters(now, out);
    }

    /// Opens as many servers as those in line need and the limits allow.
    pub(crate) fn open_for_waiters(&mut self, now: Instant, out: &mut Commands<S, W>) {
        if !self.serves() || self.awaits_budget {
            return;
        }
        loop {
            match self.next_step(now) {
                Step::Nothing => return,
                Step::Open(purpose) => {
                    self.pace.grown(now);
                    out.push(Command::Open(self.servers.begin_opening(purpose, now)));
                }
                Step::Later(at) => {
                    self.pace.postponed();
                    return self.review_at(at, now, out);
                }
            }
        }
    }

    fn next_step(&self, now: Instant) -> Step {
        let provided_for = self.servers.opening_fresh();
        let Some(arrived) = self.queue.arrived_at(provided_for) else {
            return Step::Nothing;
        };
        if let Some(at) = self.backoff.retry_at(now) {
            return Step::Later(at);
        }
        if !self.may_open_another() {
            return Step::Nothing;
        }
        let total = self.servers.total();
        let has_room = |limit: Option<u32>| limit.is_none_or(|limit| total < limit as usize);
        if has_room(self.settings.pool_size) {
            let waiting = self.queue.len() - provided_for;
            let returning = self.servers.lent() - self.servers.stale_lent();
            match self.pace.verdict(arrived, waiting, returning, now) {
                Verdict::Now => Step::Open(Purpose::Waiter),
                Verdict::Later(at) => Step::Later(at),
            }
        } else if has_room(self.settings.most_servers()) {
            self.reserve_step(arrived, now)
        } else {
            Step::Nothing
        }
    }

    fn reserve_step(&self, arrived: Instant, now: Instant) -> Step {
        match self.settings.reserve_pool_timeout.and_then(|timeout| after(arrived, timeout)) {
            Some(due) if due <= now => Step::Open(Purpose::Reserve),
            Some(due) => Step::Later(due),
            None => Step::Nothing,
        }
    }

    /// Whether one more may be in opening.
    pub(crate) fn may_open_another(&self) -> bool {
        self.servers.opening() < self.backoff.most_at_once(self.settings.max_opening) as usize
    }

    /// Asks for a review unless one is due by then.
    pub(crate) fn review_at(&mut self, at: Instant, now: Instant, out: &mut Commands<S, W>) {
        // One whose moment has come is being held now, or was lost.
        if !self.review_at.is_some_and(|due| now < due && due <= at) {
            self.review_at = Some(at);
            out.push(Command::ReviewAt(at));
        }
    }

    pub(crate) fn refuse_everyone(&mut self, why: Refused, out: &mut Commands<S, W>) {
        while let Some(waker) = self.queue.refuse_first(why) {
            out.wake(waker);
        }
    }
}
