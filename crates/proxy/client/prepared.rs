//! Prepared statements on their way to whichever server the client has: names are replaced, and what the server does
//! not know yet is told first (setting `max_prepared_statements`).
//!
//! Where PostgreSQL would answer with an error, the server is brought to answer with it: then its words, its place in
//! the pipeline and what is skipped after it are right by themselves.

use std::sync::Arc;

use protocol::Header;
use protocol::exchange::Prepared;
use protocol::messages;
use protocol::statements::{self, Change, Statement};

use super::relay::{End, Relay};
use crate::error::ClientError;

/// Longest Parse that is read whole.
const MAX_STATEMENT: usize = 1 << 24;
/// Bytes within which the names of a Bind, Describe or Close must end.
const MAX_NAMES: usize = 1 << 16;

/// What has become of a message that may concern a prepared statement.
pub(super) enum Judged {
    /// It goes the way of all messages; its header may be another one now.
    Plain(Header),
    /// It has gone.
    Done,
    /// More of it has to arrive.
    Incomplete,
}

/// What a message says of statements: its name for one, and the bytes in front of and behind that name.
struct Named {
    /// Bytes of the message before the name.
    before: usize,
    name: Vec<u8>,
}

impl Relay<'_> {
    /// Judges Parse, Bind, Describe and Close, which name statements.
    pub(super) fn judge_prepared(&mut self, header: Header) -> Result<Judged, End> {
        if self.rules.max_prepared == 0 || !matches!(header.tag, b'P' | b'B' | b'D' | b'C') {
            return Ok(Judged::Plain(header));
        }
        let message = self.desk.up.unjudged();
        let message = &message[..message.len().min(header.total_len())];
        let is_whole = message.len() == header.total_len();
        let Some(found) = Named::find(header.tag, message) else {
            // Not about a statement, or malformed, which the server will say.
            let is_other = is_whole || is_about_portal(header.tag, message);
            return if is_other { Ok(Judged::Plain(header)) } else { self.wait_for(header, MAX_NAMES) };
        };
        if found.name.is_empty() {
            return self.unnamed(header);
        }
        match header.tag {
            b'P' if !is_whole => self.wait_for(header, MAX_STATEMENT),
            b'P' => self.parse(header, &found),
            b'C' if !is_whole => self.wait_for(header, MAX_NAMES),
            b'C' => {
                let statement = self.statements.forget(&found.name);
                let change = Change::Forgot { name: found.name.into(), statement };
                self.answer_ourselves(header, Prepared::KnownClose, change)
            }
            _ => self.refer(header, &found),
        }
    }

    /// Waits for what is missing of a message, or of its names, which end within `limit`.
    fn wait_for(&mut self, header: Header, limit: usize) -> Result<Judged, End> {
        let is_parse = header.tag == b'P';
        if self.desk.up.unjudged().len() >= limit || is_parse && header.total_len() > limit {
            return Err(End::Refused(ClientError::PacketTooLarge(header.total_len())));
        }
        self.desk.up.make_room(header.total_len().min(limit));
        self.desk.half_judged = true;
        self.request_begins();
        Ok(Judged::Incomplete)
    }

    /// The unnamed statement belongs to whoever parsed it: another client's is closed before this one can meet it.
    fn unnamed(&mut self, header: Header) -> Result<Judged, End> {
        if matches!(header.tag, b'B' | b'D') && !self.desk.exchange.has_unnamed_statement() {
            self.close_silently(b"", Change::Nothing)?;
        }
        Ok(Judged::Plain(header))
    }

    fn parse(&mut self, header: Header, found: &Named) -> Result<Judged, End> {
        self.desk.usage.totals.client_parse_count += 1;
        let body_at = found.before + found.name.len() + 1;
        let body = &self.desk.up.unjudged()[body_at..header.total_len()];
        self.desk.exchange.note_text(body);
        if self.statements.get(&found.name).is_some() {
            return self.duplicate(header, found);
        }
        let statement = self.pool.statement(self.params, body);
        let name: Box<[u8]> = found.name.as_slice().into();
        self.statements.define(&name, statement.clone());
        if self.statements.are_too_large() {
            return Err(End::Refused(ClientError::TooManyStatements));
        }
        if self.server.statements.touch(statement.id) {
            return self.answer_ourselves(header, Prepared::KnownParse, Change::Defined { name, on_server: None });
        }
        self.make_room_for(&statement)?;
        let header = self.rename(header, found, statement.server_name())?;
        self.note(Prepared::Parse, Change::Defined { name, on_server: Some(statement.id) })?;
        self.desk.up.clear(header.total_len());
        self.request_begins();
        Ok(Judged::Done)
    }

    /// A name that is taken: the server is told it first under that very name, so that it refuses the second time.
    fn duplicate(&mut self, header: Header, found: &Named) -> Result<Judged, End> {
        let mut parse = Vec::new();
        messages::message(&mut parse, b'P', |out| {
            messages::cstr(out, &found.name);
            out.extend_from_slice(&[0; 3]);
        });
        self.note(Prepared::SilentParse, Change::Nothing)?;
        self.desk.up.insert(&parse);
        self.desk.exchange.taint();
        Ok(Judged::Plain(header))
    }

    /// Bind or Describe of a named statement. One that the client does not have is unknown to the server as well.
    fn refer(&mut self, header: Header, found: &Named) -> Result<Judged, End> {
        if header.tag == b'B' {
            self.desk.usage.totals.bind_count += 1;
        }
        let Some(statement) = self.statements.get(&found.name).cloned() else {
            return self.unknown(header, found);
        };
        if !self.server.statements.touch(statement.id) {
            self.make_room_for(&statement)?;
            let mut parse = Vec::new();
            statement.write_parse(&mut parse);
            self.note(Prepared::SilentParse, Change::Told(statement.id))?;
            self.desk.up.insert(&parse);
        }
        Ok(Judged::Plain(self.rename(header, found, statement.server_name())?))
    }

    /// A name that the client has given to nothing must not find what somebody else has left under it (SQL `PREPARE`).
    fn unknown(&mut self, header: Header, found: &Named) -> Result<Judged, End> {
        if statements::is_reserved(&found.name) {
            let foreign = [b"?", &found.name[..]].concat();
            return Ok(Judged::Plain(self.rename(header, found, &foreign)?));
        }
        self.close_silently(&found.name, Change::Nothing)?;
        Ok(Judged::Plain(header))
    }

    /// Notes that the server is told a statement, and has it close another one if it would know too many.
    fn make_room_for(&mut self, statement: &Arc<Statement>) -> Result<(), End> {
        self.desk.usage.totals.server_parse_count += 1;
        if let Some(goes) = self.server.statements.add(statement.clone(), self.rules.max_prepared) {
            self.close_silently(goes.clone().server_name(), Change::Closed(goes))?;
        }
        Ok(())
    }

    fn close_silently(&mut self, name: &[u8], change: Change) -> Result<(), End> {
        let mut close = Vec::new();
        messages::message(&mut close, b'C', |out| {
            out.push(b'S');
            messages::cstr(out, name);
        });
        self.note(Prepared::SilentClose, change)?;
        self.desk.up.insert(&close);
        Ok(())
    }

    fn answer_ourselves(&mut self, header: Header, message: Prepared, change: Change) -> Result<Judged, End> {
        self.note(message, change)?;
        self.desk.up.skip(header.total_len());
        self.request_begins();
        Ok(Judged::Done)
    }

    fn note(&mut self, message: Prepared, change: Change) -> Result<(), End> {
        let noted = self.desk.exchange.prepared(message, change);
        noted.map_err(|error| End::Refused(error.into()))
    }

    /// Puts another name into the message at the front, of which the name at least has arrived.
    fn rename(&mut self, header: Header, found: &Named, name: &[u8]) -> Result<Header, End> {
        let len = header.total_len() - found.name.len() + name.len();
        let mut front = self.desk.up.unjudged()[..found.before].to_vec();
        front[1..Header::SIZE].copy_from_slice(&((len - 1) as u32).to_be_bytes());
        front.extend_from_slice(name);
        self.desk.up.replace(found.before + found.name.len(), &front);
        match Header::peek(&front) {
            Ok(Some(header)) => Ok(header),
            Ok(None) | Err(_) => Err(End::Refused(ClientError::PacketTooLarge(len))),
        }
    }

    /// Gives the client the answers of our own whose turn it is, and takes back what did not come about.
    pub(super) fn settle_prepared(&mut self) {
        self.desk.exchange.undo(self.statements, &mut self.server.statements);
        while !self.desk.down.is_inside_message()
            && let Some(tag) = self.desk.exchange.own_answer()
        {
            self.desk.down.insert(&[tag, 0, 0, 0, 4]);
        }
    }
}

impl Named {
    /// Finds the name in what has arrived of a message; none where it is cut off or is a portal's.
    fn find(tag: u8, message: &[u8]) -> Option<Self> {
        let before = match tag {
            b'P' => Header::SIZE,
            b'B' => Header::SIZE + cstr_len(message.get(Header::SIZE..)?)? + 1,
            b'D' | b'C' if message.get(Header::SIZE) == Some(&b'S') => Header::SIZE + 1,
            _ => return None,
        };
        let rest = message.get(before..)?;
        Some(Self { before, name: rest[..cstr_len(rest)?].to_vec() })
    }
}

fn is_about_portal(tag: u8, message: &[u8]) -> bool {
    matches!(tag, b'D' | b'C') && message.get(Header::SIZE).is_some_and(|kind| *kind != b'S')
}

fn cstr_len(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == 0)
}
