//! The pool: who is lent what, and what happens to a server that comes back.

use crate::backoff::Backoff;
use crate::gate::Gate;
use crate::pace::Pace;
use crate::queue::{Outcome, Queue};
use crate::servers::Servers;
use crate::settings::since;
use crate::warm_up::WarmUp;
use crate::{CloseReason, Command, Commands, Lent, Refused, ServerId, Settings, Ticket, WorkerId};
use std::time::Instant;

/// The server connections of one (database, user), and those who wait for one.
///
/// `S` is a server connection; it is moved with every lease, so box what is large. `W` wakes a waiter: a task's `Waker`
/// in production.
///
/// Calls that take `out` add commands to it; the owner performs them in order, after unlocking the pool. While the gate
/// is open and the pool is not drained, either nobody waits or nothing is idle.
pub struct Pool<S, W> {
    pub(crate) settings: Settings,
    pub(crate) servers: Servers<S>,
    pub(crate) queue: Queue<W>,
    pub(crate) gate: Gate,
    pub(crate) backoff: Backoff,
    pub(crate) pace: Pace,
    /// Set once the database is gone.
    pub(crate) refusing: Option<Refused>,
    /// An opening was denied by the budget, and nothing has changed since.
    pub(crate) awaits_budget: bool,
    /// The review that was asked for last.
    pub(crate) review_at: Option<Instant>,
    /// When a server was last closed for its age.
    pub(crate) retired_at: Instant,
    pub(crate) warm_up: Option<WarmUp>,
    /// The most servers lent at the same moment since that was asked last.
    pub(crate) peak: usize,
}

/// The answer to [`Pool::check_out`].
#[derive(Debug)]
#[must_use = "a server or a ticket must come back"]
pub enum CheckOut<S> {
    /// Here is a server.
    Ready(Lent<S>),
    /// In the queue; the waker is woken when [`Pool::claim`] has news.
    Queued(Ticket),
    /// There is no hope of being served soon.
    Refused(Refused),
}

/// The answer to [`Pool::claim`].
#[derive(Debug)]
#[must_use = "a server or a ticket must come back"]
pub enum Claim<S> {
    /// Here is a server.
    Ready(Lent<S>),
    /// Still in the queue. That also happens after a wake: a server handed over may be withdrawn by a hold, a RECONNECT
    /// or a new epoch before it is claimed; the waiter keeps its place in line.
    Waiting(Ticket),
    /// There is no hope of being served soon.
    Refused(Refused),
}

