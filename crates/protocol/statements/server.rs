//! The statements that one server knows.

use std::collections::HashMap;

/// The numbers of the statements that one server knows, with the turn in which each was used last.
#[derive(Debug, Default)]
pub struct ServerStatements {
    used: HashMap<u64, u64>,
    turn: u64,
}

impl ServerStatements {
    /// Whether the server knows a statement; if so it counts as used.
    pub fn touch(&mut self, id: u64) -> bool {
        self.turn += 1;
        let turn = self.turn;
        self.used.get_mut(&id).map(|used| *used = turn).is_some()
    }

    /// Notes that the server knows a statement. The one used least is to be closed where `most` would be passed.
    #[must_use = "the statement that has to go must be closed on the server"]
    pub fn add(&mut self, id: u64, most: usize) -> Option<u64> {
        let goes = self.next_to_go(most);
        if let Some(id) = goes {
            self.remove(id);
        }
        self.turn += 1;
        self.used.insert(id, self.turn);
        goes
    }

    pub(crate) fn knows(&self, id: u64) -> bool {
        self.used.contains_key(&id)
    }

    /// The one that goes when another is added.
    pub(crate) fn next_to_go(&self, most: usize) -> Option<u64> {
        let least_used = || self.used.iter().min_by_key(|(_, turn)| **turn).map(|(id, _)| *id);
        if self.used.len() >= most { least_used() } else { None }
    }

    /// Notes that the server does not know a statement.
    pub fn remove(&mut self, id: u64) {
        self.used.remove(&id);
    }

    /// Notes that the server knows none (`DEALLOCATE ALL`, `DISCARD ALL`).
    pub fn clear(&mut self) {
        self.used.clear();
    }

    /// How many it knows.
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_used_least_goes_first() {
        let mut server = ServerStatements::default();
        assert!(server.add(1, 2).is_none() && server.add(2, 2).is_none());
        assert!(server.touch(1));
        assert_eq!(server.add(3, 2), Some(2));
        assert!(!server.touch(2) && server.touch(1));
    }
}
