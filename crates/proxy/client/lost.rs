//! A client whose server is lost keeps its session: what it has asked for is sent to another server unseen, or answered
//! in the lost one's place. What is done decides `protocol::lost`.

use config::PoolMode;
use protocol::Header;
use protocol::exchange::ClientViolation;
use protocol::frontend::Tag;
use protocol::lost::{self, Cause, Fate, Verdict};
use protocol::messages;
use protocol::stand_in::{Answers, MAX_READ, Notes, Refusal, StandIn};

use super::handle::Doing;
use super::session::{Client, Farewell};
use crate::error::{ClientError, Lost};
use crate::flow::{Desk, LentDesk};
use crate::follow::Outcome;
use crate::pools::Lease;
use crate::worker::Presence;

/// Who answers a client that has no server, and what it says first.
#[derive(Debug)]
pub struct Bereft {
    stand_in: StandIn,
    error: ClientError,
}

impl Bereft {
    /// For a client whose request no server will see.
    pub fn refused(error: ClientError) -> Box<Self> {
        Box::new(Self { stand_in: StandIn::refusing(), error })
    }
}

impl Client {
    /// Takes leave of a lost server: what the client has sent is left to be judged again, by another one or by its
    /// stand-in.
    ///
    /// # Errors
    /// The session cannot go on.
    pub(super) async fn lose(&mut self, desk: &mut LentDesk, mut lease: Lease, lost: Lost) -> Result<(), ClientError> {
        self.presence.handle.set_server(0);
        self.pool.add_usage(Some(&desk.usage));
        // What a transaction was about to leave is gone with it; what earlier ones have left, with the server.
        let had_state = desk.exchange.is_unsettled() || self.pin.as_ref().is_some_and(|pin| !pin.kinds().is_none());
        self.pin = None;
        let inquiry = desk.exchange.take_inquiry();
        let position = desk.exchange.lose();
        desk.exchange.tell(&mut self.statements);
        desk.exchange.undo(&mut self.statements, &mut lease.server().statements);
        lease.close(if lost == Lost::PrimaryMoved { "the primary has moved" } else { "server conn crashed?" });
        if self.rules.mode == PoolMode::Session || had_state {
            // What it had on that server beside transactions is gone.
            let has_moved = lost == Lost::PrimaryMoved;
            return Err(if has_moved { ClientError::PrimaryMoved } else { ClientError::ServerCrashed });
        }
        if desk.down.is_inside_message() {
            return Err(ClientError::ServerCrashed);
        }
        desk.down.discard_unjudged();
        let is_first = !desk.is_repeated && desk.usage.totals.query_count == 0 && !desk.down.is_touched();
        let has_reached = desk.up.has_gone();
        let sent = if position.is_answered() { None } else { desk.up.rewind() };
        if sent.is_none() {
            desk.up.withdraw();
        }
        let loss = lost::Loss {
            cause: if lost == Lost::Terminated { Cause::Terminated } else { Cause::Silent },
            position,
            sent: sent.map(|len| first(desk.up.unjudged(), len)),
            has_reached,
            withheld: is_first.then(|| desk.down.waiting()),
            client: &self.statements,
        };
        let mut verdict = loss.verdict();
        let commit = inquiry.and_then(|row| Some((row, loss.commit(&verdict)?)));
        desk.leaving = false;
        if let (Some((row, answers)), Verdict::StandIn(stand_in, _), Some(len)) = (commit, &mut verdict, sent) {
            match self.find_out(desk, &row).await {
                Outcome::Committed => {
                    desk.up.skip(len);
                    desk.down.insert(&answers);
                    desk.next_conversation();
                    return Ok(());
                }
                Outcome::RolledBack => stand_in.is_rolled_back(),
                Outcome::Unknown => {}
            }
        }
        match verdict {
            Verdict::Nothing => {}
            Verdict::Again => {
                desk.is_repeated = true;
                desk.down.withdraw();
                self.restore_params(desk);
            }
            Verdict::StandIn(stand_in, answered) => {
                if let Some(len) = sent {
                    let is_all = answered == first(desk.up.unjudged(), len).len();
                    desk.up.skip(if is_all { len } else { answered });
                }
                self.bereave(desk, stand_in, lost);
            }
            Verdict::End(Fate::RolledBack) => return Err(ClientError::ServerCrashed),
            Verdict::End(Fate::Unknown) => return Err(ClientError::SessionUnknown(lost)),
        }
        desk.next_conversation();
        Ok(())
    }

