//! The statements that one client has prepared.

use std::collections::HashMap;
use std::sync::Arc;

use super::Statement;
use crate::outdated::Columns;

/// What one client has prepared.
#[derive(Debug, Default)]
struct Owned {
    names: HashMap<Box<[u8]>, Named>,
    /// Portals were described: what the client was told last of a statement is not known any more.
    describes_portals: bool,
    /// What follows the name in the Parse of the unnamed statement.
    unnamed: Option<Vec<u8>>,
}

/// What a name stands for.
#[derive(Debug)]
struct Named {
    statement: Arc<Statement>,
    /// What the client was told of its columns last.
    told: Option<Columns>,
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
        Some(&self.owned.as_ref()?.names.get(name)?.statement)
    }

    /// What the client was told last of a statement's columns, if that is known for certain.
    pub fn told(&self, name: &[u8]) -> Option<Columns> {
        let owned = self.owned.as_ref().filter(|owned| !owned.describes_portals)?;
        owned.names.get(name)?.told
    }

    /// Notes what the client is told of the columns of a statement, if that is what the name still stands for.
    pub(crate) fn tell(&mut self, name: &[u8], id: u64, columns: Option<Columns>) {
        if let Some(named) = self.owned.as_mut().and_then(|owned| owned.names.get_mut(name))
            && named.statement.id == id
        {
            named.told = columns;
        }
    }

    /// Notes that a portal is described, whose statement is not looked for.
    #[inline]
    pub fn describe_portal(&mut self) {
        if let Some(owned) = &mut self.owned {
            owned.describes_portals = true;
        }
    }

    /// Gives a name to a statement.
    pub fn define(&mut self, name: &[u8], statement: Arc<Statement>) {
        self.size += size(name, &statement);
        self.owned.get_or_insert_default().names.insert(name.into(), Named { statement, told: None });
    }

    /// Takes a name away.
    pub fn forget(&mut self, name: &[u8]) -> Option<Arc<Statement>> {
        let Named { statement, .. } = self.owned.as_mut()?.names.remove(name)?;
        self.size -= size(name, &statement);
        Some(statement)
    }

    /// Lets other statements take the place of one, whatever it is called.
    pub fn replace(&mut self, outdated: u64, renew: impl Fn(&Statement) -> Arc<Statement>) {
        let names = self.owned.iter_mut().flat_map(|owned| owned.names.values_mut());
        let statements = names.map(|named| &mut named.statement).filter(|statement| statement.id == outdated);
        statements.for_each(|statement| *statement = renew(statement));
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
