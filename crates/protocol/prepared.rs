//! What is done about each message that names a prepared statement, so that any server can answer it.
//!
//! Where PostgreSQL would answer with an error, the server is brought to answer with it: then its words, its place in
//! the pipeline and what is skipped after it are right by themselves. What cannot be told before answers that are due
//! waits for them; the server would not have looked at it earlier either.

mod session;

use std::sync::Arc;

pub(crate) use session::Session;

use crate::changes::{Change, NoRoom};
use crate::deallocate::{Deallocates, deallocated};
use crate::exchange::{ClientViolation, Exchange, Prepared};
use crate::statements::{self, ClientStatements, ServerStatements, Statement, write_parse};
use crate::traces::{Kinds, Traces};
use crate::{lexer, messages};

/// What follows the name in a Parse that succeeds in a failed transaction too.
const ROLLBACK: &[u8] = b"rollback\0\0\0";
/// What is sent in the place of a message that is refused: under no client's name, and no SQL. A server may log it.
const REFUSED: [&[u8]; 2] = [b"POOLER_", b"refused by the pooler\0\0\0"];

/// What becomes of a message.
#[derive(Debug)]
pub enum Verdict {
    /// It waits until more has been answered, and is judged again.
    Wait,
    /// It goes the way of all messages; under this statement's name, if there is one.
    Pass(Option<Arc<Statement>>),
    /// Its name is made one that nobody has.
    Disguise,
    /// It goes as it is or under this statement's name, and has been noted.
    Noted(Option<Arc<Statement>>),
    /// It does not go: the answer comes in its turn, and from us.
    Answer,
}

/// What statements may not do now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gate {
    /// What is not to be left in a session.
    pub refused: Kinds,
    /// For what no more clients may keep a server.
    pub full: Kinds,
}

impl Gate {
    /// Whether nothing is refused.
    pub fn is_open(self) -> bool {
        self.refused.is_none() && self.full.is_none()
    }

    /// Why what may leave such traces is refused, if it is.
    pub fn refuses(self, kinds: Kinds) -> Option<NoRoom> {
        let refused = kinds.within(self.refused);
        if !refused.is_none() { Some(NoRoom::Feature(refused)) } else { kinds.has(self.full).then_some(NoRoom::Pins) }
    }

    /// The same for a statement that is not run yet.
    fn refuses_text(self, text: &[u8]) -> Option<NoRoom> {
        let gate = Self { full: Kinds::NONE, ..self };
        let is_read = || gate.refused.has(Kinds::HIDDEN) || lexer::first_statement(text).leaves_traces;
        if !gate.is_open() && is_read() { gate.refuses(Traces::of(text).all_kinds()) } else { None }
    }
}

/// A client's message and all that is known when it comes.
#[derive(Debug)]
pub struct Judge<'a> {
    /// The conversation.
    pub exchange: &'a mut Exchange,
    /// What the client has prepared.
    pub client: &'a mut ClientStatements,
    /// What the server knows.
    pub server: &'a mut ServerStatements,
    /// How many the server may know (`max_prepared_statements`).
    pub most: usize,
    /// What the server is to be sent before the message.
    pub before: Vec<u8>,
    /// How many statements it is told.
    pub told: u64,
    /// What may not be done now.
    pub gate: Gate,
}

type Judged = Result<Verdict, ClientViolation>;

