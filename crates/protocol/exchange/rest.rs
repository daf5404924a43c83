//! When a conversation is over, and how one gets there that was abandoned.

use super::{Copying, Exchange, Inquiry, Owed, OwnQuery};
use crate::backend::TxStatus;
use crate::lexer::Risk;

/// Proof that a server is idle, outside any transaction, and owes nothing.
#[derive(Debug)]
#[must_use = "the proof is what returns a server to its pool"]
pub struct AtRest(());

/// The next step for a conversation whose client is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayBack {
    /// It is at rest.
    Done,
    /// Wait for the answers that are due.
    Wait,
    /// Send CopyFail; after it a Sync, where the COPY came by the extended protocol.
    CopyFail {
        /// Whether the Sync is needed.
        sync: bool,
    },
    /// Send Sync.
    Sync,
    /// Send ROLLBACK.
    Rollback,
    /// Nothing helps: close the server.
    None,
}

impl Exchange {
    /// The proof, once everything is answered and the session is idle, outside any transaction.
    pub fn at_rest(&mut self) -> Option<AtRest> {
        let quiet = self.is_quiet() && self.status == TxStatus::Idle && !self.is_tainted();
        quiet.then_some(AtRest(()))
    }

    /// Whether nothing is owed, half done or in doubt; a transaction block may still be open.
    pub fn is_quiet(&self) -> bool {
        !self.doubt && !self.unsynced && !self.skipping && self.copy == Copying::No && self.is_answered()
    }

    /// Says that the server is left with something that the next client must not meet: it will not be at rest.
    pub fn taint(&mut self) {
        self.tainted = true;
    }

    pub(super) fn is_tainted(&self) -> bool {
        self.tainted || self.session.has_foreign_names()
    }

    /// Whether the client is done with a server that must not be lent again.
    pub fn is_spent(&self) -> bool {
        self.is_tainted() && self.is_quiet() && self.status == TxStatus::Idle
    }

    /// Whether that is only because of names of prepared statements, which their client may well meet.
    pub fn is_spent_by_names(&self) -> bool {
        self.is_spent() && !self.tainted
    }

    /// Where the session stood at the last ReadyForQuery.
    pub fn status(&self) -> TxStatus {
        self.status
    }

    /// What it takes to bring an abandoned conversation to rest, if anything does.
    pub fn way_back(&self) -> WayBack {
        if self.doubt || self.is_tainted() || self.copy == Copying::Both {
            WayBack::None
        } else if self.copy == Copying::In && !self.owed.contains(&Owed::CopyEnd) {
            WayBack::CopyFail { sync: self.owed.front() == Some(&Owed::Execute) }
        } else if self.unsynced || self.skipping {
            WayBack::Sync
        } else if !self.is_quiet() {
            WayBack::Wait
        } else if self.status == TxStatus::Idle {
            WayBack::Done
        } else {
            WayBack::Rollback
        }
    }

    /// Whether what runs may be canceled although nobody asked: never when it may be committing.
    pub fn is_safe_to_cancel(&self) -> bool {
        match self.risk {
            None => false,
            Some(Risk::Reads) => true,
            Some(Risk::Writes) => self.status != TxStatus::Idle,
            Some(Risk::MayCommit | Risk::Commits) => false,
        }
    }

    /// Whether a COMMIT is under way: not even its client may cancel it, for that would keep an unreplicated commit.
    pub fn is_committing(&self) -> bool {
        self.risk == Some(Risk::Commits)
    }

    /// Makes it fit for the next conversation, keeping its memory within reason.
    pub fn reset(&mut self) {
        let Self { owed, changes, session, referred, status, copy, risk, suspicion, cut_off, .. } = self;
        owed.clear();
        if owed.capacity() > 1024 {
            owed.shrink_to(64);
        }
        changes.clear();
        session.reset();
        referred.clear();
        (*status, *copy, *risk, *suspicion, *cut_off) = (TxStatus::Idle, Copying::No, None, None, None);
        (self.opens, self.completed, self.failed, self.ended) = (false, false, false, false);
        self.left.clear();
        self.inquiry = Inquiry::None;
        self.own_query = OwnQuery::default();
        let Self { copy_synced, unsynced, skipping, tainted, doubt, unnamed_in_batch, bind_in_batch, .. } = self;
        for flag in [copy_synced, unsynced, skipping, tainted, doubt, unnamed_in_batch, bind_in_batch] {
            *flag = false;
        }
        self.may_repair = false;
    }
}
