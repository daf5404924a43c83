//! Bytes flow both ways between a client and its server until the server is at rest.

use std::sync::Arc;
use std::task::{Context, Poll};

use config::PoolMode;
use protocol::backend::TxStatus;
use protocol::exchange::{Reply, Request};
use protocol::params::Params;
use protocol::statements::ClientStatements;
use protocol::traces::Kinds;
use protocol::{AtRest, Header};

use super::commit::Turn;
use super::handle::{ClientHandle, Doing};
use super::listen::{Heard, Listener};
use super::prepared::Judged;
use super::rules::Rules;
use crate::clock::Micros;
use crate::error::{ClientError, Lost};
use crate::flow::Desk;
use crate::follow;
use crate::pins::Pin;
use crate::pools::SharedPool;
use crate::server::connection::{Server, changed_params, server_report};
use crate::services::Services;
use crate::socket::Socket;

/// Longest ParameterStatus; others are not read whole.
pub const MAX_WHOLE_MESSAGE: usize = 1 << 16;

/// A client and its server, for as long as they talk.
#[derive(Debug)]
pub struct Relay<'a> {
    /// The client's connection.
    pub socket: &'a mut Socket,
    /// What others see of the client.
    pub handle: &'a ClientHandle,
    /// What the configuration says.
    pub rules: &'a Rules,
    /// What all share.
    pub services: &'a Services,
    /// The server.
    pub server: &'a mut Server,
    /// Buffers and conversation.
    pub desk: &'a mut Desk,
    /// The client's names for prepared statements.
    pub statements: &'a mut ClientStatements,
    /// Where equal statements are one.
    pub pool: &'a SharedPool,
    /// The parameters that the client wants: what the server reports becomes what the client wants.
    pub params: &'a mut Arc<Params>,
    /// When the transaction began, and when its current query did.
    pub clock: &'a mut XactClock,
    /// The client's place among those who keep a server.
    pub pin: &'a mut Option<Box<Pin>>,
    /// What is listened to for the client.
    pub listener: &'a mut Option<Box<Listener>>,
    /// The server is the client's also when it is at rest.
    pub keeps: bool,
    /// The client's next message can be judged only when more has been answered.
    pub awaits_answers: bool,
}

/// When a transaction began, and when its current query did.
#[derive(Clone, Copy, Debug)]
pub struct XactClock {
    /// When the server was given.
    pub xact: Micros,
    /// When the query began that is being answered; none while the client is silent.
    pub query: Option<Micros>,
    /// The transaction began just now, with its first query.
    pub is_new: bool,
}

/// How a conversation ended.
#[derive(Debug)]
pub enum End {
    /// The server owes nothing. What it sent last may still wait to be sent to the client.
    AtRest(AtRest),
    /// The client is done, but the server must not be lent again.
    Spent,
    /// The client said goodbye, or its connection broke.
    ClientLeft,
    /// The client is to be told this, and to go.
    Refused(ClientError),
    /// The server is gone.
    Lost(Lost),
    /// The server is gone; the client has its last words already.
    ServerEnded,
}

