//! What a server still owes for what it was sent, and when it is at rest.

mod copying;
mod inquiry;
mod lost;
mod owed;
mod own_query;
mod referred;
mod rest;
mod statements;
mod traces;

use std::collections::VecDeque;

use copying::Copying;
pub use inquiry::Inquiry;
use owed::Owed;
use own_query::OwnQuery;
use referred::Referred;
pub use rest::{AtRest, WayBack};
pub(crate) use statements::Prepared;
use thiserror::Error;
use traces::Left;

use crate::backend::{self, TxStatus};
pub use crate::changes::NoRoom;
use crate::changes::{Change, Changes};
use crate::fields::Fields;
use crate::frontend::Tag;
use crate::header::Header;
use crate::lexer::{self, Risk, Suspicion};
use crate::outdated::{Columns, MAX_COLUMNS};
use crate::prepared::Session;
pub use lost::Position;
pub use own_query::Moment;

/// Messages a client may have sent ahead of their answers; a byte each.
pub const MAX_OUTSTANDING: usize = 1 << 20;
/// How much of an error's body is looked at: severity and SQLSTATE stand at its beginning.
const ERROR_PREFIX: usize = 64;
/// How much is where the end matters.
const ERROR_WHOLE: usize = 1 << 10;
/// CommandComplete after which no prepared statement is left.
const ALL_GONE: [&[u8]; 2] = [b"DISCARD ALL\0", b"DEALLOCATE ALL\0"];
/// CommandComplete after which one is gone.
const ONE_GONE: &[u8] = b"DEALLOCATE\0";
/// Lengths of these, for which the tag has to be read.
const GONE_LENGTHS: [usize; 3] = [ONE_GONE.len(), ALL_GONE[0].len(), ALL_GONE[1].len()];

/// The conversation with one server, from check-out to check-in.
///
/// The only maker of [`AtRest`]. Source: protocol chapter, "Message Flow".
#[derive(Debug)]
pub struct Exchange {
    owed: VecDeque<Owed>,
    /// One for each entry of `owed` that [`Owed::changes`] something, in the same order.
    changes: Changes,
    /// What is known of prepared statements beside the notes.
    session: Session,
    status: TxStatus,
    copy: Copying,
    /// A Sync was sent into the COPY, which the server ignores if it does not fail before.
    copy_synced: bool,
    /// Extended-protocol messages were sent since the last Sync: an implicit transaction may be open.
    unsynced: bool,
    /// The server skips all messages up to the next Sync.
    skipping: bool,
    /// The server is left with something that the next client must not meet.
    tainted: bool,
    /// The server's state can no longer be told for certain, so it will never be at rest.
    doubt: bool,
    /// The server has ended the session, and there was no doubt before.
    ended: bool,
    /// The worst that has been sent since nothing was owed.
    risk: Option<Risk>,
    /// Something sent since then may leave a transaction block open.
    opens: bool,
    /// A statement has run to its end since the last ReadyForQuery.
    completed: bool,
    /// The client has had an error since then.
    failed: bool,
    unnamed_in_batch: bool,
    bind_in_batch: bool,
    /// What the Query is suspected of that is about to be sent, if somebody has asked.
    suspicion: Option<Suspicion>,
    /// What the last Query that was not there as a whole is suspected of, if it is a single statement.
    cut_off: Option<Suspicion>,
    /// Named statements that are bound or described.
    referred: Referred,
    /// What is being answered was refused outside a block because a statement is outdated.
    may_repair: bool,
    /// What may be left behind in the session.
    left: Left,
    /// What has come of the question before a COMMIT.
    inquiry: Inquiry,
    /// What has become of a Query of our own.
    own_query: OwnQuery,
}

/// What becomes of a client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// It goes to the server.
    Forward,
    /// The server would ignore it: it is dropped here, so that it cannot fall into a later COPY.
    Drop,
    /// The client says goodbye.
    Terminate,
}

