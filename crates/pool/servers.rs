//! The table of a pool's servers: the only code that moves a server from one place to another.

use crate::list::Lanes;
use crate::server::{Place, Slot};
use crate::{Lent, OpenTicket, Purpose, ServerId, WorkerId};
use slab::Slab;
use std::time::Instant;

/// All servers of one pool, and how many are where.
pub(crate) struct Servers<S> {
    slots: Slab<Slot<S>>,
    /// In the order in which they became idle.
    idle: Lanes,
    next_serial: u64,
    epoch: u64,
    cohort: u64,
    lent: usize,
    opening: usize,
    closing: usize,
    /// Those of the lent and opening ones whose cohort has passed.
    stale_lent: usize,
    stale_opening: usize,
}

/// What is known about a server whose opening has ended.
pub(crate) struct Opening {
    pub(crate) asked_at: Instant,
    /// No RECONNECT and no new epoch since.
    pub(crate) fresh: bool,
}

impl<S> Servers<S> {
    pub(crate) fn new() -> Self {
        Servers {
            slots: Slab::new(),
            idle: Lanes::default(),
            next_serial: 0,
            epoch: 0,
            cohort: 0,
            lent: 0,
            opening: 0,
            closing: 0,
            stale_lent: 0,
            stale_opening: 0,
        }
    }

    /// Idle, lent and opening: what the limits are about.
    pub(crate) fn total(&self) -> usize {
        self.idle() + self.lent + self.opening
    }

    pub(crate) fn idle(&self) -> usize {
        self.idle.len()
    }

    /// Open, and to be lent again.
    pub(crate) fn live(&self) -> usize {
        self.idle() + self.lent - self.stale_lent
    }

    /// With a borrower, or in a waiter's ticket.
    pub(crate) fn lent(&self) -> usize {
        self.lent
    }

    /// The lent ones that will be closed on return.
    pub(crate) fn stale_lent(&self) -> usize {
        self.stale_lent
    }

    pub(crate) fn opening(&self) -> usize {
        self.opening
    }

    /// The opening ones that will be of use when they arrive.
    pub(crate) fn opening_fresh(&self) -> usize {
        self.opening - self.stale_opening
    }

