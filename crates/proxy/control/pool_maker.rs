//! What a pool is made from: the configuration, and what operators have switched off.

use std::sync::Arc;

use config::{Config, Database, PoolSettings, Secret};
use pool::Scope;

use super::{pausing, shutdown};
use crate::follow;
use crate::pools::SharedPool;
use crate::server::target::{Credentials, Target};
use crate::services::{Services, lock};
use crate::state::Shutdown;

/// The pool from which a client of `database` gets its servers; made if it does not exist yet.
///
/// `login_user` is who the client is; a database that forces a user has one pool for everybody.
pub fn pool_for(services: &Arc<Services>, database: &Database, login_user: &str) -> Arc<SharedPool> {
    let user: Arc<str> = database.user.as_deref().unwrap_or(login_user).into();
    let name: Arc<str> = database.name.as_str().into();
    if let Some(pool) = services.pools.get(&name, &user) {
        return pool;
    }
    let _whole = lock(&services.state.acting);
    let config = services.config.load_full();
    set_limits(services, &name, &user, &config.pool_settings(database, &user));
    let pool = services.pools.get_or_make(services, &name, &user, || parts(services, &config, database, &user));
    hold_as_others(services, &pool);
    pool
}

/// What a new pool of this database and (pool) user is made from.
pub fn new_pool_parts(services: &Services, database: &Database, user: &str) -> (Target, pool::Settings, Credentials) {
    parts(services, &services.config.load(), database, user)
}

/// Closes the gate of a pool for the reasons that are in force.
pub fn apply_holds(services: &Services, pool: &Arc<SharedPool>) {
    let _whole = lock(&services.state.acting);
    hold_as_others(services, pool);
}

/// Makes the pools that exist without a client: those of a forced user with `min_pool_size`.
pub fn warm_up(services: &Arc<Services>) {
    let config = services.config.load_full();
    for database in config.databases.values().filter(|database| database.name != "*") {
        if let Some(user) = &database.user
            && config.pool_settings(database, user).min_pool_size > 0
        {
            pool_for(services, database, user);
        }
    }
}

fn hold_as_others(services: &Services, pool: &Arc<SharedPool>) {
    if let Some(pause) = services.state.paused(None) {
        pausing::hold(pool, false, pause.until);
    }
    if let Some(pause) = services.state.paused(Some(&pool.database)) {
        pausing::hold(pool, true, pause.until);
    }
    follow::stand_as_others(services, pool);
    if services.state.shutdown() == Shutdown::WaitForServers {
        shutdown::drain(pool);
    }
}

fn parts(
    services: &Services,
    config: &Config,
    database: &Database,
    user: &str,
) -> (Target, pool::Settings, Credentials) {
    let credentials = Credentials { secret: secret(config, database, user), ..Credentials::default() };
    let target = Target::new(config, database, user, services.follow.followed(database));
    (target, pool_settings(config, database, user), credentials)
}

/// What proves the user's identity to servers. The database's password is its forced user's, where it has one.
pub(super) fn secret(config: &Config, database: &Database, user: &str) -> Option<Secret> {
    let own = database.user.as_deref().is_none_or(|forced| forced == user);
    let password = database.password.as_ref().filter(|_| own);
    password.or_else(|| config.userlist.get(user)).cloned()
}

/// What the pool itself is told.
pub(crate) fn pool_settings(config: &Config, database: &Database, user: &str) -> pool::Settings {
    let settled = config.pool_settings(database, user);
    let global = &config.global;
    pool::Settings {
        pool_size: settled.pool_size,
        min_pool_size: settled.min_pool_size,
        reserve_pool_size: settled.reserve_pool_size,
        reserve_pool_timeout: global.reserve_pool_timeout,
        server_lifetime: settled.server_lifetime,
        server_idle_timeout: global.server_idle_timeout,
        server_login_retry: global.server_login_retry,
        server_round_robin: global.server_round_robin,
        max_opening: global.max_opening_servers,
        handover_slack: global.handover_slack,
    }
}

/// Sets `max_db_connections` and `max_user_connections`.
pub(super) fn set_limits(services: &Services, database: &Arc<str>, user: &Arc<str>, settings: &PoolSettings) {
    let scopes = (services.pools.scope(false, database), services.pools.scope(true, user));
    let mut budget = lock(&services.budget);
    budget.set_limit(Scope::Database(scopes.0), settings.max_db_connections);
    budget.set_limit(Scope::User(scopes.1), settings.max_user_connections);
}
