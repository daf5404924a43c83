//! How many servers each pool had in use lately, before the last start and since.

use std::collections::HashMap;

use super::MAX_POOLS;
use super::file::Entry;
use crate::pools::PoolKey;

/// How many servers each pool had in use lately.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// From before the start, of pools that have not been used since.
    remembered: HashMap<PoolKey, u32>,
    /// Those that have yet to be warmed up.
    pub(super) cold: HashMap<PoolKey, u32>,
    /// The peaks of the last whole period.
    before: HashMap<PoolKey, u32>,
}

impl Memory {
    /// What was in use before the start.
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        let named = entries.into_iter().map(|entry| ((entry.database.into(), entry.user.into()), entry.servers));
        let remembered: HashMap<PoolKey, u32> = named.collect();
        Self { cold: remembered.clone(), remembered, before: HashMap::new() }
    }

    /// Forgets what was in use before the start.
    pub(super) fn forget(&mut self) {
        self.remembered.clear();
        self.cold.clear();
    }

    /// Ends a period in which pools had such peaks, and says what to write down: the larger of the last two.
    ///
    /// A pool that nobody has used since the start keeps its number: clients may be on their way back still.
    pub(super) fn end_period(&mut self, peaks: impl Iterator<Item = (PoolKey, u32)>) -> Vec<Entry> {
        let mut lately = std::mem::take(&mut self.before);
        for (key, peak) in peaks.filter(|(_, peak)| *peak > 0) {
            let remembered = self.remembered.remove(&key).unwrap_or(0);
            let servers = lately.entry(key.clone()).or_default();
            *servers = peak.max(*servers).max(remembered);
            self.before.insert(key, peak);
        }
        lately.extend(self.remembered.iter().map(|(key, servers)| (key.clone(), *servers)));
        let named = lately.into_iter().map(|((database, user), servers)| Entry {
            database: database.to_string(),
            user: user.to_string(),
            servers,
        });
        let mut entries: Vec<Entry> = named.collect();
        entries.sort_by(|a, b| (b.servers, &a.database, &a.user).cmp(&(a.servers, &b.database, &b.user)));
        entries.truncate(MAX_POOLS);
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(servers: u32) -> Entry {
        Entry { database: "app".to_owned(), user: "alice".to_owned(), servers }
    }

    fn peaks(peak: u32) -> impl Iterator<Item = (PoolKey, u32)> {
        [(("app".into(), "alice".into()), peak)].into_iter()
    }

    #[test]
    fn a_peak_is_remembered_for_two_periods() {
        let mut memory = Memory::default();
        assert_eq!(memory.end_period(peaks(8)), [entry(8)]);
        assert_eq!(memory.end_period(peaks(2)), [entry(8)]);
        assert_eq!(memory.end_period(peaks(0)), [entry(2)]);
        assert_eq!(memory.end_period(peaks(0)), []);
    }

    #[test]
    fn a_pool_that_nobody_uses_keeps_its_number_from_before_the_start() {
        let mut memory = Memory::new(vec![entry(8)]);
        assert_eq!(memory.end_period(peaks(0)), [entry(8)]);
        assert_eq!(memory.end_period(std::iter::empty()), [entry(8)]);
        memory.forget();
        assert_eq!(memory.end_period(peaks(0)), []);
    }

    #[test]
    fn a_pool_that_is_used_again_counts_anew() {
        let mut memory = Memory::new(vec![entry(8)]);
        assert_eq!(memory.end_period(peaks(1)), [entry(8)], "clients are coming back");
        assert_eq!(memory.end_period(peaks(3)), [entry(3)]);
    }

    #[test]
    fn of_too_many_pools_the_busiest_are_remembered() {
        let pools = (0..=MAX_POOLS).map(|number| (("app".into(), format!("user{number}").into()), 1 + number as u32));
        let entries = Memory::default().end_period(pools);
        assert_eq!((entries.len(), entries.last().map(|entry| entry.servers)), (MAX_POOLS, Some(2)));
    }
}
