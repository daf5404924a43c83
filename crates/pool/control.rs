//! What operators and failovers do to a pool: hold, release, reconnect, a new epoch, the end.

use crate::backoff::Backoff;
use crate::{CloseReason, Command, Commands, Hold, Pool, Refused, ServerId};
use std::time::Instant;

impl<S, W> Pool<S, W> {
    /// Closes the gate for one more reason. Idle servers are closed at once, lent ones on return, arriving ones on
    /// arrival; nobody is served, those who wait keep waiting. [`is_drained`](Pool::is_drained) says when it is done.
    /// Under [`Hold::Suspicion`] alone nothing is closed: lent servers become idle on return.
    pub fn hold(&mut self, hold: Hold, now: Instant, out: &mut Commands<S, W>) {
        self.gate.set(hold);
        if hold.empties() {
            self.withdraw_handed(CloseReason::Held, out);
            self.close_all_idle(CloseReason::Held, now, out);
        } else {
            self.take_back_handed(now, out);
        }
        self.review_expiry(now, out);
    }

    /// Takes back one reason for the gate to be closed (the moment in a hold with an end does not matter). If it was the
    /// last one, those in line are served.
    pub fn release(&mut self, hold: Hold, now: Instant, out: &mut Commands<S, W>) {
        let was_open = self.gate.is_open();
        self.gate.release(hold);
        if !was_open && self.gate.is_open() {
            self.begin_afresh(now, out);
        }
    }

    /// The holds that are set; the gate is open when there are none.
    pub fn holds(&self) -> &[Hold] {
        self.gate.holds()
    }

    /// Whether there is no server left in any place: PAUSE answers on this.
    pub fn is_drained(&self) -> bool {
        self.servers.total() == 0 && self.servers.closing() == 0
    }

    /// RECONNECT: every present server is closed: idle ones now, lent ones on return, opening ones on arrival.
    pub fn reconnect(&mut self, now: Instant, out: &mut Commands<S, W>) {
        self.replace_all(self.servers.epoch(), CloseReason::Reconnect, now, out);
    }

    /// The primary has moved: servers of an older epoch are never lent again. Returns those still lent, which the owner
    /// cuts at once; asked again with the same epoch it returns those not yet back. An epoch in the past changes nothing.
    pub fn move_epoch(&mut self, epoch: u64, now: Instant, out: &mut Commands<S, W>) -> impl Iterator<Item = ServerId> {
        if epoch > self.servers.epoch() {
            self.replace_all(epoch, CloseReason::Epoch, now, out);
        }
        self.servers.iter_lent_before_epoch()
    }

    /// The present epoch.
    pub fn epoch(&self) -> u64 {
        self.servers.epoch()
    }

    /// The database is no more: everyone in line is refused, and so is whoever comes; servers close as under a hold.
    /// There is no way back: a database that returns gets a new pool.
    pub fn drain(&mut self, why: Refused, now: Instant, out: &mut Commands<S, W>) {
        self.refusing = Some(why);
        self.withdraw_handed(CloseReason::Drained, out);
        self.refuse_everyone(why, out);
        self.close_all_idle(CloseReason::Drained, now, out);
    }

    /// Ends the holds whose time is over.
    pub(crate) fn expire_holds(&mut self, now: Instant, out: &mut Commands<S, W>) {
        if self.gate.expire(now) {
            self.begin_afresh(now, out);
        }
        self.review_expiry(now, out);
    }

    fn review_expiry(&mut self, now: Instant, out: &mut Commands<S, W>) {
        if let Some(at) = self.gate.next_expiry() {
            self.review_at(at, now, out);
        }
    }

    fn replace_all(&mut self, epoch: u64, reason: CloseReason, now: Instant, out: &mut Commands<S, W>) {
        self.servers.begin_cohort(epoch);
        self.close_all_idle(reason, now, out);
        self.withdraw_handed(reason, out);
        self.begin_afresh(now, out);
    }

    /// What failed before says nothing about now.
    fn begin_afresh(&mut self, now: Instant, out: &mut Commands<S, W>) {
        self.backoff = Backoff::Working;
        self.awaits_budget = false;
        self.serve_from_idle(now, out);
        self.open_for_waiters(now, out);
    }

    /// After a suspicion there are those who wait beside idle servers.
    fn serve_from_idle(&mut self, now: Instant, out: &mut Commands<S, W>) {
        while self.serves()
            && !self.queue.is_empty()
            && let Some(key) = self.servers.longest_idle()
        {
            let server = self.servers.pick_up(key, None);
            self.settle(key, server, now, out);
        }
    }

    fn close_all_idle(&mut self, reason: CloseReason, now: Instant, out: &mut Commands<S, W>) {
        while self.close_longest_idle(reason, now, out) {}
    }

    /// Servers handed over but not claimed yet become idle again; the waiters return to their places in line.
    fn take_back_handed(&mut self, now: Instant, out: &mut Commands<S, W>) {
        while let Some(key) = self.queue.withdraw_one() {
            let server = self.servers.pick_up(key, None);
            self.settle(key, server, now, out);
        }
    }

    /// Servers handed over but not claimed yet are taken back and closed; the waiters return to their places in line.
    /// Nothing is opened for them before the last one is back: while others are counted as lent, it would be the reserve.
    fn withdraw_handed(&mut self, reason: CloseReason, out: &mut Commands<S, W>) {
        while let Some(key) = self.queue.withdraw_one() {
            let server = self.servers.pick_up(key, None);
            self.servers.begin_closing(key);
            out.push(Command::Close(server, reason));
        }
    }
}
