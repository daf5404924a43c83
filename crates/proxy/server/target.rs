//! Where the servers of a pool are, and how to log in there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use config::{Config, Database, Host, LoadBalanceHosts, Secret};
use failover::Route;
use protocol::scram::Keys;

use crate::address::Endpoint;
use crate::dns::Ttls;
use crate::follow;

/// Where the servers of a pool are, and how to log in there.
#[derive(Debug)]
pub struct Target {
    /// Where to try, in order.
    pub endpoints: Vec<Endpoint>,
    /// All that StartupMessage says, `user` and `database` first.
    pub startup: Vec<(Vec<u8>, Vec<u8>)>,
    /// Run once after login.
    pub connect_query: Option<String>,
    /// How long connecting and logging in may take.
    pub connect_timeout: Option<Duration>,
    /// How long addresses are kept.
    pub ttls: Ttls,
    /// The formation whose nodes they are; none if they are hosts.
    pub followed: Option<Followed>,
    balance: LoadBalanceHosts,
    turn: AtomicUsize,
}

/// What a database is of its formation: the primary, or the nodes that may be read.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The formation's name in the configuration.
    pub formation: Arc<str>,
    /// The last primary that was proved; none for a database of standbys.
    pub route: Option<Arc<Route>>,
    /// For a database of standbys.
    pub standbys: Option<Arc<Standbys>>,
}

/// The nodes that may be read; for a server connection, the one it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standbys {
    /// How many bytes of WAL each may be behind (setting `max_lag`).
    pub max_lag: Option<u32>,
    /// Where they are.
    pub nodes: Vec<Endpoint>,
}

impl Followed {
    /// Where its nodes are.
    pub fn nodes(&self) -> Vec<Endpoint> {
        match (&self.standbys, &self.route) {
            (Some(standbys), _) => standbys.nodes.clone(),
            (None, route) => route.iter().map(|route| follow::address(&route.epoch.identity.endpoint)).collect(),
        }
    }

    /// What a server connection is that was opened to this endpoint.
    pub fn at(&self, endpoint: &Endpoint) -> Self {
        let own = |all: &Arc<Standbys>| Arc::new(Standbys { nodes: vec![endpoint.clone()], ..**all });
        Self { standbys: self.standbys.as_ref().map(own), ..self.clone() }
    }
}

/// What is known to prove a user's identity to servers.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// From the database's `password`, or the user's line in `auth_file`.
    pub secret: Option<Secret>,
    /// What `auth_query` found, as it stands in the server's catalogue.
    pub looked_up: Option<Secret>,
    /// What a client of this pool has proved by SCRAM: opens servers that have the same verifier.
    pub proven: Option<Keys>,
    /// Derived from a plain password, with the salt and iterations it is for: no login runs PBKDF2 twice.
    pub derived: Option<Keys>,
}

impl Credentials {
    /// The secret to answer with; the configuration's goes before what was looked up.
    pub fn secret(&self) -> Option<&Secret> {
        self.secret.as_ref().or(self.looked_up.as_ref())
    }
}

impl Target {
    /// For a database of the configuration, the user its servers log in as, and what it is of its formation.
    pub fn new(config: &Config, database: &Database, user: &str, followed: Option<Followed>) -> Self {
        let global = &config.global;
        let dbname = database.server_dbname();
        let mut startup = vec![(b"user".to_vec(), user.into()), (b"database".to_vec(), dbname.into())];
        let options = [
            ("client_encoding", &database.client_encoding),
            ("DateStyle", &database.datestyle),
            ("TimeZone", &database.timezone),
            ("application_name", &database.application_name),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                startup.push((name.into(), value.as_bytes().to_vec()));
            }
        }
        if followed.as_ref().and_then(|followed| followed.route.as_ref()).is_some_and(|route| route.early) {
            let early = follow::EARLY_STARTUP.into_iter();
            startup.extend(early.map(|(name, value)| (name.into(), value.into())));
        }
        Self {
            endpoints: followed.as_ref().map_or_else(|| endpoints(config, database), Followed::nodes),
            startup,
            connect_query: database.connect_query.clone(),
            connect_timeout: global.server_connect_timeout,
            ttls: Ttls { found: global.dns_max_ttl, failed: global.dns_nxdomain_ttl },
            followed,
            balance: database.load_balance_hosts,
            turn: AtomicUsize::new(0),
        }
    }

    /// The endpoints in the order they are to be tried this time.
    pub fn order(&self) -> impl Iterator<Item = &Endpoint> {
        let first = match self.balance {
            LoadBalanceHosts::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed),
            LoadBalanceHosts::Disable => self.turn.load(Ordering::Relaxed),
        };
        let count = self.endpoints.len().max(1);
        (0..self.endpoints.len()).map(move |offset| &self.endpoints[(first + offset) % count])
    }

    /// Notes that the endpoint tried first did not answer: without load balancing, the next one is tried first from now on.
    pub fn first_failed(&self) {
        if self.balance == LoadBalanceHosts::Disable {
            self.turn.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn endpoints(config: &Config, database: &Database) -> Vec<Endpoint> {
    if database.hosts.is_empty() {
        return vec![Endpoint::Unix(config.global.unix_socket_dir.clone().into(), database.port)];
    }
    let endpoint = |host: &Host| match host {
        Host::Tcp(name) => Endpoint::Tcp(name.as_str().into(), database.port),
        Host::Unix(directory) => Endpoint::Unix(directory.clone(), database.port),
    };
    database.hosts.iter().map(endpoint).collect()
}
