//! Opening a planned successor before it is writable by default (setting `failover_early_open`).
//!
//! Its servers are made writable by their StartupMessage, so that DISCARD ALL and RESET ALL do not undo it. As soon as
//! the successor is writable by default they are replaced by ordinary ones. Until then a commit does not wait for a
//! standby: the only one is the former primary, which has stopped.

use config::{Config, PoolMode};
use failover::Route;
use protocol::messages;

use super::session;
use crate::pools::SharedPool;
use crate::server::login::LoginError;
use crate::wire::Wire;

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
