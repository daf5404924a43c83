//! Prepared statements shared by clients: names on the client's side, numbers on the server's.
//!
//! A client's name stands for a text; a server knows the text under a name of ours. Which server knows which text is
//! noted as soon as the Parse is sent, and taken back if the server refuses or skips it.

mod client;
mod server;

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use client::{ClientStatements, MAX_UNNAMED};
pub use server::ServerStatements;

use crate::deallocate::Deallocates;
use crate::lexer::{self, Suspicion};
use crate::messages;
use crate::traces::Traces;

/// What our names on servers begin with.
const PREFIX: &[u8] = b"POOLER_";

/// A prepared statement's text and parameter types, as they stand in Parse behind the name.
#[derive(Debug)]
pub struct Statement {
    /// Its number.
    pub id: u64,
    name: Box<[u8]>,
    /// The settings it was parsed under, then the body.
    key: Box<[u8]>,
    body_at: usize,
    deallocates: Option<Deallocates>,
    suspicion: Suspicion,
    traces: Option<Box<Traces>>,
    taken: Arc<Taken>,
}

/// The name of a statement on servers.
pub fn server_name(id: u64) -> Vec<u8> {
    [PREFIX, id.to_string().as_bytes()].concat()
}

impl Statement {
    /// Its name on servers.
    pub fn server_name(&self) -> &[u8] {
        &self.name
    }

    /// Appends the Parse that makes it known to a server.
    pub fn write_parse(&self, out: &mut Vec<u8>) {
        write_parse(out, &self.name, &self.key[self.body_at..]);
    }

    /// Its text.
    pub fn text(&self) -> &[u8] {
        text_of(&self.key[self.body_at..])
    }

    /// What its text is suspected of.
    pub(crate) fn suspicion(&self) -> Suspicion {
        self.suspicion
    }

    /// What it takes away from the names in its session.
    pub fn deallocates(&self) -> Option<&Deallocates> {
        self.deallocates.as_ref()
    }

    /// What it may leave behind when it is run.
    pub fn traces(&self) -> Option<&Traces> {
        self.traces.as_deref()
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        self.key.len()
    }
}

/// Bytes that all statements of all catalogs with this count take: those that clients have named, and those that
/// somebody may name again.
#[derive(Debug, Default)]
pub struct Taken(AtomicUsize);

impl Taken {
    /// How many there are now.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        self.taken.0.fetch_sub(self.size(), Ordering::Relaxed);
    }
}

/// The text in what follows the name in a Parse.
pub(crate) fn text_of(body: &[u8]) -> &[u8] {
    &body[..memchr::memchr(0, body).unwrap_or(body.len())]
}

/// Appends a Parse: `body` is what follows the name.
pub(crate) fn write_parse(out: &mut Vec<u8>, name: &[u8], body: &[u8]) {
    messages::message(out, b'P', |out| {
        messages::cstr(out, name);
        out.extend_from_slice(body);
    });
}

/// Whether a client's name looks like one of ours, and must not reach a server as it is.
pub fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(PREFIX)
}

/// A statement in the catalog, found by its key.
#[derive(Debug)]
struct Entry(Arc<Statement>);

