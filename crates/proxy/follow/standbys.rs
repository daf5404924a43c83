//! Databases of standbys (`role = "standby"`): which nodes may be read, and leaving one that no longer may.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{Config, Database, Role};
use failover::{Answer, Unfit};
use tokio::sync::watch;
use tracing::{info, warn};

use super::apply;
use super::watched::{Watched, address};
use crate::address::Endpoint;
use crate::pools::SharedPool;
use crate::server::info::ServerInfo;
use crate::server::login::LoginError;
use crate::server::target::{Followed, Standbys, Target};
use crate::services::{Services, lock};

/// Most bytes of WAL that a node may be behind (setting `max_lag`); databases that differ in it read other nodes.
type MaxLag = Option<u32>;

/// The nodes that may be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readable {
    /// Where they are.
    pub nodes: Vec<Endpoint>,
    /// Since when there is none.
    nobody_since: Option<Instant>,
    /// There has been none for too long: whoever waits is told.
    is_expired: bool,
}

/// The nodes of one formation that may be read, as its pools have been told.
#[derive(Debug, Default)]
pub struct Reading(watch::Sender<BTreeMap<MaxLag, Readable>>);

impl Reading {
    /// Which ones, for databases with this `max_lag`.
    pub fn readable(&self, max_lag: MaxLag) -> Readable {
        self.0.borrow().get(&max_lag).cloned().unwrap_or_default()
    }

    /// Returns when one of these is not to be read any more.
    pub async fn left(&self, standbys: &Standbys) {
        let stays = |all: &BTreeMap<MaxLag, Readable>| {
            all.get(&standbys.max_lag).is_some_and(|now| standbys.nodes.iter().all(|node| now.nodes.contains(node)))
        };
        // It cannot fail while the sender is here.
        let _ = self.0.subscribe().wait_for(|all| !stays(all)).await;
    }

    /// Returns when there are nodes to read for each of these.
    pub async fn found(&self, limits: &BTreeSet<MaxLag>) {
        let is_found = |all: &BTreeMap<MaxLag, Readable>| {
            limits.iter().all(|limit| all.get(limit).is_some_and(|readable| !readable.nodes.is_empty()))
        };
        let _ = self.0.subscribe().wait_for(is_found).await;
    }
}

impl Readable {
    fn of(nodes: Vec<Endpoint>, before: &Readable, patience: Duration) -> Self {
        let now = Instant::now();
        let nobody_since = nodes.is_empty().then(|| before.nobody_since.unwrap_or(now));
        let is_expired = nobody_since.is_some_and(|since| now.saturating_duration_since(since) >= patience);
        Self { nodes, nobody_since, is_expired }
    }
}

/// The limits that databases of this formation's standbys have.
pub(super) fn limits(config: &Config, formation: &str) -> BTreeSet<MaxLag> {
    let reads =
        |database: &&Database| database.role == Role::Standby && database.formation.as_deref() == Some(formation);
    config.databases.values().filter(reads).map(|database| database.max_lag).collect()
}

/// Asks the follower which nodes may be read, and carries what has changed to the pools.
pub(super) fn review(services: &Arc<Services>, watched: &Arc<Watched>) {
    let config = services.config.load_full();
    for max_lag in limits(&config, &watched.name) {
        let before = watched.standbys.readable(max_lag);
        let present = Readable::of(nodes(watched, max_lag), &before, watched.wait_timeout);
        if present != before {
            tell(&watched.name, max_lag, &before, &present);
            apply(services, &config, watched, max_lag, present);
        }
    }
}

fn nodes(watched: &Watched, max_lag: MaxLag) -> Vec<Endpoint> {
    watched.readable(max_lag.map(u64::from), Instant::now()).iter().map(|standby| address(&standby.endpoint)).collect()
}

fn tell(formation: &str, max_lag: MaxLag, before: &Readable, present: &Readable) {
    let limit = max_lag.map(|bytes| format!(" with at most {bytes} bytes of lag")).unwrap_or_default();
    if present.is_expired {
        warn!("formation {formation}: transactions have waited too long for a node to read{limit}");
    } else if present.nodes.is_empty() && !before.nodes.is_empty() {
        warn!("formation {formation}: no node may be read{limit}");
    } else if present.nodes != before.nodes {
        let nodes: Vec<_> = present.nodes.iter().map(ToString::to_string).collect();
        info!("formation {formation}: reads{limit} go to {}", nodes.join(", "));
    }
}

