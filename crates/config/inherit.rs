//! Who decides: user before database before global, settled once.

use std::time::Duration;

use crate::value::{Limit, Timeout};
use crate::words::{Hidden, Listening, Pinning, PoolMode};
use crate::{Config, Database, Formation, Host, Secret, User};

/// PostgreSQL's bound on names, in bytes (NAMEDATALEN - 1).
pub(crate) const MAX_NAME: usize = 63;

/// Room for a planned failover, which takes a few seconds, within anybody's `query_wait_timeout`.
const FAILOVER_PAUSE: Duration = Duration::from_secs(25);

/// Names of the console, which no database may have.
pub const CONSOLE_NAMES: [&str; 2] = ["pgbouncer", "pooler"];

/// What holds for one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Server connections of this pool.
    pub pool_size: Limit,
    /// Server connections kept open.
    pub min_pool_size: u32,
    /// Extra server connections for clients that have waited too long.
    pub reserve_pool_size: u32,
    /// When a server comes back.
    pub pool_mode: PoolMode,
    /// How long a client may wait for a server.
    pub query_wait_timeout: Timeout,
    /// Age at which a returning server is closed; zero = each is used once.
    pub server_lifetime: Duration,
    /// Server connections over all pools of the database.
    pub max_db_connections: Limit,
    /// Server connections over all pools of the user.
    pub max_user_connections: Limit,
    /// How long a query may run.
    pub query_timeout: Timeout,
    /// How long a client may sit in an open transaction.
    pub idle_transaction_timeout: Timeout,
    /// How long a transaction may be open.
    pub transaction_timeout: Timeout,
    /// Servers that clients may keep beyond their transactions.
    pub max_pinned: u32,
    /// What becomes of what cannot move to another server.
    pub session: SessionState,
}

/// What becomes, in transaction mode, of a client that leaves such a thing in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionState {
    /// Session advisory locks.
    pub advisory_locks: Pinning,
    /// Temporary tables.
    pub temporary_tables: Pinning,
    /// Cursors `WITH HOLD`.
    pub hold_cursors: Pinning,
    /// Channels.
    pub listen: Listening,
    /// Statements prepared by SQL.
    pub prepare: Pinning,
    /// What no server tells of.
    pub hidden: Hidden,
}

/// What holds for one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// How long a client may be idle outside a transaction.
    pub client_idle_timeout: Timeout,
    /// How long it may wait for a server.
    pub query_wait_timeout: Timeout,
    /// Clients that may be logged in as this user.
    pub max_user_client_connections: Limit,
    /// Clients that may be logged in to this database.
    pub max_db_client_connections: Limit,
}

/// How a user is looked up who is not in `auth_file`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthLookup<'a> {
    /// Who asks (`auth_user`).
    pub user: &'a str,
    /// The question (`auth_query`); the name of the user who logs in is `$1`.
    pub query: &'a str,
    /// The database, by its name in this configuration, where it is asked (`auth_dbname`).
    pub dbname: &'a str,
}

impl Config {
    /// The database a client asked for: its own entry, or a copy of `*` under the name asked for.
    ///
    /// The console's names and names longer than PostgreSQL's limit are never found.
    pub fn find_database(&self, name: &str) -> Option<Database> {
        if CONSOLE_NAMES.contains(&name) || name.len() > MAX_NAME {
            return None;
        }
        let exact = self.databases.get(name).cloned();
        exact.or_else(|| self.databases.get("*").map(|all| Database { name: name.to_string(), ..all.clone() }))
    }

