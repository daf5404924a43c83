//! Opening a planned successor before it is writable by default (setting `failover_early_open`).
//!
//! Its servers are made writable by their StartupMessage, so that DISCARD ALL and RESET ALL do not undo it. As soon as
//! the successor is writable by default they are replaced by ordinary ones. Until then a commit does not wait for a
//! standby: the former primary has stopped, and no other standby follows the successor yet.

use std::sync::Arc;
use std::time::Duration;

use config::{Config, PoolMode};
use failover::Route;
use protocol::messages;

use super::session;
use super::watched::Watched;
use crate::client::handle::Doing;
use crate::pools::SharedPool;
use crate::server::info::ServerInfo;
use crate::server::login::LoginError;
use crate::services::Services;
use crate::wire::Wire;

/// How often those are looked for who keep a server that was opened early.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What servers that are opened early say when they log in.
pub const STARTUP: [(&str, &str); 2] = [("default_transaction_read_only", "off"), ("synchronous_commit", "local")];

/// Whether role or database are read-only by their own wish, which the StartupMessage has passed over.
const OWN_WISH: &str = "select exists (select from pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c \
    where c like 'default_transaction_read_only=%' and s.setrole in (0, (select oid from pg_catalog.pg_roles where \
    rolname = session_user)) and s.setdatabase in (0, (select oid from pg_catalog.pg_database where datname = \
    pg_catalog.current_database())))";

/// Whether a pool's servers may be opened to this primary. In session mode one that was opened early might stay for
/// long, and its commits would not wait for the standby when there is one again.
pub(super) fn may_open(config: &Config, pool: &SharedPool, route: &Route) -> bool {
    let is_session = || {
        let own =
            config.find_database(&pool.database).map(|database| config.pool_settings(&database, &pool.user).pool_mode);
        let users = config.users.values().any(|user| user.pool_mode == Some(PoolMode::Session));
        own == Some(PoolMode::Session) || users
    };
    !route.early || !is_session()
}

/// Parts sessions from servers that were opened early and that they keep beyond a transaction: their commits would wait
/// for no standby for as long as they live. A transaction that has begun may end. Returns when nobody has such a server.
pub(super) async fn part_those_who_stay(services: Arc<Services>, watched: Arc<Watched>, settled: Arc<Route>) {
    let is_of_it = |server: &Arc<ServerInfo>| {
        let route = server.followed.as_ref().and_then(|followed| followed.route.as_ref());
        let opened_early = route.is_some_and(|route| route.early && route.epoch.identity == settled.epoch.identity);
        opened_early && server.client() != 0
    };
    loop {
        let mut servers = services.servers.all();
        servers.retain(is_of_it);
        // Those of a former primary are cut for that.
        let is_past = watched.standing().route.is_none_or(|route| route.epoch != settled.epoch);
        if servers.is_empty() || is_past {
            return;
        }
        let clients = services.clients.all();
        for server in servers {
            let client = clients.binary_search_by_key(&server.client(), |client| client.id).map(|at| &clients[at]);
            if let Some(client) = client.ok().filter(|client| client.doing() == Doing::Pinned) {
                server.cut();
                client.call_late();
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Makes sure that nobody is writable early who does not want to be.
///
/// # Errors
/// He does not: he waits until the successor is an ordinary primary.
pub(super) async fn admit(wire: &mut Wire) -> Result<(), LoginError> {
    let mut request = Vec::with_capacity(512);
    messages::query(&mut request, OWN_WISH.as_bytes());
    let (_, rows) = session::ask(wire, &request, |_, _| {}).await?;
    match rows.first().and_then(session::columns::<1>) {
        Some([Some("f")]) => Ok(()),
        _ => Err(LoginError::GivenUp),
    }
}
