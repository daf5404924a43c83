//! Following the primary of pg_auto_failover formations: the sockets, tasks and clocks around `failover::Follower`.
//!
//! Each formation has a watcher in the house. It keeps a session with the monitor (`monitor`), probes the nodes
//! (`probing`), hears what server connections learn (`admission`), and carries each decision to the pools (`apply`).
//! Moving the primary on command (`planned`) is one more thing that the follower is told of.

mod accept;
mod admission;
mod apply;
mod early;
mod monitor;
mod planned;
mod probing;
mod session;
mod standbys;
mod watched;
mod watcher;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use config::{Config, Database, Role, TargetSessionAttrs};
use tracing::info;

pub use accept::accept;
pub use admission::{admit, error, given_up, lost, opening_failed};
pub(crate) use apply::stand_as_others;
pub(crate) use early::STARTUP as EARLY_STARTUP;
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
        let name = database.formation.as_deref()?;
        let (formation, watched) = (name.into(), self.of(name));
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

/// Begins, or ceases, to follow what the configuration names. One that is as it was goes on; one that differs begins
/// anew, and its pools wait until its primary is proved.
pub fn obey(services: &Arc<Services>, config: &Config) {
    let mut formations = lock(&services.follow.formations);
    let wait_timeout = config.global.failover_wait_timeout;
    let stays = |name: &String, watched: &mut Arc<Watched>| {
        let is_same = config.formations.get(name) == Some(&watched.formation) && watched.wait_timeout == wait_timeout;
        if !is_same {
            info!("formation {name}: is not watched any more");
            watched.end();
        }
        watched.open_early(config.global.failover_early_open);
        is_same
    };
    formations.retain(stays);
    for (name, formation) in &config.formations {
        if !formations.contains_key(name) {
            let watched =
                Arc::new(Watched::new(name, formation.clone(), &config.global, services.follow.history.clone()));
            let task = services.house.spawn(watcher::keep_watching(services.clone(), watched.clone()));
            watched.set_task(task.abort_handle());
            formations.insert(name.clone(), watched);
        }
    }
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

/// What a configuration asks for and this version cannot do, in words.
pub fn unavailable(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    for (name, database) in &config.databases {
        if database.target_session_attrs == TargetSessionAttrs::ReadWrite {
            let instead = "read-write is not available yet without a formation";
            found.push(format!("databases.{name}: target_session_attrs {instead}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_available_is_refused_by_name() {
        let words = |text: &str| {
            let text = format!("{text}\n[formations.main]\nmonitor = 'postgres://u@m'\n");
            let loaded = Config::from_text(std::path::Path::new("x.toml"), &text);
            unavailable(&loaded.unwrap_or_else(|problems| panic!("{problems}")).config).join("\n")
        };
        assert_eq!(words("control_secret = 's'\n[databases.a]\nformation = 'main'"), "");
        let asked = words("[databases.a]\nhost = 'x,y'\ntarget_session_attrs = 'read-write'");
        assert!(asked.starts_with("databases.a: target_session_attrs"), "{asked}");
    }
}
