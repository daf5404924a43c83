//! What a decision means to pools: held, let go, aimed at another node, and servers of a former primary cut.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use config::{Config, Role};
use failover::{Decision, Identity, Route};
use pool::Hold;

use super::watched::{Standing, Watched};
use super::{early, hosts, standbys};
use crate::client::handle::{ClientHandle, Doing};
use crate::pools::SharedPool;
use crate::server::info::ServerInfo;
use crate::server::target::{Followed, Target};
use crate::services::{Services, lock};

/// How often those are looked for again who work on a former primary: a client may have got its server just now.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How often they are looked for at most.
pub(super) const LOOKS: u32 = 50;

/// Carries a decision to all pools of the formation.
pub(super) fn decision(services: &Arc<Services>, watched: &Arc<Watched>, decision: &Decision) {
    let _whole = lock(&services.state.acting);
    if !is_present(services, watched) {
        return;
    }
    let config = services.config.load_full();
    let pools = pools(services, &config, &watched.name);
    match decision {
        Decision::Hold(hold) => {
            // Pools first: an opening that is given up now must not be begun again.
            pools.iter().for_each(if hold.why.is_suspicion() { suspend } else { hold_pool });
            let route = watched.standing().route;
            watched.set_standing(Standing { route, is_open: false, is_expired: hold.expired });
            if hold.expired {
                tell_those_who_wait(services, &pools);
            }
        }
        Decision::Keep(route) | Decision::Switch(route) => {
            let route = Arc::new(route.clone());
            let was_early = watched.standing().route.is_some_and(|last| last.early && last.epoch == route.epoch);
            watched.set_standing(Standing { route: Some(route.clone()), is_open: true, is_expired: false });
            let moved = pools.iter().map(|pool| aim(services, &config, pool, &route)).filter(|moved| *moved).count();
            if moved > 0 {
                cut(services, leads_astray(&config, &watched.name, &route.epoch.identity));
                services.house.spawn(cut_again(services.clone(), watched.clone(), route.clone()));
            }
            if was_early && !route.early {
                services.house.spawn(early::part_those_who_stay(services.clone(), watched.clone(), route.clone()));
            }
            let open: Vec<_> = pools.into_iter().filter(|pool| early::may_open(&config, pool, &route)).collect();
            match services.listening.unseal(&open) {
                None => open.iter().for_each(release),
                Some(listening) => drop(services.house.spawn(release_later(
                    services.clone(),
                    watched.clone(),
                    route,
                    (open, listening),
                ))),
            }
        }
    }
}

/// Lets pools go when their clients are listened for again, if the route is still the same.
async fn release_later(
    services: Arc<Services>,
    watched: Arc<Watched>,
    route: Arc<Route>,
    (pools, listening): (Vec<Arc<SharedPool>>, impl Future<Output = ()>),
) {
    listening.await;
    let _whole = lock(&services.state.acting);
    let standing = watched.standing();
    if standing.is_open && standing.route.is_some_and(|present| Arc::ptr_eq(&present, &route)) {
        pools.iter().for_each(release);
    }
}

/// Makes one pool stand as its formation does: a new one, or one whose database is another after a RELOAD.
pub(crate) fn stand_as_others(services: &Services, pool: &Arc<SharedPool>) {
    let target = pool.target.load();
    if let Some(followed) = target.followed.as_ref().filter(|followed| followed.standbys.is_some()) {
        return standbys::stand_as_others(services, pool, followed);
    }
    let watched = target.followed.as_ref().and_then(|followed| services.follow.of(&followed.formation));
    let standing = watched.map(|watched| watched.standing());
    pool.set_hopeless(standing.as_ref().is_some_and(|standing| standing.is_expired));
    match standing {
        Some(standing) if !standing.is_open => hold_pool(pool),
        Some(Standing { route: Some(route), .. }) if !early::may_open(&services.config.load(), pool, &route) => {
            hold_pool(pool)
        }
        _ => release(pool),
    }
}

pub(super) fn pools(services: &Services, config: &Config, formation: &str) -> Vec<Arc<SharedPool>> {
    let mut pools = services.pools.all();
    pools.retain(|pool| follows(config, &pool.database, formation));
    pools
}

fn follows(config: &Config, database: &str, formation: &str) -> bool {
    let found = config.find_database(database).filter(|database| database.role == Role::Primary);
    found.is_some_and(|database| hosts::followed_as(&database).as_deref() == Some(formation))
}

