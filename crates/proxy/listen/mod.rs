//! LISTEN in transaction mode: one connection listens for all clients of a database (setting `session_listen`).

mod connection;
mod hub;
mod mailbox;
pub mod names;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

pub use hub::{Hub, HubSnapshot};
pub use mailbox::Mailbox;
use names::Name;

use crate::pools::SharedPool;
use crate::random;
use crate::services::{Services, lock};

/// A database as clients know it, and the encoding in which its notifications come.
type Key = (Arc<str>, Box<[u8]>);

/// All connections that listen.
#[derive(Debug, Default)]
pub struct Listening {
    hubs: Mutex<HashMap<Key, Arc<Hub>>>,
    marks: OnceLock<Name>,
    deliveries: Arc<AtomicU64>,
}

/// How long transactions wait for listening in a planned failover.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why a client cannot be listened for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenError {
    /// The connection cannot be opened, or was lost.
    Lost(String),
    /// It has just ended: another one will do.
    Ended,
    /// It listens to as many channels as it may (setting `max_db_channels`).
    TooManyChannels,
}

impl Listening {
    /// The channel on which servers tell where a client's notifications begin: one that nobody else knows.
    pub fn marks(&self) -> &Name {
        self.marks.get_or_init(|| format!("pooler_{:032x}", u128::from_ne_bytes(random::bytes())).into_bytes().into())
    }

    /// The connection that listens for the clients of a database whose encoding this is. The first one's pool opens it.
    pub fn hub(&self, services: &Arc<Services>, pool: &Arc<SharedPool>, encoding: &[u8]) -> Arc<Hub> {
        let mut hubs = lock(&self.hubs);
        let key = (pool.database.clone(), encoding.into());
        if let Some(hub) = hubs.get(&key).filter(|hub| hub.ended().is_none()) {
            return hub.clone();
        }
        let counted = (self.marks().clone(), self.deliveries.clone());
        let hub = Arc::new(Hub::new(pool.database.clone(), encoding.into(), counted));
        services.house.spawn(connection::listen(services.clone(), pool.clone(), hub.clone()));
        hubs.insert(key, hub.clone());
        hub
    }

    /// Whoever listens from now on gets another connection than this one.
    fn part_with(&self, hub: &Arc<Hub>) {
        lock(&self.hubs).retain(|_, known| !Arc::ptr_eq(known, hub));
    }

    /// All there are.
    pub fn all(&self) -> Vec<Arc<Hub>> {
        let mut hubs: Vec<_> = lock(&self.hubs).values().cloned().collect();
        hubs.sort_by(|a, b| (&a.database, &a.encoding).cmp(&(&b.database, &b.encoding)));
        hubs
    }

    /// Notifications given to clients since the process began, counted once for each client.
    pub fn deliveries(&self) -> u64 {
        self.deliveries.load(Ordering::Relaxed)
    }

    fn of(&self, database: &str) -> Vec<Arc<Hub>> {
        self.all().into_iter().filter(|hub| *hub.database == *database).collect()
    }

    /// Before a primary is left that has no transactions any more: what they have sent is read to its end.
    pub async fn seal(&self, services: &Services, pools: &[Arc<SharedPool>]) {
        let concerned = self.all().into_iter().filter(|hub| pools.iter().any(|pool| pool.database == hub.database));
        let sealing = async {
            for hub in concerned {
                hub.seal(services.next_id()).await;
            }
        };
        // What is not sealed ends with its server, and those for whom it listens are told.
        let _ = tokio::time::timeout(PATIENCE, sealing).await;
    }

    /// The servers of this pool's database are others now.
    pub fn follow(&self, pool: &Arc<SharedPool>, why: &'static str) {
        self.of(&pool.database).iter().for_each(|hub| hub.follow(pool, why));
    }

    /// Transactions are about to begin again: what has to be waited for, if anything, so that none of their notifications
    /// is missed.
    pub fn unseal(&self, pools: &[Arc<SharedPool>]) -> Option<impl Future<Output = ()> + Send + use<>> {
        let resume =
            |pool: &Arc<SharedPool>| self.of(&pool.database).into_iter().filter_map(|hub| hub.unseal(pool)).collect();
        let waits: Vec<_> = pools.iter().flat_map(|pool| -> Vec<_> { resume(pool) }).collect();
        (!waits.is_empty()).then_some(async move {
            let all = async {
                for wait in waits {
                    let _ = wait.await;
                }
            };
            let _ = tokio::time::timeout(PATIENCE, all).await;
        })
    }

    /// Ends those of a database, and with them those for whom they listen.
    pub fn end(&self, database: &str, why: &'static str) {
        self.of(database).iter().for_each(|hub| hub.end(why));
    }
}