    /// Settles a pool. `pool_user` is who logs in to the server: the database's forced user, if it has one.
    pub fn pool_settings(&self, database: &Database, pool_user: &str) -> PoolSettings {
        let nothing = User::default();
        let (user, global) = (self.users.get(pool_user).unwrap_or(&nothing), &self.global);
        let pool_size = user.pool_size.or(database.pool_size).unwrap_or(global.default_pool_size);
        let half = pool_size.map_or(u32::MAX, |size| (size / 2).max(1));
        PoolSettings {
            pool_size,
            min_pool_size: database.min_pool_size.unwrap_or(global.min_pool_size),
            reserve_pool_size: user
                .reserve_pool_size
                .or(database.reserve_pool_size)
                .unwrap_or(global.reserve_pool_size),
            pool_mode: user.pool_mode.or(database.pool_mode).unwrap_or(global.pool_mode),
            query_wait_timeout: self.query_wait_timeout(database, user),
            server_lifetime: database.server_lifetime.unwrap_or(global.server_lifetime),
            max_db_connections: database.max_db_connections.or(global.max_db_connections),
            max_user_connections: user.max_user_connections.or(global.max_user_connections),
            query_timeout: user.query_timeout.or(global.query_timeout),
            idle_transaction_timeout: user.idle_transaction_timeout.or(global.idle_transaction_timeout),
            transaction_timeout: user.transaction_timeout.or(global.transaction_timeout),
            max_pinned: database.max_pinned.or(global.max_pinned).unwrap_or(half),
            session: SessionState {
                advisory_locks: database.session_advisory_locks.unwrap_or(global.session_advisory_locks),
                temporary_tables: database.session_temporary_tables.unwrap_or(global.session_temporary_tables),
                hold_cursors: database.session_hold_cursors.unwrap_or(global.session_hold_cursors),
                listen: database.session_listen.unwrap_or(global.session_listen),
                prepare: database.session_prepare.unwrap_or(global.session_prepare),
                hidden: database.session_hidden.unwrap_or(global.session_hidden),
            },
        }
    }

    /// Settles a client. `login_user` is who the client says it is, also where the database forces another user.
    pub fn client_settings(&self, database: &Database, login_user: &str) -> ClientSettings {
        let nothing = User::default();
        let (user, global) = (self.users.get(login_user).unwrap_or(&nothing), &self.global);
        ClientSettings {
            client_idle_timeout: user.client_idle_timeout.or(global.client_idle_timeout),
            query_wait_timeout: self.query_wait_timeout(database, user),
            max_user_client_connections: user.max_user_client_connections.or(global.max_user_client_connections),
            max_db_client_connections: database.max_db_client_connections.or(global.max_db_client_connections),
        }
    }

    /// How users of this database are looked up; `None` if there is no `auth_user`.
    ///
    /// Without `auth_dbname` the client's own database is asked, which the console is not: nobody is looked up for it.
    pub fn auth_lookup<'a>(&'a self, database: &'a Database) -> Option<AuthLookup<'a>> {
        let global = &self.global;
        let decide = |own: &'a Option<String>, global: &'a str| own.as_deref().unwrap_or(global);
        let user = decide(&database.auth_user, &global.auth_user);
        let dbname = match decide(&database.auth_dbname, &global.auth_dbname) {
            "" => &database.name,
            named => named,
        };
        if user.is_empty() || CONSOLE_NAMES.contains(&dbname) {
            return None;
        }
        Some(AuthLookup { user, query: decide(&database.auth_query, &global.auth_query), dbname })
    }

    fn query_wait_timeout(&self, database: &Database, user: &User) -> Timeout {
        user.query_wait_timeout.or(database.query_wait_timeout).unwrap_or(self.global.query_wait_timeout)
    }

    /// The formation whose nodes are the servers of a database.
    pub fn formation_of(&self, database: &Database) -> Option<&Formation> {
        self.formations.get(database.formation.as_deref()?)
    }

    /// What proves the identity of a monitor's user to the monitor: from its URI, from `password` or from `auth_file`.
    pub fn monitor_secret<'a>(&'a self, formation: &'a Formation) -> Option<&'a Secret> {
        let own = formation.monitor.password.as_ref().or(formation.password.as_ref());
        own.or_else(|| self.userlist.get(&formation.monitor.user))
    }

    /// How long the pause of a planned failover lasts at most; operators' own pauses only end if `pause_expiry` says so.
    pub fn failover_pause(&self) -> Duration {
        self.global.pause_expiry.unwrap_or(FAILOVER_PAUSE)
    }

