//! The question before a COMMIT whose outcome is to be found out should its server be lost: the client hears nothing of it,
//! unless it fails.

use super::{Copying, Exchange, Owed, Reply};
use crate::backend::{self, TxStatus};
use crate::header::Header;
use crate::messages;

/// What has come of the question.
#[derive(Debug, Default)]
pub enum Inquiry {
    /// Nothing was asked.
    #[default]
    None,
    /// Its answer is due.
    Asked,
    /// The body of its row; empty if it had none.
    Answered(Box<[u8]>),
    /// The same, and the COMMIT has been sent.
    Used(Box<[u8]>),
    /// It has failed, which the client takes for an answer to its COMMIT: that is not to be sent.
    Refused,
}

impl Inquiry {
    /// What was asked about is answered.
    #[inline]
    pub(super) fn is_over(&mut self) {
        if matches!(self, Self::Used(_)) {
            *self = Self::None;
        }
    }
}

/// The messages of a question: a statement and a portal of this name, which no other may have.
fn write(out: &mut Vec<u8>, name: &[u8], sql: &[u8]) {
    messages::message(out, b'P', |out| {
        messages::cstr(out, name);
        messages::cstr(out, sql);
        out.extend_from_slice(&[0; 2]);
    });
    messages::message(out, b'B', |out| {
        messages::cstr(out, name);
        messages::cstr(out, name);
        out.extend_from_slice(&[0; 6]);
    });
    messages::message(out, b'E', |out| {
        messages::cstr(out, name);
        out.extend_from_slice(&[0; 4]);
    });
    messages::message(out, b'C', |out| {
        out.push(b'S');
        messages::cstr(out, name);
    });
}

impl Exchange {
    /// What has come of the question.
    pub fn inquiry(&self) -> &Inquiry {
        &self.inquiry
    }

    /// Asks, in the client's transaction and without touching what is unnamed there: what is to be sent before a message
    /// with this tag. In the middle of a batch the answer is asked for by Flush, because a Sync would end it.
    pub fn inquire(&mut self, before: u8, name: &[u8], sql: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        write(&mut out, name, sql);
        self.owed.push_back(Owed::Question);
        self.inquiry = Inquiry::Asked;
        if self.unsynced || before != b'Q' {
            self.unsynced = true;
            messages::message(&mut out, b'H', |_| {});
        } else {
            messages::sync(&mut out);
            self.silent_sync();
        }
        out
    }

    /// The COMMIT is about to be sent.
    pub fn inquiry_is_used(&mut self) {
        if let Inquiry::Answered(row) = std::mem::take(&mut self.inquiry) {
            self.inquiry = Inquiry::Used(row);
        }
    }

    /// The COMMIT is not sent, because its question has failed.
    pub fn inquiry_is_told(&mut self) {
        self.inquiry = Inquiry::None;
    }

    /// The row of the question before the COMMIT that is not answered; none if that had none.
    pub fn take_inquiry(&mut self) -> Option<Box<[u8]>> {
        match std::mem::take(&mut self.inquiry) {
            Inquiry::Used(row) if !row.is_empty() => Some(row),
            _ => None,
        }
    }

    /// Whether a question that is asked now is about the transaction in which the client's next message runs: all before
    /// its batch must be answered, and what comes before it in its batch have done nothing. None if it has to wait.
    pub fn may_inquire(&self) -> Option<bool> {
        let is_earlier =
            |owed: &Owed| matches!(owed, Owed::Query | Owed::FunctionCall | Owed::Question) || owed.is_sync();
        let is_unfit = |owed: &Owed| matches!(owed, Owed::Execute | Owed::Refused);
        if self.skipping || self.doubt || self.tainted || self.copy != Copying::No {
            Some(false)
        } else if self.owed.iter().any(is_earlier) {
            None
        } else {
            Some(self.status == TxStatus::InBlock && !self.owed.iter().any(is_unfit))
        }
    }

    /// An answer to our question, if it is one.
    pub(super) fn answers_question(&mut self, tag: backend::Tag, header: Header, body: &[u8]) -> Option<Reply> {
        use backend::Tag as B;
        if self.owed.front() != Some(&Owed::Question) {
            return None;
        }
        match tag {
            B::DataRow if body.len() < header.body_len() => return Some(Reply::NeedBody(header.body_len())),
            B::DataRow => self.inquiry = Inquiry::Answered(body[..header.body_len()].into()),
            B::ParseComplete | B::BindComplete | B::CommandComplete => {}
            B::CloseComplete => {
                self.owed.pop_front();
                if matches!(self.inquiry, Inquiry::Asked) {
                    self.inquiry = Inquiry::Answered(Box::default());
                }
            }
            _ => return None,
        }
        Some(Reply::Drop)
    }

    /// The question has failed, and the block with it. In the middle of a batch the server skips the COMMIT; otherwise the
    /// ReadyForQuery behind the error is the COMMIT's.
    pub(super) fn question_failed(&mut self) {
        if let Some(sync @ Owed::SilentSync) = self.owed.front_mut() {
            *sync = Owed::Sync;
            self.inquiry = Inquiry::Refused;
        }
    }
}

#[cfg(test)]
#[path = "inquiry_tests.rs"]
mod tests;
