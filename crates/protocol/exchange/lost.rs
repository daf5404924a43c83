//! Where a conversation stands when its server is lost.

use super::{Copying, Exchange, Owed};
use crate::backend::TxStatus;
use crate::lexer::{Risk, Suspicion};

/// What was asked for and not answered when the server was lost.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    /// Where the session stood at the last ReadyForQuery.
    pub status: TxStatus,
    /// ReadyForQuery that are due.
    pub due: usize,
    /// Of the messages up to the first of them, how many are not answered.
    pub current: usize,
    /// Something behind the last of them is not answered either.
    pub tail: bool,
    /// A Sync has to come before anything else is heard.
    pub awaits_sync: bool,
    /// The client has had an error since the last ReadyForQuery.
    pub failed: bool,
    /// A statement has run to its end since the last ReadyForQuery.
    pub completed: bool,
    /// A COPY is under way.
    pub copying: bool,
    /// It is one into a table, whose end the client has not sent.
    pub copy_is_open: bool,
    /// The worst of what is not answered.
    pub risk: Option<Risk>,
    /// Something of it may leave a transaction block open.
    pub opens: bool,
    /// It cannot be told what is due.
    pub doubt: bool,
}

impl Position {
    /// Whether the client waits for anything.
    pub fn is_answered(&self) -> bool {
        self.due == 0 && !self.tail
    }
}

impl Exchange {
    /// The Query that was not there as a whole when it was noted has passed, and was a single statement.
    pub fn was_single(&mut self) {
        if let Some(Suspicion { risk, opens, .. }) = self.cut_off.take()
            && self.owed.len() == 1
        {
            (self.risk, self.opens) = (Some(risk), opens);
        }
    }

    /// The server is lost: nothing that is due will come. What is noted of prepared statements has to be undone.
    pub fn lose(&mut self) -> Position {
        let asked = |owed: &&Owed| !owed.is_silent() && **owed != Owed::CopyEnd;
        let ends = |owed: &Owed| matches!(owed, Owed::Query | Owed::FunctionCall | Owed::Sync);
        let first_end = self.owed.iter().position(ends).map_or(self.owed.len(), |at| at + 1);
        let last_end = self.owed.iter().rposition(ends).map_or(0, |at| at + 1);
        let copy_is_open = self.copy == Copying::In && !self.owed.contains(&Owed::CopyEnd);
        let position = Position {
            status: self.status,
            due: self.owed.iter().filter(|owed| ends(owed)).count(),
            current: self.owed.range(..first_end).filter(asked).count(),
            tail: self.owed.range(last_end..).filter(asked).count() > 0,
            awaits_sync: self.unsynced || self.skipping,
            failed: self.failed,
            completed: self.completed,
            copying: self.copy != Copying::No,
            copy_is_open,
            risk: self.risk,
            opens: self.opens,
            doubt: self.doubt && !self.ended || self.tainted,
        };
        while let Some(owed) = self.owed.pop_front() {
            if owed.changes()
                && let Some(change) = self.changes.pop()
                && let Some(undone) = self.session.skipped(change)
            {
                self.changes.fail(undone);
            }
        }
        position
    }
}

impl Owed {
    fn is_silent(self) -> bool {
        let is_statement = matches!(self, Self::SilentParse | Self::SilentBind | Self::SilentExecute);
        is_statement || matches!(self, Self::SilentClose | Self::SilentSync | Self::SilentQuery | Self::Question)
    }
}
