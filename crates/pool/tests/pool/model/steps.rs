//! What can happen: one step per word, chosen and detailed by the word's digits.

use super::owner::{Conn, MS, Told, Waiter, World, settings};
use pool::{CheckOut, Claim, CloseReason, Hold, Lent, Pool, Refused, Scope, ScopeId, WorkerId};

/// Takes choices out of a word.
pub struct Word(u32);

impl Word {
    fn choose(&mut self, n: usize) -> usize {
        let choice = self.0 as usize % n;
        self.0 /= n as u32;
        choice
    }

    fn worker(&mut self) -> WorkerId {
        WorkerId(self.choose(3) as u16)
    }

    fn pick<T>(&mut self, from: &mut Vec<T>) -> Option<T> {
        (!from.is_empty()).then(|| from.remove(self.choose(from.len())))
    }
}

impl World {
    pub fn step(&mut self, word: u32) {
        let mut word = Word(word);
        let kind = word.choose(42);
        let index = word.choose(self.pools.len());
        match kind {
            0..=9 => self.check_out(index, word.worker()),
            10..=14 => self.claim(index, &mut word),
            15..=16 => self.cancel(index, &mut word),
            17..=22 => self.check_in(index, &mut word),
            23 => self.discard(index, &mut word),
            24 => self.inspect(index, &mut word),
            25..=28 => self.opening_succeeds(index, &mut word),
            29 => self.opening_fails(index, &mut word),
            30..=31 => self.one_has_closed(index),
            32 => self.call(index, |pool, now, out| pool.tick(now, out)),
            33..=34 => self.pass([0, 1, 10, 100, 400, 2000, 20_000][word.choose(7)] * MS),
            35 => self.hold(index, &mut word),
            36..=37 => self.release(index, &mut word),
            38 => self.replace(index, &mut word),
            39 => self.reload(index, &mut word),
            40 => self.warm_up(index, &mut word),
            _ => self.ask_for_peak(index),
        }
        self.distribute();
    }

    fn check_out(&mut self, index: usize, worker: WorkerId) {
        self.names += 1;
        let name = self.names;
        match self.call(index, |pool, now, out| pool.check_out(worker, || name, now, out)) {
            CheckOut::Ready(lent) => self.received(index, lent),
            CheckOut::Queued(ticket) => {
                let arrived = self.now;
                let waiter = Waiter { name, arrived, ticket, told: Told::Nothing, overtaken: 0 };
                self.pools[index].waiters.push(waiter);
            }
            CheckOut::Refused(Refused::OpenFailed) => {
                assert!(self.pools[index].total() == 0 && self.pools[index].failed_at.is_some());
            }
            CheckOut::Refused(_) => assert!(self.pools[index].drained),
        }
    }

    fn claim(&mut self, index: usize, word: &mut Word) {
        let owned = &mut self.pools[index];
        if let Some(ticket) = word.pick(&mut owned.refused) {
            let answer = owned.pool.claim(ticket, || 0, self.now);
            assert!(matches!(answer, Claim::Refused(_)), "a refusal is final");
        } else if !owned.waiters.is_empty() {
            let place = word.choose(owned.waiters.len());
            self.claim_at(index, place);
        }
    }

    /// The waiter at that place in line polls.
    pub fn claim_at(&mut self, index: usize, place: usize) {
        let owned = &mut self.pools[index];
        // Without overtaking, those who have a server are exactly the first in line.
        let first_in_line = place < owned.handed();
        let strict = owned.settings.handover_slack == 0;
        let Waiter { name, arrived, ticket, overtaken, .. } = owned.waiters.remove(place);
        match owned.pool.claim(ticket, || name, self.now) {
            Claim::Ready(lent) => {
                assert!(first_in_line || !strict, "served before those who came earlier");
                self.received(index, lent);
            }
            Claim::Waiting(ticket) => {
                assert!(!first_in_line || !strict, "overtaken");
                let waiter = Waiter { name, arrived, ticket, told: Told::Nothing, overtaken };
                owned.waiters.insert(place, waiter);
            }
            Claim::Refused(why) => panic!("refused: {why:?}"),
        }
    }

    fn cancel(&mut self, index: usize, word: &mut Word) {
        let owned = &mut self.pools[index];
        let ticket = match word.pick(&mut owned.refused) {
            Some(ticket) => ticket,
            None => match word.pick(&mut owned.waiters) {
                Some(waiter) => waiter.ticket,
                None => return,
            },
        };
        self.call(index, |pool, now, out| pool.cancel(ticket, now, out));
    }

    fn check_in(&mut self, index: usize, word: &mut Word) {
        if let Some(lent) = word.pick(&mut self.pools[index].lent) {
            let worker = word.worker();
            self.call(index, |pool, now, out| pool.check_in(lent, worker, now, out));
        }
    }

    fn discard(&mut self, index: usize, word: &mut Word) {
        if let Some(lent) = word.pick(&mut self.pools[index].lent) {
            let reason = CloseReason::Discarded("unclean server");
            self.call(index, |pool, now, out| pool.discard(lent, reason, now, out));
        }
    }

    fn inspect(&mut self, index: usize, word: &mut Word) {
        let owned = &mut self.pools[index];
        let known: Vec<_> = owned.alive.iter().copied().collect();
        if known.is_empty() {
            return;
        }
        let id = known[word.choose(known.len())];
        let is_idle = owned.pool.idle().any(|conn| conn.id == id);
        let taken = owned.pool.take_idle(id);
        assert_eq!(taken.is_some(), is_idle);
        owned.lent.extend(taken);
    }

