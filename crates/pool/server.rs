//! One server connection, as the pool sees it.

use crate::list::{Lane, Links, Node};
use std::time::Instant;

/// The worker thread whose runtime a socket is registered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// Names one server connection of one pool, from its opening to its closing. Never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId {
    pub(crate) slot: usize,
    pub(crate) serial: u64,
}

/// A server that is out of the pool. It has to come back through [`Pool::check_in`](crate::Pool::check_in) or
/// [`Pool::discard`](crate::Pool::discard): until then its place counts as taken.
#[derive(Debug)]
#[must_use = "a server must come back through check_in or discard"]
pub struct Lent<S> {
    /// The connection itself.
    pub server: S,
    pub(crate) id: ServerId,
    pub(crate) opened_at: Instant,
    pub(crate) epoch: u64,
    pub(crate) worker: WorkerId,
}

impl<S> Lent<S> {
    /// The server's name within its pool.
    pub fn id(&self) -> ServerId {
        self.id
    }

    /// When its login ended.
    pub fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// The epoch in which its opening was asked for: which primary it aimed at.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The worker that used it last: one other than the borrower's has the socket registered with its own runtime.
    pub fn worker(&self) -> WorkerId {
        self.worker
    }
}

/// What a server is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Somebody waits. When the budget is used up, an idle sibling may be evicted for this.
    Waiter,
    /// Somebody has waited for `reserve_pool_timeout`. An idle sibling may be evicted for this, too.
    Reserve,
    /// `min_pool_size` or a warm-up: nobody waits, and nobody is evicted for it.
    MinPoolSize,
}

/// The right and the duty to open one server. Comes back through [`Pool::opened`](crate::Pool::opened),
/// [`Pool::open_failed`](crate::Pool::open_failed) or [`Pool::open_denied`](crate::Pool::open_denied).
#[derive(Debug)]
#[must_use = "until the ticket comes back, its place in the pool counts as taken"]
pub struct OpenTicket {
    pub(crate) id: ServerId,
    pub(crate) epoch: u64,
    pub(crate) purpose: Purpose,
}

impl OpenTicket {
    /// The name the server will have.
    pub fn id(&self) -> ServerId {
        self.id
    }

    /// The epoch it belongs to: connect to the primary of that epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What it is opened for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }
}

/// Where a server is.
#[derive(Debug)]
pub(crate) enum Place<S> {
    /// With the opener.
    Opening,
    /// In the idle list.
    Idle { server: S, since: Instant },
    /// In a waiter's ticket, not claimed yet; counts as lent.
    Handed { server: S },
    /// With a borrower. The moment is unknown when it was only taken out for inspection.
    Away { since: Option<Instant> },
}

/// One entry of the pool's table of servers.
#[derive(Debug)]
pub(crate) struct Slot<S> {
    pub(crate) serial: u64,
    pub(crate) place: Place<S>,
    /// The worker that used it last.
    pub(crate) worker: WorkerId,
    /// When opening was asked for; once it is open, when it was.
    pub(crate) opened_at: Instant,
    pub(crate) epoch: u64,
    /// Counts RECONNECTs and moves of the epoch; a server of an older cohort is never lent again.
    pub(crate) cohort: u64,
    all: Links,
    own: Links,
}

impl<S> Slot<S> {
    pub(crate) fn opening(serial: u64, epoch: u64, cohort: u64, now: Instant) -> Self {
        Slot {
            serial,
            place: Place::Opening,
            worker: WorkerId(0),
            opened_at: now,
            epoch,
            cohort,
            all: Links::default(),
            own: Links::default(),
        }
    }
}

impl<S> Node for Slot<S> {
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
