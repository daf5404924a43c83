//! Following the primary of pg_auto_failover formations: the sockets, tasks and clocks around `failover::Follower`.
//!
//! Each formation has a watcher in the house. It keeps a session with the monitor (`monitor`), probes the nodes
//! (`probing`), hears what server connections learn (`admission`), and carries each decision to the pools (`apply`).
//! Moving the primary on command (`planned`) is one more thing that the follower is told of.

mod accept;
mod admission;
mod apply;
mod early;
mod hosts;
mod monitor;
mod outcome;
mod planned;
mod probing;
mod session;
mod standbys;
mod wal;
mod watched;
mod watcher;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use config::{Config, Database, Formation, Role};
use tracing::info;

pub use accept::accept;
pub use admission::{admit, error, given_up, lost, opening_failed};
pub(crate) use apply::stand_as_others;
pub(crate) use early::STARTUP as EARLY_STARTUP;
pub use outcome::{LOOK_UPS, Outcome, find_out};
pub use planned::{History, Kind, Progress, Record, Running, Wish, begin as begin_failover};
pub(crate) use watched::address;
pub use watched::{Standing, Watched};

use crate::server::target::{Followed, Standbys};
use crate::services::{Services, lock};

/// The formations that are followed.
#[derive(Debug, Default)]
pub struct Follow {
    formations: Mutex<BTreeMap<String, Arc<Watched>>>,
    /// Counts primaries over all followers: pools know epochs by these numbers, which never begin anew.
    epochs: AtomicU64,
    /// The last failovers.
    history: Arc<History>,
}

impl Follow {
    /// The formation of this name.
    pub fn of(&self, name: &str) -> Option<Arc<Watched>> {
        lock(&self.formations).get(name).cloned()
    }

    /// All formations, in alphabetical order.
    pub fn all(&self) -> Vec<Arc<Watched>> {
        lock(&self.formations).values().cloned().collect()
    }

    /// The last failovers, the oldest first.
    pub fn history(&self) -> Vec<Record> {
        self.history.all()
    }

    /// To which nodes the servers of a database are to be opened; none if it does not follow a formation.
    pub fn followed(&self, database: &Database) -> Option<Followed> {
        let name = hosts::followed_as(database)?;
        let (formation, watched) = (name.as_ref().into(), self.of(&name));
        Some(match database.role {
            Role::Primary => {
                let route = watched.and_then(|watched| watched.standing().route);
                Followed { formation, route, standbys: None }
            }
            Role::Standby => {
                let max_lag = database.max_lag;
                let nodes = watched.map(|watched| watched.standbys.readable(max_lag).nodes).unwrap_or_default();
                Followed { formation, route: None, standbys: Some(Arc::new(Standbys { max_lag, nodes })) }
            }
        })
    }
}

/// What is to be followed: a formation, or a list of hosts, which has no monitor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subject {
    /// The formation; of a list of hosts, its name alone.
    pub formation: Formation,
    /// The hosts of a list.
    pub hosts: Vec<failover::Endpoint>,
}

/// Begins, or ceases, to follow what the configuration names. One that is as it was goes on; one that differs begins
/// anew, and its pools wait until its primary is proved.
pub fn obey(services: &Arc<Services>, config: &Config) {
    let mut formations = lock(&services.follow.formations);
    let wait_timeout = config.global.failover_wait_timeout;
    let subjects = subjects(config);
    let stays = |name: &String, watched: &mut Arc<Watched>| {
        let is_same = subjects.get(name) == Some(&watched.subject) && watched.wait_timeout == wait_timeout;
        if !is_same {
            info!("formation {name}: is not watched any more");
            watched.end();
        }
        watched.open_early(config.global.failover_early_open);
        is_same
    };
    formations.retain(stays);
    for (name, subject) in subjects {
        formations.entry(name).or_insert_with_key(|name| {
            let watched = Arc::new(Watched::new(name, subject, &config.global, services.follow.history.clone()));
            let task = services.house.spawn(watcher::keep_watching(services.clone(), watched.clone()));
            watched.set_task(task.abort_handle());
            watched
        });
    }
}

fn subjects(config: &Config) -> BTreeMap<String, Subject> {
    let lists = config.databases.values().filter_map(hosts::subject);
    let formations = config.formations.iter();
    let formations =
        formations.map(|(name, formation)| (name.clone(), Subject { formation: formation.clone(), hosts: Vec::new() }));
    lists.chain(formations).collect()
}

/// Waits until each formation has a primary, and nodes to read where some are wanted, or until the time is up.
pub async fn settle(services: &Services, limit: Duration) {
    let all = async {
        for watched in services.follow.all() {
            watched.opened().await;
            watched.standbys.found(&standbys::limits(&services.config.load(), &watched.name)).await;
        }
    };
    // Who is late says why.
    let _ = tokio::time::timeout(limit, all).await;
}