impl<S, W> Pool<S, W> {
    /// An empty pool, open, in epoch 0.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Pool {
            settings,
            servers: Servers::new(),
            queue: Queue::new(),
            gate: Gate::default(),
            backoff: Backoff::Working,
            pace: Pace::default(),
            refusing: None,
            awaits_budget: false,
            review_at: None,
            retired_at: now,
            warm_up: None,
            peak: 0,
        }
    }

    /// Asks for a server: an idle one that `worker` used last, else any idle one, else a place in the queue. With
    /// `server_round_robin` it is the one that was idle longest, whoever used it.
    /// `waker` is called only in the last case.
    pub fn check_out(
        &mut self,
        worker: WorkerId,
        waker: impl FnOnce() -> W,
        now: Instant,
        out: &mut Commands<S, W>,
    ) -> CheckOut<S> {
        if self.gate.is_open()
            && let Some(lent) = self.servers.lend_idle(worker, self.settings.server_round_robin, now)
        {
            self.note_lent(now);
            return CheckOut::Ready(lent);
        }
        if let Some(why) = self.refusal(now) {
            return CheckOut::Refused(why);
        }
        if self.queue.is_empty() {
            self.awaits_budget = false;
        }
        let ticket = self.queue.join(worker, waker(), now);
        self.open_for_waiters(now, out);
        CheckOut::Queued(ticket)
    }

    /// Asks what has become of a ticket; to be called at every poll of the waiter. `waker` is called if there is nothing
    /// yet, and replaces the former one.
    pub fn claim(&mut self, ticket: Ticket, waker: impl FnOnce() -> W, now: Instant) -> Claim<S> {
        match self.queue.outcome(&ticket) {
            Outcome::Waiting => {
                self.queue.renew_waker(&ticket, waker());
                Claim::Waiting(ticket)
            }
            Outcome::Handed(key) => {
                self.queue.leave(ticket);
                self.note_lent(now);
                Claim::Ready(self.servers.lend(key, Some(now)))
            }
            Outcome::Refused(why) => {
                self.queue.leave(ticket);
                Claim::Refused(why)
            }
        }
    }

    /// Gives up a place in the queue. A server that already lies in the ticket goes to the next in line.
    pub fn cancel(&mut self, ticket: Ticket, now: Instant, out: &mut Commands<S, W>) {
        match self.queue.leave(ticket) {
            Outcome::Waiting | Outcome::Refused(_) => {}
            Outcome::Handed(key) => {
                let server = self.servers.pick_up(key, None);
                self.settle(key, server, now, out);
            }
        }
    }

    /// Takes a server back for reuse: it goes to the first in line, or becomes idle, or is closed if it is not to be used
    /// again. `worker` is the one it was used on. The caller vouches that the server is at rest.
    pub fn check_in(&mut self, lent: Lent<S>, worker: WorkerId, now: Instant, out: &mut Commands<S, W>) {
        let (key, lent_since) = self.servers.returned(lent.id, worker);
        if let Some(lent_since) = lent_since {
            self.pace.returned(since(lent_since, now));
        }
        // One that was only inspected has not been used: single use (a lifetime of zero) is still before it.
        if (lent_since.is_some() || !self.settings.server_lifetime.is_zero()) && self.retires(key, now) {
            return self.close(key, lent.server, CloseReason::Lifetime, now, out);
        }
        self.settle(key, lent.server, now, out);
    }

    /// Takes a server back to be closed.
    pub fn discard(&mut self, lent: Lent<S>, reason: CloseReason, now: Instant, out: &mut Commands<S, W>) {
        let (key, _) = self.servers.returned(lent.id, lent.worker);
        self.close(key, lent.server, reason, now, out);
    }

    /// Takes an idle server out for inspection, when bytes or end of file arrived on it unasked; then
    /// [`check_in`](Pool::check_in) or [`discard`](Pool::discard) it. `None` when it is not idle any more: whoever has it
    /// will see the bytes.
    pub fn take_idle(&mut self, id: ServerId) -> Option<Lent<S>> {
        self.servers.take_idle(id)
    }

    /// The connection of a [`Command::Close`] has ended.
    pub fn closed(&mut self) {
        self.servers.end_closing();
    }

    /// Open, and not drained.
    pub(crate) fn serves(&self) -> bool {
        self.gate.is_open() && self.refusing.is_none()
    }

    /// Why someone who arrives now is turned away.
    fn refusal(&self, now: Instant) -> Option<Refused> {
        if self.refusing.is_some() {
            return self.refusing;
        }
        let hopeless = self.gate.is_open() && self.servers.total() == 0 && self.backoff.is_fatal(now);
        hopeless.then_some(Refused::OpenFailed)
    }

    /// Why a server in the pool's hands is not to be used again, whoever waits.
    fn unwanted(&self, key: usize) -> Option<CloseReason> {
        if self.refusing.is_some() {
            Some(CloseReason::Drained)
        } else if self.servers.is_stale(key) {
            let old_epoch = self.servers.slot(key).epoch < self.servers.epoch();
            Some(if old_epoch { CloseReason::Epoch } else { CloseReason::Reconnect })
        } else if self.gate.empties() {
            Some(CloseReason::Held)
        } else if self.is_surplus() {
            Some(CloseReason::Surplus)
        } else {
            None
        }
    }

    pub(crate) fn is_surplus(&self) -> bool {
        self.settings.most_servers().is_some_and(|most| self.servers.total() > most as usize)
    }

    /// Whether it is this server's turn to be closed for its age; if so the next one's turn is a gap later.
    pub(crate) fn retires(&mut self, key: usize, now: Instant) -> bool {
        let retires = since(self.servers.slot(key).opened_at, now) >= self.settings.server_lifetime
            && since(self.retired_at, now) >= self.settings.lifetime_gap();
        if retires {
            self.retired_at = now;
        }
        retires
    }

    /// Finds the next place for a server in the pool's hands.
    pub(crate) fn settle(&mut self, key: usize, server: S, now: Instant, out: &mut Commands<S, W>) {
        if let Some(reason) = self.unwanted(key) {
            return self.close(key, server, reason, now, out);
        }
        let worker = self.servers.slot(key).worker;
        let served = match self.gate.is_open() {
            true => self.queue.serve(key, worker, self.settings.handover_slack),
            false => None,
        };
        match served {
            Some(waker) => {
                self.servers.hand_over(key, server);
                out.wake(waker);
            }
            None => self.servers.lay_down(key, server, now),
        }
    }

    /// Closes a server in the pool's hands, and replaces it if somebody waits.
    pub(crate) fn close(&mut self, key: usize, server: S, reason: CloseReason, now: Instant, out: &mut Commands<S, W>) {
        self.servers.begin_closing(key);
        out.push(Command::Close(server, reason));
        self.open_for_waiters(now, out);
    }

    /// Closes the server that was idle longest.
    pub(crate) fn close_longest_idle(&mut self, reason: CloseReason, now: Instant, out: &mut Commands<S, W>) -> bool {
        let Some(key) = self.servers.longest_idle() else {
            return false;
        };
        let server = self.servers.pick_up(key, None);
        self.close(key, server, reason, now, out);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::time::Duration;

    /// Clients on four workers, two servers: some wait, most do not, and whoever was served first gives back.
    #[derive(Default)]
    struct Traffic {
        lent: VecDeque<Lent<u32>>,
        tickets: VecDeque<Ticket>,
        out: Commands<u32, u32>,
    }

    impl Traffic {
        fn round(&mut self, pool: &mut Pool<u32, u32>, round: u32, now: Instant) {
            let worker = WorkerId(round as u16 % 4);
            match pool.check_out(worker, || round, now, &mut self.out) {
                CheckOut::Ready(lent) => self.lent.push_back(lent),
                CheckOut::Queued(ticket) => self.tickets.push_back(ticket),
                CheckOut::Refused(why) => panic!("{why:?}"),
            }
            let opens: Vec<_> = self.out.drain().collect();
            for command in opens {
                if let Command::Open(ticket) = command {
                    pool.opened(ticket, round, worker, now, &mut self.out);
                }
            }
            while self.tickets.len() > round as usize % 6 {
                if let Some(lent) = self.lent.pop_front() {
                    pool.check_in(lent, worker, now, &mut self.out);
                }
                let ticket = self.tickets.pop_front().expect("somebody waits");
                match pool.claim(ticket, || round, now) {
                    Claim::Ready(lent) => self.lent.push_back(lent),
                    Claim::Waiting(ticket) => self.tickets.push_front(ticket),
                    Claim::Refused(why) => panic!("{why:?}"),
                }
            }
        }

        /// Every place of the pool's that could grow.
        fn room(&self, pool: &Pool<u32, u32>) -> [usize; 3] {
            [pool.servers.capacity(), pool.queue.capacity(), self.out.capacity()]
        }
    }

    #[test]
    fn the_steady_state_needs_no_more_room() {
        let mut now = Instant::now();
        let settings = Settings { pool_size: Some(2), ..Settings::default() };
        let mut pool = Pool::new(settings, now);
        let mut traffic = Traffic::default();
        let mut before = None;
        for round in 0..10_000 {
            now += Duration::from_micros(50);
            traffic.round(&mut pool, round, now);
            if round == 100 {
                before = Some(traffic.room(&pool));
            }
        }
        assert_eq!(before, Some(traffic.room(&pool)));
    }
}
