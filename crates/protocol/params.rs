//! Settings that follow a client from server to server, as values compared by identity.
//!
//! Most are not reported by servers. Those are *others*: set by a client, found out by asking its server afterwards.

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
        Params { values: vec![None; self.names.len()], others: Box::default() }
    }
}

/// A name in lower case, and a value.
pub type Other = (Box<[u8]>, Box<[u8]>);

/// A value for each tracked parameter, or none where nobody has said one; and all others that are set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Params {
    values: Vec<Option<Box<[u8]>>>,
    /// By name.
    others: Box<[Other]>,
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
        for (name, value) in self.others.iter().filter(|(name, _)| has_meaning(name)) {
            for part in [name, value] {
                key.extend_from_slice(part);
                key.push(0);
            }
        }
        key
    }

    /// The settings that servers do not report, by name.
    pub fn others(&self) -> &[Other] {
        &self.others
    }

    /// The value of one of them.
    pub fn other(&self, name: &[u8]) -> Option<&[u8]> {
        let at = self.others.binary_search_by(|(known, _)| known.as_ref().cmp(name)).ok()?;
        Some(&self.others[at].1)
    }

    /// Replaces all of them. Of two with the same name the last one counts.
    pub fn set_others(&mut self, others: impl IntoIterator<Item = Other>) {
        let mut sorted = std::collections::BTreeMap::new();
        sorted.extend(others);
        self.others = sorted.into_iter().collect();
    }

    /// Makes those tracked parameters others that a server does not report: `search_path` before PostgreSQL 18.
    pub fn demote_unreported(&mut self, tracked: &Tracked, reported: &Self) {
        let unreported: Vec<_> = (0..self.values.len()).filter(|at| reported.values[*at].is_none()).collect();
        let demoted = unreported.into_iter().filter_map(|at| {
            let name = tracked.name(at).to_ascii_lowercase().into_bytes();
            Some((name.into(), self.values[at].take()?))
        });
        let demoted: Vec<Other> = demoted.collect();
        if !demoted.is_empty() {
            let others = std::mem::take(&mut self.others);
            self.set_others(others.into_iter().chain(demoted));
        }
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

    /// Numbers and values of what `self` wants and `server` reports.
    pub fn reported_by<'a>(&'a self, server: &'a Self) -> impl Iterator<Item = (usize, &'a [u8])> {
        let pairs = self.values.iter().zip(&server.values).enumerate();
        pairs.filter_map(|(position, pair)| Some((position, pair.0.as_deref().filter(|_| pair.1.is_some())?)))
    }

    /// Numbers and values of what `self` wants and `server` reports differently.
    ///
    /// Compared byte by byte: what the server says in answer becomes what the client wants, so `utf8` is asked for once.
    pub fn differences<'a>(&'a self, server: &'a Self) -> impl Iterator<Item = (usize, &'a [u8])> {
        let pairs = self.values.iter().zip(&server.values).enumerate();
        pairs.filter_map(|(position, pair)| match pair {
            (Some(wanted), Some(has)) if wanted != has => Some((position, wanted.as_ref())),
            _ => None,
        })
    }
}

/// Whether a setting may change what a statement means when it is parsed. Settings of an application's own, limits and
/// hints to the planner cannot, and often have as many values as there are clients.
fn has_meaning(name: &[u8]) -> bool {
    let is_meaningless = name.contains(&b'.')
        || [b"_timeout".as_slice(), b"_mem", b"_cost"].iter().any(|end| name.ends_with(end))
        || [b"enable_".as_slice(), b"log_", b"jit"].iter().any(|start| name.starts_with(start));
    !is_meaningless
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

    fn other(name: &str, value: &str) -> Other {
        (name.as_bytes().into(), value.as_bytes().into())
    }

    #[test]
    fn others_are_equal_in_any_order_and_the_last_value_counts() {
        let (mut one, mut two) = (Tracked::new(&[]).empty(), Tracked::new(&[]).empty());
        one.set_others([other("work_mem", "1"), other("jit", "off"), other("work_mem", "2")]);
        two.set_others([other("jit", "off"), other("work_mem", "2")]);
        assert_eq!(one, two);
        assert_eq!((one.other(b"jit"), one.other(b"x")), (Some(&b"off"[..]), None));
    }

    #[test]
    fn only_what_changes_the_meaning_of_a_statement_is_in_its_key() {
        let key = |others: &[Other]| {
            let mut params = Tracked::new(&[]).empty();
            params.set_others(others.iter().cloned());
            params.meaning()
        };
        assert_eq!(
            key(&[other("app.user", "7"), other("statement_timeout", "1"), other("enable_sort", "on")]),
            key(&[])
        );
        assert_ne!(key(&[other("search_path", "a")]), key(&[]));
        assert_ne!(key(&[other("search_path", "a")]), key(&[other("search_path", "b")]));
    }

    #[test]
    fn what_a_server_does_not_report_is_another() {
        let tracked = Tracked::new(&[]);
        let (mut wanted, mut reported) = (tracked.empty(), tracked.empty());
        wanted.set(2, b"UTC");
        wanted.set(5, b"app");
        reported.set(2, b"UTC");
        wanted.demote_unreported(&tracked, &reported);
        assert_eq!((wanted.get(2), wanted.get(5)), (Some(&b"UTC"[..]), None));
        assert_eq!(wanted.others(), [other("search_path", "app")]);
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