impl Relay<'_> {
    /// Lets both directions advance as far as they can: waiting for one before the other would deadlock on COPY and on
    /// long pipelines.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        match self.advance(cx) {
            Ok(Some(proof)) => Poll::Ready(End::AtRest(proof)),
            Ok(None) => Poll::Pending,
            Err(end) => Poll::Ready(end),
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Result<Option<AtRest>, End> {
        self.heed()?;
        loop {
            let up = self.advance_up(cx)?;
            let down = self.advance_down(cx)?;
            if let Some(proof) = self.at_rest() {
                return Ok(Some(proof));
            }
            if self.desk.leaving && self.desk.exchange.is_quiet() {
                return Err(End::ClientLeft);
            }
            // A session keeps even such a server to its end.
            let may_part = !self.keeps || (self.pin.is_some() && self.desk.exchange.is_spent_by_names());
            if may_part && self.desk.exchange.is_spent() && !self.desk.up.has_cleared() && !self.desk.down.has_cleared()
            {
                return Err(End::Spent);
            }
            if !up && !down {
                return Ok(None);
            }
        }
    }

    /// Obeys whoever wants this client gone, and the time limits.
    fn heed(&mut self) -> Result<(), End> {
        if let Some(cut) = self.handle.is_cut()
            && !(cut.spares_transactions() && self.xact().is_some())
        {
            return Err(End::Refused(cut.error()));
        }
        if self.handle.take_late() {
            if self.server.info.is_cut() {
                return Err(End::Lost(Lost::PrimaryMoved));
            }
            let now = Micros::now();
            if self.handle.is_late(now) {
                return Err(End::Refused(self.rules.verdict(self.handle.doing(), now, self.xact())));
            }
        }
        Ok(())
    }

    /// When the transaction began, if there is one: a session that merely keeps its server has none.
    fn xact(&self) -> Option<Micros> {
        let open = self.desk.exchange.status() != TxStatus::Idle || !self.desk.exchange.is_quiet();
        open.then_some(self.clock.xact)
    }

    fn at_rest(&mut self) -> Option<AtRest> {
        let whole = !self.desk.up.has_cleared() && !self.desk.up.is_inside_message() && !self.desk.half_judged;
        // In session mode the rest of a header is waited for here: the session's own loop reads none while it has a server.
        let whole = whole && (!self.keeps || self.desk.up.unjudged().is_empty());
        let down_whole = !self.desk.down.is_inside_message() && self.desk.down.unjudged().is_empty();
        if whole && down_whole { self.desk.exchange.at_rest() } else { None }
    }

    /// From client to server: true if anything moved.
    fn advance_up(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut moved = false;
        loop {
            self.judge_requests()?;
            match self.desk.up.poll_send(cx, &mut self.server.socket) {
                Poll::Ready(Ok(sent)) => {
                    self.desk.usage.totals.bytes_received += sent as u64;
                    moved |= sent > 0;
                }
                // A server that takes no more may have said why: that is read first.
                Poll::Ready(Err(_)) => return Ok(moved),
                Poll::Pending => return Ok(moved),
            }
            if self.desk.leaving {
                // What it asked for before it said goodbye is done, and answered, as a server would.
                return Ok(moved);
            }
            if self.awaits_answers && self.desk.up.unjudged().len() >= self.rules.pkt_buf {
                return Ok(moved);
            }
            match self.desk.up.poll_recv(cx, self.socket) {
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => return Err(End::ClientLeft),
                Poll::Ready(Ok(_)) => {
                    moved = true;
                    if self.desk.exchange.is_reading() {
                        let Desk { up, exchange, .. } = &mut *self.desk;
                        exchange.text_goes_on(up.passed(), !up.is_inside_message());
                    }
                }
                Poll::Pending => return Ok(moved),
            }
        }
    }

    fn judge_requests(&mut self) -> Result<(), End> {
        let refused = |error: ClientError| End::Refused(error);
        (self.desk.half_judged, self.awaits_answers) = (false, false);
        if self.desk.up.was_single() {
            self.desk.exchange.was_single();
        }
        while let Some(header) = Header::peek(self.desk.up.unjudged()).map_err(|error| refused(error.into()))? {
            if header.total_len() > self.rules.max_packet_size {
                return Err(refused(ClientError::PacketTooLarge(header.total_len())));
            }
            if header.tag == b'Q' && self.rules.disable_pqexec {
                return Err(refused(ClientError::SimpleQueryDisallowed));
            }
            if self.rules.resolves {
                match self.inquire(header) {
                    Turn::Goes => {}
                    Turn::Waits => return Ok(()),
                    Turn::Gone => continue,
                }
            }
            let header = match self.judge(header)? {
                Judged::Plain(header) => header,
                Judged::Done => continue,
                Judged::Incomplete => return Ok(()),
            };
            let Desk { up, exchange, .. } = &mut *self.desk;
            let message = up.unjudged();
            let body = &message[Header::SIZE..message.len().min(header.total_len())];
            match exchange.request(header, body).map_err(|error| refused(error.into()))? {
                Request::Forward => {
                    let is_cut_off = message.len() < header.total_len();
                    up.clear(header.total_len());
                    if is_cut_off && header.tag == b'Q' {
                        up.watch();
                    }
                }
                Request::Drop => up.skip(header.total_len()),
                Request::Terminate => {
                    self.desk.leaving = true;
                    return Ok(());
                }
            }
            self.request_begins();
        }
        self.settle_prepared();
        self.reserve_pin();
        self.server.info.set_committing(self.desk.exchange.is_committing());
        Ok(())
    }

    fn judge(&mut self, header: Header) -> Result<Judged, End> {
        if self.listener.is_some() { self.judge_of_listener(header) } else { self.judge_message(header) }
    }

    pub(super) fn judge_message(&mut self, header: Header) -> Result<Judged, End> {
        if header.tag == b'Q' {
            let gate = self.gate();
            if !gate.is_open() {
                return match self.judge_gate(header, gate)? {
                    Judged::Plain(header) => self.judge_prepared(header),
                    judged => Ok(judged),
                };
            }
        }
        self.judge_prepared(header)
    }

    pub(super) fn request_begins(&mut self) {
        if self.clock.query.is_none() {
            self.query_begins();
        }
    }

    fn query_begins(&mut self) {
        let is_new = std::mem::take(&mut self.clock.is_new);
        let now = if is_new { self.clock.xact } else { Micros::now() };
        self.clock.query = Some(now);
        self.handle.set_requested_at(now);
        if !is_new {
            self.handle.set_doing(Doing::Query, self.rules.deadline(Doing::Query, now, Some(self.clock.xact)));
        }
    }

    /// From server to client: true if anything moved.
    fn advance_down(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut moved = false;
        loop {
            let fatal = self.judge_replies()?;
            if !fatal && moved && self.at_rest().is_some() {
                // The server goes back first: what is left for the client can wait for a slow reader.
                return Ok(true);
            }
            if !self.desk.exchange.withholds() {
                match self.desk.down.poll_send(cx, self.socket) {
                    Poll::Ready(Ok(sent)) => moved |= sent > 0,
                    Poll::Ready(Err(_)) => return Err(End::ClientLeft),
                    Poll::Pending => return Ok(moved),
                }
            }
            if fatal {
                return Err(End::ServerEnded);
            }
            match self.desk.down.poll_recv(cx, &mut self.server.socket) {
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => {
                    follow::lost(self.services, &self.server.info, None);
                    return Err(End::Lost(Lost::Closed));
                }
                Poll::Ready(Ok(received)) => {
                    // Counted on arrival: what is left for the client is sent when the server has gone back.
                    self.desk.usage.totals.bytes_sent += received as u64;
                    moved = true;
                }
                Poll::Pending => return Ok(moved),
            }
        }
    }

    /// Judges all replies that are there: true if the server said that it ends.
    fn judge_replies(&mut self) -> Result<bool, End> {
        loop {
            self.settle_prepared();
            let unjudged = self.desk.down.unjudged();
            let Some(header) = Header::peek(unjudged).map_err(|error| End::Refused(error.into()))? else {
                return Ok(false);
            };
            let body = &unjudged[Header::SIZE..unjudged.len().min(header.total_len())];
            let is_done = self.desk.exchange.is_quiet() && self.desk.exchange.status() == TxStatus::Idle;
            let reply = self.desk.exchange.reply(header, body).map_err(|error| End::Refused(error.into()))?;
            match reply {
                Reply::Forward => {}
                Reply::Error => follow::error(self.services, &self.server.info, body),
                Reply::NeedBody(needed) => {
                    if needed > MAX_WHOLE_MESSAGE {
                        return Err(End::Refused(ClientError::PacketTooLarge(needed)));
                    }
                    self.desk.down.make_room(Header::SIZE + needed);
                    return Ok(false);
                }
                Reply::Ready(status) => self.ready(status)?,
                Reply::Parameter => self.note_parameter(header),
                Reply::Notification if !self.listens() => {
                    // Somebody's LISTEN was left on this server: the message is not for this client.
                    self.desk.down.skip(header.total_len());
                    self.desk.exchange.taint();
                    continue;
                }
                Reply::Drop => {
                    self.desk.down.skip(header.total_len());
                    continue;
                }
                Reply::NoRoom(why) => {
                    self.report_no_room(why);
                    self.desk.down.skip(header.total_len());
                    continue;
                }
                Reply::Deallocated => {
                    self.statements.clear();
                    self.server.statements.clear();
                }
                Reply::Notification if self.rules.serves || self.listener.is_some() => match self.hear(header) {
                    Heard::Part => return Ok(false),
                    Heard::Own => {}
                    Heard::Other => {
                        self.desk.down.skip(header.total_len());
                        continue;
                    }
                },
                Reply::Notification => {}
                Reply::Fatal if is_done && !self.keeps => {
                    // It ends behind the client's last answer: that is no concern of the client's.
                    follow::lost(self.services, &self.server.info, Some(&server_report(body)));
                    self.desk.down.skip(header.total_len());
                    return Err(End::Spent);
                }
                Reply::Fatal => {
                    let report = server_report(body);
                    follow::lost(self.services, &self.server.info, Some(&report));
                    if !self.keeps
                        && let Some(lost) = Lost::of(&report)
                    {
                        return Err(End::Lost(lost));
                    }
                    self.desk.down.clear(header.total_len());
                    return Ok(!self.desk.down.is_inside_message());
                }
            }
            self.desk.down.clear(header.total_len());
        }
    }

    /// Whether a notification may be the client's.
    fn listens(&self) -> bool {
        self.keeps || self.desk.exchange.traces().kinds.has(Kinds::CHANNELS)
    }

    fn ready(&mut self, status: TxStatus) -> Result<(), End> {
        let now = Micros::now();
        if let Some(began) = self.clock.query.take() {
            self.desk.usage.query(now.since(began));
        }
        if status == TxStatus::Idle {
            self.desk.usage.xact(now.since(self.clock.xact));
            self.clock.xact = now;
            self.desk.params_before = None;
        } else if self.rules.mode == PoolMode::Statement {
            return Err(End::Refused(ClientError::TransactionInStatementMode));
        }
        // What may be repaired is needed once more.
        let is_done = !self.desk.exchange.may_repair();
        if is_done {
            self.desk.down.mark(Header::SIZE + 1);
        }
        if self.desk.exchange.is_quiet() {
            if is_done {
                self.desk.up.keep();
            }
            let xact = (status != TxStatus::Idle).then_some(self.clock.xact);
            self.handle.set_doing(Doing::Holding, self.rules.deadline(Doing::Holding, now, xact));
        } else {
            self.clock.query = Some(now);
            self.handle.set_doing(Doing::Query, self.rules.deadline(Doing::Query, now, Some(self.clock.xact)));
        }
        self.server.info.set_committing(self.desk.exchange.is_committing());
        Ok(())
    }

    fn note_parameter(&mut self, header: Header) {
        let body = &self.desk.down.unjudged()[Header::SIZE..header.total_len()];
        self.server.note_parameter(self.services, body);
        if let Some(params) = changed_params(self.params, &self.services.tracked, body) {
            self.desk.params_before.get_or_insert_with(|| self.params.clone());
            *self.params = self.services.intern(params);
            self.handle.set_params(self.params.clone());
        }
    }
}