impl Borrow<[u8]> for Entry {
    fn borrow(&self) -> &[u8] {
        &self.0.key
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Entry {}

/// All statements of a pool: equal text and types are one statement.
#[derive(Debug, Default)]
pub struct Catalog {
    known: HashSet<Entry>,
    prune_at: usize,
    last_id: u64,
    taken: Arc<Taken>,
}

impl Catalog {
    /// One of several that share a count.
    pub fn new(taken: Arc<Taken>) -> Self {
        Self { taken, ..Self::default() }
    }

    /// Whether this one is known, or may be added without more than `most` bytes being taken. What nobody uses any more
    /// is forgotten first.
    pub fn has_room_for(&mut self, settings: &[u8], body: &[u8], most: usize) -> bool {
        let fits = |taken: &Taken| taken.bytes() + settings.len() + body.len() <= most;
        if fits(&self.taken) || self.known.contains(&[settings, body].concat()[..]) {
            return true;
        }
        self.prune();
        fits(&self.taken)
    }

    fn prune(&mut self) {
        self.known.retain(|Entry(known)| Arc::strong_count(known) > 1);
        self.prune_at = (self.known.len() * 2).max(256);
    }

    /// The one statement with this body, for clients with these settings: literals are read when a statement is parsed,
    /// and `'01/02/2026'::date` means another day under another DateStyle.
    ///
    /// Statements that nobody uses any more are forgotten as the catalog grows.
    pub fn intern(&mut self, settings: &[u8], body: &[u8]) -> Arc<Statement> {
        let key = [settings, body].concat();
        if let Some(Entry(known)) = self.known.get(&key[..]) {
            return known.clone();
        }
        if self.known.len() >= self.prune_at {
            self.prune();
        }
        self.add(key.into(), settings.len())
    }

    /// What takes the place of a statement that would return other columns than when it was prepared: the same text
    /// under a name that servers do not know yet. Those who have not met the error go on with the old one.
    pub fn renew(&mut self, outdated: &Statement) -> Arc<Statement> {
        match self.known.get(&*outdated.key) {
            Some(Entry(known)) if known.id != outdated.id => return known.clone(),
            _ => drop(self.known.remove(&*outdated.key)),
        }
        self.add(outdated.key.clone(), outdated.body_at)
    }

    fn add(&mut self, key: Box<[u8]>, body_at: usize) -> Arc<Statement> {
        self.last_id += 1;
        let id = self.last_id;
        let body = &key[body_at..];
        let (deallocates, suspicion) = (Deallocates::of(body), lexer::first_statement(body));
        // Also what nobody suspects, for what it may hide: this is once for all who prepare it.
        let traces = Some(Traces::of(body)).filter(|traces| !traces.all_kinds().is_none()).map(Box::new);
        self.taken.0.fetch_add(key.len(), Ordering::Relaxed);
        let statement = Arc::new(Statement {
            id,
            name: server_name(id).into(),
            key,
            body_at,
            deallocates,
            suspicion,
            traces,
            taken: self.taken.clone(),
        });
        self.known.insert(Entry(statement.clone()));
        statement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_text_and_types_are_one_statement() {
        let mut catalog = Catalog::default();
        let one = catalog.intern(b"", b"select $1\0\0\x01\0\0\0\x17");
        assert_eq!(catalog.intern(b"", b"select $1\0\0\x01\0\0\0\x17").id, one.id);
        assert_ne!(catalog.intern(b"", b"select $1\0\0\x01\0\0\0\x19").id, one.id);
        assert_ne!(catalog.intern(b"DMY", b"select $1\0\0\x01\0\0\0\x17").id, one.id);
    }

    #[test]
    fn what_is_outdated_is_renewed_once_for_all_who_meet_it() {
        let mut catalog = Catalog::default();
        let old = catalog.intern(b"DMY", b"table t\0\0\0");
        let new = catalog.renew(&old);
        assert_ne!(new.id, old.id);
        assert_eq!([catalog.renew(&old).id, catalog.intern(b"DMY", b"table t\0\0\0").id], [new.id; 2]);
        assert_ne!(catalog.renew(&new).id, new.id);
        let mut client = ClientStatements::default();
        [b"a", b"b"].iter().for_each(|name| client.define(*name, old.clone()));
        client.replace(old.id, |old| catalog.known.get(&*old.key).unwrap().0.clone());
        assert!([b"a", b"b"].iter().all(|name| client.get(*name).unwrap().id == new.id + 1));
    }

    #[test]
    fn statements_nobody_uses_are_forgotten() {
        let mut catalog = Catalog::default();
        for number in 0..100_000u32 {
            catalog.intern(b"", &number.to_be_bytes());
        }
        assert!(catalog.known.len() <= 512);
    }
    #[test]
    fn where_there_is_no_room_what_nobody_uses_is_forgotten_and_what_is_known_needs_none() {
        let taken = Arc::<Taken>::default();
        let (mut one, mut other) = (Catalog::new(taken.clone()), Catalog::new(taken.clone()));
        let (used, unused) = (one.intern(b"DMY", b"1234567"), one.intern(b"", b"1234567890").id);
        let elsewhere = other.intern(b"", b"1234567890");
        assert_eq!(taken.bytes(), 30);
        assert!(other.has_room_for(b"", b"x", 31) && !other.has_room_for(b"", b"x", 30));
        assert!(one.has_room_for(b"DMY", b"1234567", 30) && one.known.len() == 2);
        assert!(one.has_room_for(b"", b"x", 30) && one.known.len() == 1, "{unused} goes");
        drop((one, other));
        assert_eq!(taken.bytes(), 20, "of those that clients have");
        drop((used, elsewhere));
        assert_eq!(taken.bytes(), 0);
    }
}
