//! What the pool asks of its owner.

use crate::OpenTicket;
use std::time::Instant;

/// One thing to do, after the pool has been unlocked.
#[derive(Debug)]
#[must_use = "a command that is not performed leaks a server or leaves a client asleep"]
pub enum Command<S, W> {
    /// Take a permit from the [`Budget`](crate::Budget) and open a server. The ticket comes back through
    /// [`Pool::opened`](crate::Pool::opened), [`Pool::open_failed`](crate::Pool::open_failed) or
    /// [`Pool::open_denied`](crate::Pool::open_denied), also when the opener is cancelled.
    Open(OpenTicket),
    /// Send Terminate, give the permit back, wait (bounded) for end of file, then call
    /// [`Pool::closed`](crate::Pool::closed).
    Close(S, CloseReason),
    /// Wake a waiter: its [`Ticket`](crate::Ticket) has an answer to [`Pool::claim`](crate::Pool::claim).
    Wake(W),
    /// Call [`Pool::review`](crate::Pool::review) at that moment or soon after. An earlier answer replaces a later one; a
    /// review too many does no harm.
    ReviewAt(Instant),
}

/// Why a server is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Older than `server_lifetime`.
    Lifetime,
    /// Idle for longer than `server_idle_timeout`.
    IdleTimeout,
    /// The pool is held: PAUSE, shutdown, or no writable node.
    Held,
    /// RECONNECT.
    Reconnect,
    /// The primary has moved; this server is not, or may not be, the new one.
    Epoch,
    /// More servers than `pool_size` and the reserve allow, after a reload.
    Surplus,
    /// Given up for a sibling pool that shares a limit with this one.
    Evicted,
    /// The database was removed.
    Drained,
    /// The owner's reason, from [`Pool::discard`](crate::Pool::discard).
    Discarded(&'static str),
}

/// A list of commands, filled by the pool and emptied by its owner. Kept and used again, so that the steady state
/// allocates nothing.
#[derive(Debug)]
pub struct Commands<S, W> {
    list: Vec<Command<S, W>>,
}

impl<S, W> Commands<S, W> {
    /// An empty list; allocates on first use.
    pub const fn new() -> Self {
        Commands { list: Vec::new() }
    }

    /// Whether there is nothing to do, as after most calls.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many commands there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Takes the commands out, in the order they are to be performed, and keeps the room for the next ones.
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = Command<S, W>> {
        self.list.drain(..)
    }

    pub(crate) fn push(&mut self, command: Command<S, W>) {
        self.list.push(command);
    }

    /// Wakes one who is not awake already.
    pub(crate) fn wake(&mut self, waker: Option<W>) {
        self.list.extend(waker.map(Command::Wake));
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.list.capacity()
    }
}

impl<S, W> Default for Commands<S, W> {
    fn default() -> Self {
        Commands::new()
    }
}
