//! The statements that one client has prepared.

use std::collections::HashMap;
use std::sync::Arc;

use super::Statement;

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

    /// Whether so many bytes more make no more than `most`.
    pub fn have_room_for(&self, bytes: usize, most: usize) -> bool {
        self.size + bytes <= most
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
