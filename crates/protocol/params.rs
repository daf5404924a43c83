//! Reported parameters that follow a client from server to server, as values compared by identity.

use std::collections::HashSet;
use std::sync::Arc;

/// PgBouncer's list of parameters that servers report and that are tracked always, in the order they are applied,
/// and `search_path`, which servers report since PostgreSQL 18.
const ALWAYS: [&str; 6] =
    ["DateStyle", "client_encoding", "TimeZone", "standard_conforming_strings", "application_name", "search_path"];

const APPLICATION_NAME: usize = 4;

/// The names that are tracked; position in the list is a parameter's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    names: Vec<String>,
}

impl Tracked {
    /// The fixed list and `extra` (setting `track_extra_parameters`).
    pub fn new(extra: &[String]) -> Self {
        let mut names: Vec<String> = ALWAYS.map(str::to_owned).to_vec();
        for name in extra {
            if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                names.push(name.clone());
            }
        }
        Self { names }
    }

    /// The number of a parameter, if it is tracked. Names compare without regard to case, as PostgreSQL's do.
    pub fn position(&self, name: &[u8]) -> Option<usize> {
        self.names.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The name of a parameter by its number.
    pub fn name(&self, position: usize) -> &str {
        &self.names[position]
    }

    /// A set with no values.
    pub fn empty(&self) -> Params {
        Params { values: vec![None; self.names.len()] }
    }
}

/// A value for each tracked parameter, or none where nobody has said one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Params {
    values: Vec<Option<Box<[u8]>>>,
}

impl Params {
    /// The value of a parameter by its number.
    pub fn get(&self, position: usize) -> Option<&[u8]> {
        self.values[position].as_deref()
    }

    /// All values that can change what a statement means, as one key; `application_name` cannot.
    pub fn meaning(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(64);
        for (position, value) in self.values.iter().enumerate() {
            if position != APPLICATION_NAME {
                key.extend_from_slice(value.as_deref().unwrap_or_default());
                key.push(0);
            }
        }
        key
    }

    /// Gives a parameter a value.
    pub fn set(&mut self, position: usize, value: &[u8]) {
        self.values[position] = Some(value.into());
    }

    /// Takes over values for those parameters that have none.
    pub fn fill_from(&mut self, other: &Self) {
        for (mine, theirs) in self.values.iter_mut().zip(&other.values) {
            if mine.is_none() {
                mine.clone_from(theirs);
            }
        }
    }

    /// The number of a parameter that `self` wants and a server does not report.
    pub fn unreported(&self, reported: &Self) -> Option<usize> {
        self.values.iter().zip(&reported.values).position(|pair| matches!(pair, (Some(_), None)))
    }

    /// Numbers and values of what `self` wants and `server` reports differently.
    ///
    /// Compared byte by byte: what the server says in answer becomes what the client wants, so `utf8` is asked for once.
    /// What a server has never reported it cannot be told either: `search_path` before PostgreSQL 18.
    pub fn differences<'a>(&'a self, server: &'a Self) -> impl Iterator<Item = (usize, &'a [u8])> {
        let pairs = self.values.iter().zip(&server.values).enumerate();
        pairs.filter_map(|(position, pair)| match pair {
            (Some(wanted), Some(has)) if wanted != has => Some((position, wanted.as_ref())),
            _ => None,
        })
    }
}

/// Gives equal sets one identity, so that the hot path compares two pointers.
#[derive(Debug, Default)]
pub struct Interner {
    known: HashSet<Arc<Params>>,
    prune_at: usize,
}

impl Interner {
    /// The one shared value that equals `params`. Values nobody holds any more are forgotten as the table grows.
    pub fn intern(&mut self, params: Params) -> Arc<Params> {
        if let Some(known) = self.known.get(&params) {
            return known.clone();
        }
        if self.known.len() >= self.prune_at {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.prune_at = (self.known.len() * 2).max(64);
        }
        let params = Arc::new(params);
        self.known.insert(params.clone());
        params
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_are_one_value() {
        let tracked = Tracked::new(&["IntervalStyle".into(), "timezone".into()]);
        assert_eq!(tracked.position(b"TIMEZONE"), Some(2));
        let mut interner = Interner::default();
        let mut params = tracked.empty();
        params.set(0, b"ISO, MDY");
        let one = interner.intern(params.clone());
        assert!(Arc::ptr_eq(&one, &interner.intern(params)));
        assert!(!Arc::ptr_eq(&one, &interner.intern(tracked.empty())));
    }

    #[test]
    fn only_what_the_server_reports_is_applied() {
        let tracked = Tracked::new(&[]);
        let (mut client, mut server) = (tracked.empty(), tracked.empty());
        for name in ["TimeZone", "application_name", "search_path"] {
            client.set(tracked.position(name.as_bytes()).unwrap(), b"x");
        }
        server.set(2, b"UTC");
        server.set(4, b"x");
        assert_eq!(client.differences(&server).collect::<Vec<_>>(), [(2, &b"x"[..])]);
    }

    #[test]
    fn values_nobody_holds_are_forgotten() {
        let tracked = Tracked::new(&[]);
        let mut interner = Interner::default();
        for number in 0..10_000u32 {
            let mut params = tracked.empty();
            params.set(4, number.to_string().as_bytes());
            interner.intern(params);
        }
        assert!(interner.known.len() <= 128);
    }
}
