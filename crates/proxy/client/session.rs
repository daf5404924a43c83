//! The life of a client after login: idle, in the queue, with a server, and again, until it leaves.

use std::borrow::Cow;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use config::{Hidden, PoolMode};
use pool::WorkerId;
use protocol::messages::{self, Severity};
use protocol::params::Params;
use protocol::statements::ClientStatements;
use protocol::{AtRest, Header, sqlstate};

use super::handle::{ClientHandle, Doing};
use super::listen::Listener;
use super::lost::Bereft;
use super::reclaim;
use super::relay::{End, Relay, XactClock};
use super::repair::Repair;
use super::rules::Rules;
use crate::clock::Micros;
use crate::error::ClientError;
use crate::flow::LentDesk;
use crate::link::{self, Wishes};
use crate::pins::Pin;
use crate::pools::{Lease, SharedPool};
use crate::socket::{LAST_WORDS, Socket};
use crate::worker::Presence;

/// Dead servers after which the next one is not tried at once.
const FREE_ATTEMPTS: u32 = 3;
/// The first pause between attempts.
const RETRY: Duration = Duration::from_millis(50);

/// A logged-in client, in the hands of its worker.
#[derive(Debug)]
pub struct Client {
    /// Its connection.
    pub socket: Socket,
    /// Its places in lists and counts, and what others see of it.
    pub presence: Presence,
    /// The parameters it wants.
    pub params: Arc<Params>,
    /// Those it wanted at login: what RESET goes back to.
    pub baseline: Arc<Params>,
    /// Its names for prepared statements.
    pub statements: ClientStatements,
    /// What the configuration says for it.
    pub rules: Arc<Rules>,
    /// Which configuration that is.
    pub generation: u64,
    /// Where its servers come from.
    pub pool: Arc<SharedPool>,
    /// The worker it is with.
    pub worker: WorkerId,
    /// What it sent behind its login.
    pub early: Box<[u8]>,
    /// Who answers it since its server was lost, until its transaction block has ended.
    pub bereft: Option<Box<Bereft>>,
    /// Its place among those who keep a server for what they have left in its session.
    pub pin: Option<Box<Pin>>,
    /// What is listened to for it.
    pub listener: Option<Box<Listener>>,
}

/// Why a client's session ends.
#[derive(Debug)]
pub(super) enum Farewell {
    /// It left.
    Left(&'static str),
    /// It has been told already, or cannot be.
    Silent(&'static str),
    /// It is told this.
    Told(ClientError),
}

impl From<ClientError> for Farewell {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::ClientLeft => Self::Left("client unexpected eof"),
            error => Self::Told(error),
        }
    }
}

/// What a client that was idle begins with.
enum First {
    /// Something for a server.
    Request,
    /// Nothing that needs one.
    Nothing,
}

impl Client {
    /// Serves the client until it leaves or must go. Boxed: an idle client is this, and a future of a few hundred bytes.
    pub async fn run(mut self: Box<Self>) {
        poll_fn(|cx| {
            self.handle().set_waker(cx.waker());
            Poll::Ready(())
        })
        .await;
        let farewell = match self.serve().await {
            Ok(()) => Farewell::Left("client close request"),
            Err(farewell) => farewell,
        };
        Box::pin(self.leave(farewell)).await;
    }

    pub(super) fn handle(&self) -> &Arc<ClientHandle> {
        &self.presence.handle
    }

    async fn serve(&mut self) -> Result<(), Farewell> {
        let mut held: Option<Lease> = None;
        loop {
            if self.early.is_empty() {
                self.idle(held.as_mut()).await?;
                if self.has_mail() {
                    Box::pin(self.deliver()).await?;
                    continue;
                }
            }
            let mut desk = LentDesk::take(self.rules.pkt_buf);
            desk.up.preload(&std::mem::take(&mut self.early));
            loop {
                self.refresh_rules()?;
                if self.bereft.is_some() {
                    Box::pin(self.stand_in(&mut desk)).await?;
                    if desk.up.is_empty() {
                        break;
                    }
                    continue;
                }
                if held.is_none() && matches!(self.first_message(&mut desk).await?, First::Nothing) {
                    break;
                }
                held = self.transaction(&mut desk, held.take()).await?;
                self.add_mail(&mut desk);
                self.flush(&mut desk).await?;
                if desk.leaving {
                    return Err(Farewell::Left("client close request"));
                }
                if desk.up.is_empty() {
                    break;
                }
            }
        }
    }