/// A RELOAD may have put another one in its place while this one waited for its turn.
pub(super) fn is_present(services: &Services, watched: &Arc<Watched>) -> bool {
    services.follow.of(&watched.name).is_some_and(|present| Arc::ptr_eq(&present, watched))
}

pub(super) fn hold_pool(pool: &Arc<SharedPool>) {
    pool.with_core(|core, now, out| core.hold(Hold::NoPrimary, now, out));
}

/// Stops a pool for an alarm that may be false: if it is, nobody has lost a server.
fn suspend(pool: &Arc<SharedPool>) {
    pool.with_core(|core, now, out| core.hold(Hold::Suspicion, now, out));
}

pub(super) fn release(pool: &Arc<SharedPool>) {
    pool.set_hopeless(false);
    pool.with_core(|core, now, out| {
        core.release(Hold::NoPrimary, now, out);
        core.release(Hold::Suspicion, now, out);
    });
}

/// Aims a pool at the proved primary; true if it was aimed elsewhere, and its servers are of no more use.
fn aim(services: &Services, config: &Config, pool: &Arc<SharedPool>, route: &Arc<Route>) -> bool {
    let Some(database) = config.find_database(&pool.database) else { return false };
    let before = pool.target.load().followed.as_ref().and_then(|followed| followed.route.clone());
    let is_same = before.as_ref().is_some_and(|before| before.epoch.identity == route.epoch.identity);
    if is_same && before.is_some_and(|before| before.early == route.early) {
        return false;
    }
    let followed = hosts::followed_as(&database).map(|name| Followed {
        formation: name.as_ref().into(),
        route: Some(route.clone()),
        standbys: None,
    });
    pool.target.store(Arc::new(Target::new(config, &database, &pool.user, followed)));
    if is_same {
        // Nobody who was opened early stays longer than its transaction.
        pool.reconnect();
        return false;
    }
    leave_servers(services, pool);
    true
}

/// None of a pool's servers is lent again. To be called once it is aimed elsewhere: what is opened from then on is opened
/// there.
pub(super) fn leave_servers(services: &Services, pool: &Arc<SharedPool>) {
    let epoch = services.follow.epochs.fetch_add(1, Ordering::Relaxed) + 1;
    pool.with_core(|core, now, out| core.move_epoch(epoch, now, out).count());
    services.listening.follow(pool, "the primary has moved");
}

/// Wakes those who wait, so that they see that there is no hope.
pub(super) fn tell_those_who_wait(services: &Services, pools: &[Arc<SharedPool>]) {
    pools.iter().for_each(|pool| pool.set_hopeless(true));
    let waits = |client: &Arc<ClientHandle>| {
        client.doing() == Doing::Waiting && pools.iter().any(|pool| pool.database == client.database)
    };
    services.clients.all().into_iter().filter(waits).for_each(|client| client.wake());
}

/// Whether a server of the formation leads anywhere but to `primary`.
fn leads_astray(config: &Config, formation: &str, primary: &Identity) -> impl Fn(&ServerInfo) -> bool {
    move |server| {
        let leads_there = server.followed.as_ref().and_then(|followed| followed.route.as_ref());
        let leads_there = leads_there.is_some_and(|route| route.epoch.identity == *primary);
        !leads_there && follows(config, &server.database, formation)
    }
}

/// Parts clients from such servers; how many there are.
pub(super) fn cut(services: &Services, leads_astray: impl Fn(&ServerInfo) -> bool) -> usize {
    let mut servers = services.servers.all();
    servers.retain(|server| server.client() != 0 && leads_astray(server));
    if servers.is_empty() {
        return 0;
    }
    let clients = services.clients.all();
    let mut found = 0;
    for server in servers {
        server.cut();
        // Whoever has left a server behind uses it no more.
        if let Ok(place) = clients.binary_search_by_key(&server.client(), |client| client.id) {
            clients[place].call_late();
            found += 1;
        }
    }
    found
}

async fn cut_again(services: Arc<Services>, watched: Arc<Watched>, route: Arc<Route>) {
    for _ in 0..LOOKS {
        tokio::time::sleep(LOOK_AGAIN).await;
        let present = watched.standing().route;
        let is_past = present.is_none_or(|present| present.epoch.number != route.epoch.number);
        if is_past || cut(&services, leads_astray(&services.config.load(), &watched.name, &route.epoch.identity)) == 0 {
            return;
        }
    }
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