/// What becomes of a server's message. All but [`Reply::NeedBody`] are final; all are forwarded unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It goes to the client.
    Forward,
    /// Ask again when this many bytes of the body are there.
    NeedBody(usize),
    /// ReadyForQuery.
    Ready(TxStatus),
    /// An error after which the server ends the session.
    Fatal,
    /// An error after which the session goes on.
    Error,
    /// The same, in the place of which the client is told that there is no room for its statement.
    NoRoom(NoRoom),
    /// ParameterStatus, whole.
    Parameter,
    /// NotificationResponse.
    Notification,
    /// The answer to a message of our own: not for the client.
    Drop,
    /// All prepared statements of the session are gone (`DEALLOCATE ALL`, `DISCARD ALL`).
    Deallocated,
}

/// A message that no client may send here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClientViolation {
    /// A tag that does not exist, or not after login.
    #[error("invalid frontend message type {0}")]
    UnknownTag(u8),
    /// A body where none may be.
    #[error("invalid message length for message type {0}")]
    Length(u8),
    /// More than [`MAX_OUTSTANDING`] messages without waiting for an answer.
    #[error("more than {MAX_OUTSTANDING} messages in one pipeline")]
    PipelineTooLong,
}

/// A message that no server may send here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("server sent message type {tag:?} where none is due", tag = char::from(*tag))]
pub struct ServerViolation {
    /// The message's tag.
    pub tag: u8,
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            owed: VecDeque::new(),
            changes: Changes::default(),
            session: Session::default(),
            status: TxStatus::Idle,
            copy: Copying::No,
            copy_synced: false,
            unsynced: false,
            skipping: false,
            tainted: false,
            doubt: false,
            ended: false,
            risk: None,
            opens: false,
            completed: false,
            failed: false,
            unnamed_in_batch: false,
            bind_in_batch: false,
            suspicion: None,
            cut_off: None,
            referred: Referred::default(),
            may_repair: false,
            left: Left::default(),
            inquiry: Inquiry::default(),
            own_query: OwnQuery::default(),
        }
    }
}

impl Exchange {
    /// Notes a client's message that is about to be sent. `body` is as much of it as has arrived.
    ///
    /// # Errors
    /// A message no client may send; the caller ends that client.
    pub fn request(&mut self, header: Header, body: &[u8]) -> Result<Request, ClientViolation> {
        let tag = Tag::of(header.tag).ok_or(ClientViolation::UnknownTag(header.tag))?;
        if tag.is_bare() && header.body_len() != 0 {
            return Err(ClientViolation::Length(header.tag));
        }
        if self.owed.len() >= MAX_OUTSTANDING {
            return Err(ClientViolation::PipelineTooLong);
        }
        match tag {
            Tag::Query => self.query(header, body),
            Tag::FunctionCall => {
                self.note_risk(Risk::MayCommit);
                self.left.function_call(body);
                self.owe(Owed::FunctionCall);
            }
            Tag::Parse => {
                let text = memchr::memchr(0, body).map_or(&[][..], |end| &body[end + 1..]);
                let suspicion = lexer::first_statement(text);
                self.suspect(suspicion);
                self.left.text(suspicion, text);
                self.unnamed_in_batch |= body.first() == Some(&0);
                self.owe_unsynced(Owed::Parse);
            }
            Tag::Bind => {
                let is_named = self.referred.send();
                if !(is_named || self.unnamed_in_batch && binds_unnamed(body)) {
                    self.note_risk(Risk::MayCommit);
                }
                self.bind_in_batch = true;
                self.owe_unsynced(if is_named { Owed::NamedBind } else { Owed::Bind });
            }
            Tag::Describe => {
                let is_named = self.referred.send();
                self.owe_unsynced(if is_named { Owed::NamedDescribe } else { Owed::Describe });
            }
            Tag::Execute => {
                if !self.bind_in_batch || body.first() != Some(&0) {
                    self.note_risk(Risk::MayCommit);
                }
                self.owe_unsynced(Owed::Execute);
            }
            Tag::Close => self.owe_unsynced(Owed::Close),
            Tag::Sync => self.sync(),
            Tag::CopyData if self.owed.is_empty() => return Ok(Request::Drop),
            Tag::CopyDone | Tag::CopyFail if self.owed.is_empty() => return Ok(Request::Drop),
            Tag::CopyDone | Tag::CopyFail => self.owed.push_back(Owed::CopyEnd),
            Tag::CopyData | Tag::Flush => {}
            Tag::Terminate => return Ok(Request::Terminate),
        }
        Ok(Request::Forward)
    }

