//! What statements may not leave in their session: refused before it is there, because the database does not allow it or
//! too many clients keep a server.

use protocol::Header;
use protocol::exchange::NoRoom;
use protocol::messages;
use protocol::prepared::{Gate, Judge, Verdict};
use protocol::traces::{Kinds, Traces};

use super::prepared::{Judged, Named};
use super::relay::{End, Relay};
use crate::error::ClientError;
use crate::flow::Desk;
use crate::pins;

/// Longest Query that is waited for, so that it can be refused.
const MAX_QUERY: usize = 1 << 16;

impl Relay<'_> {
    /// What statements may not do now. Who keeps a server already may add to it.
    pub(super) fn gate(&self) -> Gate {
        if !self.rules.settles {
            return Gate::default();
        }
        let is_full = self.pin.is_none() && self.pool.pins.total() >= self.rules.max_pinned;
        let full = if is_full { self.rules.fixed } else { Kinds::NONE };
        let hears_all = self.listener.as_ref().is_some_and(|listener| listener.has_all(self.rules.max_channels));
        let refused = if hears_all { self.rules.refused.and(Kinds::CHANNELS) } else { self.rules.refused };
        Gate { refused, full }
    }

    /// Puts something that fails in the place of a Query that is refused.
    pub(super) fn judge_gate(&mut self, header: Header, gate: Gate) -> Result<Judged, End> {
        let message = self.desk.up.unjudged();
        let is_whole = message.len() >= header.total_len();
        if !is_whole && header.total_len() <= MAX_QUERY {
            self.desk.up.make_room(header.total_len());
            return Ok(self.incomplete());
        }
        let text = &message[Header::SIZE..message.len().min(header.total_len())];
        let Some(why) = gate.refuses(Traces::of(text).all_kinds()) else { return Ok(Judged::Plain(header)) };
        let error = self.refusal(why);
        if !is_whole {
            // Too long to be replaced: its session would not be what it believes.
            return Err(End::Refused(error));
        }
        self.note_refusal(&error);
        let mut refused = Vec::new();
        messages::query(&mut refused, raise(&error).as_bytes());
        self.desk.up.replace(header.total_len(), &refused);
        let replaced = Header::peek(&refused).ok().flatten();
        replaced.map(Judged::Plain).ok_or(End::Refused(error))
    }

    /// What the client is told.
    pub(super) fn refusal(&self, why: NoRoom) -> ClientError {
        match why {
            NoRoom::Feature(Kinds::CHANNELS) if self.rules.serves => ClientError::TooManyChannels,
            why => refusal(why),
        }
    }

    /// Refuses a Parse where names of prepared statements are left to the server.
    pub(super) fn judge_untracked(&mut self, header: Header) -> Result<Judged, End> {
        let gate = self.gate();
        let Desk { up, exchange, .. } = &mut *self.desk;
        let message = up.unjudged();
        let message = &message[..message.len().min(header.total_len())];
        let text = Named::find(header.tag, message).map(|found| &message[found.before + found.len + 1..]);
        let why = text.and_then(|text| gate.refuses(Traces::of(text).all_kinds()));
        let (client, server) = (&mut *self.statements, &mut self.server.statements);
        let mut judge = Judge { exchange, client, server, most: 0, before: Vec::new(), told: 0, gate };
        let verdict = why.map(|why| judge.refuse(why)).transpose().map_err(|error| End::Refused(error.into()))?;
        let Some(Verdict::Answer) = verdict else { return Ok(Judged::Plain(header)) };
        up.insert(&judge.before);
        up.skip(header.total_len());
        self.request_begins();
        Ok(Judged::Done)
    }

    /// Takes a place among those who may keep their server, before the first statement goes that may make it necessary.
    pub(super) fn reserve_pin(&mut self) {
        // What has only been parsed takes no place that is not there: its Bind is refused.
        if self.desk.exchange.traces().all_kinds().has(self.rules.fixed)
            && self.rules.settles
            && self.pin.is_none()
            && self.pool.pins.total() < self.rules.max_pinned
        {
            *self.pin = Some(Box::new(self.pool.pins.add()));
        }
    }
}

fn refusal(why: NoRoom) -> ClientError {
    match why {
        NoRoom::Client => ClientError::NoRoomForStatement,
        NoRoom::All => ClientError::NoRoomForStatements,
        NoRoom::Pins => ClientError::TooManyPinned,
        NoRoom::Feature(kinds) => {
            pins::kinds_in(kinds).next().map_or(ClientError::TooManyPinned, ClientError::StateRefused)
        }
    }
}

/// A statement that fails with this error: the server gives it its place, and its effect on the transaction. Its words
/// are not written as such, or they would be read as a statement's.
fn raise(error: &ClientError) -> String {
    let words: String = error.to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
    let message = format!("pg_catalog.convert_from(''\\x{words}'', ''UTF8'')");
    format!("DO 'BEGIN RAISE EXCEPTION USING ERRCODE = ''{}'', MESSAGE = {message}; END'", error.sqlstate())
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::traces::Kinds;

    #[test]
    fn an_error_can_be_raised_by_the_server() {
        let raised = raise(&refusal(NoRoom::Feature(Kinds::CHANNELS)));
        assert!(
            raised.contains("ERRCODE = ''0A000'', MESSAGE = ") && raised.contains("4c495354454e206973206e6f74"),
            "{raised}"
        );
        assert!(Traces::of(raised.as_bytes()).is_empty());
    }
}
