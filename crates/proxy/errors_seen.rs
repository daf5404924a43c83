//! How often clients were given which error, for the metrics page.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::services::lock;

/// SQLSTATEs counted apart; servers can make up any number of them, and the rest is counted together.
const MAX_STATES: usize = 64;
/// Where the rest is counted.
const OTHERS: &str = "other";

/// Errors given to clients, by SQLSTATE. Errors are rare: one lock will do.
#[derive(Debug, Default)]
pub struct ErrorCounts {
    by_state: Mutex<BTreeMap<Box<str>, u64>>,
}

impl ErrorCounts {
    /// Counts one.
    pub fn count(&self, sqlstate: &str) {
        let mut by_state = lock(&self.by_state);
        if let Some(count) = by_state.get_mut(sqlstate) {
            *count += 1;
            return;
        }
        let name = if by_state.len() < MAX_STATES { sqlstate } else { OTHERS };
        *by_state.entry(name.into()).or_default() += 1;
    }

    /// All of them, in the order of SQLSTATEs.
    pub fn all(&self) -> Vec<(Box<str>, u64)> {
        lock(&self.by_state).iter().map(|(state, count)| (state.clone(), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_sqlstates_cannot_fill_the_memory() {
        let errors = ErrorCounts::default();
        for number in 0..10_000 {
            errors.count(&format!("{number:05}"));
        }
        errors.count("00007");
        let all = errors.all();
        assert_eq!(all.len(), MAX_STATES + 1);
        assert_eq!(all[7], ("00007".into(), 2));
        assert_eq!(all.last(), Some(&(OTHERS.into(), 10_000 - MAX_STATES as u64)));
    }
}
