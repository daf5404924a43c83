//! Prepared statements on their way to whichever server the client has: names are replaced, and what the server does
//! not know yet is told first (setting `max_prepared_statements`). What is to be done decides `protocol::prepared`.

use protocol::Header;
use protocol::exchange::NoRoom;
use protocol::prepared::{Judge, Verdict};
use protocol::statements::MAX_UNNAMED;

use super::relay::{End, Relay};
use crate::error::ClientError;
use crate::flow::Desk;

/// Bytes within which the names of a Bind, Describe or Close must end, and a Query that is looked into for names.
const MAX_NAMES: usize = 1 << 16;

/// What has become of a message that may concern a prepared statement.
pub(super) enum Judged {
    /// It goes the way of all messages; its header may be another one now.
    Plain(Header),
    /// It has gone.
    Done,
    /// More of it has to arrive, or more has to be answered before.
    Incomplete,
}

/// Where a message names a statement.
#[derive(Clone, Copy)]
pub(super) struct Named {
    /// Bytes of the message before the name.
    pub(super) before: usize,
    /// Length of the name.
    pub(super) len: usize,
}

impl Relay<'_> {
    /// Judges Parse, Bind, Describe and Close, which name statements, and Query, which may.
    pub(super) fn judge_prepared(&mut self, header: Header) -> Result<Judged, End> {
        if self.rules.max_prepared == 0 || !matches!(header.tag, b'P' | b'B' | b'D' | b'C' | b'Q') {
            let is_parse = header.tag == b'P' && !self.gate().is_open();
            return if is_parse { self.judge_untracked(header) } else { Ok(Judged::Plain(header)) };
        }
        let message = self.desk.up.unjudged();
        let message = &message[..message.len().min(header.total_len())];
        let is_whole = message.len() == header.total_len();
        if header.tag == b'Q' {
            return self.judge_query(header, is_whole);
        }
        let Some(found) = Named::find(header.tag, message) else {
            if header.tag == b'D' {
                self.statements.describe_portal();
            }
            // Not about a statement, or malformed, which the server will say.
            let is_other = is_whole || is_about_portal(header.tag, message);
            return if is_other { Ok(Judged::Plain(header)) } else { self.wait_for(header, MAX_NAMES) };
        };
        match header.tag {
            b'P' if found.len > 0 && !self.has_room_for(header) => self.judge_named(header, found),
            b'P' if found.len > 0 && !is_whole => self.wait_for(header, header.total_len()),
            b'P' if header.total_len() <= MAX_UNNAMED && !is_whole => self.wait_for(header, MAX_UNNAMED),
            b'C' if !is_whole => self.wait_for(header, MAX_NAMES),
            _ => self.judge_named(header, found),
        }
    }

    fn judge_query(&mut self, header: Header, is_whole: bool) -> Result<Judged, End> {
        if !is_whole && header.total_len() <= MAX_NAMES && !self.statements.is_empty() {
            return self.wait_for(header, MAX_NAMES);
        }
        let Desk { up, exchange, .. } = &mut *self.desk;
        if !is_whole || !exchange.may_deallocate(&up.unjudged()[Header::SIZE..header.total_len()]) {
            return Ok(Judged::Plain(header));
        }
        self.judge_named(header, Named { before: Header::SIZE, len: 0 })
    }

    /// Asks what is to be done with a message of which enough has arrived, and does it.
    fn judge_named(&mut self, header: Header, found: Named) -> Result<Judged, End> {
        let (has_room, gate) = (self.has_room_for(header), self.gate());
        let Desk { up, exchange, usage, .. } = &mut *self.desk;
        let (most, most_bytes, before) = (self.rules.max_prepared, self.rules.max_prepared_bytes, Vec::new());
        let (client, server) = (&mut *self.statements, &mut self.server.statements);
        let mut judge = Judge { exchange, client, server, most, before, told: 0, gate };
        let message = up.unjudged();
        let message = &message[..message.len().min(header.total_len())];
        let (name, rest) = message[found.before..].split_at(found.len);
        let verdict = match header.tag {
            b'Q' => judge.query(rest),
            b'P' if name.is_empty() => judge.parse_unnamed(&rest[1..], header.total_len() <= MAX_UNNAMED),
            b'P' if !has_room => judge.refuse(NoRoom::Client),
            b'P' => judge.parse(name, &rest[1..], || self.pool.statement(self.params, &rest[1..], most_bytes)),
            b'C' => judge.close(name),
            tag if name.is_empty() => judge.refer_unnamed(tag == b'B'),
            tag => judge.refer(name, tag == b'B'),
        };
        let verdict = verdict.map_err(|error| End::Refused(error.into()))?;
        usage.totals.server_parse_count += judge.told;
        if !matches!(verdict, Verdict::Wait) && found.len > 0 {
            usage.totals.client_parse_count += u64::from(header.tag == b'P');
            usage.totals.bind_count += u64::from(header.tag == b'B');
        }
        if !judge.before.is_empty() {
            up.insert(&judge.before);
        }
        self.obey(header, found, verdict)
    }

    fn has_room_for(&self, header: Header) -> bool {
        self.statements.have_room_for(header.body_len(), self.rules.max_client_prepared_bytes)
    }

    fn obey(&mut self, header: Header, found: Named, verdict: Verdict) -> Result<Judged, End> {
        match verdict {
            Verdict::Wait => {
                self.awaits_answers = true;
                return Ok(self.incomplete());
            }
            Verdict::Pass(None) => return Ok(Judged::Plain(header)),
            Verdict::Pass(Some(statement)) => {
                return Ok(Judged::Plain(self.rename(header, found, statement.server_name())?));
            }
            Verdict::Disguise => {
                let name = &self.desk.up.unjudged()[found.before..][..found.len];
                let foreign = [b"?", name].concat();
                return Ok(Judged::Plain(self.rename(header, found, &foreign)?));
            }
            Verdict::Noted(None) => self.desk.up.clear(header.total_len()),
            Verdict::Noted(Some(statement)) => {
                let header = self.rename(header, found, statement.server_name())?;
                self.desk.up.clear(header.total_len());
            }
            Verdict::Answer => self.desk.up.skip(header.total_len()),
        }
        self.request_begins();
        Ok(Judged::Done)
    }

    /// Waits for what is missing of a message, or of its names, which end within `limit`.
    fn wait_for(&mut self, header: Header, limit: usize) -> Result<Judged, End> {
        if self.desk.up.unjudged().len() >= limit {
            return Err(End::Refused(ClientError::PacketTooLarge(header.total_len())));
        }
        self.desk.up.make_room(header.total_len().min(limit));
        Ok(self.incomplete())
    }

    pub(super) fn incomplete(&mut self) -> Judged {
        self.desk.half_judged = true;
        self.request_begins();
        Judged::Incomplete
    }

    /// Puts another name into the message at the front, of which the name at least has arrived.
    fn rename(&mut self, header: Header, found: Named, name: &[u8]) -> Result<Header, End> {
        let len = header.total_len() - found.len + name.len();
        let mut front = self.desk.up.unjudged()[..found.before].to_vec();
        front[1..Header::SIZE].copy_from_slice(&((len - 1) as u32).to_be_bytes());
        front.extend_from_slice(name);
        self.desk.up.replace(found.before + found.len, &front);
        match Header::peek(&front) {
            Ok(Some(header)) => Ok(header),
            Ok(None) | Err(_) => Err(End::Refused(ClientError::PacketTooLarge(len))),
        }
    }

    /// Tells the client, in the place of the error that we had the server answer with.
    pub(super) fn report_no_room(&mut self, why: NoRoom) {
        let error = self.refusal(why);
        self.note_refusal(&error);
        self.desk.down.insert(&error.to_message());
    }

    /// Counts an error that the client is told and its session survives.
    pub(super) fn note_refusal(&self, error: &ClientError) {
        self.services.errors.count(error.sqlstate());
        self.rules.log_error(self.handle, error);
    }

    /// Gives the client the answers of our own whose turn it is, takes back what did not come about, and notes what did.
    pub(super) fn settle_prepared(&mut self) {
        self.desk.exchange.undo(self.statements, &mut self.server.statements);
        self.desk.exchange.tell(self.statements);
        if let Some(outdated) = self.desk.exchange.take_outdated() {
            self.statements.replace(outdated, |statement| self.pool.renew_statement(statement));
        }
        let is_more = self.desk.down.unjudged().len() >= Header::SIZE;
        while !self.desk.down.is_inside_message()
            && let Some(tag) = self.desk.exchange.own_answer_due(is_more)
        {
            self.desk.down.insert(&[tag, 0, 0, 0, 4]);
        }
    }
}

impl Named {
    /// Finds the name in what has arrived of a message; none where it is cut off or is a portal's.
    pub(super) fn find(tag: u8, message: &[u8]) -> Option<Self> {
        let before = match tag {
            b'P' => Header::SIZE,
            b'B' => Header::SIZE + cstr_len(message.get(Header::SIZE..)?)? + 1,
            b'D' | b'C' if message.get(Header::SIZE) == Some(&b'S') => Header::SIZE + 1,
            _ => return None,
        };
        Some(Self { before, len: cstr_len(message.get(before..)?)? })
    }
}

fn is_about_portal(tag: u8, message: &[u8]) -> bool {
    matches!(tag, b'D' | b'C') && message.get(Header::SIZE).is_some_and(|kind| *kind != b'S')
}

fn cstr_len(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == 0)
}
