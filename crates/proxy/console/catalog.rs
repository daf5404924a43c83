//! SHOW DATABASES and SHOW USERS.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use config::{CONSOLE_NAMES, Config, Database, User};
use pool::{Scope, ScopeId};

use super::pools::balance;
use super::table::{Answer, Table, int4, maybe, text};
use crate::services::{Services, lock};

/// One database as it is configured, and how it is used.
#[derive(Debug)]
pub struct DatabaseRow {
    /// Name as clients know it.
    pub name: String,
    /// Where its servers are, or the primary it follows; none for the Unix socket.
    pub host: Option<String>,
    /// Port there.
    pub port: u16,
    /// Name on the server.
    pub database: String,
    /// The user all clients share on servers.
    pub force_user: Option<String>,
    /// Servers per pool, 0 for no limit.
    pub pool_size: u32,
    /// Servers kept per pool.
    pub min_pool_size: u32,
    /// More servers per pool.
    pub reserve_pool_size: u32,
    /// Seconds.
    pub server_lifetime: u64,
    /// None where the global setting decides.
    pub pool_mode: Option<&'static str>,
    /// None where there is one host.
    pub balance: Option<&'static str>,
    /// Servers over all pools, 0 for no limit.
    pub max_connections: u32,
    /// Servers there are.
    pub current_connections: u32,
    /// Clients, 0 for no limit.
    pub max_client_connections: u32,
    /// Clients there are.
    pub current_client_connections: u32,
    /// Whether PAUSE or KILL of this database is in force.
    pub paused: bool,
    /// Whether DISABLE is in force.
    pub disabled: bool,
}

pub(super) static DATABASES: Table<DatabaseRow> = Table {
    columns: &[
        text("name", |d| d.name.clone()),
        maybe("host", |d| d.host.clone()),
        int4("port", |d| d.port.into()),
        text("database", |d| d.database.clone()),
        maybe("force_user", |d| d.force_user.clone()),
        int4("pool_size", |d| d.pool_size.into()),
        int4("min_pool_size", |d| d.min_pool_size.into()),
        int4("reserve_pool_size", |d| d.reserve_pool_size.into()),
        int4("server_lifetime", |d| d.server_lifetime),
        maybe("pool_mode", |d| d.pool_mode.map(str::to_owned)),
        maybe("load_balance_hosts", |d| d.balance.map(str::to_owned)),
        int4("max_connections", |d| d.max_connections.into()),
        int4("current_connections", |d| d.current_connections.into()),
        int4("max_client_connections", |d| d.max_client_connections.into()),
        int4("current_client_connections", |d| d.current_client_connections.into()),
        int4("paused", |d| d.paused.into()),
        int4("disabled", |d| d.disabled.into()),
    ],
};

pub(super) fn databases(services: &Services) -> Answer {
    DATABASES.answer(snapshot(services).into_iter())
}

