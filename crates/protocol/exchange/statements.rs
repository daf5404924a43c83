//! The part of the conversation that prepared statements have: what is noted of them, and what may be relied on.

use super::{ClientViolation, Copying, Exchange, MAX_OUTSTANDING, Owed};
use crate::backend::TxStatus;
use crate::changes::{Change, Changes};
use crate::lexer::{self, Suspicion};
use crate::prepared::Session;
use crate::statements::{ClientStatements, ServerStatements};

/// Messages due that are looked through for one that may change the transaction's state.
const LOOKED_THROUGH: usize = 64;

/// A message about a prepared statement that is not simply passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prepared {
    /// The client's Parse: of a named statement under a name of ours, or of the unnamed one.
    Parse,
    /// The client's Close of the unnamed statement.
    Close,
    /// What is sent in the place of a Parse that is refused.
    Refused,
    /// A Parse of our own, before a message that needs it.
    SilentParse,
    /// A Close of our own, to make room.
    SilentClose,
    /// The client's Parse, of what the server knows already: not sent.
    KnownParse,
    /// The client's Close: not sent, because others may use the statement.
    KnownClose,
}

impl Exchange {
    /// Whether the Query that is about to be sent may take names of prepared statements away. It is read once for this
    /// and for all else.
    pub fn may_deallocate(&mut self, query: &[u8]) -> bool {
        self.suspicion.insert(lexer::simple_query(query, true)).deallocates
    }

    /// Notes the text of a Parse that does not pass through [`Exchange::request`].
    pub(crate) fn note_text(&mut self, is_unnamed: bool, text: &[u8]) -> Suspicion {
        let suspicion = lexer::first_statement(text);
        self.suspect(suspicion);
        if is_unnamed {
            self.left.text(suspicion, text);
        }
        self.unnamed_in_batch |= is_unnamed;
        suspicion
    }

    /// Notes a message about a prepared statement, and what it changes. The server must not be skipping.
    ///
    /// # Errors
    /// See [`ClientViolation::PipelineTooLong`].
    pub(crate) fn prepared(&mut self, message: Prepared, change: Change) -> Result<(), ClientViolation> {
        if self.owed.len() >= MAX_OUTSTANDING {
            return Err(ClientViolation::PipelineTooLong);
        }
        let owed = match message {
            Prepared::Parse => Owed::NotedParse,
            Prepared::Close => Owed::NotedClose,
            Prepared::Refused => Owed::Refused,
            Prepared::SilentParse => Owed::SilentParse,
            Prepared::SilentClose => Owed::SilentClose,
            Prepared::KnownParse => Owed::OwnParse,
            Prepared::KnownClose => Owed::OwnClose,
        };
        debug_assert!(!self.skipping, "the server would not hear of it");
        self.unsynced |= !matches!(owed, Owed::OwnParse | Owed::OwnClose);
        self.session.begins(&change);
        self.owed.push_back(owed);
        self.changes.push(change);
        Ok(())
    }

    /// Notes a Sync of our own, where nothing but messages of our own is sent since the last one.
    pub(crate) fn silent_sync(&mut self) {
        self.unsynced = false;
        self.changes.sync();
        self.owed.push_back(Owed::SilentSync);
    }

    /// The same as [`Exchange::own_answer`], unless the server will say something, of which there `is_more` already: then
    /// the two go together, as from a server. An error may follow that the client does not hear of.
    #[inline]
    pub fn own_answer_due(&mut self, is_more: bool) -> Option<u8> {
        let waits = !is_more && matches!(self.owed.front(), Some(Owed::OwnParse | Owed::OwnClose)) && !self.is_synced();
        if waits { None } else { self.own_answer() }
    }

    /// The tag of an answer of our own whose turn it is: ParseComplete or CloseComplete.
    pub fn own_answer(&mut self) -> Option<u8> {
        self.drop_copy_ends();
        let tag = match self.owed.front()? {
            Owed::OwnParse => b'1',
            Owed::OwnClose => b'3',
            _ => return None,
        };
        self.owed.pop_front();
        self.changes.pop();
        Some(tag)
    }

    /// Takes back the changes that did not come about, the last one first.
    #[inline]
    pub fn undo(&mut self, client: &mut ClientStatements, server: &mut ServerStatements) {
        self.changes.undo(client, server);
    }

    /// Tells the client's notes what has come about, and they could not say before.
    #[inline]
    pub fn tell(&mut self, client: &mut ClientStatements) {
        self.session.tell(client);
        self.referred.tell(client);
    }

    /// The message that is about to be sent is about this statement.
    pub(crate) fn refers(&mut self, id: u64, suspicion: Suspicion) {
        self.suspect(suspicion);
        self.referred.announce(id);
    }

    /// It describes it, and the client calls it so.
    pub(crate) fn describes(&mut self, name: &[u8]) {
        self.referred.announce_name(name);
    }

    /// Whether an answer that ends with this error is held back, because its batch may be sent again.
    #[inline]
    pub fn withholds(&self) -> bool {
        self.may_repair && self.owed.len() == 1
    }

    /// Whether the last answer was that a statement is outdated, and nothing was done before that outside a block.
    pub fn may_repair(&self) -> bool {
        self.may_repair
    }

    /// The statement that a server has just refused to run because it would return other columns than when it was
    /// prepared. The client has the error; it does not have to meet it again on the next server.
    #[inline]
    pub fn take_outdated(&mut self) -> Option<u64> {
        self.referred.take_outdated()
    }

    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    pub(crate) fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Whether the server skips what it is sent, up to a Sync that is not sent yet; or may, and is not lent again.
    pub(crate) fn is_skipping(&self) -> bool {
        self.skipping || self.doubt
    }

    /// Whether extended-protocol messages were sent since the last Sync.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// Whether answers that are due will come, without more from the client. A COPY IN awaits data; but what was sent
    /// behind the data ends it, be it by an error.
    pub(crate) fn can_wait(&self) -> bool {
        let is_sent = |owed: &Owed| !matches!(owed, Owed::OwnParse | Owed::OwnClose);
        !self.doubt && (self.copy != Copying::In || self.owed.iter().skip(1).any(is_sent))
    }

    /// Whether all that was sent is answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.owed.iter().all(|owed| *owed == Owed::CopyEnd)
    }

    /// Whether all that was sent before the last Sync is answered.
    pub(crate) fn is_synced(&self) -> bool {
        !self.owed.iter().any(|owed| owed.is_sync())
    }

    /// Whether a portal may be executed, or its execution answered, that was bound before.
    pub(crate) fn may_have_portals(&self) -> bool {
        self.bind_in_batch || self.status != TxStatus::Idle || !self.is_synced()
    }

    /// Whether a transaction block may have failed: a Parse is an error then.
    pub(crate) fn may_have_failed(&self) -> bool {
        let may_fail = |owed: &Owed| owed.is_sync() || matches!(owed, Owed::Query | Owed::FunctionCall);
        self.status == TxStatus::Failed || self.owed.len() > LOOKED_THROUGH || self.owed.iter().any(may_fail)
    }

    /// Whether a transaction block has failed for certain: what was sent behind the last Sync may have ended it.
    pub(crate) fn has_failed(&self) -> bool {
        self.status == TxStatus::Failed && !self.unsynced
    }
}
