//! What messages on their way change in the notes about statements, until the server's answers decide it.
//!
//! The notes say at once what will be if all goes well. Up to the next Sync that is exact: either all has gone well
//! so far, or the server skips the message that asks. Behind a Sync it is a guess, so whoever asks then has to wait.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::statements::{ClientStatements, ServerStatements, Statement};
use crate::traces::Kinds;

/// Changes sent before the last Sync that are looked through one by one; where there are more, all have to be waited for.
const LOOKED_THROUGH: usize = 64;

/// What a message changes in the notes.
#[derive(Debug)]
pub(crate) enum Change {
    /// A client has given a name; perhaps a server was told the statement for it.
    Defined {
        /// The client's name.
        name: Box<[u8]>,
        /// The number, if a server was told.
        on_server: Option<u64>,
    },
    /// A client has given a name up.
    Forgot {
        /// The client's name.
        name: Box<[u8]>,
        /// What it stood for.
        statement: Option<Arc<Statement>>,
    },
    /// A server was told a statement on our own account.
    Told(u64),
    /// A server was told to close a statement on our own account.
    Closed(u64),
    /// A server was told something under the client's own name, for the client's `DEALLOCATE` to find.
    Lent {
        /// The name.
        name: Box<[u8]>,
        /// Whether it stands in a Query, and not in a prepared statement.
        to_query: bool,
    },
    /// A client has parsed or closed its unnamed statement: what there is now, if it can be kept.
    Unnamed(Option<Vec<u8>>),
    /// A server's unnamed statement was made the client's.
    UnnamedTold,
    /// A client's Parse or Bind is refused: something was sent in its place that no server accepts.
    Refused(NoRoom),
    /// Nothing.
    Nothing,
}

/// Why a statement is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// One client has too many bytes of them.
    Client,
    /// All of them together have.
    All,
    /// It may leave such things in its session, which are not to be had.
    Feature(Kinds),
    /// It may have to keep its server, and too many clients do.
    Pins,
}

impl Change {
    fn concerns_name(&self, asked: &[u8]) -> bool {
        matches!(self, Self::Defined { name, .. } | Self::Forgot { name, .. } if **name == *asked)
    }

    fn concerns_statement(&self, asked: u64) -> bool {
        match self {
            Self::Defined { on_server, .. } => *on_server == Some(asked),
            Self::Told(id) | Self::Closed(id) => *id == asked,
            Self::Forgot { .. } | Self::Lent { .. } | Self::Unnamed(_) | Self::UnnamedTold => false,
            Self::Refused(_) | Self::Nothing => false,
        }
    }

    /// Takes it back. What the notes say only after the answer needs no taking back.
    fn undo(self, client: &mut ClientStatements, server: &mut ServerStatements) {
        match self {
            Self::Defined { name, on_server } => {
                client.forget(&name);
                on_server.into_iter().for_each(|id| server.remove(id));
            }
            Self::Forgot { name, statement } => {
                if let Some(statement) = statement {
                    client.define(&name, statement);
                }
            }
            Self::Told(id) => server.remove(id),
            // It is one more than allowed then; the next one to be told makes up for it.
            Self::Closed(id) => {
                let _ = server.add(id, usize::MAX);
            }
            Self::Lent { .. } | Self::Unnamed(_) | Self::UnnamedTold | Self::Refused(_) | Self::Nothing => {}
        }
    }
}

/// The changes of messages whose answers are due, in the order they were sent.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pending: VecDeque<Change>,
    /// How many of them were sent before the last Sync.
    earlier: usize,
    /// Those that did not come about, and are not taken back yet, in the order they were sent.
    pub(crate) undone: Vec<Change>,
}

impl Changes {
    pub(crate) fn push(&mut self, change: Change) {
        self.pending.push_back(change);
    }

    pub(crate) fn pop(&mut self) -> Option<Change> {
        self.earlier = self.earlier.saturating_sub(1);
        self.pending.pop_front()
    }

    /// The change of the message whose answer is due next, if it has one.
    pub(crate) fn first(&self) -> Option<&Change> {
        self.pending.front()
    }

    /// One that was just popped, or was never sent, does not come about.
    pub(crate) fn fail(&mut self, change: Change) {
        self.undone.push(change);
    }

    /// A Sync is sent: what was sent before it may fail without what follows being skipped.
    pub(crate) fn sync(&mut self) {
        self.earlier = self.pending.len();
    }

    pub(crate) fn undo(&mut self, client: &mut ClientStatements, server: &mut ServerStatements) {
        // Asked for at each message, and almost always in vain.
        if !self.undone.is_empty() {
            self.undone.drain(..).rev().for_each(|change| change.undo(client, server));
        }
    }

    /// Whether the notes about a client's name are a guess.
    pub(crate) fn is_name_uncertain(&self, name: &[u8]) -> bool {
        self.any_earlier(|change| change.concerns_name(name))
    }

    /// Whether the notes about what the server knows of a statement are a guess.
    pub(crate) fn is_statement_uncertain(&self, id: u64) -> bool {
        self.any_earlier(|change| change.concerns_statement(id))
    }

    fn any_earlier(&self, concerns: impl Fn(&Change) -> bool) -> bool {
        self.earlier > LOOKED_THROUGH || self.pending.range(..self.earlier).any(concerns)
    }

    pub(crate) fn clear(&mut self) {
        self.pending.clear();
        self.undone.clear();
        self.earlier = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statements::Catalog;

    #[test]
    fn what_is_undone_in_reverse_is_as_before() {
        let mut catalog = Catalog::default();
        let (mut client, mut server) = (ClientStatements::default(), ServerStatements::default());
        let [old, new] = [b"old", b"new"].map(|body| catalog.intern(b"", body));
        client.define(b"s", old.clone());
        let mut changes = Changes::default();
        changes.fail(Change::Forgot { name: b"s".as_slice().into(), statement: client.forget(b"s") });
        client.define(b"s", new.clone());
        let _ = server.add(new.id, 9);
        changes.fail(Change::Defined { name: b"s".as_slice().into(), on_server: Some(new.id) });
        changes.undo(&mut client, &mut server);
        assert_eq!(client.get(b"s").map(|statement| statement.id), Some(old.id));
        assert!(server.is_empty());
    }

    #[test]
    fn only_what_was_sent_before_a_sync_is_a_guess() {
        let mut changes = Changes::default();
        changes.push(Change::Defined { name: b"s".as_slice().into(), on_server: Some(7) });
        assert!(!changes.is_name_uncertain(b"s"));
        changes.sync();
        changes.push(Change::Told(8));
        assert!(changes.is_name_uncertain(b"s") && !changes.is_name_uncertain(b"t"));
        assert!(changes.is_statement_uncertain(7) && !changes.is_statement_uncertain(8));
        changes.pop();
        assert!(!changes.is_name_uncertain(b"s"));
    }
}
