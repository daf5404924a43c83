//! Prepared statements shared by clients: names on the client's side, numbers on the server's.
//!
//! A client's name stands for a text; a server knows the text under a name of ours. Which server knows which text is
//! noted as soon as the Parse is sent, and taken back if the server refuses or skips it.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::deallocate::Deallocates;
use crate::messages;

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

    /// What it takes away from the names in its session.
    pub fn deallocates(&self) -> Option<&Deallocates> {
        self.deallocates.as_ref()
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        self.key.len()
    }
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
}

impl Catalog {
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
            self.known.retain(|Entry(known)| Arc::strong_count(known) > 1);
            self.prune_at = (self.known.len() * 2).max(256);
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
        let name = [PREFIX, id.to_string().as_bytes()].concat().into();
        let deallocates = Deallocates::of(&key[body_at..]);
        let statement = Arc::new(Statement { id, name, key, body_at, deallocates });
        self.known.insert(Entry(statement.clone()));
        statement
    }
}

/// What one client has prepared.
#[derive(Debug, Default)]
struct Owned {
    names: HashMap<Box<[u8]>, Arc<Statement>>,
    /// What follows the name in the Parse of the unnamed statement.
    unnamed: Option<Vec<u8>>,
}

/// The statements that one client has prepared: those it has named, and the unnamed one.
#[derive(Debug, Default)]
pub struct ClientStatements {
    /// Boxed: most clients are idle, and many have none.
    owned: Option<Box<Owned>>,
    size: usize,
}

/// Bytes of names and texts that one client may have.
pub const MAX_CLIENT_STATEMENTS: usize = 16 << 20;
/// Longest unnamed statement that is kept for the next server, in bytes of text and parameter types.
pub const MAX_UNNAMED: usize = 1 << 16;
/// Room that an unnamed statement may leave unused.
const UNNAMED_SLACK: usize = 1 << 10;

fn size(name: &[u8], statement: &Statement) -> usize {
    name.len() + statement.size()
}

impl ClientStatements {
    /// What a name stands for.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        self.owned.as_ref()?.names.get(name)
    }

    /// Gives a name to a statement.
    pub fn define(&mut self, name: &[u8], statement: Arc<Statement>) {
        self.size += size(name, &statement);
        self.owned.get_or_insert_default().names.insert(name.into(), statement);
    }

    /// Takes a name away.
    pub fn forget(&mut self, name: &[u8]) -> Option<Arc<Statement>> {
        let statement = self.owned.as_mut()?.names.remove(name)?;
        self.size -= size(name, &statement);
        Some(statement)
    }

    /// Lets other statements take the place of one, whatever it is called.
    pub fn replace(&mut self, outdated: u64, renew: impl Fn(&Statement) -> Arc<Statement>) {
        let names = self.owned.iter_mut().flat_map(|owned| owned.names.values_mut());
        names.filter(|statement| statement.id == outdated).for_each(|statement| *statement = renew(statement));
    }

    /// Takes all names away (`DEALLOCATE ALL`, `DISCARD ALL`). The unnamed statement is none of them.
    pub fn clear(&mut self) {
        let unnamed = self.take_unnamed();
        *self = Self::default();
        self.set_unnamed(unnamed);
    }

    /// The unnamed statement: what follows the name in its Parse.
    pub fn unnamed(&self) -> Option<&[u8]> {
        self.owned.as_ref()?.unnamed.as_deref()
    }

    /// Replaces the unnamed statement. What it was is returned, for its memory.
    pub fn set_unnamed(&mut self, body: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let before = self.take_unnamed();
        if let Some(mut body) = body {
            body.shrink_to(body.len() + UNNAMED_SLACK);
            self.size += body.len();
            self.owned.get_or_insert_default().unnamed = Some(body);
        }
        before
    }

    fn take_unnamed(&mut self) -> Option<Vec<u8>> {
        let before = self.owned.as_mut()?.unnamed.take()?;
        self.size -= before.len();
        Some(before)
    }

    /// Whether so many bytes more are not more than [`MAX_CLIENT_STATEMENTS`].
    pub fn have_room_for(&self, bytes: usize) -> bool {
        self.size + bytes <= MAX_CLIENT_STATEMENTS
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.owned.as_ref().map_or(0, |owned| owned.names.len())
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The statements that one server knows, with the turn in which each was used last.
#[derive(Debug, Default)]
pub struct ServerStatements {
    used: HashMap<u64, (u64, Arc<Statement>)>,
    turn: u64,
}

impl ServerStatements {
    /// Whether the server knows a statement; if so it counts as used.
    pub fn touch(&mut self, id: u64) -> bool {
        self.turn += 1;
        let turn = self.turn;
        self.used.get_mut(&id).map(|entry| entry.0 = turn).is_some()
    }

    /// Notes that the server knows a statement. The one used least is to be closed where `most` would be passed.
    #[must_use = "the statement that has to go must be closed on the server"]
    pub fn add(&mut self, statement: Arc<Statement>, most: usize) -> Option<Arc<Statement>> {
        let goes = self.next_to_go(most).and_then(|id| self.used.remove(&id));
        self.turn += 1;
        self.used.insert(statement.id, (self.turn, statement));
        goes.map(|(_, statement)| statement)
    }

    pub(crate) fn knows(&self, id: u64) -> bool {
        self.used.contains_key(&id)
    }

    /// The one that goes when another is added.
    pub(crate) fn next_to_go(&self, most: usize) -> Option<u64> {
        let least_used = || self.used.iter().min_by_key(|(_, (turn, _))| *turn).map(|(id, _)| *id);
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
    fn the_statement_used_least_goes_first() {
        let mut catalog = Catalog::default();
        let mut server = ServerStatements::default();
        let [a, b, c] = [b"a", b"b", b"c"].map(|body| catalog.intern(b"", body));
        assert!(server.add(a.clone(), 2).is_none() && server.add(b.clone(), 2).is_none());
        assert!(server.touch(a.id));
        assert_eq!(server.add(c, 2).map(|statement| statement.id), Some(b.id));
        assert!(!server.touch(b.id) && server.touch(a.id));
    }
}