    /// Waits, owning nothing, until the client or the server it holds has something to say.
    async fn idle(&mut self, mut held: Option<&mut Lease>) -> Result<(), Farewell> {
        let doing = match (&held, &self.pin) {
            (None, _) => Doing::Idle,
            (Some(_), None) => Doing::Holding,
            (Some(_), Some(_)) => Doing::Pinned,
        };
        self.presence.handle.set_doing(doing, self.rules.idle_deadline(doing));
        poll_fn(|cx| {
            if let Poll::Ready(error) = self.interrupted(None) {
                return Poll::Ready(Err(error.into()));
            }
            if self.has_mail() {
                return Poll::Ready(Ok(()));
            }
            if held.as_mut().is_some_and(|lease| lease.server().info.is_cut()) {
                return Poll::Ready(Err(ClientError::PrimaryMoved.into()));
            }
            if let Some(lease) = &mut held
                && lease.server().socket.poll_readable(cx).is_ready()
            {
                return Poll::Ready(Ok(()));
            }
            self.socket.poll_readable(cx).map_err(|_| Farewell::Left("client unexpected eof"))
        })
        .await
    }

    /// Obeys whoever wants this client gone, and the time limits.
    fn interrupted(&self, xact: Option<Micros>) -> Poll<ClientError> {
        if let Some(cut) = self.presence.handle.is_cut() {
            return Poll::Ready(cut.error());
        }
        if self.presence.handle.take_late() {
            let now = Micros::now();
            if self.presence.handle.is_late(now) {
                return Poll::Ready(self.rules.verdict(self.presence.handle.doing(), now, xact));
            }
        }
        Poll::Pending
    }

    fn refresh_rules(&mut self) -> Result<(), ClientError> {
        let generation = self.presence.services.generation.load(Ordering::Acquire);
        if generation != self.generation {
            let config = self.presence.services.config.load();
            let rules = self.pool.rules(&config, generation, &self.presence.handle.user);
            self.rules = rules.ok_or(ClientError::DatabaseRemoved)?;
            self.generation = generation;
        }
        Ok(())
    }

    /// Receives until it is clear what the client wants. What a server would ignore, outside of any request, ends here.
    async fn first_message(&mut self, desk: &mut LentDesk) -> Result<First, Farewell> {
        let mut received_once = !desk.up.is_empty();
        loop {
            while let Some(header) = Header::peek(desk.up.unjudged()).map_err(ClientError::Frame)? {
                match header.tag {
                    b'X' => return Err(Farewell::Left("client close request")),
                    b'H' | b'd' | b'c' | b'f' => desk.up.skip(header.total_len()),
                    _ => return Ok(First::Request),
                }
            }
            if desk.up.is_empty() && received_once {
                return Ok(First::Nothing);
            }
            self.receive(desk).await?;
            received_once = true;
        }
    }

    pub(super) async fn receive(&mut self, desk: &mut LentDesk) -> Result<(), Farewell> {
        let received = poll_fn(|cx| match self.interrupted(None) {
            Poll::Ready(error) => Poll::Ready(Err(Farewell::Told(error))),
            Poll::Pending => {
                desk.up.poll_recv(cx, &mut self.socket).map_err(|_| Farewell::Left("client unexpected eof"))
            }
        });
        if received.await? == 0 { Err(Farewell::Left("client unexpected eof")) } else { Ok(()) }
    }

