//! What can be said per database, per user, per formation and per peer.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::monitor::Monitor;
use crate::raw::Raw;
use crate::secret::Secret;
use crate::table::{Inherit, Key, Setting, manual, read_override, reload, scope};
use crate::value::{Limit, Timeout, Value, quote};
use crate::words::{Hidden, Listening, LoadBalanceHosts, Pinning, PoolMode, Role, TargetSessionAttrs};

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A host name or address.
    Tcp(String),
    /// The directory of a Unix socket; with a leading `@` a socket in the abstract namespace.
    Unix(PathBuf),
}

impl Host {
    /// Tells a directory from a name as libpq does: by its first character.
    pub fn parse(text: &str) -> Self {
        if text.starts_with(['/', '@']) { Self::Unix(text.into()) } else { Self::Tcp(text.to_string()) }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(name) => f.write_str(name),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Value for Vec<Host> {
    const EXPECTED: &'static str = "a host, or several as a list or separated by commas";

    fn read(raw: &Raw) -> Result<Self, String> {
        let names = Vec::<String>::read(raw).map_err(|_| raw.not(Self::EXPECTED))?;
        if names.is_empty() {
            return Err("host must not be empty".into());
        }
        match names.iter().find(|name| name.contains(char::is_whitespace)) {
            Some(name) => Err(format!("host {name:?} contains a space")),
            None => Ok(names.iter().map(|name| Host::parse(name)).collect()),
        }
    }

    fn text(&self) -> String {
        self.iter().map(Host::to_string).collect::<Vec<_>>().join(",")
    }

    fn toml(&self) -> String {
        match self.as_slice() {
            [host] => quote(&host.to_string()),
            hosts => format!("[{}]", hosts.iter().map(|host| quote(&host.to_string())).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// What pg_auto_failover itself asks of a standby before commits wait for it (enable_sync_wal_log_threshold).
const MAX_LAG: u32 = 16 << 20;

scope! {
    /// A database clients can ask for; `None` where the global setting decides.
    pub struct Database; rows DATABASE;

    plain {
        /// The name clients ask for; `*` is the fallback for every other name.
        name: String = String::new();
    }

    fixed {
        /// Where the server is; a list is used in turn. Default: the Unix socket in unix_socket_dir.
        "host" hosts: Vec<Host> = Vec::new(), reload();
        /// Port of every host.
        "port" port: u16 = 5432, reload().range(1, 65535);
        /// How a list of hosts is used: round-robin, or disable = stay with one until it fails.
        "load_balance_hosts" load_balance_hosts: LoadBalanceHosts = LoadBalanceHosts::RoundRobin, reload();
        /// What a host must prove before it is used: any = nothing, read-write = that it is the primary.
        "target_session_attrs" target_session_attrs: TargetSessionAttrs = TargetSessionAttrs::Any, reload();
        /// Which nodes of the formation: primary, or standby = those that can be read.
        "role" role: Role = Role::Primary, reload();
        /// Bytes of WAL a standby may be behind (default 16 MB). 0 = unlimited.
        "max_lag" max_lag: Limit = Some(MAX_LAG), reload();
    }

    overrides {
        /// Formation whose nodes are the servers, instead of host and port.
        formation: String, Absent;
        /// Name of the database on the server. Default: the name clients ask for.
        dbname: String, Absent;
        /// Log in to the server as this user, whoever the client is.
        user: String, Absent;
        /// Password of that user. Default: the secret in auth_file.
        password: Secret, Absent;
        /// User who runs auth_query.
        auth_user: String, Absent;
        /// Query that finds the secret of a user who is not in auth_file.
        auth_query: String, Absent;
        /// Database in which auth_query runs.
        auth_dbname: String, Absent;
        /// Server connections per pool. 0 = unlimited, -1 = default_pool_size.
        pool_size: Limit, Negative;
        /// Server connections kept open per pool.
        min_pool_size: u32, Negative;
        /// Extra server connections per pool.
        reserve_pool_size: u32, Negative;
        /// When a server goes back to its pool.
        pool_mode: PoolMode, Absent;
        /// Server connections over all pools of this database. 0 = the global setting.
        max_db_connections: u32, ZeroOrLess;
        /// Servers per pool that clients may keep for what cannot move. 0 = the global setting.
        max_pinned: u32, ZeroOrLess;
        /// Session advisory locks in transaction mode: pin, warn or refuse.
        session_advisory_locks: Pinning, Absent;
        /// What no server tells of in transaction mode: ignore, reset, pin or refuse.
        session_hidden: Hidden, Absent;
        /// Cursors WITH HOLD in transaction mode: pin, warn or refuse.
        session_hold_cursors: Pinning, Absent;
        /// LISTEN in transaction mode: serve, pin, warn or refuse.
        session_listen: Listening, Absent;
        /// PREPARE, as SQL, in transaction mode: pin, warn or refuse.
        session_prepare: Pinning, Absent;
        /// Temporary tables in transaction mode: pin, warn or refuse.
        session_temporary_tables: Pinning, Absent;
        /// Clients of this database. 0 = the global setting.
        max_db_client_connections: u32, ZeroOrLess;
        /// Close servers older than this. 0 = the global setting.
        server_lifetime: Duration, ZeroOrLess;
        /// Disconnect clients that have waited for a server for so long. 0 = never.
        query_wait_timeout: Timeout, Negative;
        /// Run once on each new server connection.
        connect_query: String, Absent;
        /// Sent when logging in to the server.
        client_encoding: String, Absent;
        /// Sent when logging in to the server.
        datestyle: String, Absent;
        /// Sent when logging in to the server.
        timezone: String, Absent;
        /// Sent when logging in to the server.
        application_name: String, Absent;
    }
}

scope! {
    /// What is special about a user; `None` where database or global setting decide.
    pub struct User; rows USER;

    plain {}
    fixed {}
    overrides {
        /// When a server goes back to its pool.
        pool_mode: PoolMode, Absent;
        /// Server connections per pool. 0 = unlimited, -1 = what the database says.
        pool_size: Limit, Negative;
        /// Extra server connections per pool.
        reserve_pool_size: u32, Negative;
        /// Server connections over all databases. 0 = the global setting.
        max_user_connections: u32, ZeroOrLess;
        /// Client connections. 0 = the global setting.
        max_user_client_connections: u32, ZeroOrLess;
        /// Cancel queries that run for so long. 0 = the global setting.
        query_timeout: Duration, ZeroOrLess;
        /// Disconnect clients that have waited for a server for so long. 0 = never.
        query_wait_timeout: Timeout, Negative;
        /// Disconnect clients that sit in an open transaction for so long. 0 = the global setting.
        idle_transaction_timeout: Duration, ZeroOrLess;
        /// Cancel transactions that are open for so long. 0 = the global setting.
        transaction_timeout: Duration, ZeroOrLess;
        /// Disconnect clients that have been idle for so long. 0 = the global setting.
        client_idle_timeout: Duration, ZeroOrLess;
    }
}

scope! {
    /// A group of nodes that pg_auto_failover looks after.
    pub struct Formation; rows FORMATION;

    plain {}
    fixed {
        /// Where its monitor is: postgres://USER@HOST:PORT/pg_auto_failover?sslmode=verify-full&sslrootcert=FILE
        "monitor" monitor: Monitor = Monitor::default(), reload();
        /// Its name there.
        "formation" formation: String = "default".to_string(), reload();
        /// Number of the group of nodes in it.
        "group" group: u32 = 0, reload().range(0, i32::MAX as u32);
    }
    overrides {
        /// Password of the monitor's user, if it is not in monitor. Default: the secret in auth_file.
        password: Secret, Absent;
    }
}

scope! {
    /// Another process behind the same address, to which it hands cancel requests.
    pub struct Peer; rows PEER;

    plain {}
    fixed {
        /// Port of the peer.
        "port" port: u16 = 6432, reload().range(1, 65535);
    }
    overrides {
        /// Where the peer listens.
        host: String, Absent;
        /// Cancel requests on their way to the peer at once.
        pool_size: Limit, Negative;
    }
}

impl Database {
    /// The database's name on the server.
    pub fn server_dbname(&self) -> &str {
        self.dbname.as_deref().unwrap_or(&self.name)
    }

    /// Every key of `[databases]`, for the manual.
    pub fn settings() -> Vec<Setting> {
        manual(DATABASE)
    }
}

impl Formation {
    /// Every key of `[formations]`, for the manual.
    pub fn settings() -> Vec<Setting> {
        manual(FORMATION)
    }
}

impl User {
    /// Every key of `[users]`, for the manual.
    pub fn settings() -> Vec<Setting> {
        manual(USER)
    }
}