    fn opening_succeeds(&mut self, index: usize, word: &mut Word) {
        if let Some((ticket, permit)) = word.pick(&mut self.pools[index].openings) {
            let conn = Conn { id: ticket.id(), permit };
            self.pools[index].alive.insert(conn.id);
            let worker = word.worker();
            self.call(index, |pool, now, out| pool.opened(ticket, conn, worker, now, out));
        }
    }

    fn opening_fails(&mut self, index: usize, word: &mut Word) {
        let fatal = word.choose(3) == 0;
        if let Some((ticket, permit)) = word.pick(&mut self.pools[index].openings) {
            self.budget.give_back(permit);
            let owned = &mut self.pools[index];
            if !owned.doomed.contains(&ticket.id()) {
                owned.failed_at = Some(self.now);
                owned.warm_up = None;
                if fatal && owned.total() == 0 {
                    owned.refuse_all();
                }
            }
            self.call(index, |pool, now, out| pool.open_failed(ticket, fatal, now, out));
        }
    }

    fn warm_up(&mut self, index: usize, word: &mut Word) {
        let servers = word.choose(8);
        self.pools[index].warm_up = Some((servers, self.now));
        self.call(index, |pool, now, out| pool.warm_up(servers as u32, now, out));
    }

    fn ask_for_peak(&mut self, index: usize) {
        let owned = &mut self.pools[index];
        assert!(owned.pool.take_peak() >= owned.peak, "more were lent at once");
        owned.peak = owned.lent.len();
    }

    pub fn one_has_closed(&mut self, index: usize) {
        let owned = &mut self.pools[index];
        if owned.closing > 0 {
            owned.closing -= 1;
            owned.pool.closed();
        }
    }

    fn a_hold(&self, word: &mut Word) -> Hold {
        let until = self.now + [1, 50, 500][word.choose(3)] * MS;
        match word.choose(8) {
            0 => Hold::Operator,
            1 => Hold::OperatorUntil(until),
            2 => Hold::Database,
            3 => Hold::DatabaseUntil(until),
            4 => Hold::Shutdown,
            5 => Hold::NoPrimary,
            6 => Hold::Suspicion,
            _ => Hold::Failover(until),
        }
    }

    fn hold(&mut self, index: usize, word: &mut Word) {
        let hold = self.a_hold(word);
        self.pools[index].withdraw_all();
        let holds = &mut self.pools[index].holds;
        holds.retain(|held| std::mem::discriminant(held) != std::mem::discriminant(&hold));
        holds.push(hold);
        self.call(index, |pool, now, out| pool.hold(hold, now, out));
    }

    fn release(&mut self, index: usize, word: &mut Word) {
        if let Some(hold) = word.pick(&mut self.pools[index].holds) {
            self.call(index, |pool, now, out| pool.release(hold, now, out));
        }
    }

    fn replace(&mut self, index: usize, word: &mut Word) {
        self.pools[index].doom_all();
        match word.choose(2) {
            0 => self.call(index, |pool, now, out| pool.reconnect(now, out)),
            _ => {
                let cut = word.choose(2) == 0;
                self.move_epoch(index, cut);
            }
        }
    }

    fn move_epoch(&mut self, index: usize, cut: bool) {
        let epoch = self.pools[index].epoch + 1;
        self.pools[index].epoch = epoch;
        let mut named: Vec<_> = self.call(index, |pool, now, out| pool.move_epoch(epoch, now, out).collect());
        let mut lent: Vec<_> = self.pools[index].lent.iter().map(Lent::id).collect();
        named.sort();
        lent.sort();
        assert_eq!(named, lent, "every lent server is cut");
        if cut {
            while let Some(lent) = self.pools[index].lent.pop() {
                let reason = CloseReason::Epoch;
                self.call(index, |pool, now, out| pool.discard(lent, reason, now, out));
            }
        }
    }

    fn reload(&mut self, index: usize, word: &mut Word) {
        match word.choose(4) {
            0 => self.drain(index),
            1 => {
                let limit = 1 + word.choose(5) as u32;
                let scope = [Scope::Database(ScopeId(0)), Scope::User(ScopeId(0)), Scope::Process];
                self.budget.set_limit(scope[word.choose(3)], Some(limit));
            }
            _ => {
                let slack = self.pools[index].settings.handover_slack;
                let settings = settings(word.0, slack);
                self.pools[index].settings = settings.clone();
                self.call(index, |pool, now, out| pool.reconfigure(settings, now, out));
            }
        }
    }

    /// The database is removed; once nothing is left of it, it is configured anew.
    fn drain(&mut self, index: usize) {
        let owned = &mut self.pools[index];
        owned.drained = true;
        owned.refuse_all();
        self.call(index, |pool, now, out| pool.drain(Refused::DatabaseRemoved, now, out));
        let now = self.now;
        let owned = &mut self.pools[index];
        if owned.pool.is_drained() && owned.refused.is_empty() {
            owned.pool = Pool::new(owned.settings.clone(), now);
            owned.drained = false;
            owned.epoch = 0;
            owned.holds.clear();
            owned.doomed.clear();
            owned.failed_at = None;
            owned.review_at = None;
            owned.warm_up = None;
            owned.peak = 0;
        }
    }
}
