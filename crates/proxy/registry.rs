//! Who is logged in: touched at login and logout, read by the console, metrics and cancels.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use config::{ClientSettings, Global};

use crate::client::handle::ClientHandle;
use crate::error::ClientError;
use crate::server::info::ServerInfo;
use crate::services::lock;

/// All clients that are logged in, and those that are about to be.
#[derive(Debug, Default)]
pub struct Clients {
    table: Mutex<ClientTable>,
}

#[derive(Debug, Default)]
struct ClientTable {
    by_pid: HashMap<u32, Arc<ClientHandle>>,
    connected: u32,
    logging_in: u32,
    accepted: u64,
    per_database: HashMap<Arc<str>, u32>,
    per_user: HashMap<Arc<str>, u32>,
    /// Of those who are logging in.
    per_address: HashMap<IpAddr, u32>,
}

impl Clients {
    /// Counts a peer that has not logged in yet.
    ///
    /// # Errors
    /// When `max_unauthenticated_conn` of them are there, or `max_unauthenticated_conn_per_address` from its address.
    pub fn begin_login(&self, global: &Global, address: Option<IpAddr>) -> Result<(), ClientError> {
        let mut table = lock(&self.table);
        table.accepted += 1;
        if table.logging_in >= global.max_unauthenticated_conn {
            return Err(ClientError::TooManyLogins);
        }
        if let Some(address) = address {
            let same = table.per_address.entry(address).or_default();
            if global.max_unauthenticated_conn_per_address.is_some_and(|limit| *same >= limit) {
                return Err(ClientError::TooManyLoginsFromAddress);
            }
            *same += 1;
        }
        table.logging_in += 1;
        Ok(())
    }

    /// The peer has logged in, or is gone.
    pub fn end_login(&self, address: Option<IpAddr>) {
        let mut table = lock(&self.table);
        table.logging_in -= 1;
        if let Some(address) = address {
            decrement(&mut table.per_address, &address);
        }
    }

    /// Takes a place for a client of `max_client_conn` and of its database's and user's limits.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn admit(
        &self,
        database: &Arc<str>,
        user: &Arc<str>,
        max_client_conn: u32,
        limits: &ClientSettings,
    ) -> Result<(), ClientError> {
        let mut table = lock(&self.table);
        let full = |counts: &HashMap<Arc<str>, u32>, name, limit: Option<u32>| {
            limit.is_some_and(|limit| counts.get(name).copied().unwrap_or(0) >= limit)
        };
        let consoles: u32 = config::CONSOLE_NAMES.iter().filter_map(|name| table.per_database.get(*name)).sum();
        if table.connected - consoles >= max_client_conn {
            return Err(ClientError::MaxClientConn);
        }
        if full(&table.per_database, database, limits.max_db_client_connections) {
            return Err(ClientError::MaxDbClientConnections);
        }
        if full(&table.per_user, user, limits.max_user_client_connections) {
            return Err(ClientError::MaxUserClientConnections);
        }
        table.join(database, user);
        Ok(())
    }

    /// Takes a place for a console, which no limit keeps out.
    pub fn admit_console(&self, database: &Arc<str>, user: &Arc<str>) {
        lock(&self.table).join(database, user);
    }

    /// Gives the place back.
    pub fn leave(&self, database: &Arc<str>, user: &Arc<str>) {
        let mut table = lock(&self.table);
        table.connected -= 1;
        decrement(&mut table.per_database, database);
        decrement(&mut table.per_user, user);
    }

    /// Makes a client known under a process id that no other has; `make` is given the id.
    pub fn add(&self, random: impl Fn() -> u32, make: impl FnOnce(u32) -> ClientHandle) -> Arc<ClientHandle> {
        let mut table = lock(&self.table);
        let pid = loop {
            // The sign bit stays clear: drivers keep process ids in signed numbers.
            let pid = random() & 0x7fff_ffff;
            if pid != 0 && !table.by_pid.contains_key(&pid) {
                break pid;
            }
        };
        let client = Arc::new(make(pid));
        table.by_pid.insert(pid, client.clone());
        client
    }

    /// Forgets a client.
    pub fn remove(&self, pid: u32) {
        lock(&self.table).by_pid.remove(&pid);
    }

    /// The client with this process id.
    pub fn by_pid(&self, pid: u32) -> Option<Arc<ClientHandle>> {
        lock(&self.table).by_pid.get(&pid).cloned()
    }

    /// All clients, in the order they came.
    pub fn all(&self) -> Vec<Arc<ClientHandle>> {
        let mut all: Vec<_> = lock(&self.table).by_pid.values().cloned().collect();
        all.sort_by_key(|client| client.id);
        all
    }

    /// How many are connected, and how many are logging in.
    pub fn counts(&self) -> (u32, u32) {
        let table = lock(&self.table);
        (table.connected, table.logging_in)
    }

    /// How many have ever connected.
    pub fn accepted(&self) -> u64 {
        lock(&self.table).accepted
    }

    /// How many clients a database has.
    pub fn of_database(&self, name: &str) -> u32 {
        lock(&self.table).per_database.get(name).copied().unwrap_or(0)
    }

    /// How many clients a user has.
    pub fn of_user(&self, name: &str) -> u32 {
        lock(&self.table).per_user.get(name).copied().unwrap_or(0)
    }
}

impl ClientTable {
    fn join(&mut self, database: &Arc<str>, user: &Arc<str>) {
        self.connected += 1;
        *self.per_database.entry(database.clone()).or_default() += 1;
        *self.per_user.entry(user.clone()).or_default() += 1;
    }
}

fn decrement<K: Eq + Hash>(counts: &mut HashMap<K, u32>, name: &K) {
    if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
}

/// All servers that are logged in.
#[derive(Debug, Default)]
pub struct Servers {
    by_id: Mutex<HashMap<u64, Arc<ServerInfo>>>,
}

impl Servers {
    /// Makes a server known.
    pub fn add(&self, server: Arc<ServerInfo>) {
        lock(&self.by_id).insert(server.id, server);
    }

    /// Forgets a server.
    pub fn remove(&self, id: u64) {
        lock(&self.by_id).remove(&id);
    }

    /// The server with this id.
    pub fn by_id(&self, id: u64) -> Option<Arc<ServerInfo>> {
        lock(&self.by_id).get(&id).cloned()
    }

    /// All servers, in the order they came.
    pub fn all(&self) -> Vec<Arc<ServerInfo>> {
        let mut all: Vec<_> = lock(&self.by_id).values().cloned().collect();
        all.sort_by_key(|server| server.id);
        all
    }
}
