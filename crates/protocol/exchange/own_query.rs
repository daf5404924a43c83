//! A Query of the pooler's own within a client's conversation, in the client's transaction: its answer is not for the
//! client.

use super::{ClientViolation, Copying, Exchange, Owed, Prepared};
use crate::backend::TxStatus;
use crate::changes::Change;
use crate::messages;
use crate::statements::write_parse;
use crate::traces::Kinds;

/// The name of our own statement and its portal, which is closed at once.
const OWN_NAME: &[u8] = b"POOLER_own";

/// What has become of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OwnQuery {
    /// None was sent, or it has failed, or what it did depends on the client's transaction.
    #[default]
    Unproved,
    /// It has run, and its transaction may not have ended.
    Run,
    /// It has run in a transaction of its own, which is committed.
    Committed,
}

/// Whether one may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Now.
    Now,
    /// Now, but among messages that a Query would cut off from their Sync: as a statement like them.
    Within,
    /// When what was sent is answered.
    Later,
    /// Not before the client's own messages: it would end what they have begun, or not be heard.
    No,
}

impl OwnQuery {
    pub(super) fn has_run(&mut self) {
        if *self == Self::Unproved {
            *self = Self::Run;
        }
    }

    pub(super) fn ends(&mut self, status: TxStatus) {
        if *self == Self::Run {
            *self = if status == TxStatus::Idle { Self::Committed } else { Self::Unproved };
        }
    }
}

impl Exchange {
    /// Whether a Query of our own may be sent before the client's next message.
    pub fn own_query_moment(&self) -> Moment {
        let is_deaf = self.doubt || self.skipping || self.copy != Copying::No;
        if is_deaf || self.status == TxStatus::Failed && self.is_answered() {
            Moment::No
        } else if self.unsynced {
            Moment::Within
        } else if self.is_answered() {
            Moment::Now
        } else {
            Moment::Later
        }
    }

    /// Notes one that is about to be sent, and what it leaves behind.
    pub fn own_query(&mut self, leaves: Kinds) {
        self.left.leaves(leaves);
        self.owed.push_back(Owed::SilentQuery);
    }

    /// Notes the same as a statement with a name of ours, and returns what is to be sent.
    ///
    /// # Errors
    /// See [`ClientViolation::PipelineTooLong`].
    pub fn own_statement(&mut self, leaves: Kinds, sql: &[u8]) -> Result<Vec<u8>, ClientViolation> {
        self.left.leaves(leaves);
        let mut out = Vec::with_capacity(sql.len() + 128);
        let text = [sql, &[0; 3]].concat();
        write_parse(&mut out, OWN_NAME, &text);
        let named = |out: &mut Vec<u8>, tag, before: &[u8], after: &[u8]| {
            messages::message(out, tag, |out| out.extend_from_slice(&[before, OWN_NAME, &[0], after].concat()));
        };
        named(&mut out, b'B', &[OWN_NAME, &[0]].concat(), &[0; 6]);
        named(&mut out, b'E', b"", &[0; 4]);
        named(&mut out, b'C', b"P", b"");
        named(&mut out, b'C', b"S", b"");
        self.prepared(Prepared::SilentParse, Change::Nothing)?;
        self.owed.extend([Owed::SilentBind, Owed::SilentExecute]);
        self.prepared(Prepared::SilentClose, Change::Nothing)?;
        self.prepared(Prepared::SilentClose, Change::Nothing)?;
        Ok(out)
    }

    /// Whether one has run outside of the client's transactions, so that nothing can undo it.
    pub fn own_query_is_committed(&self) -> bool {
        self.own_query == OwnQuery::Committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Header;
    use crate::exchange::Reply;

    fn reply(exchange: &mut Exchange, tag: u8, body: &[u8]) -> Reply {
        let mut message = Vec::new();
        messages::message(&mut message, tag, |out| out.extend_from_slice(body));
        let header = Header::peek(&message).expect("it has a length").expect("it is whole");
        exchange.reply(header, body).expect("it is due")
    }

    #[test]
    fn nobody_hears_of_the_answer() {
        let mut exchange = Exchange::default();
        assert_eq!(exchange.own_query_moment(), Moment::Now);
        exchange.own_query(Kinds::CHANNELS);
        assert_eq!(exchange.own_query_moment(), Moment::Later);
        assert!(exchange.traces().kinds.has(Kinds::CHANNELS) && exchange.at_rest().is_none());
        assert_eq!(reply(&mut exchange, b'C', b"DO\0"), Reply::Drop);
        assert_eq!(reply(&mut exchange, b'Z', b"I"), Reply::Drop);
        assert!(exchange.own_query_is_committed() && exchange.at_rest().is_some());
    }

    #[test]
    fn among_messages_without_a_sync_it_is_a_statement_like_them() {
        let mut exchange = Exchange::default();
        let mut begin = Vec::new();
        write_parse(&mut begin, b"", b"begin\0\0\0");
        let header = Header::peek(&begin).expect("it has a length").expect("it is whole");
        exchange.request(header, &begin[Header::SIZE..]).expect("it may be sent");
        assert_eq!(exchange.own_query_moment(), Moment::Within);
        let sent = exchange.own_statement(Kinds::CHANNELS, b"do ''").expect("there is room");
        let mut tags = Vec::new();
        let mut rest = &sent[..];
        while let Ok(Some(header)) = Header::peek(rest) {
            tags.push(header.tag);
            rest = &rest[header.total_len()..];
        }
        assert_eq!(tags, b"PBECC");
        assert_eq!(reply(&mut exchange, b'1', b""), Reply::Forward);
        for (tag, body) in [(b'1', &b""[..]), (b'2', b""), (b'C', b"DO\0"), (b'3', b""), (b'3', b"")] {
            assert_eq!(reply(&mut exchange, tag, body), Reply::Drop, "{}", char::from(tag));
        }
        assert!(exchange.is_answered() && !exchange.own_query_is_committed());
    }

    #[test]
    fn what_fails_or_runs_in_a_block_is_not_committed() {
        let mut exchange = Exchange::default();
        exchange.own_query(Kinds::CHANNELS);
        assert_eq!(reply(&mut exchange, b'E', b"SERROR\0VERROR\0C57014\0\0"), Reply::Drop);
        assert_eq!(reply(&mut exchange, b'Z', b"I"), Reply::Drop);
        assert!(!exchange.own_query_is_committed());
        exchange.own_query(Kinds::CHANNELS);
        assert_eq!(reply(&mut exchange, b'C', b"DO\0"), Reply::Drop);
        assert_eq!(reply(&mut exchange, b'Z', b"T"), Reply::Drop);
        assert!(!exchange.own_query_is_committed());
    }
}
