//! Those who wait for a server, in order of arrival.

use crate::WorkerId;
use crate::list::{Lane, Lanes, Links, Node};
use slab::Slab;
use std::time::Instant;

/// A place in the queue. Comes back through [`Pool::claim`](crate::Pool::claim) or
/// [`Pool::cancel`](crate::Pool::cancel); a server handed over lies in it until then.
#[derive(Debug)]
#[must_use = "a ticket must come back through claim or cancel"]
pub struct Ticket {
    pub(crate) key: usize,
    pub(crate) number: u64,
}

/// Why nobody is served, now or for those already in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no server, and the last attempt to open one was answered with an error. The owner has the words.
    OpenFailed,
    /// The database was removed from the configuration or dropped on the console.
    DatabaseRemoved,
    /// The database is disabled.
    DatabaseDisabled,
    /// The pooler is shutting down.
    ShuttingDown,
}

/// What has become of a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// In the queue.
    Waiting,
    /// This server lies in its ticket.
    Handed(usize),
    Refused(Refused),
}

struct Waiter<W> {
    /// Order of arrival.
    number: u64,
    worker: WorkerId,
    arrived: Instant,
    /// None once it has been woken.
    waker: Option<W>,
    outcome: Outcome,
    /// How many later ones were served before it while it was first.
    overtaken: u32,
    all: Links,
    own: Links,
}

impl<W> Node for Waiter<W> {
    fn worker(&self) -> WorkerId {
        self.worker
    }

    fn links(&self, lane: Lane) -> &Links {
        match lane {
            Lane::All => &self.all,
            Lane::Worker => &self.own,
        }
    }

    fn links_mut(&mut self, lane: Lane) -> &mut Links {
        match lane {
            Lane::All => &mut self.all,
            Lane::Worker => &mut self.own,
        }
    }
}

/// Everyone with a ticket; the line itself holds those who have no outcome yet.
pub(crate) struct Queue<W> {
    waiters: Slab<Waiter<W>>,
    line: Lanes,
    next_number: u64,
}

impl<W> Queue<W> {
    pub(crate) fn new() -> Self {
        Queue { waiters: Slab::new(), line: Lanes::default(), next_number: 0 }
    }

    /// How many stand in line.
    pub(crate) fn len(&self) -> usize {
        self.line.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.line.len() == 0
    }

    /// Since when the first in line waits.
    pub(crate) fn oldest_since(&self) -> Option<Instant> {
        self.arrived_at(0)
    }

    /// Since when the one behind `ahead` others waits. Walks; `ahead` is bounded by `max_opening`.
    pub(crate) fn arrived_at(&self, ahead: usize) -> Option<Instant> {
        let mut key = self.line.front()?;
        for _ in 0..ahead {
            key = self.line.after(&self.waiters, key)?;
        }
        Some(self.waiters[key].arrived)
    }

    pub(crate) fn join(&mut self, worker: WorkerId, waker: W, now: Instant) -> Ticket {
        let number = self.next_number;
        self.next_number += 1;
        let key = self.waiters.insert(Waiter {
            number,
            worker,
            arrived: now,
            waker: Some(waker),
            outcome: Outcome::Waiting,
            overtaken: 0,
            all: Links::default(),
            own: Links::default(),
        });
        self.line.push_back(&mut self.waiters, key);
        Ticket { key, number }
    }

    /// Gives a server that was used on `worker` to the first in line, or within `slack` to the first on that worker.
    /// The waker is there unless its owner is awake already.
    pub(crate) fn serve(&mut self, server: usize, worker: WorkerId, slack: u32) -> Option<Option<W>> {
        let first = self.line.front()?;
        let mut chosen = first;
        if slack > self.waiters[first].overtaken
            && let Some(neighbour) = self.line.front_of(worker)
            && neighbour != first
        {
            self.waiters[first].overtaken += 1;
            chosen = neighbour;
        }
        Some(self.settle(chosen, Outcome::Handed(server)))
    }

    /// Refuses the first in line.
    pub(crate) fn refuse_first(&mut self, why: Refused) -> Option<Option<W>> {
        let first = self.line.front()?;
        Some(self.settle(first, Outcome::Refused(why)))
    }

    fn settle(&mut self, key: usize, outcome: Outcome) -> Option<W> {
        self.line.remove(&mut self.waiters, key);
        self.waiters[key].outcome = outcome;
        self.waiters[key].waker.take()
    }

    pub(crate) fn outcome(&self, ticket: &Ticket) -> Outcome {
        let waiter = &self.waiters[ticket.key];
        assert_eq!(waiter.number, ticket.number, "a ticket is used in the pool that gave it");
        waiter.outcome
    }

    pub(crate) fn renew_waker(&mut self, ticket: &Ticket, waker: W) {
        self.waiters[ticket.key].waker = Some(waker);
    }

    /// Forgets a ticket and says what had become of it.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Outcome {
        let outcome = self.outcome(&ticket);
        match outcome {
            Outcome::Waiting => self.line.remove(&mut self.waiters, ticket.key),
            Outcome::Handed(_) | Outcome::Refused(_) => {}
        }
        self.waiters.remove(ticket.key);
        outcome
    }

    /// Puts one who has a server but has not claimed it back where it stood in line, and says which server that was.
    /// Walks everyone: for rare events only.
    pub(crate) fn withdraw_one(&mut self) -> Option<usize> {
        let (key, server) = self.waiters.iter().find_map(|(key, waiter)| match waiter.outcome {
            Outcome::Handed(server) => Some((key, server)),
            Outcome::Waiting | Outcome::Refused(_) => None,
        })?;
        self.waiters[key].outcome = Outcome::Waiting;
        let number = self.waiters[key].number;
        self.line.insert_sorted(&mut self.waiters, key, |other| other.number > number);
        Some(server)
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.waiters.capacity()
    }
}