    fn query(&mut self, header: Header, body: &[u8]) {
        let is_whole = body.len() == header.body_len();
        if !is_whole {
            self.cut_off = Some(lexer::first_statement(body));
        }
        let suspicion = self.suspicion.take().unwrap_or_else(|| lexer::simple_query(body, is_whole));
        self.suspect(suspicion);
        self.left.text(suspicion, body);
        if !self.skipping {
            self.session.query(suspicion.deallocates);
        }
        self.owe(Owed::Query);
    }

    fn owe(&mut self, owed: Owed) {
        if !self.skipping {
            self.owed.push_back(owed);
        }
    }

    fn owe_unsynced(&mut self, owed: Owed) {
        self.unsynced = true;
        self.session.sends();
        self.owe(owed);
    }

    fn sync(&mut self) {
        (self.unnamed_in_batch, self.bind_in_batch) = (false, false);
        if self.copy == Copying::In && !self.doubt && !self.owed.contains(&Owed::CopyEnd) {
            // A server in COPY IN ignores it, unless an error on its way to us has ended the COPY already.
            self.copy_synced = true;
            return;
        }
        self.unsynced = false;
        self.skipping = false;
        self.changes.sync();
        self.session.sync();
        self.owed.push_back(Owed::Sync);
    }

    fn suspect(&mut self, suspicion: Suspicion) {
        self.note_risk(suspicion.risk);
        self.opens |= suspicion.opens;
    }

    fn note_risk(&mut self, risk: Risk) {
        self.risk = self.risk.max(Some(risk));
    }

    /// Notes a server's message. `body` is as much of it as has arrived.
    ///
    /// # Errors
    /// A message that is not due; the caller closes the server.
    pub fn reply(&mut self, header: Header, body: &[u8]) -> Result<Reply, ServerViolation> {
        let violation = ServerViolation { tag: header.tag };
        let tag = backend::Tag::of(header.tag).ok_or(violation)?;
        self.drop_copy_ends();
        let needed = match tag {
            backend::Tag::ReadyForQuery | backend::Tag::ParameterStatus => header.body_len(),
            backend::Tag::ErrorResponse => self.needed_of_error(header, body),
            backend::Tag::CommandComplete if GONE_LENGTHS.contains(&header.body_len()) => header.body_len(),
            backend::Tag::RowDescription if self.is_remembered(header) => header.body_len(),
            _ => 0,
        };
        if body.len() < needed {
            return Ok(Reply::NeedBody(needed));
        }
        use backend::Tag as B;
        match tag {
            B::RowDescription | B::NoData if self.owed.front() == Some(&Owed::NamedDescribe) => {
                self.owed.pop_front();
                self.referred.describe((body.len() >= header.body_len()).then(|| Columns::of(body)));
                Some(Reply::Forward)
            }
            B::DataRow | B::CopyData | B::RowDescription | B::NoData => self.row_or_description(tag),
            B::CommandComplete if ALL_GONE.contains(&body) => self.command_ends().map(|_| Reply::Deallocated),
            B::CommandComplete if body == ONE_GONE => {
                self.session.deallocated(self.owed.front() == Some(&Owed::Query));
                self.command_ends()
            }
            B::CommandComplete | B::EmptyQueryResponse | B::PortalSuspended => self.command_ends(),
            B::ParseComplete => self.answers_either(Owed::Parse, Owed::NotedParse, Owed::SilentParse),
            B::BindComplete => self.bound(),
            B::CloseComplete => self.answers_either(Owed::Close, Owed::NotedClose, Owed::SilentClose),
            B::FunctionCallResponse => (self.owed.front() == Some(&Owed::FunctionCall)).then_some(Reply::Forward),
            B::ParameterDescription => {
                matches!(self.owed.front(), Some(Owed::Describe | Owed::NamedDescribe)).then_some(Reply::Forward)
            }
            B::ReadyForQuery => TxStatus::of(body).and_then(|status| self.ready(status)),
            // Never more than was waited for: the verdict must not depend on how much has arrived.
            B::ErrorResponse => Some(self.error(Fields::parse(&body[..needed]))),
            B::CopyInResponse => self.copy_begins(Copying::In),
            B::CopyOutResponse => self.copy_begins(Copying::Out),
            B::CopyBothResponse => self.copy_begins(Copying::Both),
            B::CopyDone => self.copy_out_ends(),
            B::NoticeResponse => Some(Reply::Forward),
            B::NotificationResponse => Some(Reply::Notification),
            B::ParameterStatus => Some(Reply::Parameter),
            B::Authentication | B::BackendKeyData | B::NegotiateProtocolVersion => None,
        }
        .or_else(|| self.answers_question(tag, header, body))
        .or_else(|| self.in_doubt())
        .ok_or(violation)
    }

