//! All pools of the process, and the numbers that limits across pools know databases and users by.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use pool::ScopeId;

use crate::pools::{PoolKey, SharedPool};
use crate::server::target::{Credentials, Target};
use crate::services::{Services, lock};

/// All pools, by database and user.
#[derive(Debug, Default)]
pub struct PoolTable {
    pools: Mutex<HashMap<PoolKey, Arc<SharedPool>>>,
    scopes: Mutex<HashMap<(bool, Arc<str>), ScopeId>>,
}

impl PoolTable {
    /// All pools, by database and user in alphabetical order.
    pub fn all(&self) -> Vec<Arc<SharedPool>> {
        let mut all: Vec<_> = lock(&self.pools).values().cloned().collect();
        all.sort_by(|a, b| (&a.database, &a.user).cmp(&(&b.database, &b.user)));
        all
    }

    /// The pools of a database.
    pub fn of_database(&self, name: &str) -> Vec<Arc<SharedPool>> {
        let mut all = self.all();
        all.retain(|pool| &*pool.database == name);
        all
    }

    /// The pool, if it exists.
    pub fn get(&self, database: &Arc<str>, user: &Arc<str>) -> Option<Arc<SharedPool>> {
        lock(&self.pools).get(&(database.clone(), user.clone())).cloned()
    }

    /// The pool; it is made, and its keeper started, if it does not exist yet.
    pub fn get_or_make(
        &self,
        services: &Arc<Services>,
        database: &Arc<str>,
        user: &Arc<str>,
        make: impl FnOnce() -> (Target, pool::Settings, Credentials),
    ) -> Arc<SharedPool> {
        let mut pools = lock(&self.pools);
        let key = (database.clone(), user.clone());
        if let Some(pool) = pools.get(&key) {
            return pool.clone();
        }
        let scopes = (self.scope(false, database), self.scope(true, user));
        let pool = Arc::new(SharedPool::new(services, &key, scopes, make()));
        pools.insert(key, pool.clone());
        drop(pools);
        crate::keeper::start(services, &pool);
        pool
    }

    /// Forgets a pool; its keeper ends when its last server has.
    pub fn remove(&self, pool: &Arc<SharedPool>) {
        lock(&self.pools).retain(|_, known| !Arc::ptr_eq(known, pool));
    }

    /// Forgets a pool if nobody uses it: only this table, its keeper and the caller have it. True if that was so.
    ///
    /// Clients, openings and closings each have it while they need it, and get it only here.
    pub fn remove_unused(&self, pool: &Arc<SharedPool>) -> bool {
        let mut pools = lock(&self.pools);
        let unused = pool.is_unused() && pool.counts().lent == 0;
        if unused {
            pools.retain(|_, known| !Arc::ptr_eq(known, pool));
        }
        unused
    }

    /// The number of a database (`false`) or user (`true`) in the budget.
    pub fn scope(&self, is_user: bool, name: &Arc<str>) -> ScopeId {
        let mut scopes = lock(&self.scopes);
        let next = ScopeId(scopes.len() as u32);
        *scopes.entry((is_user, name.clone())).or_insert(next)
    }
}