impl Judge<'_> {
    /// Parse of the unnamed statement. It is kept for the next server if its `body`, which is what follows the name, is.
    ///
    /// # Errors
    /// Of this and all others: see [`ClientViolation::PipelineTooLong`].
    pub fn parse_unnamed(&mut self, body: &[u8], is_kept: bool) -> Judged {
        if self.exchange.is_skipping() {
            return Ok(Verdict::Pass(None));
        }
        if let Some(why) = self.gate.refuses_text(body) {
            return self.refuse(why);
        }
        let suspicion = self.exchange.note_text(true, body);
        let target = if suspicion.deallocates { Deallocates::of(body) } else { None };
        let kept = self.exchange.session().parse_unnamed(target, is_kept.then_some(body));
        self.exchange.prepared(Prepared::Parse, Change::Unnamed(kept))?;
        Ok(Verdict::Noted(None))
    }

    /// Bind, or Describe, of the unnamed statement. Where this server has another one, or somebody else's, it is told.
    pub fn refer_unnamed(&mut self, is_bind: bool) -> Judged {
        if self.exchange.is_skipping() {
            return Ok(Verdict::Pass(None));
        }
        let is_settled = self.exchange.session().has_unnamed_in_batch();
        if !is_settled && !self.exchange.is_synced() && self.exchange.can_wait() {
            return Ok(self.wait());
        }
        if !is_settled {
            self.exchange.session().set_unnamed_target(self.client.unnamed().and_then(Deallocates::of));
            if let Some(body) = self.client.unnamed().filter(|_| is_bind) {
                self.exchange.may_leave_by(lexer::first_statement(body), body);
            }
        }
        if is_bind && let Some(why) = self.gate.refuses(self.exchange.traces().all_kinds()) {
            return self.refuse(why);
        }
        let target = if is_bind { self.exchange.session().unnamed_target() } else { None };
        if self.lending_must_wait(target.as_ref()) {
            return Ok(self.wait());
        }
        if !is_settled && !self.exchange.session().has_unnamed() {
            match self.client.unnamed() {
                Some(body) => {
                    write_parse(&mut self.before, b"", body);
                    self.exchange.prepared(Prepared::SilentParse, Change::UnnamedTold)?;
                }
                None => self.close_silently(b"", Change::UnnamedTold)?,
            }
        }
        self.lend(target.as_ref())?;
        Ok(Verdict::Pass(None))
    }

    /// Parse of a named statement. `body` is what follows the name; equal ones are `intern`ed as one, if there is room.
    pub fn parse(&mut self, name: &[u8], body: &[u8], intern: impl FnOnce() -> Option<Arc<Statement>>) -> Judged {
        if self.exchange.is_skipping() {
            return Ok(Verdict::Pass(None));
        }
        if self.must_wait(name) {
            return Ok(self.wait());
        }
        if self.client.get(name).is_some() {
            return self.duplicate(name);
        }
        if let Some(why) = self.gate.refuses_text(body) {
            return self.refuse(why);
        }
        let Some(statement) = intern() else {
            return self.refuse(NoRoom::All);
        };
        if self.is_uncertain(&statement) {
            return Ok(self.wait());
        }
        self.exchange.note_text(false, body);
        self.client.define(name, statement.clone());
        let name = name.into();
        if !self.server.touch(statement.id) {
            self.make_room_for(statement.id)?;
        } else if self.exchange.may_have_failed() {
            // Then this Parse is an error, and the server's own.
            self.close_silently(statement.server_name(), Change::Closed(statement.id))?;
        } else {
            self.exchange.prepared(Prepared::KnownParse, Change::Defined { name, on_server: None })?;
            return Ok(Verdict::Answer);
        }
        self.exchange.prepared(Prepared::Parse, Change::Defined { name, on_server: Some(statement.id) })?;
        Ok(Verdict::Noted(Some(statement)))
    }

    /// A Parse or Bind that is refused. The server is given something to refuse in its place: then the error comes in its
    /// turn, and all that follows is skipped.
    pub fn refuse(&mut self, why: NoRoom) -> Judged {
        if self.exchange.is_skipping() {
            return Ok(Verdict::Pass(None));
        }
        let [name, body] = REFUSED;
        write_parse(&mut self.before, name, body);
        self.exchange.prepared(Prepared::Refused, Change::Refused(why))?;
        Ok(Verdict::Answer)
    }

    /// A name that is taken: the server is told it first under that very name, so that it refuses the second time.
    fn duplicate(&mut self, name: &[u8]) -> Judged {
        self.close_silently(name, Change::Nothing)?;
        write_parse(&mut self.before, name, ROLLBACK);
        self.exchange.prepared(Prepared::SilentParse, Change::Nothing)?;
        self.exchange.session().leaves(name);
        Ok(Verdict::Pass(None))
    }

    /// Bind, or Describe, of a named statement. One that the client does not have is unknown to the server as well.
    pub fn refer(&mut self, name: &[u8], is_bind: bool) -> Judged {
        if self.exchange.is_skipping() {
            return Ok(Verdict::Pass(None));
        }
        if self.must_wait(name) {
            return Ok(self.wait());
        }
        let Some(statement) = self.client.get(name).cloned() else {
            return self.unknown(name);
        };
        let traces = statement.traces().filter(|_| is_bind);
        if let Some(why) = traces.and_then(|traces| self.gate.refuses(traces.all_kinds())) {
            return self.refuse(why);
        }
        let target = statement.deallocates().filter(|_| is_bind);
        if self.is_uncertain(&statement) || self.lending_must_wait(target) {
            return Ok(self.wait());
        }
        if !self.server.touch(statement.id) {
            self.make_room_for(statement.id)?;
            statement.write_parse(&mut self.before);
            self.exchange.prepared(Prepared::SilentParse, Change::Told(statement.id))?;
        }
        self.lend(target)?;
        if let Some(traces) = traces {
            self.exchange.may_leave(traces);
        }
        self.exchange.refers(statement.id, statement.suspicion());
        if !is_bind {
            self.exchange.describes(name);
        }
        Ok(Verdict::Pass(Some(statement)))
    }

    /// A name that the client has given to nothing must not find what somebody else has left under it (SQL `PREPARE`).
    fn unknown(&mut self, name: &[u8]) -> Judged {
        if statements::is_reserved(name) {
            return Ok(Verdict::Disguise);
        }
        self.close_silently(name, Change::Nothing)?;
        Ok(Verdict::Pass(None))
    }

    /// Close of a statement.
    pub fn close(&mut self, name: &[u8]) -> Judged {
        if self.exchange.is_skipping() {
            return Ok(Verdict::Pass(None));
        }
        if name.is_empty() {
            self.exchange.session().set_unnamed_target(None);
            self.exchange.prepared(Prepared::Close, Change::Unnamed(None))?;
            return Ok(Verdict::Noted(None));
        }
        if self.must_wait(name) {
            return Ok(self.wait());
        }
        let statement = self.client.forget(name);
        self.exchange.prepared(Prepared::KnownClose, Change::Forgot { name: name.into(), statement })?;
        Ok(Verdict::Answer)
    }

    /// A simple Query with `DEALLOCATE` in it: what the client has under such a name, the server is given under it too,
    /// to take it away again and to answer as it does.
    pub fn query(&mut self, text: &[u8]) -> Judged {
        let names = deallocated(text);
        if names.is_empty() || self.exchange.is_skipping() || !self.exchange.can_wait() {
            return Ok(Verdict::Pass(None));
        }
        if !self.exchange.is_answered() {
            return Ok(self.wait());
        }
        if !self.exchange.has_failed() {
            let is_alone = !self.exchange.is_unsynced();
            self.sweep()?;
            for (at, name) in names.iter().enumerate() {
                if let Some(given) = name
                    && !names[..at].contains(name)
                {
                    self.lend_name(given, true)?;
                }
            }
            if is_alone && !self.before.is_empty() {
                messages::sync(&mut self.before);
                self.exchange.silent_sync();
            }
        }
        self.exchange.session().query_deallocates(names);
        Ok(Verdict::Pass(None))
    }

    fn lend(&mut self, target: Option<&Deallocates>) -> Result<(), ClientViolation> {
        let Some(target) = target else { return Ok(()) };
        if !self.exchange.may_have_portals() {
            // Nobody executes any more what these were lent for.
            self.exchange.session().leaves_lent(|_| true);
        }
        self.exchange.session().portal_deallocates();
        self.sweep()?;
        match target {
            Deallocates::Name(name) => self.lend_name(name, false),
            Deallocates::Unclear => Ok(()),
        }
    }

    fn lend_name(&mut self, name: &[u8], to_query: bool) -> Result<(), ClientViolation> {
        if statements::is_reserved(name) {
            // What it takes away may be everybody's.
            self.exchange.taint();
        } else if self.client.get(name).is_some() {
            self.close_silently(name, Change::Nothing)?;
            write_parse(&mut self.before, name, ROLLBACK);
            self.exchange.prepared(Prepared::SilentParse, Change::Lent { name: name.into(), to_query })?;
        } else if self.exchange.session().leaves_lent(|lent| lent == name) {
            // Lent to a portal that was not executed, and closed by the client since.
            self.close_silently(name, Change::Nothing)?;
        }
        Ok(())
    }

    /// Takes back the names that are left on the server: the client's `DEALLOCATE` must not find them.
    fn sweep(&mut self) -> Result<(), ClientViolation> {
        let left = self.exchange.session().left();
        left.iter().try_for_each(|name| self.close_silently(name, Change::Nothing))
    }

    fn lending_must_wait(&mut self, target: Option<&Deallocates>) -> bool {
        matches!(target, Some(Deallocates::Name(name)) if self.must_wait(name))
    }

    /// Whether what the client has under a name is a guess.
    fn must_wait(&mut self, name: &[u8]) -> bool {
        let is_answered = self.exchange.is_answered();
        let awaits_deallocation = self.exchange.session().awaits_deallocation(is_answered);
        self.exchange.can_wait() && (awaits_deallocation || self.exchange.changes().is_name_uncertain(name))
    }

    /// Whether it is a guess that the server knows a statement, or the one that would have to go for it.
    fn is_uncertain(&self, statement: &Statement) -> bool {
        let is_guess = |id| self.exchange.can_wait() && self.exchange.changes().is_statement_uncertain(id);
        let is_known = self.server.knows(statement.id);
        is_guess(statement.id) || !is_known && self.server.next_to_go(self.most).is_some_and(is_guess)
    }

    /// What is waited for must come: behind a Sync or a Query it does, and otherwise a Flush brings it.
    fn wait(&mut self) -> Verdict {
        if self.exchange.is_unsynced() && self.exchange.session().flushes() {
            messages::message(&mut self.before, b'H', |_| {});
        }
        Verdict::Wait
    }

    /// Notes that the server is told a statement, and has it close another one if it would know too many.
    fn make_room_for(&mut self, statement: u64) -> Result<(), ClientViolation> {
        self.told += 1;
        match self.server.add(statement, self.most) {
            Some(goes) => self.close_silently(&statements::server_name(goes), Change::Closed(goes)),
            None => Ok(()),
        }
    }

    fn close_silently(&mut self, name: &[u8], change: Change) -> Result<(), ClientViolation> {
        messages::message(&mut self.before, b'C', |out| {
            out.push(b'S');
            messages::cstr(out, name);
        });
        self.exchange.prepared(Prepared::SilentClose, change)
    }
}

#[cfg(test)]
#[path = "prepared/model_tests.rs"]
mod model_tests;