    /// What has no place is an answer to what was taken for swallowed by a COPY that failed: from here on no answer has a
    /// certain one.
    fn in_doubt(&mut self) -> Option<Reply> {
        self.doubt |= self.tainted;
        self.doubt.then_some(Reply::Forward)
    }

    /// How much of an error has to be there. What tells an outdated statement stands at the end.
    fn needed_of_error(&self, header: Header, body: &[u8]) -> usize {
        let prefix = header.body_len().min(ERROR_PREFIX);
        let is_about_statement = self.owed.front().is_some_and(|front| front.is_reference())
            && body.get(..prefix).is_some_and(|prefix| Fields::parse(prefix).may_be_about_outdated_plan());
        if is_about_statement { header.body_len().min(ERROR_WHOLE) } else { prefix }
    }

    /// Whether the columns are those of a statement, and not too many to be remembered.
    fn is_remembered(&self, header: Header) -> bool {
        self.owed.front() == Some(&Owed::NamedDescribe) && header.body_len() <= MAX_COLUMNS
    }

    fn row_or_description(&mut self, tag: backend::Tag) -> Option<Reply> {
        match (self.owed.front()?, tag) {
            (Owed::Describe, backend::Tag::RowDescription | backend::Tag::NoData) => {
                self.owed.pop_front();
            }
            (Owed::Execute, backend::Tag::DataRow | backend::Tag::CopyData) => {}
            (Owed::Query, backend::Tag::DataRow | backend::Tag::CopyData | backend::Tag::RowDescription) => {}
            _ => return None,
        }
        Some(Reply::Forward)
    }

    fn command_ends(&mut self) -> Option<Reply> {
        match self.owed.front()? {
            Owed::SilentQuery => {
                self.own_query.has_run();
                return Some(Reply::Drop);
            }
            Owed::SilentExecute => {
                self.owed.pop_front();
                return Some(Reply::Drop);
            }
            Owed::Query => {
                if self.copy == Copying::In && self.owed.get(1) == Some(&Owed::CopyEnd) {
                    self.owed.remove(1);
                }
            }
            Owed::Execute => {
                self.owed.pop_front();
            }
            _ => return None,
        }
        self.copy = Copying::No;
        self.completed = true;
        Some(Reply::Forward)
    }

    fn bound(&mut self) -> Option<Reply> {
        let is_bind = |front: &mut Owed| matches!(front, Owed::Bind | Owed::NamedBind | Owed::SilentBind);
        match self.owed.pop_front_if(is_bind)? {
            Owed::SilentBind => return Some(Reply::Drop),
            Owed::NamedBind => self.referred.pop(false),
            _ => {}
        }
        Some(Reply::Forward)
    }

    fn answers_either(&mut self, plain: Owed, noted: Owed, silent: Owed) -> Option<Reply> {
        let answered = self.owed.pop_front_if(|front| [plain, noted, silent].contains(front))?;
        if answered.changes()
            && let Some(change) = self.changes.pop()
        {
            self.session.came_about(change);
        }
        Some(if answered == silent { Reply::Drop } else { Reply::Forward })
    }

