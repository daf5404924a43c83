//! What all tasks of the process share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use config::Config;
use pool::{Budget, WorkerId};
use protocol::params::{Interner, Params, Tracked};
use protocol::statements::Taken;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::info;

use crate::client::handle::ClientHandle;
use crate::clock::Micros;
use crate::dns::Dns;
use crate::encryption::Encryption;
use crate::errors_seen::ErrorCounts;
use crate::follow::Follow;
use crate::front::auth::Authenticator;
use crate::front::door::Door;
use crate::front::throttle::Throttle;
use crate::listen::Listening;
use crate::pool_table::PoolTable;
use crate::registry::{Clients, Servers};
use crate::state::State;
use crate::worker::Workers;

/// What all tasks of the process share. Nothing in it is locked on the path of a transaction.
#[derive(Debug)]
pub struct Services {
    /// The configuration in force.
    pub config: ArcSwap<Config>,
    /// Counts configurations: clients compare it to know when to read their rules again.
    pub generation: AtomicU64,
    /// Parameters that follow clients from server to server.
    pub tracked: Tracked,
    /// Clients that are logged in.
    pub clients: Clients,
    /// Servers that are logged in.
    pub servers: Servers,
    /// All pools.
    pub pools: PoolTable,
    /// Formations whose primaries are followed.
    pub follow: Follow,
    /// Turns of those who find out what has become of a COMMIT.
    pub look_ups: Semaphore,
    /// Connections that listen for clients.
    pub listening: Listening,
    /// Limits across pools.
    pub budget: Mutex<Budget>,
    /// What prepared statements take.
    pub statements: Arc<Taken>,
    /// The TLS in force.
    pub tls: ArcSwap<Encryption>,
    /// Names and their addresses.
    pub dns: Dns,
    /// Those who relay.
    pub workers: Workers,
    /// The runtime that opens and keeps servers, and all else that is not a client's.
    pub house: Handle,
    /// Those who log in clients.
    pub door: Door,
    /// Failed logins.
    pub throttle: Throttle,
    /// Who clients are.
    pub authenticator: Authenticator,
    /// Errors that clients were given, by SQLSTATE.
    pub errors: ErrorCounts,
    /// COMMITs whose outcome was looked for after a loss, by outcome.
    pub commit_outcomes: ErrorCounts,
    /// Logins that failed, by reason.
    pub auth_failures: ErrorCounts,
    /// Told of each configuration that comes into force.
    pub reloaded: OnceLock<fn(&Config)>,
    /// Paused, disabled, shutting down.
    pub state: State,
    interner: Mutex<Interner>,
    ids: AtomicU64,
}

impl Services {
    /// For a process that begins with this configuration.
    pub fn new(config: Config, tls: Encryption, house: Handle, workers: Workers, door: Door) -> Arc<Self> {
        Arc::new(Self {
            tracked: Tracked::new(&config.global.track_extra_parameters),
            config: ArcSwap::from_pointee(config),
            generation: AtomicU64::new(0),
            clients: Clients::default(),
            servers: Servers::default(),
            pools: PoolTable::default(),
            follow: Follow::default(),
            look_ups: Semaphore::new(crate::follow::LOOK_UPS),
            listening: Listening::default(),
            budget: Mutex::default(),
            statements: Arc::default(),
            tls: ArcSwap::from_pointee(tls),
            dns: Dns::default(),
            workers,
            door,
            throttle: Throttle::default(),
            house,
            authenticator: Authenticator::default(),
            errors: ErrorCounts::default(),
            commit_outcomes: ErrorCounts::default(),
            auth_failures: ErrorCounts::default(),
            reloaded: OnceLock::new(),
            state: State::default(),
            interner: Mutex::default(),
            ids: AtomicU64::new(1),
        })
    }

    /// The next id of a client or server.
    pub fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// The one shared value that equals `params`.
    pub fn intern(&self, params: Params) -> Arc<Params> {
        lock(&self.interner).intern(params)
    }

    /// The home of sockets that no worker has used yet.
    pub fn house_id(&self) -> WorkerId {
        WorkerId(self.workers.len() as u16)
    }

    /// Writes to the log why a client's session has ended, if that is to be logged.
    pub fn log_end(&self, client: &ClientHandle, reason: &str) {
        if self.config.load().global.log_disconnections {
            let age = Micros::now().since(client.connected_at) / 1_000_000;
            info!(client = client.id, database = %client.database, user = %client.user, peer = %client.remote, "closing because: {reason} (age={age}s)");
        }
    }
}

/// Locks; a panic elsewhere does not make the value unusable, because every change to one is whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
