//! What others may see of a server connection while somebody uses it, and the marks of cancels on their way to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::address::Address;
use crate::clock::Micros;

use super::dial::Reached;
use super::secure::Secured;
use super::target::Followed;

/// The visible side of one server connection.
#[derive(Debug)]
pub struct ServerInfo {
    /// From the counter shared with clients.
    pub id: u64,
    /// The process id in its BackendKeyData.
    pub pid: u32,
    /// The cancel key in its BackendKeyData.
    pub key: Vec<u8>,
    /// Name of the database as clients know it.
    pub database: Arc<str>,
    /// The user it is logged in as.
    pub user: Arc<str>,
    /// Where it was reached, for cancels.
    pub reached: Reached,
    /// The server's end.
    pub remote: Address,
    /// Our end.
    pub local: Address,
    /// The TLS to it.
    pub tls: Option<Secured>,
    /// What it is of a formation; none if it does not belong to one.
    pub followed: Option<Followed>,
    /// When it was logged in.
    pub connected_at: Micros,
    state: AtomicU8,
    requested_at: AtomicU64,
    /// The borrower's id in the upper 48 bits, the number of cancels in flight in the lower 16.
    lease: AtomicU64,
    /// A cancel may reach it at any time from now on.
    doomed: AtomicBool,
    /// A COMMIT is under way.
    committing: AtomicBool,
    /// It leads to a former primary: whoever has it must let go of it.
    cut: AtomicBool,
    canceled: Notify,
}

/// The two ends of a server connection.
#[derive(Clone, Debug)]
pub struct Ends {
    /// Where it was reached.
    pub reached: Reached,
    /// The server's end.
    pub remote: Address,
    /// Our end.
    pub local: Address,
    /// The TLS between them.
    pub tls: Option<Secured>,
}

/// What a server connection is doing, in the words of SHOW SERVERS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ServerState {
    /// In the pool.
    Idle,
    /// Lent to a client.
    Active,
    /// Being checked or reset before somebody may have it.
    Tested,
    /// Still wanted for a cancel although its client is done with it.
    BeingCanceled,
}

const CANCELS: u64 = 0xffff;

impl ServerInfo {
    /// For a connection that has just logged in.
    pub fn new(id: u64, (pid, key): (u32, Vec<u8>), names: (Arc<str>, Arc<str>), ends: Ends) -> Self {
        let now = Micros::now();
        Self {
            id,
            pid,
            key,
            database: names.0,
            user: names.1,
            reached: ends.reached,
            remote: ends.remote,
            local: ends.local,
            tls: ends.tls,
            followed: None,
            connected_at: now,
            state: AtomicU8::new(ServerState::Idle as u8),
            requested_at: AtomicU64::new(now.0),
            lease: AtomicU64::new(0),
            doomed: AtomicBool::new(false),
            committing: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            canceled: Notify::new(),
        }
    }

    /// The same, of a formation.
    pub fn following(mut self, followed: Option<Followed>) -> Self {
        self.followed = followed;
        self
    }

    /// Says that it leads to a former primary.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    /// Whether its borrower must let go of it.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Notes who borrows it.
    pub fn lend(&self, client: u64, now: Micros) {
        self.lease.store(client << 16, Ordering::Release);
        self.requested_at.store(now.0, Ordering::Relaxed);
        self.set_state(ServerState::Active);
    }

    /// Notes that its borrower is done: true if no cancel is on its way to it.
    ///
    /// From here on no new cancel can begin. One that has begun must end before anybody else may have the server.
    pub fn take_back(&self) -> bool {
        let before = self.lease.fetch_and(CANCELS, Ordering::AcqRel);
        let quiet = before & CANCELS == 0 && !self.is_doomed();
        self.set_state(if quiet { ServerState::Idle } else { ServerState::BeingCanceled });
        quiet
    }

    /// Says whether a COMMIT is under way, which nobody may cancel: it would keep a commit that is not replicated.
    pub fn set_committing(&self, committing: bool) {
        if self.committing.load(Ordering::Relaxed) != committing {
            self.committing.store(committing, Ordering::Release);
        }
    }

    /// Whether a cancel may reach it at any time: it must not be lent again.
    pub fn is_doomed(&self) -> bool {
        self.doomed.load(Ordering::Acquire)
    }

    /// Marks the lease before a cancel is dialed; `None` if `client` no longer has this server, or it commits.
    pub fn begin_cancel(self: &Arc<Self>, client: u64) -> Option<CancelMark> {
        if self.committing.load(Ordering::Acquire) {
            return None;
        }
        let mark = |lease: u64| (lease >> 16 == client && lease & CANCELS < CANCELS).then_some(lease + 1);
        self.lease.fetch_update(Ordering::AcqRel, Ordering::Acquire, mark).ok()?;
        Some(CancelMark { server: self.clone() })
    }

    /// Returns when no cancel is on its way to this server.
    pub async fn cancels_ended(&self) {
        loop {
            let notified = self.canceled.notified();
            if self.cancels() == 0 || self.is_doomed() {
                return;
            }
            notified.await;
        }
    }

    /// How many cancels are on their way to it.
    pub fn cancels(&self) -> u64 {
        self.lease.load(Ordering::Acquire) & CANCELS
    }

    /// The id of the client that has it, 0 for none.
    pub fn client(&self) -> u64 {
        self.lease.load(Ordering::Acquire) >> 16
    }

    /// What it is doing.
    pub fn state(&self) -> ServerState {
        match self.state.load(Ordering::Relaxed) {
            0 => ServerState::Idle,
            1 => ServerState::Active,
            2 => ServerState::Tested,
            _ => ServerState::BeingCanceled,
        }
    }

    /// Says what it is doing.
    pub fn set_state(&self, state: ServerState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// When it was last asked for something.
    pub fn requested_at(&self) -> Micros {
        Micros(self.requested_at.load(Ordering::Relaxed))
    }
}

/// A cancel on its way; while it lives the server cannot be lent again.
#[derive(Debug)]
pub struct CancelMark {
    server: Arc<ServerInfo>,
}

impl CancelMark {
    /// The cancel was sent, and nobody knows when the server will see it.
    pub fn doom(&self) {
        self.server.doomed.store(true, Ordering::Release);
    }

    /// The server that is to be canceled.
    pub fn server(&self) -> &ServerInfo {
        &self.server
    }
}

impl Drop for CancelMark {
    fn drop(&mut self) {
        self.server.lease.fetch_sub(1, Ordering::AcqRel);
        self.server.canceled.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> Arc<ServerInfo> {
        let end = Address::Unix { pid: 0, uid: 0, port: 5432 };
        let ends = Ends { reached: Reached::Unix("/tmp".into(), 5432), remote: end.clone(), local: end, tls: None };
        Arc::new(ServerInfo::new(1, (2, vec![3]), ("db".into(), "user".into()), ends))
    }

    #[test]
    fn a_cancel_reaches_only_the_borrower() {
        let server = info();
        server.lend(7, Micros::now());
        assert!(server.begin_cancel(8).is_none());
        let mark = server.begin_cancel(7).expect("7 has it");
        assert!(!server.take_back(), "a cancel is in flight");
        assert!(server.begin_cancel(7).is_none(), "7 has given it back");
        drop(mark);
        assert_eq!((server.cancels(), server.client()), (0, 0));
    }
}