    pub(crate) fn closing(&self) -> usize {
        self.closing
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn slot(&self, key: usize) -> &Slot<S> {
        &self.slots[key]
    }

    pub(crate) fn is_stale(&self, key: usize) -> bool {
        self.slots[key].cohort != self.cohort
    }

    /// When the server idle for longest became idle.
    pub(crate) fn longest_idle_since(&self) -> Option<Instant> {
        match self.slots[self.idle.front()?].place {
            Place::Idle { since, .. } => Some(since),
            Place::Opening | Place::Handed { .. } | Place::Away { .. } => None,
        }
    }

    /// The server idle for longest.
    pub(crate) fn longest_idle(&self) -> Option<usize> {
        self.idle.front()
    }

    /// The next idle server after `key`, from longest idle to last used.
    pub(crate) fn next_idle(&self, key: usize) -> Option<usize> {
        self.idle.after(&self.slots, key)
    }

    /// The servers that are idle, in no order.
    pub(crate) fn iter_idle(&self) -> impl Iterator<Item = &S> {
        self.slots.iter().filter_map(|(_, slot)| match &slot.place {
            Place::Idle { server, .. } => Some(server),
            Place::Opening | Place::Handed { .. } | Place::Away { .. } => None,
        })
    }

    /// The lent servers of an epoch before the present one.
    pub(crate) fn iter_lent_before_epoch(&self) -> impl Iterator<Item = ServerId> {
        self.slots.iter().filter_map(|(key, slot)| match &slot.place {
            Place::Away { .. } | Place::Handed { .. } if slot.epoch < self.epoch => {
                Some(ServerId { slot: key, serial: slot.serial })
            }
            Place::Away { .. } | Place::Handed { .. } | Place::Opening | Place::Idle { .. } => None,
        })
    }

    /// From now on every present server is stale: to be closed, not to be lent.
    pub(crate) fn begin_cohort(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.cohort += 1;
        self.stale_lent = self.lent;
        self.stale_opening = self.opening;
    }

    /// nothing → opening.
    pub(crate) fn begin_opening(&mut self, purpose: Purpose, now: Instant) -> OpenTicket {
        let serial = self.next_serial;
        self.next_serial += 1;
        let slot = self.slots.insert(Slot::opening(serial, self.epoch, self.cohort, now));
        self.opening += 1;
        OpenTicket { id: ServerId { slot, serial }, epoch: self.epoch, purpose }
    }

    /// opening → nothing.
    pub(crate) fn abandon_opening(&mut self, ticket: &OpenTicket) -> Opening {
        let opening = self.end_opening(ticket);
        self.slots.remove(ticket.id.slot);
        opening
    }

    /// opening → away, in the hands of the caller.
    pub(crate) fn arrive(&mut self, ticket: &OpenTicket, worker: WorkerId, now: Instant) -> Opening {
        let opening = self.end_opening(ticket);
        let slot = &mut self.slots[ticket.id.slot];
        slot.place = Place::Away { since: None };
        slot.opened_at = now;
        slot.worker = worker;
        self.lent += 1;
        self.stale_lent += usize::from(!opening.fresh);
        opening
    }

    fn end_opening(&mut self, ticket: &OpenTicket) -> Opening {
        let slot = &self.slots[ticket.id.slot];
        assert_eq!(slot.serial, ticket.id.serial, "an opening ends once, in the pool that asked for it");
        let opening = Opening { asked_at: slot.opened_at, fresh: slot.cohort == self.cohort };
        self.opening -= 1;
        self.stale_opening -= usize::from(!opening.fresh);
        opening
    }

    /// idle → away: one that `worker` used last, else anyone's; the last used first, or the longest idle first.
    pub(crate) fn lend_idle(&mut self, worker: WorkerId, longest_idle: bool, now: Instant) -> Option<Lent<S>> {
        let key =
            if longest_idle { self.idle.front() } else { self.idle.back_of(worker).or_else(|| self.idle.back()) }?;
        Some(self.lend(key, Some(now)))
    }

    /// idle → away, for inspection.
    pub(crate) fn take_idle(&mut self, id: ServerId) -> Option<Lent<S>> {
        let slot = self.slots.get(id.slot)?;
        match slot.place {
            Place::Idle { .. } if slot.serial == id.serial => Some(self.lend(id.slot, None)),
            Place::Idle { .. } | Place::Opening | Place::Handed { .. } | Place::Away { .. } => None,
        }
    }

    /// idle or handed → away.
    pub(crate) fn lend(&mut self, key: usize, since: Option<Instant>) -> Lent<S> {
        let server = self.pick_up(key, since);
        let slot = &self.slots[key];
        Lent {
            server,
            id: ServerId { slot: key, serial: slot.serial },
            opened_at: slot.opened_at,
            epoch: slot.epoch,
            worker: slot.worker,
        }
    }

    /// idle or handed → away, in the hands of the caller.
    pub(crate) fn pick_up(&mut self, key: usize, since: Option<Instant>) -> S {
        match std::mem::replace(&mut self.slots[key].place, Place::Away { since }) {
            Place::Idle { server, .. } => {
                self.idle.remove(&mut self.slots, key);
                self.lent += 1;
                self.stale_lent += usize::from(self.is_stale(key));
                server
            }
            Place::Handed { server } => server,
            Place::Opening | Place::Away { .. } => {
                unreachable!("only a server that is here can be picked up")
            }
        }
    }

    /// A lent server is back in the hands of the pool: its entry, and since when it was lent.
    pub(crate) fn returned(&mut self, id: ServerId, worker: WorkerId) -> (usize, Option<Instant>) {
        let slot = &mut self.slots[id.slot];
        assert_eq!(slot.serial, id.serial, "a server returns once, to the pool that lent it");
        slot.worker = worker;
        match slot.place {
            Place::Away { since } => (id.slot, since),
            Place::Opening | Place::Idle { .. } | Place::Handed { .. } => {
                unreachable!("a server that returns was lent")
            }
        }
    }

    /// away → idle.
    pub(crate) fn lay_down(&mut self, key: usize, server: S, now: Instant) {
        self.slots[key].place = Place::Idle { server, since: now };
        self.idle.push_back(&mut self.slots, key);
        self.lent -= 1;
    }

    /// away → handed: it lies in a waiter's ticket.
    pub(crate) fn hand_over(&mut self, key: usize, server: S) {
        self.slots[key].place = Place::Handed { server };
    }

    /// away → closing.
    pub(crate) fn begin_closing(&mut self, key: usize) {
        let slot = self.slots.remove(key);
        self.lent -= 1;
        self.stale_lent -= usize::from(slot.cohort != self.cohort);
        self.closing += 1;
    }

    /// closing → gone.
    pub(crate) fn end_closing(&mut self) {
        self.closing = self.closing.saturating_sub(1);
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.slots.capacity()
    }
}
