//! Decisions and pools, without a monitor or a node.

use std::path::Path;
use std::time::Instant;

use failover::{Epoch, NodeId, SystemId, Why};

use super::*;
use crate::address::{Address, Endpoint};
use crate::clock::Micros;
use crate::control;
use crate::control::tests::{client, services as shared};
use crate::follow;
use crate::server::dial::Reached;
use crate::server::info::{Ends, ServerInfo};

/// A pooler with a database that follows a formation of which nobody knows anything yet.
fn services() -> (Arc<Services>, Arc<Watched>) {
    services_with("transaction")
}

fn services_with(mode: &str) -> (Arc<Services>, Arc<Watched>) {
    let text = format!(
        "pool_mode = '{mode}'\n[databases.app]\nformation = 'main'\nuser = 'app'\n\
         [formations.main]\nmonitor = 'postgres://u@127.0.0.1:1'\n"
    );
    let loaded = Config::from_text(Path::new("x.toml"), &text);
    let services = shared(loaded.unwrap_or_else(|problems| panic!("{problems}")).config);
    follow::obey(&services, &services.config.load());
    let watched = services.follow.of("main").expect("it is followed");
    (services, watched)
}

fn pool(services: &Arc<Services>) -> Arc<SharedPool> {
    control::pool_for(services, &services.config.load().databases["app"], "app")
}

fn route(number: u64) -> Route {
    let endpoint = failover::Endpoint::new("127.0.0.1", 5000 + number as u16);
    let identity = Identity { endpoint, system: SystemId(7), timeline: number as u32 };
    Route { node: NodeId(number as i64), epoch: Epoch { number, identity }, early: false }
}

fn hold(expired: bool) -> Decision {
    hold_for(Why::NoPrimary, expired)
}

fn hold_for(why: Why, expired: bool) -> Decision {
    let now = Instant::now();
    Decision::Hold(failover::Hold { since: now, deadline: now, expired, why })
}

fn is_held(pool: &Arc<SharedPool>) -> bool {
    pool.with_core(|core, _, _| core.holds() == [Hold::NoPrimary])
}

fn ports(pool: &SharedPool) -> Vec<u16> {
    let target = pool.target.load();
    let port = |endpoint: &Endpoint| match endpoint {
        Endpoint::Tcp(_, port) | Endpoint::Unix(_, port) => *port,
    };
    target.endpoints.iter().map(port).collect()
}

#[tokio::test]
async fn a_pool_is_held_until_a_primary_is_proved_and_then_aimed_at_it() {
    let (services, watched) = services();
    let pool = pool(&services);
    assert!(is_held(&pool) && ports(&pool).is_empty());
    decision(&services, &watched, &Decision::Switch(route(1)));
    assert!(!is_held(&pool) && ports(&pool) == [5001]);
    let epoch = pool.with_core(|core, _, _| core.epoch());

    decision(&services, &watched, &hold(false));
    assert!(is_held(&pool) && !pool.is_hopeless() && ports(&pool) == [5001]);
    decision(&services, &watched, &Decision::Keep(route(1)));
    assert!(!is_held(&pool) && pool.with_core(|core, _, _| core.epoch()) == epoch, "nothing has moved");

    decision(&services, &watched, &hold(false));
    decision(&services, &watched, &hold(true));
    assert!(pool.is_hopeless());
    decision(&services, &watched, &Decision::Switch(route(2)));
    assert!(!is_held(&pool) && !pool.is_hopeless() && ports(&pool) == [5002]);
    assert!(pool.with_core(|core, _, _| core.epoch()) > epoch);
}

