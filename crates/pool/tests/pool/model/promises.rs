//! The promises themselves.

use super::owner::{Conn, LOGIN_RETRY, MS, Owned, RESERVE_TIMEOUT, Told, WARM_UP_LIMIT, World};
use pool::{Lent, OpenTicket, Purpose, ServerId, WorkerId};
use std::collections::BTreeSet;

impl World {
    pub fn check_promises(&mut self) {
        self.check_budget();
        for index in 0..self.pools.len() {
            let owned = &mut self.pools[index];
            owned.nothing_exceeds_the_caps();
            owned.each_connection_is_in_one_place();
            owned.a_closed_gate_keeps_nothing_but_under_a_suspicion();
            owned.nothing_old_is_idle();
            owned.the_line_is_complete();
            self.nobody_waits_beside_an_idle_server(index);
        }
    }

    /// Promise 1, across pools.
    fn check_budget(&self) {
        for scope in self.pools.iter().flat_map(Owned::scopes) {
            let sharing = self.pools.iter().filter(|owned| owned.scopes().contains(&scope));
            let open: usize = sharing.map(Owned::total).sum();
            // That no limit is exceeded is Budget's to refuse; that nothing is open without a permit is ours to see.
            assert_eq!(self.budget.used(scope) as usize, open, "{scope:?}");
        }
    }

    /// Promise 2.
    fn nobody_waits_beside_an_idle_server(&self, index: usize) {
        let owned = &self.pools[index];
        let counts = owned.pool.counts();
        if !owned.is_open() || counts.waiting == 0 {
            return;
        }
        assert_eq!(counts.idle, 0, "somebody waits beside an idle server");
        assert!(!owned.pool.wants_server() || !self.could_get_permit(index), "beside an evictable sibling");
        // Without a server to come back, only a failure, the size or the budget excuses that none is being opened.
        let has_failed = owned.failed_at.is_some_and(|at| self.now < at + LOGIN_RETRY);
        let has_room = owned.settings.pool_size.is_none_or(|size| owned.total() < size as usize);
        if counts.lent + counts.opening == 0 && !has_failed && has_room {
            assert!(!self.could_get_permit(index), "nothing is done for those who wait");
        }
    }

    /// Promise 3, as far as a wake tells; the rest is checked when the ticket is claimed.
    pub fn woken(&mut self, index: usize, name: u64) {
        let owned = &mut self.pools[index];
        let Some(place) = owned.waiters.iter().position(|waiter| waiter.name == name) else {
            assert!(!owned.refused.is_empty(), "only the refused are woken without being in line");
            return;
        };
        let slack = owned.settings.handover_slack;
        if let Some(first) = owned.waiters.iter_mut().find(|waiter| waiter.told != Told::Woken)
            && first.name != name
            && first.told == Told::Nothing
        {
            first.overtaken += 1;
            assert!(first.overtaken <= slack, "overtaken more often than allowed");
        }
        owned.waiters[place].told = Told::Woken;
    }

    /// Promises 1 and 5 where they begin, and no opening without need.
    pub fn check_opens(&self, index: usize, opens: &[OpenTicket]) {
        let owned = &self.pools[index];
        let count = |purpose| opens.iter().filter(|ticket| ticket.purpose() == purpose).count();
        let (waiters, reserves, fills) = (count(Purpose::Waiter), count(Purpose::Reserve), count(Purpose::MinPoolSize));
        if opens.is_empty() {
            return;
        }
        assert!(owned.is_open(), "opened behind a closed gate");
        let counts = owned.pool.counts();
        let total = counts.idle + counts.lent + counts.opening;
        assert!(total <= owned.most_servers());
        if waiters + fills > 0 {
            let size = owned.settings.pool_size.map_or(usize::MAX, |size| size as usize);
            assert!(total - reserves <= size, "the reserve was used without need");
        }
        let stale = owned.openings.iter().filter(|(ticket, _)| owned.doomed.contains(&ticket.id())).count();
        let useful = counts.opening - stale;
        if waiters + reserves > 0 {
            assert!(useful - fills <= counts.waiting, "more servers are opened than people wait");
        }
        if fills > 0 && total > owned.settings.min_pool_size as usize {
            self.check_warm_up(owned);
        }
        if reserves > 0 && owned.settings.handover_slack == 0 {
            let last = &owned.waiters[owned.handed() + useful - fills - 1];
            assert!(self.now - last.arrived >= RESERVE_TIMEOUT, "the reserve was opened early");
        }
    }