    fn ready(&mut self, status: TxStatus) -> Option<Reply> {
        let answered = self.owed.pop_front();
        match answered {
            Some(Owed::Query) => self.session.query_ended(),
            Some(Owed::FunctionCall | Owed::Sync | Owed::SilentSync) => {}
            Some(Owed::SilentQuery) => self.own_query.ends(status),
            _ if self.doubt => {}
            // The answer to a Sync that was taken for one that the COPY had swallowed.
            None if self.tainted => return Some(Reply::Drop),
            _ => return None,
        }
        self.copy = Copying::No;
        self.status = status;
        (self.completed, self.failed) = (false, false);
        if status == TxStatus::Idle && !self.owed.is_empty() {
            self.note_end();
        }
        if self.owed.is_empty() {
            (self.risk, self.opens) = (None, false);
        } else {
            self.may_repair = false;
        }
        if matches!(answered, Some(Owed::SilentSync | Owed::SilentQuery)) {
            return Some(Reply::Drop);
        }
        self.inquiry.is_over();
        Some(Reply::Ready(status))
    }

    /// After an error the server skips to the next Sync; in a simple Query or FunctionCall ReadyForQuery follows at once.
    fn error(&mut self, fields: Fields<'_>) -> Reply {
        if fields.is_fatal() {
            self.ended = !std::mem::replace(&mut self.doubt, true);
            return Reply::Fatal;
        }
        if self.owed.front() == Some(&Owed::SilentQuery) && self.status == TxStatus::Idle {
            return Reply::Drop;
        }
        self.failed = true;
        // Was the Sync ignored, or is it answered after this error? The server may have failed before it read it.
        self.tainted |= self.copy == Copying::In && self.copy_synced;
        self.copy = Copying::No;
        match self.owed.front() {
            // Sync commits, and may fail at it: ReadyForQuery follows all the same.
            Some(Owed::Query | Owed::FunctionCall | Owed::Sync | Owed::SilentSync) => {}
            // It was the client's block: what has ended it is the client's concern.
            Some(Owed::SilentQuery) => {}
            None => self.doubt = true,
            Some(failed) => {
                let refused = self.refused(*failed, fields);
                let is_outdated = failed.is_reference() && fields.is_about_outdated_plan();
                if is_outdated {
                    self.referred.note_outdated();
                }
                let is_question = *failed == Owed::Question;
                self.skip();
                self.may_repair = is_outdated && self.status == TxStatus::Idle && self.owed == [Owed::Sync];
                if is_question {
                    self.question_failed();
                    return Reply::Error;
                }
                if let Some(why) = refused {
                    return Reply::NoRoom(why);
                }
                if self.owed.front() == Some(&Owed::SilentSync) {
                    return Reply::Drop;
                }
            }
        }
        Reply::Error
    }

    /// Why a statement is refused, if this error is the one we have asked for: it may be a cancel, too.
    fn refused(&self, failed: Owed, fields: Fields<'_>) -> Option<NoRoom> {
        match self.changes.first() {
            Some(Change::Refused(why)) if failed == Owed::Refused && fields.is_syntax_error() => Some(*why),
            _ => None,
        }
    }

    /// What is in front has failed: the server skips what follows, up to the Sync.
    fn skip(&mut self) {
        let mut has_failed = true;
        while let Some(skipped) = self.owed.pop_front_if(|front| !front.is_sync()) {
            if skipped.changes()
                && let Some(change) = self.changes.pop()
            {
                let undone = if has_failed { self.session.failed(change) } else { self.session.skipped(change) };
                undone.into_iter().for_each(|change| self.changes.fail(change));
            }
            if skipped.is_reference() {
                self.referred.pop(skipped == Owed::NamedDescribe);
            }
            if skipped == Owed::Question {
                self.inquiry = Inquiry::None;
            }
            has_failed = false;
        }
        self.skipping = self.owed.is_empty();
    }
}

/// Whether a Bind's statement is the unnamed one, as far as its body has arrived.
fn binds_unnamed(body: &[u8]) -> bool {
    let mut names = body.splitn(3, |byte| *byte == 0);
    names.next().is_some() && names.next().is_some_and(<[u8]>::is_empty) && names.next().is_some()
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