    /// One transaction, or as many as the client has sent at once. In session mode the server is kept.
    async fn transaction(&mut self, desk: &mut LentDesk, held: Option<Lease>) -> Result<Option<Lease>, Farewell> {
        let was_held = held.is_some();
        let lease = match held {
            Some(lease) => lease,
            None => match self.get_server(desk).await {
                Ok(lease) => lease,
                Err(error) if error.spares_session() => {
                    self.bereft = Some(Bereft::refused(error));
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            },
        };
        self.converse(desk, lease, was_held).await
    }

    async fn get_server(&mut self, desk: &mut LentDesk) -> Result<Lease, ClientError> {
        let began = Micros::now();
        self.presence.handle.set_requested_at(began);
        self.presence.handle.take_canceled();
        self.presence.handle.set_doing(Doing::Waiting, self.rules.wait_deadline(began, false));
        for attempt in 0u32.. {
            if attempt >= FREE_ATTEMPTS {
                Box::pin(tokio::time::sleep(RETRY * attempt.min(10))).await;
            }
            let (handle, rules) = (&self.presence.handle, &*self.rules);
            let (socket, pool) = (&mut self.socket, &*self.pool);
            let mut wait = Wait { socket, handle, rules, pool, began, socket_is_quiet: true };
            let lease = self.pool.check_out(handle, self.worker, &mut desk.usage, |cx| wait.interrupted(cx)).await?;
            // A server that turns out to be dead is nobody's fault: another one is tried, within the same time limit.
            let mut params = self.params.clone();
            let wishes = Wishes::new(&self.presence, rules, self.worker);
            let joined = link::join(wishes, lease, &mut params, |cx| wait.interrupted(cx)).await?;
            self.params = params;
            if let Some(lease) = joined {
                return Ok(lease);
            }
        }
        Err(ClientError::ServerCrashed)
    }

    fn wishes(&self) -> Wishes<'_> {
        Wishes::new(&self.presence, &self.rules, self.worker)
    }

    /// Lets client and server talk until the server is at rest, and returns it.
    async fn converse(
        &mut self,
        desk: &mut LentDesk,
        mut lease: Lease,
        was_held: bool,
    ) -> Result<Option<Lease>, Farewell> {
        // One that was just lent was lent just now.
        let began = if was_held { Micros::now() } else { lease.lent_at() };
        let mut clock = XactClock { xact: began, query: None, is_new: !was_held };
        if !was_held {
            // Its wait is over, and so is the time limit for that.
            self.handle().set_doing(Doing::Query, self.rules.deadline(Doing::Query, began, Some(began)));
        }
        let was_pinned = self.pin.is_some();
        desk.exchange.read_all(self.rules.hidden != Hidden::Ignore);
        desk.up.keep();
        desk.down.begin();
        let end = {
            let mut relay = Relay {
                socket: &mut self.socket,
                handle: &self.presence.handle,
                rules: &self.rules,
                services: &self.presence.services,
                server: lease.server(),
                desk,
                statements: &mut self.statements,
                pool: &self.pool,
                params: &mut self.params,
                clock: &mut clock,
                keeps: was_pinned || self.rules.mode == PoolMode::Session,
                pin: &mut self.pin,
                listener: &mut self.listener,
                awaits_answers: false,
            };
            poll_fn(|cx| relay.poll(cx)).await
        };
        if !matches!(end, End::AtRest(_) | End::Spent) {
            self.stand_back();
        }
        match end {
            End::AtRest(proof) => {
                if desk.exchange.may_repair() {
                    match Box::pin(self.repair(desk, &mut lease)).await {
                        Repair::Again => return Box::pin(self.converse(desk, lease, was_held)).await,
                        Repair::None => {}
                        Repair::Lost => return Ok(self.part(desk, lease)),
                    }
                }
                let was_spoiled = self.pin.as_ref().is_some_and(|pin| pin.is_spoiled);
                self.keep_hidden(desk, Hidden::Pin);
                if let Some(question) = self.to_settle(desk) {
                    lease = Box::pin(self.settle(desk, lease, question)).await?;
                }
                self.keep_hidden(desk, Hidden::Reset);
                if self.listener.is_some() {
                    lease = Box::pin(self.await_own(desk, lease)).await?;
                }
                if was_spoiled && self.pin.is_none() {
                    return Ok(self.part(desk, lease));
                }
                Ok(self.rest(desk, lease, proof, was_held && !was_pinned))
            }
            End::Spent => {
                let is_by_names = desk.exchange.is_spent_by_names();
                self.keep_hidden(desk, Hidden::Pin);
                if let Some(question) = self.to_settle(desk) {
                    lease = Box::pin(self.settle(desk, lease, question)).await?;
                }
                self.stand_back();
                match &mut self.pin {
                    None => Ok(self.part(desk, lease)),
                    Some(pin) if is_by_names => {
                        pin.is_spoiled = true;
                        self.pool.add_usage(Some(&desk.usage));
                        desk.next_conversation();
                        Ok(Some(lease))
                    }
                    Some(_) => Err(Farewell::Told(ClientError::ServerCrashed)),
                }
            }
            End::ClientLeft => {
                self.abandon(desk, lease);
                Err(Farewell::Left("client close request"))
            }
            End::Refused(error) => {
                let rest = (desk.down.take_cleared(), desk.down.is_inside_message());
                match lease.server().info.is_cut() {
                    true => lease.close("the primary has moved"),
                    false => self.abandon(desk, lease),
                }
                Err(Box::pin(self.dismiss(rest, error)).await)
            }
            End::Lost(lost) => match Box::pin(self.lose(desk, lease, lost)).await {
                Ok(()) => Ok(None),
                Err(error) => {
                    let rest = (desk.down.take_cleared(), desk.down.is_inside_message());
                    Err(Box::pin(self.dismiss(rest, error)).await)
                }
            },
            End::ServerEnded => {
                self.presence.handle.set_server(0);
                lease.close("server conn crashed?");
                Err(Farewell::Silent("server conn crashed?"))
            }
        }
    }