#[tokio::test]
async fn what_may_be_a_false_alarm_closes_the_gate_and_no_server() {
    let (services, watched) = services();
    let pool = pool(&services);
    let holds = || pool.with_core(|core, _, _| core.holds().to_vec());
    decision(&services, &watched, &Decision::Switch(route(1)));
    decision(&services, &watched, &hold_for(Why::Unhealthy(NodeId(1)), false));
    assert_eq!(holds(), [Hold::Suspicion]);
    decision(&services, &watched, &Decision::Keep(route(1)));
    assert_eq!(holds(), []);
    decision(&services, &watched, &hold_for(Why::Unhealthy(NodeId(1)), false));
    decision(&services, &watched, &hold(false));
    assert!(holds().contains(&Hold::NoPrimary), "it was none");
    decision(&services, &watched, &Decision::Switch(route(2)));
    assert_eq!(holds(), []);
}

fn early(number: u64) -> Route {
    Route { early: true, ..route(number) }
}

#[tokio::test]
async fn servers_that_are_opened_early_are_writable_by_their_own_word_until_they_are_replaced() {
    let (services, watched) = services();
    let pool = pool(&services);
    let says = || {
        let target = pool.target.load();
        target.startup.iter().any(|(name, value)| name == b"default_transaction_read_only" && value == b"off")
    };
    decision(&services, &watched, &Decision::Switch(early(1)));
    let (opened_at, epoch) = (Micros::now(), pool.with_core(|core, _, _| core.epoch()));
    assert!(!is_held(&pool) && says() && !pool.is_outdated(opened_at));
    decision(&services, &watched, &Decision::Keep(route(1)));
    assert!(!is_held(&pool) && !says() && pool.is_outdated(opened_at));
    assert_eq!(pool.with_core(|core, _, _| core.epoch()), epoch, "it is the same primary: nobody is cut");
}

#[tokio::test]
async fn sessions_wait_until_an_early_successor_is_an_ordinary_primary() {
    let (services, watched) = services_with("session");
    let present = pool(&services);
    decision(&services, &watched, &Decision::Switch(early(1)));
    services.pools.remove(&present);
    let late = pool(&services);
    assert!(is_held(&present) && is_held(&late));
    decision(&services, &watched, &Decision::Keep(route(1)));
    assert!(!is_held(&late));
}

#[tokio::test]
async fn a_new_pool_stands_as_its_formation_does() {
    let (services, watched) = services();
    decision(&services, &watched, &Decision::Switch(route(1)));
    decision(&services, &watched, &hold(true));
    let pool = pool(&services);
    assert!(is_held(&pool) && pool.is_hopeless() && ports(&pool) == [5001]);
}

#[tokio::test]
async fn one_who_is_watched_no_more_decides_nothing() {
    let (services, watched) = services();
    let pool = pool(&services);
    let mut next = (*services.config.load_full()).clone();
    next.global.failover_wait_timeout = Duration::from_secs(1);
    follow::obey(&services, &next);
    decision(&services, &watched, &Decision::Switch(route(1)));
    assert!(is_held(&pool), "another one watches now");
}

#[tokio::test]
async fn only_those_who_work_on_a_former_primary_are_cut() {
    let (services, watched) = services();
    let pool = pool(&services);
    decision(&services, &watched, &Decision::Switch(route(1)));
    let borrow = |route: Route| {
        let end = Address::Unix { pid: 0, uid: 0, port: 1 };
        let ends = Ends { reached: Reached::Unix("/tmp".into(), 1), remote: end.clone(), local: end, tls: None };
        let names = (pool.database.clone(), pool.user.clone());
        let info = ServerInfo::new(services.next_id(), (1, vec![]), names, ends);
        let followed = Followed { formation: "main".into(), route: Some(Arc::new(route)), standbys: None };
        let info = Arc::new(info.following(Some(followed)));
        let client = client(&services, "app");
        info.lend(client.id, Micros::now());
        services.servers.add(info.clone());
        (client, info)
    };
    let (former, present) = (borrow(route(1)), borrow(route(2)));
    decision(&services, &watched, &hold(false));
    assert!(!former.1.is_cut(), "what has begun may end");
    decision(&services, &watched, &Decision::Switch(route(2)));
    assert!(former.1.is_cut() && former.0.take_late());
    assert!(!present.1.is_cut() && !present.0.take_late());
}