fn apply(services: &Arc<Services>, config: &Config, watched: &Arc<Watched>, max_lag: MaxLag, present: Readable) {
    let _whole = lock(&services.state.acting);
    if !apply::is_present(services, watched) {
        return;
    }
    let mut pools = services.pools.all();
    pools.retain(|pool| is_read(config, &pool.database, &watched.name, max_lag));
    let (is_empty, is_expired) = (present.nodes.is_empty(), present.is_expired);
    if is_empty {
        pools.iter().for_each(apply::hold_pool);
    }
    let standbys = Arc::new(Standbys { max_lag, nodes: present.nodes.clone() });
    watched.standbys.0.send_modify(|all| drop(all.insert(max_lag, present)));
    let left =
        pools.iter().map(|pool| aim(services, config, pool, &watched.name, &standbys)).filter(|left| *left).count();
    if left > 0 {
        services.house.spawn(cut(services.clone(), watched.clone()));
    }
    if !is_empty {
        pools.iter().for_each(apply::release);
    } else if is_expired {
        apply::tell_those_who_wait(services, &pools);
    }
}

fn is_read(config: &Config, database: &str, formation: &str, max_lag: MaxLag) -> bool {
    let reads = |database: Database| {
        let is_formations = database.formation.as_deref() == Some(formation);
        is_formations && database.role == Role::Standby && database.max_lag == max_lag
    };
    config.find_database(database).is_some_and(reads)
}

/// Aims a pool at these nodes; true if it leaves one, and its idle servers have been closed.
fn aim(services: &Services, config: &Config, pool: &Arc<SharedPool>, formation: &str, to: &Arc<Standbys>) -> bool {
    let Some(database) = config.find_database(&pool.database) else { return false };
    let before = pool.target.load().followed.as_ref().and_then(|followed| followed.standbys.clone());
    if before.as_ref() == Some(to) {
        return false;
    }
    let followed = Followed { formation: formation.into(), route: None, standbys: Some(to.clone()) };
    pool.target.store(Arc::new(Target::new(config, &database, &pool.user, Some(followed))));
    let leaves = before.is_some_and(|before| before.nodes.iter().any(|node| !to.nodes.contains(node)));
    if leaves {
        apply::leave_servers(services, pool);
    }
    leaves
}

/// Parts clients from nodes that are no standbys any more. One that merely lags may end what it has begun.
async fn cut(services: Arc<Services>, watched: Arc<Watched>) {
    for _ in 0..apply::LOOKS {
        let standbys = nodes(&watched, None);
        let leads_astray = |server: &ServerInfo| {
            let followed = server.followed.as_ref().filter(|followed| followed.formation == watched.name);
            let own = followed.and_then(|followed| followed.standbys.as_ref());
            own.is_some_and(|own| own.nodes.iter().any(|node| !standbys.contains(node)))
        };
        if apply::cut(&services, leads_astray) == 0 {
            return;
        }
        tokio::time::sleep(apply::LOOK_AGAIN).await;
    }
}

/// Makes a pool stand as its formation does: a new one, or one whose database is another after a RELOAD.
pub(super) fn stand_as_others(services: &Services, pool: &Arc<SharedPool>, followed: &Followed) {
    let max_lag = followed.standbys.as_ref().and_then(|standbys| standbys.max_lag);
    let readable = services.follow.of(&followed.formation).map(|watched| watched.standbys.readable(max_lag));
    let readable = readable.unwrap_or_default();
    if readable.nodes.is_empty() {
        apply::hold_pool(pool)
    } else {
        apply::release(pool)
    }
    pool.set_hopeless(readable.is_expired);
}

/// Whether a server that has just been logged in to is a standby of the system that the formation has.
///
/// # Errors
/// It is not, or not any more.
pub(super) fn admit(services: &Services, followed: &Followed, answer: &Answer) -> Result<(), LoginError> {
    let primary = services.follow.of(&followed.formation).and_then(|watched| watched.standing().route);
    match primary.map(|primary| primary.epoch.identity.system) {
        Some(system) if system != answer.system => Err(LoginError::Unfit(Unfit::System(answer.system))),
        Some(_) if answer.in_recovery => Ok(()),
        _ => Err(LoginError::GivenUp),
    }
}
