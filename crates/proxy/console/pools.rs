//! SHOW POOLS, and the same numbers for the metrics page.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{CONSOLE_NAMES, Config, Database, PoolMode};
use pool::Counts;

use super::table::{Answer, Table, int4, maybe, text};
use crate::client::handle::Doing;
use crate::pools::SharedPool;
use crate::server::info::ServerState;
use crate::services::Services;

type Key = (Arc<str>, Arc<str>);

/// One pool at one moment.
#[derive(Debug)]
pub struct PoolRow {
    /// Name of the database as clients know it.
    pub database: Arc<str>,
    /// The user its servers log in as.
    pub user: Arc<str>,
    /// Clients that do not wait.
    pub clients_active: u64,
    /// Servers and those who wait.
    pub counts: Counts,
    /// What its servers do.
    pub servers: ServerStates,
    /// How long the first in line has waited.
    pub maxwait: Duration,
    /// When servers are returned.
    pub mode: PoolMode,
    /// How a list of hosts is used; none where there is no list.
    pub balance: Option<&'static str>,
}

/// What the servers of a pool do, as far as the pool itself does not know.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerStates {
    /// Being checked or reset.
    pub tested: u64,
    /// Wanted still for a cancel.
    pub being_canceled: u64,
    /// Cancels on their way to servers.
    pub cancels: u64,
}

impl PoolRow {
    /// Servers that work for a client.
    pub fn active(&self) -> u64 {
        (self.counts.lent as u64).saturating_sub(self.servers.tested + self.servers.being_canceled)
    }
}

pub(super) static POOLS: Table<PoolRow> = Table {
    columns: &[
        text("database", |p| p.database.to_string()),
        text("user", |p| p.user.to_string()),
        int4("cl_active", |p| p.clients_active),
        int4("cl_waiting", |p| p.counts.waiting as u64),
        int4("cl_active_cancel_req", |p| p.servers.cancels),
        int4("cl_waiting_cancel_req", |_| 0),
        int4("sv_active", PoolRow::active),
        int4("sv_active_cancel", |p| p.servers.cancels),
        int4("sv_being_canceled", |p| p.servers.being_canceled),
        int4("sv_idle", |p| p.counts.idle as u64),
        int4("sv_used", |_| 0),
        int4("sv_tested", |p| p.servers.tested),
        int4("sv_login", |p| p.counts.opening as u64),
        int4("maxwait", |p| p.maxwait.as_secs()),
        int4("maxwait_us", |p| p.maxwait.subsec_micros().into()),
        text("pool_mode", |p| p.mode.to_string()),
        maybe("load_balance_hosts", |p| p.balance.map(str::to_owned)),
    ],
};

pub(super) fn pools(services: &Services) -> Answer {
    POOLS.answer(snapshot(services).into_iter())
}

/// All pools, and the console's, in alphabetical order.
pub fn snapshot(services: &Services) -> Vec<PoolRow> {
    let config = services.config.load_full();
    let clients = clients_by_pool(services, &config);
    let servers = servers_by_pool(services);
    let mut rows: Vec<_> = services
        .pools
        .all()
        .iter()
        .map(|pool| row(&config, pool, &clients, &servers))
        .chain([console(services)])
        .collect();
    rows.sort_by(|a, b| (&a.database, &a.user).cmp(&(&b.database, &b.user)));
    rows
}

fn row(
    config: &Config,
    pool: &SharedPool,
    clients: &HashMap<Key, u64>,
    servers: &HashMap<Key, ServerStates>,
) -> PoolRow {
    let key = (pool.database.clone(), pool.user.clone());
    let database = config.find_database(&pool.database).unwrap_or_default();
    let counts = pool.counts();
    PoolRow {
        clients_active: clients.get(&key).copied().unwrap_or(0),
        servers: servers.get(&key).copied().unwrap_or_default(),
        maxwait: counts
            .oldest_wait_since
            .map_or(Duration::ZERO, |since| Instant::now().saturating_duration_since(since)),
        counts,
        mode: config.pool_settings(&database, &key.1).pool_mode,
        balance: balance(&database),
        database: key.0,
        user: key.1,
    }
}

/// The console is shown as a pool too, so that its clients are not missing.
fn console(services: &Services) -> PoolRow {
    let clients = services.clients.all();
    PoolRow {
        database: "pgbouncer".into(),
        user: "pgbouncer".into(),
        clients_active: clients.iter().filter(|client| CONSOLE_NAMES.contains(&&*client.database)).count() as u64,
        counts: Counts::default(),
        servers: ServerStates::default(),
        maxwait: Duration::ZERO,
        mode: PoolMode::Statement,
        balance: None,
    }
}

/// PgBouncer's column `load_balance_hosts`: only where there is something to balance.
pub(super) fn balance(database: &Database) -> Option<&'static str> {
    (database.hosts.len() > 1).then(|| database.load_balance_hosts.as_str())
}

/// Clients that do not wait, by database and the user of their pool.
fn clients_by_pool(services: &Services, config: &Config) -> HashMap<Key, u64> {
    let mut forced: HashMap<Arc<str>, Option<Arc<str>>> = HashMap::new();
    let mut counts: HashMap<Key, u64> = HashMap::new();
    for client in services.clients.all().into_iter().filter(|client| client.doing() != Doing::Waiting) {
        let user = forced
            .entry(client.database.clone())
            .or_insert_with(|| config.find_database(&client.database).and_then(|found| found.user).map(Arc::from));
        let user = user.clone().unwrap_or_else(|| client.user.clone());
        *counts.entry((client.database.clone(), user)).or_default() += 1;
    }
    counts
}

fn servers_by_pool(services: &Services) -> HashMap<Key, ServerStates> {
    let mut states: HashMap<Key, ServerStates> = HashMap::new();
    for server in services.servers.all() {
        let states = states.entry((server.database.clone(), server.user.clone())).or_default();
        states.cancels += server.cancels();
        match server.state() {
            ServerState::Tested => states.tested += 1,
            ServerState::BeingCanceled => states.being_canceled += 1,
            ServerState::Idle | ServerState::Active => {}
        }
    }
    states
}