    /// Opened for nobody, beyond the minimum: a warm-up is under way, has room, and one server has been seen to work.
    fn check_warm_up(&self, owned: &Owned) {
        let counts = owned.pool.counts();
        let (servers, begun) = owned.warm_up.expect("opened for nobody");
        assert!(self.now < begun + WARM_UP_LIMIT, "a warm-up has no end");
        assert!(counts.idle + counts.lent + counts.opening - counts.close_needed <= servers);
        let is_proved = owned.alive.iter().any(|id| !owned.doomed.contains(id));
        assert!(is_proved || counts.opening == 1, "opened side by side before one works");
        assert!(counts.opening <= owned.settings.max_opening as usize);
    }

    /// A server has been lent: promises 5 and 6.
    pub fn received(&mut self, index: usize, lent: Lent<Conn>) {
        let owned = &mut self.pools[index];
        assert!(owned.is_open(), "lent through a closed gate");
        assert_eq!(lent.id(), lent.server.id);
        assert_eq!(lent.epoch(), owned.epoch, "lent from an older epoch");
        assert!(!owned.doomed.contains(&lent.id()), "lent although it was to be closed");
        owned.lent.push(lent);
        owned.peak = owned.peak.max(owned.lent.len());
    }

    /// When gates are open, what was lent comes back and openings succeed, everyone is served.
    pub fn everyone_is_served_in_the_end(&mut self) {
        // With a budget of one and single-use servers each of them needs a few rounds.
        let waiting: usize = self.pools.iter().map(|owned| owned.waiters.len()).sum();
        for _ in 0..=20 + 5 * waiting {
            if self.pools.iter().all(|owned| owned.waiters.is_empty()) {
                return;
            }
            (0..self.pools.len()).for_each(|index| self.favourable_round(index));
            self.pass(400 * MS);
            self.distribute();
            self.check_promises();
        }
        panic!("somebody waits for ever");
    }

    fn favourable_round(&mut self, index: usize) {
        while let Some(hold) = self.pools[index].holds.pop() {
            self.call(index, |pool, now, out| pool.release(hold, now, out));
        }
        for place in (0..self.pools[index].waiters.len()).rev() {
            self.claim_at(index, place);
        }
        while let Some(lent) = self.pools[index].lent.pop() {
            self.call(index, |pool, now, out| pool.check_in(lent, WorkerId(0), now, out));
        }
        while let Some((ticket, permit)) = self.pools[index].openings.pop() {
            let conn = Conn { id: ticket.id(), permit };
            self.pools[index].alive.insert(conn.id);
            self.call(index, |pool, now, out| pool.opened(ticket, conn, WorkerId(1), now, out));
        }
        self.one_has_closed(index);
    }
}

impl Owned {
    /// Promise 1, for one pool. What a lowered limit finds in surplus may only become less.
    fn nothing_exceeds_the_caps(&mut self) {
        self.ceiling = self.most_servers().max(self.ceiling.min(self.total()));
        assert!(self.total() <= self.ceiling, "more servers than the pool size and the reserve allow");
    }

    /// Promise 4: with us, idle, in a ticket, opening or closing.
    fn each_connection_is_in_one_place(&self) {
        let counts = self.pool.counts();
        let idle: BTreeSet<_> = self.pool.idle().map(|conn| conn.id).collect();
        let lent: BTreeSet<_> = self.lent.iter().map(Lent::id).collect();
        assert_eq!((idle.len(), lent.len()), (counts.idle, self.lent.len()), "one place twice");
        assert!(idle.is_disjoint(&lent) && idle.is_subset(&self.alive) && lent.is_subset(&self.alive));
        assert!(counts.lent >= lent.len());
        assert_eq!(self.alive.len(), counts.idle + counts.lent);
        assert_eq!(self.openings.len(), counts.opening);
        assert_eq!(self.closing, counts.closing);
        let doomed = |id: &ServerId| self.doomed.contains(id);
        let openings = self.openings.iter().map(|(ticket, _)| ticket.id());
        let close_needed = openings.chain(self.alive.iter().copied()).filter(|id| doomed(id)).count();
        assert_eq!(close_needed, counts.close_needed);
    }

    /// Promise 5.
    fn a_closed_gate_keeps_nothing_but_under_a_suspicion(&self) {
        assert_eq!(self.pool.holds().is_empty(), self.holds.is_empty());
        if !self.is_open() {
            assert_eq!(self.handed(), 0);
            assert!(self.pool.counts().idle == 0 || self.is_suspended());
        }
        assert_eq!(self.pool.is_drained(), self.total() + self.closing == 0);
    }

    /// Promise 6.
    fn nothing_old_is_idle(&self) {
        assert!(self.pool.idle().all(|conn| !self.doomed.contains(&conn.id)));
    }

    /// Nobody is forgotten: who has a ticket is in line or has a server in it.
    fn the_line_is_complete(&self) {
        assert_eq!(self.pool.counts().waiting + self.handed(), self.waiters.len());
    }
}