    fn bereave(&mut self, desk: &mut Desk, mut stand_in: StandIn, lost: Lost) {
        let error = match stand_in.fate() {
            Fate::RolledBack => {
                let mut told = Vec::new();
                for (name, value) in self.restore_params(desk) {
                    messages::parameter_status(&mut told, name.as_bytes(), &value);
                }
                desk.down.insert(&told);
                ClientError::RolledBack(lost)
            }
            Fate::Unknown => ClientError::OutcomeUnknown(lost),
        };
        self.rules.log_error(&self.presence.handle, &error);
        let mut out = Vec::new();
        let mut refuse = |refusal, out: &mut Vec<u8>| write_refusal(&self.presence, refusal, &error, out);
        stand_in.catch_up(&mut Answers { out: &mut out, refuse: &mut refuse });
        desk.down.insert(&out);
        self.bereft = Some(Box::new(Bereft { stand_in, error }));
    }

    /// What a transaction has set that was rolled back is as before: names and values of what that changes.
    fn restore_params(&mut self, desk: &mut Desk) -> Vec<(String, Vec<u8>)> {
        let Some(before) = desk.params_before.take() else { return Vec::new() };
        let tracked = &self.presence.services.tracked;
        let changed = before.differences(&self.params);
        let changed = changed.map(|(at, value)| (tracked.name(at).to_owned(), value.to_vec())).collect();
        self.presence.handle.set_params(before.clone());
        self.params = before;
        changed
    }

    /// Answers the client until it is silent, or needs a server.
    pub(super) async fn stand_in(&mut self, desk: &mut LentDesk) -> Result<(), Farewell> {
        desk.is_repeated = false;
        self.presence.handle.set_doing(Doing::Idle, self.rules.idle_deadline(Doing::Idle));
        let mut received_once = !desk.up.is_empty();
        loop {
            let next = self.answer_all(desk)?;
            self.flush(desk).await?;
            match next {
                Next::Server => self.bereft = None,
                Next::Goodbye => return Err(Farewell::Left("client close request")),
                Next::More => {}
            }
            if matches!(next, Next::Server) || desk.up.is_empty() && received_once {
                return Ok(());
            }
            self.receive(desk).await?;
            received_once = true;
        }
    }

    /// Answers all that is there.
    fn answer_all(&mut self, desk: &mut Desk) -> Result<Next, Farewell> {
        let Some(Bereft { stand_in, error }) = self.bereft.as_deref_mut() else { return Ok(Next::Server) };
        let (presence, rules, pool, params) = (&self.presence, &self.rules, &self.pool, &self.params);
        let mut refuse = |refusal, out: &mut Vec<u8>| write_refusal(presence, refusal, error, out);
        let mut intern = |body: &[u8]| pool.statement(params, body, rules.max_prepared_bytes);
        while let Some(header) = Header::peek(desk.up.unjudged()).map_err(ClientError::Frame)? {
            if !stand_in.takes(header.tag) {
                return Ok(Next::Server);
            }
            Tag::of(header.tag).ok_or(ClientError::Violation(ClientViolation::UnknownTag(header.tag)))?;
            let arrived = desk.up.unjudged().len();
            let wanted = header.total_len().min(MAX_READ);
            match header.tag {
                b'X' => return Ok(Next::Goodbye),
                b'Q' if rules.disable_pqexec => return Err(ClientError::SimpleQueryDisallowed.into()),
                _ if header.total_len() > rules.max_packet_size => {
                    return Err(ClientError::PacketTooLarge(header.total_len()).into());
                }
                _ if arrived < wanted => {
                    desk.up.make_room(wanted);
                    return Ok(Next::More);
                }
                _ => {}
            }
            let mut out = Vec::new();
            let most = rules.max_client_prepared_bytes;
            let mut notes = Notes { client: &mut self.statements, most, intern: &mut intern };
            let mut answers = Answers { out: &mut out, refuse: &mut refuse };
            let body = &desk.up.unjudged()[Header::SIZE..arrived.min(header.total_len())];
            stand_in.message(header.tag, body, &mut notes, &mut answers);
            desk.up.skip(header.total_len());
            desk.down.insert(&out);
        }
        Ok(if stand_in.is_over() { Next::Server } else { Next::More })
    }
}

/// Who is to go on.
enum Next {
    /// A server, as soon as there is a request.
    Server,
    /// The stand-in, when more has come.
    More,
    /// Nobody: the client has said goodbye.
    Goodbye,
}

fn first(bytes: &[u8], len: usize) -> &[u8] {
    &bytes[..len.min(bytes.len())]
}

fn write_refusal(presence: &Presence, refusal: Refusal, error: &ClientError, out: &mut Vec<u8>) {
    let error = match refusal {
        Refusal::Lost => error,
        Refusal::InFailedBlock => &ClientError::InFailedBlock,
    };
    presence.services.errors.count(error.sqlstate());
    error.write(out);
}