    /// Where the servers of a database are: its hosts, or the Unix socket directory. None if it follows a formation.
    pub fn hosts(&self, database: &Database) -> Vec<Host> {
        if database.formation.is_some() {
            Vec::new()
        } else if database.hosts.is_empty() {
            vec![Host::Unix(self.global.unix_socket_dir.clone().into())]
        } else {
            database.hosts.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let text = "
            [databases.app]
            pool_size = 5
            query_wait_timeout = 30
            max_db_client_connections = 7
            [databases.'*']
            host = 'elsewhere'
            [users.joe]
            pool_size = 0
            query_wait_timeout = 0
            client_idle_timeout = 9
            pool_mode = 'statement'
        ";
        Config::from_text(std::path::Path::new("x.toml"), text).unwrap_or_else(|problems| panic!("{problems}")).config
    }

    #[test]
    fn user_decides_before_database_before_global() {
        let config = config();
        let app = config.find_database("app").unwrap();
        let anyone = config.pool_settings(&app, "ann");
        assert_eq!((anyone.pool_size, anyone.pool_mode), (Some(5), PoolMode::Session));
        assert_eq!(anyone.query_wait_timeout, Some(Duration::from_secs(30)));
        let joe = config.pool_settings(&app, "joe");
        assert_eq!((joe.pool_size, joe.pool_mode, joe.query_wait_timeout), (None, PoolMode::Statement, None));
        let elsewhere = config.find_database("other").unwrap();
        assert_eq!(config.pool_settings(&elsewhere, "ann").pool_size, Some(20));
        assert_eq!((anyone.max_pinned, config.pool_settings(&elsewhere, "ann").max_pinned), (2, 10));
    }

    #[test]
    fn a_client_follows_the_user_who_logged_in() {
        let config = config();
        let app = config.find_database("app").unwrap();
        let joe = config.client_settings(&app, "joe");
        assert_eq!(joe.client_idle_timeout, Some(Duration::from_secs(9)));
        assert_eq!(joe.max_db_client_connections, Some(7));
        assert_eq!(config.client_settings(&app, "ann").client_idle_timeout, None);
    }

    #[test]
    fn a_lookup_is_settled_per_database_and_asks_the_clients_own_by_default() {
        let text = "
            auth_user = 'asker'
            [databases.app]
            [databases.own]
            auth_user = 'other'
            auth_query = 'select $1, 2'
            auth_dbname = 'app'
            [databases.none]
            auth_user = ''
        ";
        let mut config = Config::from_text(std::path::Path::new("x.toml"), text).unwrap().config;
        let app = config.find_database("app").unwrap();
        let expected = AuthLookup { user: "asker", query: crate::AUTH_QUERY, dbname: "app" };
        assert_eq!(config.auth_lookup(&app), Some(expected));
        let own = config.find_database("own").unwrap();
        let expected = AuthLookup { user: "other", query: "select $1, 2", dbname: "app" };
        assert_eq!(config.auth_lookup(&own), Some(expected));
        assert_eq!(config.auth_lookup(&config.find_database("none").unwrap()), None);
        let console = Database { name: "pgbouncer".into(), ..Database::default() };
        assert_eq!(config.auth_lookup(&console), None);
        config.global.auth_dbname = "app".into();
        assert_eq!(config.auth_lookup(&console).map(|lookup| lookup.dbname), Some("app"));
        assert_eq!(Config::default().auth_lookup(&app), None);
    }

    #[test]
    fn a_monitors_secret_is_in_its_uri_or_beside_it_or_in_auth_file() {
        let text = "
            [formations.uri]
            monitor = 'postgres://u:a@h'
            [formations.beside]
            monitor = 'postgres://u@h'
            password = 'b'
            [formations.file]
            monitor = 'postgres://u@h'
            [formations.none]
            monitor = 'postgres://v@h'
        ";
        let mut config = Config::from_text(std::path::Path::new("x.toml"), text).unwrap().config;
        config.userlist.insert("u".into(), Secret::parse("c"));
        let found = ["uri", "beside", "file", "none"].map(|name| config.monitor_secret(&config.formations[name]));
        assert_eq!(found.map(|secret| secret.map(Secret::reveal)), [Some("a"), Some("b"), Some("c"), None]);
    }

    #[test]
    fn the_pause_of_a_failover_always_ends() {
        let mut config = Config::default();
        assert_eq!(config.failover_pause(), Duration::from_secs(25));
        config.global.pause_expiry = Some(Duration::from_secs(10));
        assert_eq!(config.failover_pause(), Duration::from_secs(10));
    }

    #[test]
    fn the_fallback_takes_the_name_that_was_asked_for() {
        let config = config();
        let found = config.find_database("shop").unwrap();
        assert_eq!((found.name.as_str(), found.server_dbname()), ("shop", "shop"));
        assert_eq!(config.hosts(&found), [Host::Tcp("elsewhere".into())]);
        assert_eq!(config.hosts(&config.find_database("app").unwrap()), [Host::Unix("/tmp".into())]);
        for name in ["pgbouncer", "pooler", &"x".repeat(64)] {
            assert_eq!(config.find_database(name), None, "{name}");
        }
        assert_eq!(Config::default().find_database("app"), None);
    }
}