    /// Ends the session with an error, behind all that is left for the client.
    pub(super) async fn dismiss(&mut self, (left, inside): (Vec<u8>, bool), error: ClientError) -> Farewell {
        // Who does not read has had its chance; and in the middle of a message an error would be taken for its rest.
        let sent = tokio::time::timeout(LAST_WORDS, self.socket.send_all(&left)).await;
        let cut_off = inside || !matches!(sent, Ok(Ok(())));
        if cut_off { Farewell::Silent("closed in the middle of a message") } else { Farewell::Told(error) }
    }

    /// Gives up a server that nobody else must have.
    fn part(&self, desk: &mut LentDesk, lease: Lease) -> Option<Lease> {
        self.presence.handle.set_server(0);
        self.pool.add_usage(Some(&desk.usage));
        lease.close("something was left behind");
        desk.next_conversation();
        None
    }

    /// Keeps the server for the session, or returns it.
    fn rest(&self, desk: &mut LentDesk, lease: Lease, proof: AtRest, had_session: bool) -> Option<Lease> {
        let kept = if self.rules.mode == PoolMode::Session || self.pin.is_some() {
            self.pool.add_usage(Some(&desk.usage));
            Some(lease)
        } else {
            self.presence.handle.set_server(0);
            // A reload may have ended session mode under a session, whose traces are still there.
            if self.rules.reset_always || had_session {
                reclaim::reset(self.wishes(), self.pool.clone(), lease, proof, &desk.usage);
            } else if matches!(self.rules.hidden, Hidden::Reset | Hidden::Pin) && desk.exchange.traces().hides {
                reclaim::discard(self.wishes(), self.pool.clone(), lease, proof, &desk.usage);
            } else {
                self.pool.check_in(lease, proof, self.worker, &desk.usage);
            }
            None
        };
        (desk.is_repeated, desk.is_repaired) = (false, false);
        desk.next_conversation();
        kept
    }

    /// The client goes, and leaves a server that may be busy.
    fn abandon(&self, desk: &mut LentDesk, lease: Lease) {
        let desk = desk.replace(self.rules.pkt_buf);
        reclaim::start(self.wishes(), self.pool.clone(), lease, desk, self.pin.is_some());
    }