/// All databases with an entry or a pool, and the console, in alphabetical order.
pub fn snapshot(services: &Services) -> Vec<DatabaseRow> {
    let config = services.config.load_full();
    let mut scopes: BTreeMap<String, Option<ScopeId>> =
        config.databases.keys().filter(|name| *name != "*").map(|name| (name.clone(), None)).collect();
    for pool in services.pools.all() {
        scopes.insert(pool.database.to_string(), Some(pool.scopes.0));
    }
    let known = scopes.into_iter().filter_map(|(name, scope)| Some((config.find_database(&name)?, scope)));
    let mut rows: Vec<_> = known.map(|(database, scope)| database_row(services, &config, &database, scope)).collect();
    rows.push(console(services, &config));
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

fn database_row(services: &Services, config: &Config, database: &Database, scope: Option<ScopeId>) -> DatabaseRow {
    let name = &database.name;
    // Settled for no user in particular: nobody has an empty name.
    let pool = config.pool_settings(database, "");
    let hosts: Vec<_> = database.hosts.iter().map(ToString::to_string).collect();
    let nodes = services.follow.followed(database).map(|followed| followed.nodes()).unwrap_or_default();
    let node = nodes.first().map(|node| node.parts());
    let listed = (!hosts.is_empty()).then(|| hosts.join(","));
    DatabaseRow {
        name: name.clone(),
        host: node.as_ref().map(|(host, _)| host.clone()).or(listed),
        port: node.map_or(database.port, |(_, port)| port),
        database: database.server_dbname().to_owned(),
        force_user: database.user.clone(),
        pool_size: pool.pool_size.unwrap_or(0),
        min_pool_size: pool.min_pool_size,
        reserve_pool_size: pool.reserve_pool_size,
        server_lifetime: pool.server_lifetime.as_secs(),
        pool_mode: database.pool_mode.map(config::PoolMode::as_str),
        balance: balance(database),
        max_connections: pool.max_db_connections.unwrap_or(0),
        current_connections: scope.map_or(0, |scope| lock(&services.budget).used(Scope::Database(scope))),
        max_client_connections: config.client_settings(database, "").max_db_client_connections.unwrap_or(0),
        current_client_connections: services.clients.of_database(name),
        paused: services.state.paused(Some(name)).is_some(),
        disabled: services.state.is_disabled(name),
    }
}

/// PgBouncer's row for its console, whose numbers have no meaning.
fn console(services: &Services, config: &Config) -> DatabaseRow {
    DatabaseRow {
        name: "pgbouncer".to_owned(),
        host: None,
        port: config.global.listen_port,
        database: "pgbouncer".to_owned(),
        force_user: Some("pgbouncer".to_owned()),
        pool_size: 2,
        min_pool_size: 0,
        reserve_pool_size: 0,
        server_lifetime: config.global.server_lifetime.as_secs(),
        pool_mode: Some("statement"),
        balance: None,
        max_connections: 0,
        current_connections: 0,
        max_client_connections: 0,
        current_client_connections: CONSOLE_NAMES.iter().map(|name| services.clients.of_database(name)).sum(),
        paused: false,
        disabled: false,
    }
}

/// One user as configured, and how it is used.
#[derive(Debug)]
pub(super) struct UserRow {
    name: String,
    user: User,
    max_connections: u32,
    current_connections: u32,
    max_clients: u32,
    current_clients: u32,
}

pub(super) static USERS: Table<UserRow> = Table {
    columns: &[
        text("name", |u| u.name.clone()),
        text("pool_size", |u| aligned(u.user.pool_size.map(|size| size.unwrap_or(0)))),
        text("reserve_pool_size", |u| aligned(u.user.reserve_pool_size)),
        maybe("pool_mode", |u| u.user.pool_mode.map(|mode| mode.to_string())),
        int4("max_user_connections", |u| u.max_connections.into()),
        int4("current_connections", |u| u.current_connections.into()),
        int4("max_user_client_connections", |u| u.max_clients.into()),
        int4("current_client_connections", |u| u.current_clients.into()),
    ],
};

/// PgBouncer's way of writing a number that may be missing.
fn aligned(number: Option<u32>) -> String {
    number.map_or_else(String::new, |number| format!("{number:>9}"))
}

pub(super) fn users(services: &Services) -> Answer {
    let config = services.config.load_full();
    let scopes: BTreeMap<Arc<str>, ScopeId> =
        services.pools.all().iter().map(|pool| (pool.user.clone(), pool.scopes.1)).collect();
    let rows: Vec<_> =
        user_names(services).into_iter().map(|name| user_row(services, &config, name, &scopes)).collect();
    USERS.answer(rows.into_iter())
}

/// All users of the configuration, of pools and of consoles.
pub(super) fn user_names(services: &Services) -> BTreeSet<String> {
    let config = services.config.load();
    let configured = config.userlist.keys().chain(config.users.keys()).cloned();
    let pools = services.pools.all();
    let in_use = pools.iter().map(|pool| pool.user.to_string());
    configured.chain(in_use).chain(["pgbouncer".to_owned()]).collect()
}

fn user_row(services: &Services, config: &Config, name: String, scopes: &BTreeMap<Arc<str>, ScopeId>) -> UserRow {
    let database = Database::default();
    let used = |scope: &ScopeId| lock(&services.budget).used(Scope::User(*scope));
    UserRow {
        max_connections: config.pool_settings(&database, &name).max_user_connections.unwrap_or(0),
        current_connections: scopes.get(&*name).map_or(0, used),
        max_clients: config.client_settings(&database, &name).max_user_client_connections.unwrap_or(0),
        current_clients: services.clients.of_user(&name),
        user: config.users.get(&name).cloned().unwrap_or_default(),
        name,
    }
}
