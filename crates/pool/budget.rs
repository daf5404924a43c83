//! Limits on servers across pools: per database, per user, and for the whole process.

use std::collections::HashMap;

/// A database or a user, numbered by the owner of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeId(pub u32);

/// What a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// `max_db_connections`.
    Database(ScopeId),
    /// `max_user_connections`.
    User(ScopeId),
    /// What the process can have open at all.
    Process,
}

/// The right to have one server open. Comes back through [`Budget::give_back`] when the server is told to close, or when
/// its opening has failed.
#[derive(Debug)]
#[must_use = "a permit that is not given back lowers the limits for ever"]
pub struct Permit {
    database: ScopeId,
    user: ScopeId,
}

impl Permit {
    fn scopes(&self) -> [Scope; 3] {
        scopes(self.database, self.user)
    }
}

fn scopes(database: ScopeId, user: ScopeId) -> [Scope; 3] {
    [Scope::Database(database), Scope::User(user), Scope::Process]
}

#[derive(Debug, Default)]
struct Usage {
    limit: Option<u32>,
    used: u32,
}

impl Usage {
    fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.used >= limit)
    }
}

/// How many servers are open in each scope, and how many may be. Touched only when a server is opened or closed, so one
/// lock for the process is enough; never hold a pool's lock while taking it.
#[derive(Debug, Default)]
pub struct Budget {
    scopes: HashMap<Scope, Usage>,
}

impl Budget {
    /// A budget without limits.
    pub fn new() -> Self {
        Budget::default()
    }

    /// Sets the limit of a scope; `None` lifts it. A limit below what is used closes nothing, but nothing is granted
    /// until enough has been given back.
    pub fn set_limit(&mut self, scope: Scope, limit: Option<u32>) {
        self.scopes.entry(scope).or_default().limit = limit;
        self.forget_unused(scope);
    }

    /// Takes one place in each of the three scopes, or none at all.
    ///
    /// # Errors
    ///
    /// The first scope that is full, in PgBouncer's order: database, user, then the process. An idle server of a pool
    /// that shares this scope may be evicted to make room.
    pub fn try_take(&mut self, database: ScopeId, user: ScopeId) -> Result<Permit, Scope> {
        let scopes = scopes(database, user);
        if let Some(full) = scopes.into_iter().find(|scope| self.is_full(*scope)) {
            return Err(full);
        }
        for scope in scopes {
            self.scopes.entry(scope).or_default().used += 1;
        }
        Ok(Permit { database, user })
    }

    /// Gives a permit back.
    pub fn give_back(&mut self, permit: Permit) {
        for scope in permit.scopes() {
            if let Some(usage) = self.scopes.get_mut(&scope) {
                usage.used = usage.used.saturating_sub(1);
            }
            self.forget_unused(scope);
        }
    }

    /// Whether nothing more is granted in this scope.
    pub fn is_full(&self, scope: Scope) -> bool {
        self.scopes.get(&scope).is_some_and(Usage::is_full)
    }

    /// How many servers are open in this scope (`current_connections` of SHOW DATABASES and SHOW USERS).
    pub fn used(&self, scope: Scope) -> u32 {
        self.scopes.get(&scope).map_or(0, |usage| usage.used)
    }

    /// Names come and go with reloads and auto-databases: what says nothing is not kept.
    fn forget_unused(&mut self, scope: Scope) {
        if self.scopes.get(&scope).is_some_and(|usage| usage.used == 0 && usage.limit.is_none()) {
            self.scopes.remove(&scope);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DB: ScopeId = ScopeId(1);
    const ALICE: ScopeId = ScopeId(1);
    const BOB: ScopeId = ScopeId(2);

    #[test]
    fn without_limits_everything_is_granted() {
        let mut budget = Budget::new();
        let permits: Vec<_> = (0..100).map(|_| budget.try_take(DB, ALICE).unwrap()).collect();
        assert_eq!(budget.used(Scope::Process), 100);
        permits.into_iter().for_each(|permit| budget.give_back(permit));
        assert!(budget.scopes.is_empty());
    }

    #[test]
    fn a_full_scope_is_named_and_nothing_is_taken() {
        let mut budget = Budget::new();
        budget.set_limit(Scope::User(ALICE), Some(1));
        let permit = budget.try_take(DB, ALICE).unwrap();
        assert_eq!(budget.try_take(DB, ALICE).unwrap_err(), Scope::User(ALICE));
        assert_eq!(budget.used(Scope::Database(DB)), 1);
        budget.give_back(permit);
        assert!(budget.try_take(DB, ALICE).is_ok());
    }

    #[test]
    fn a_database_and_a_user_of_the_same_number_are_two_scopes() {
        let mut budget = Budget::new();
        budget.set_limit(Scope::Database(DB), Some(2));
        budget.set_limit(Scope::User(ALICE), Some(1));
        let _alice = budget.try_take(DB, ALICE).unwrap();
        let _bob = budget.try_take(DB, BOB).unwrap();
        assert_eq!(budget.try_take(DB, BOB).unwrap_err(), Scope::Database(DB));
    }

    #[test]
    fn a_lowered_limit_waits_for_what_is_given_back() {
        let mut budget = Budget::new();
        let first = budget.try_take(DB, ALICE).unwrap();
        let second = budget.try_take(DB, ALICE).unwrap();
        budget.set_limit(Scope::Process, Some(1));
        budget.give_back(first);
        assert!(budget.is_full(Scope::Process));
        budget.give_back(second);
        assert!(budget.try_take(DB, ALICE).is_ok());
    }
}