    /// Sends the client what is left for it. One that does not read is idle, and has an idle client's time.
    pub(super) async fn flush(&mut self, desk: &mut LentDesk) -> Result<(), Farewell> {
        let mut is_slow = false;
        let sent = poll_fn(|cx| {
            if self.interrupted(None).is_ready() {
                return Poll::Ready(Err(Farewell::Silent("client does not read")));
            }
            let sent = desk.down.poll_send(cx, &mut self.socket);
            if sent.is_pending() && !std::mem::replace(&mut is_slow, true) {
                self.handle().set_doing(Doing::Idle, self.rules.idle_deadline(Doing::Idle));
            }
            sent.map_err(|_| Farewell::Left("client unexpected eof"))
        });
        match sent.await {
            Err(Farewell::Silent(silent)) => match self.handle().is_cut().filter(|cut| cut.spares_transactions()) {
                Some(cut) => Err(Box::pin(self.dismiss((desk.down.take_cleared(), false), cut.error())).await),
                None => Err(Farewell::Silent(silent)),
            },
            sent => sent.map(|_| ()),
        }
    }

    async fn leave(&mut self, farewell: Farewell) {
        let (handle, services) = (&self.presence.handle, &self.presence.services);
        handle.set_server(0);
        let reason: Cow<'static, str> = match farewell {
            Farewell::Left(reason) => reason.into(),
            Farewell::Silent(reason) => {
                self.socket.shutdown();
                reason.into()
            }
            Farewell::Told(error) => {
                services.errors.count(error.sqlstate());
                self.rules.log_error(handle, &error);
                // Who does not read has had its chance.
                self.socket.part_with(&error.to_message()).await;
                Cow::Owned(error.to_string())
            }
        };
        services.log_end(handle, &reason);
    }
}

/// What a client in the queue listens to.
struct Wait<'a> {
    socket: &'a mut Socket,
    handle: &'a ClientHandle,
    rules: &'a Rules,
    pool: &'a SharedPool,
    began: Micros,
    socket_is_quiet: bool,
}

impl Wait<'_> {
    fn interrupted(&mut self, cx: &mut Context<'_>) -> Poll<ClientError> {
        if self.handle.take_canceled() {
            return Poll::Ready(ClientError::Canceled);
        }
        if self.pool.is_hopeless() {
            return Poll::Ready(ClientError::NoWritableNode);
        }
        if let Some(cut) = self.handle.is_cut() {
            return Poll::Ready(cut.error());
        }
        if self.handle.take_late() {
            let now = Micros::now();
            let limit = self.rules.deadline(Doing::Waiting, self.began, None);
            if limit.is_some_and(|limit| limit <= now) {
                return Poll::Ready(self.rules.verdict(Doing::Waiting, now, None));
            }
            if self.handle.is_late(now) {
                self.tell(cx);
            }
        }
        self.client_left(cx)
    }

    fn tell(&mut self, cx: &mut Context<'_>) {
        let mut notice = Vec::with_capacity(128);
        let text = "No server connection available in postgres backend, client being queued";
        messages::report(&mut notice, Severity::Notice, sqlstate::SUCCESSFUL_COMPLETION, text, "");
        // Sent whole or not at all: part of a message would spoil the connection, and the socket is empty now.
        let _ = self.socket.poll_send(cx, &notice);
        self.handle.set_doing(Doing::Waiting, self.rules.wait_deadline(self.began, true));
    }

    /// A client that closes its connection while it waits is noticed, unless it has sent more requests before.
    fn client_left(&mut self, cx: &mut Context<'_>) -> Poll<ClientError> {
        if self.socket_is_quiet {
            match self.socket.poll_peek(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(true)) => self.socket_is_quiet = false,
                Poll::Ready(Ok(false) | Err(_)) => return Poll::Ready(ClientError::ClientLeft),
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(_: impl FnOnce(Box<Client>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_client_is_small() {
        let sizes = (size_of_future(Client::run), size_of::<Client>(), size_of::<ClientHandle>());
        assert!(sizes.0 <= 768 && sizes.1 <= 192 && sizes.2 <= 256, "future, client, handle: {sizes:?}");
    }
}
