//! What others may see of a client while its task runs, and the few words they may say to it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use protocol::params::Params;
use protocol::traces::Kinds;

use crate::address::Address;
use crate::clock::Micros;
use crate::error::ClientError;

/// The visible side of one logged-in client.
#[derive(Debug)]
pub struct ClientHandle {
    /// From the counter shared with servers.
    pub id: u64,
    /// The process id it was given for cancels.
    pub pid: u32,
    /// The key it was given for cancels.
    pub key: Box<[u8]>,
    /// The database's name as the client knows it.
    pub database: Arc<str>,
    /// Who logged in.
    pub user: Arc<str>,
    /// The client's end.
    pub remote: Address,
    /// Our end.
    pub local: Address,
    /// When it connected.
    pub connected_at: Micros,
    /// TLS in PgBouncer's words.
    pub tls: Option<Arc<str>>,
    doing: AtomicU8,
    cut: AtomicU8,
    canceled: AtomicBool,
    late: AtomicBool,
    requested_at: AtomicU64,
    deadline: AtomicU64,
    server: AtomicU64,
    pinned: AtomicU16,
    params: Mutex<Option<Arc<Params>>>,
    waker: Mutex<Option<Waker>>,
}

/// What a client is doing; each has its own time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Doing {
    /// Between transactions, with no server.
    Idle,
    /// In the queue for a server.
    Waiting,
    /// A server works for it.
    Query,
    /// It has a server in an open transaction, or for its session, and is silent.
    Holding,
    /// The same outside a transaction, for what it has left in the session.
    Pinned,
}

/// Why a client is to be disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cut {
    /// KILL, or its database is gone from the configuration.
    DatabaseRemoved = 1,
    /// KILL_CLIENT.
    AdminDisconnect,
    /// SHUTDOWN.
    ShuttingDown,
    /// It needs a server during SHUTDOWN WAIT_FOR_SERVERS.
    ServerShuttingDown,
    /// More notifications wait for it than may.
    NotificationsLag,
    /// Nobody listens for it any more.
    ListeningLost,
}

impl Cut {
    /// Whether a transaction that is open may end before.
    pub fn spares_transactions(self) -> bool {
        matches!(self, Self::NotificationsLag | Self::ListeningLost)
    }

    /// What the client is told.
    pub fn error(self) -> ClientError {
        match self {
            Self::DatabaseRemoved => ClientError::DatabaseRemoved,
            Self::AdminDisconnect => ClientError::AdminDisconnect,
            Self::ShuttingDown => ClientError::ShuttingDown,
            Self::ServerShuttingDown => ClientError::ServerShuttingDown,
            Self::NotificationsLag => ClientError::NotificationsLag,
            Self::ListeningLost => ClientError::ListeningLost,
        }
    }
}

/// Names and ends of a client, for [`ClientHandle::new`].
#[derive(Debug)]
pub struct Identity {
    /// The database's name as the client knows it.
    pub database: Arc<str>,
    /// Who logged in.
    pub user: Arc<str>,
    /// The client's end.
    pub remote: Address,
    /// Our end.
    pub local: Address,
    /// When it connected.
    pub connected_at: Micros,
    /// TLS in PgBouncer's words: version, cipher suite and key exchange.
    pub tls: Option<Arc<str>>,
}

impl ClientHandle {
    /// For a client that has just logged in.
    pub fn new(id: u64, pid: u32, key: Box<[u8]>, identity: Identity) -> Self {
        Self {
            id,
            pid,
            key,
            database: identity.database,
            user: identity.user,
            remote: identity.remote,
            local: identity.local,
            connected_at: identity.connected_at,
            tls: identity.tls,
            doing: AtomicU8::new(Doing::Idle as u8),
            cut: AtomicU8::new(0),
            canceled: AtomicBool::new(false),
            late: AtomicBool::new(false),
            requested_at: AtomicU64::new(identity.connected_at.0),
            deadline: AtomicU64::new(u64::MAX),
            server: AtomicU64::new(0),
            pinned: AtomicU16::new(0),
            params: Mutex::new(None),
            waker: Mutex::new(None),
        }
    }

    /// What it is doing.
    pub fn doing(&self) -> Doing {
        match self.doing.load(Ordering::Relaxed) {
            0 => Doing::Idle,
            1 => Doing::Waiting,
            2 => Doing::Query,
            3 => Doing::Holding,
            _ => Doing::Pinned,
        }
    }

    /// Says what it does from now on, and until when it may.
    pub fn set_doing(&self, doing: Doing, deadline: Option<Micros>) {
        self.doing.store(doing as u8, Ordering::Relaxed);
        self.deadline.store(deadline.map_or(u64::MAX, |deadline| deadline.0), Ordering::Relaxed);
    }

    /// When its current request began, or its last one.
    pub fn requested_at(&self) -> Micros {
        Micros(self.requested_at.load(Ordering::Relaxed))
    }

    /// Notes that a request begins.
    pub fn set_requested_at(&self, now: Micros) {
        self.requested_at.store(now.0, Ordering::Relaxed);
    }

    /// Whether its time is up.
    pub fn is_late(&self, now: Micros) -> bool {
        self.deadline.load(Ordering::Relaxed) <= now.0
    }

    /// Tells its task that its time is up; the task looks for itself.
    pub fn call_late(&self) {
        self.late.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether it was told that its time is up; asks only once.
    pub fn take_late(&self) -> bool {
        self.late.load(Ordering::Relaxed) && self.late.swap(false, Ordering::AcqRel)
    }

    /// The id of the server it has, 0 for none.
    pub fn server(&self) -> u64 {
        self.server.load(Ordering::Acquire)
    }

    /// Notes which server it has.
    pub fn set_server(&self, id: u64) {
        self.server.store(id, Ordering::Release);
    }

    /// What it keeps that server for, beyond its transactions.
    pub fn pinned(&self) -> Kinds {
        Kinds::from_bits(self.pinned.load(Ordering::Relaxed))
    }

    /// Notes what it keeps its server for.
    pub fn set_pinned(&self, kinds: Kinds) {
        self.pinned.store(kinds.bits(), Ordering::Relaxed);
    }

    /// Tells its task to end, for the first reason given.
    pub fn cut(&self, why: Cut) {
        let _ = self.cut.compare_exchange(0, why as u8, Ordering::AcqRel, Ordering::Relaxed);
        self.wake();
    }

    /// Why its task must end, if it must.
    pub fn is_cut(&self) -> Option<Cut> {
        Some(match self.cut.load(Ordering::Acquire) {
            0 => return None,
            1 => Cut::DatabaseRemoved,
            2 => Cut::AdminDisconnect,
            3 => Cut::ShuttingDown,
            4 => Cut::ServerShuttingDown,
            5 => Cut::NotificationsLag,
            _ => Cut::ListeningLost,
        })
    }

    /// Cancels its wait in the queue.
    pub fn cancel_wait(&self) {
        self.canceled.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether its wait was canceled; asks only once.
    pub fn take_canceled(&self) -> bool {
        self.canceled.load(Ordering::Relaxed) && self.canceled.swap(false, Ordering::AcqRel)
    }

    /// Makes its task look at what it was told.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Notes which task to wake.
    pub fn set_waker(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    /// The parameters it wants, for SHOW CLIENTS.
    pub fn params(&self) -> Option<Arc<Params>> {
        self.params.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes the parameters it wants.
    pub fn set_params(&self, params: Arc<Params>) {
        *self.params.lock().unwrap_or_else(PoisonError::into_inner) = Some(params);
    }
}
