//! A client that listens, in transaction mode: the server says what it listens to, and a connection that many share takes
//! it over. What comes there waits until the client is outside of a transaction block.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use protocol::exchange::Moment;
use protocol::traces::Kinds;
use protocol::{Header, messages};
use tokio::sync::oneshot;

use super::prepared::{Judged, Named};
use super::relay::{End, Relay};
use super::session::{Client, Farewell};
use crate::error::ClientError;
use crate::flow::{Desk, LentDesk};
use crate::listen::names::{self, Name};
use crate::listen::{Hub, ListenError, Mailbox};
use crate::pools::Lease;
use crate::server::connection::ServerFailure;
use crate::server::question::{Channels, MARK};
use crate::services::Services;

/// Longest text that is waited for to be read.
const MAX_TEXT: usize = 1 << 16;
/// Bytes of notifications that are given to a client at a time.
const BATCH: usize = 1 << 16;
/// How long the connection that listens may take to listen to something.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client's own notifications may take to come back.
const OWN_PATIENCE: Duration = Duration::from_secs(1);

/// What is listened to for a client.
#[derive(Debug)]
pub struct Listener {
    mailbox: Arc<Mailbox>,
    /// One, unless its encoding has changed.
    shares: Vec<Share>,
    /// The number of the query by which the server was told of them, 0 for none in this conversation.
    told: u64,
    /// The client's message in front has been looked at.
    is_judged: bool,
    /// The process id of the server that may notify others in the client's name.
    notifies: Option<u32>,
}

/// What one connection listens to for it.
#[derive(Debug)]
struct Share {
    hub: Arc<Hub>,
    channels: HashSet<Name>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stand_back();
        self.shares.iter().for_each(|share| share.hub.leave(share.channels.iter(), &self.mailbox));
    }
}

impl Listener {
    /// Whether something waits for the client.
    pub fn has_mail(&self) -> bool {
        self.mailbox.has_mail()
    }

    /// Whether there are as many channels as there may be.
    pub(super) fn has_all(&self, most: usize) -> bool {
        self.count() >= most
    }

    fn count(&self) -> usize {
        self.shares.iter().map(|share| share.channels.len()).sum()
    }

    fn names(&self) -> HashSet<Name> {
        self.shares.iter().flat_map(|share| &share.channels).cloned().collect()
    }

    fn has(&self, channel: &[u8]) -> bool {
        self.shares.iter().any(|share| share.channels.contains(channel))
    }

    /// Gives up all channels but these.
    fn keep(&mut self, kept: &[Name]) {
        let kept: HashSet<&Name> = kept.iter().collect();
        for Share { hub, channels } in &mut self.shares {
            let gone: HashSet<Name> = channels.extract_if(|name| !kept.contains(name)).collect();
            hub.leave(gone.iter(), &self.mailbox);
            self.mailbox.forget(&gone);
        }
        self.shares.retain(|share| !share.channels.is_empty());
    }

    /// What the server of this process id notifies from now on is the client's.
    fn stand_for(&mut self, server: u32, client: u32) {
        self.notifies = Some(server);
        self.shares.iter().for_each(|share| share.hub.set_sender(server, Some(client)));
    }

    /// What the server notifies from now on is not the client's.
    fn stand_back(&mut self) {
        if let Some(server) = self.notifies.take() {
            self.shares.iter().for_each(|share| share.hub.set_sender(server, None));
        }
    }

    /// Has the server listen too, in the transaction of the message that follows: what that one gives up is known from
    /// what is left. A mark tells whether this was rolled back itself.
    fn tell(&self) -> Vec<u8> {
        let (number, mut body) = (self.told, Vec::new());
        body.extend_from_slice(
            format!(
                "begin if coalesce(pg_catalog.current_setting('{MARK}', true), '') operator(pg_catalog.<>) '{number}' \
                 then perform pg_catalog.set_config('{MARK}', '{number}', false); "
            )
            .as_bytes(),
        );
        let channels = self.shares.iter().flat_map(|share| &share.channels);
        channels.for_each(|name| names::add_statement(&mut body, "listen", name));
        body.extend_from_slice(b" end if; end");
        let mut quote = "$pooler$".to_owned();
        while memchr::memmem::find(&body, quote.as_bytes()).is_some() {
            quote.insert(1, 'x');
        }
        [b"do ", quote.as_bytes(), &body, quote.as_bytes()].concat()
    }
}

/// What a text may be about, if it is a listener's: more often than it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct About {
    /// What is listened to.
    channels: bool,
    /// Notifications to others.
    notifies: bool,
}

impl About {
    fn of(text: &[u8]) -> Self {
        let has = |word: &[u8]| text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
        Self { channels: has(b"listen") || has(b"discard"), notifies: has(b"notify") }
    }
}

/// What becomes of a notification that comes from the client's own server.
pub(super) enum Heard {
    /// More of it has to arrive.
    Part,
    /// The client is given it.
    Own,
    /// It comes another way, or is not the client's.
    Other,
}

impl Relay<'_> {
    /// Judges a message of a client that listens already.
    pub(super) fn judge_of_listener(&mut self, header: Header) -> Result<Judged, End> {
        if let Some(incomplete) = self.prepare_channels(header) {
            return Ok(incomplete);
        }
        let judged = self.judge_message(header)?;
        if !matches!(judged, Judged::Incomplete)
            && let Some(listener) = self.listener
        {
            listener.is_judged = false;
        }
        Ok(judged)
    }

    /// Before a text that may be about channels the server is told what the client listens to.
    fn prepare_channels(&mut self, header: Header) -> Option<Judged> {
        let listener = self.listener.as_mut().filter(|listener| !listener.is_judged && self.rules.settles)?;
        if !matches!(header.tag, b'Q' | b'P' | b'B') {
            return None;
        }
        let Desk { up, exchange, .. } = &mut *self.desk;
        let message = &up.unjudged()[..up.unjudged().len().min(header.total_len())];
        if message.len() < header.total_len().min(MAX_TEXT) {
            up.make_room(header.total_len().min(MAX_TEXT));
            return Some(self.incomplete());
        }
        let name = Named::find(header.tag, message).map(|found| &message[found.before..found.before + found.len]);
        let text = match (header.tag, name) {
            (b'B', Some(b"")) => self.statements.unnamed().unwrap_or_default(),
            (b'B', Some(name)) => self.statements.get(name).map_or(&[][..], |statement| statement.text()),
            _ => &message[Header::SIZE..],
        };
        let about = About::of(text);
        if about.notifies && listener.notifies.is_none() {
            listener.stand_for(self.server.info.pid, self.handle.pid);
        }
        // What a server listens to that was told outside of a block is the truth from then on.
        if about.channels && !exchange.own_query_is_committed() {
            if listener.told == 0 {
                listener.told = self.services.next_id();
            }
            match exchange.own_query_moment() {
                Moment::Now => {
                    let mut query = Vec::new();
                    messages::query(&mut query, &listener.tell());
                    exchange.own_query(Kinds::CHANNELS);
                    up.insert(&query);
                }
                Moment::Within => {
                    // Where there is no room for it, there is none for the client's own either.
                    if let Ok(sent) = exchange.own_statement(Kinds::CHANNELS, &listener.tell()) {
                        up.insert(&sent);
                    }
                }
                Moment::Later => {
                    self.awaits_answers = true;
                    return Some(self.incomplete());
                }
                Moment::No => {}
            }
        }
        listener.is_judged = true;
        None
    }

    /// Judges a notification from the client's own server, which listens until the transaction is over.
    pub(super) fn hear(&mut self, header: Header) -> Heard {
        let wanted = header.total_len().min(names::MAX_FRONT);
        if self.desk.down.unjudged().len() < wanted {
            self.desk.down.make_room(wanted);
            return Heard::Part;
        }
        let body = &self.desk.down.unjudged()[Header::SIZE..wanted];
        let known = |name: &[u8]| self.listener.as_ref().is_some_and(|listener| listener.has(name));
        if names::channel(body).is_none_or(known) {
            return Heard::Other;
        }
        if names::pid(body) == Some(self.server.info.pid) {
            let front = self.desk.down.unjudged()[..Header::SIZE].to_vec();
            self.desk.down.replace(Header::SIZE + 4, &[&front[..], &self.handle.pid.to_be_bytes()].concat());
        }
        Heard::Own
    }
}

impl Client {
    /// Whether what the client listens to is taken over from its server.
    pub(super) fn is_served(&self) -> bool {
        self.rules.serves || self.listener.is_some()
    }

    /// Takes over what the server listens to for the client: the server hears nothing of it afterwards.
    pub(super) async fn take_over(
        &mut self,
        desk: &mut LentDesk,
        lease: &mut Lease,
        found: Channels,
    ) -> Result<(), (String, ClientError)> {
        let services = self.presence.services.clone();
        let failed = |failure: ServerFailure| (failure.to_string(), ClientError::ServerCrashed);
        let told = self.listener.as_mut().map_or(0, |listener| std::mem::take(&mut listener.told));
        if told != 0 && (desk.exchange.own_query_is_committed() || found.mark == told.to_string().as_bytes()) {
            self.listener.iter_mut().for_each(|listener| listener.keep(&found.names));
        }
        let before = self.listener.as_ref().map_or_else(HashSet::new, |listener| listener.names());
        let new: Vec<Name> = found.names.into_iter().filter(|name| !before.contains(name)).collect();
        let mark = services.next_id();
        if !new.is_empty() {
            let seen = self.listen_to(new, mark).await.map_err(|error| (error.to_string(), error))?;
            let mut sql = Vec::new();
            names::add_statement(&mut sql, "listen", services.listening.marks());
            sql.extend_from_slice(&notify(&services, mark));
            self.act(lease, &sql).await.map_err(failed)?;
            if !matches!(tokio::time::timeout(PATIENCE, seen).await, Ok(Ok(()))) {
                // With several hosts it may be another server.
                let error =
                    ClientError::CannotListen("its server and the listening one do not hear each other".to_owned());
                return Err((error.to_string(), error));
            }
        }
        let mut sql = b"unlisten *;".to_vec();
        if told != 0 {
            sql.extend_from_slice(format!("select pg_catalog.set_config('{MARK}', '', false);").as_bytes());
        }
        self.act(lease, &sql).await.map_err(failed)?;
        let server = lease.server();
        let heard = server.heard.take().unwrap_or_default();
        let is_mark = |body: &Vec<u8>| names::channel(body) == Some(&**services.listening.marks());
        let mut out = Vec::new();
        for body in heard.iter().take_while(|body| !is_mark(body)) {
            if names::channel(body).is_some_and(|name| !before.contains(name)) {
                let is_own = names::pid(body) == Some(server.info.pid);
                out.extend_from_slice(&names::message(body, is_own.then_some(self.presence.handle.pid)));
            }
        }
        desk.down.insert_before_ready(&out);
        self.listener.take_if(|listener| listener.shares.is_empty());
        Ok(())
    }

    /// Has a shared connection listen to these channels too; the client is given what comes behind the mark. Says when
    /// that is seen.
    async fn listen_to(&mut self, new: Vec<Name>, mark: u64) -> Result<oneshot::Receiver<()>, ClientError> {
        let cannot = |why: String| ClientError::CannotListen(why);
        if self.listener.as_ref().map_or(0, |listener| listener.count()) + new.len() > self.rules.max_channels {
            return Err(ClientError::ChannelsExceeded("max_client_channels"));
        }
        let services = &self.presence.services;
        let encoding = services.tracked.position(b"client_encoding").and_then(|at| self.params.get(at));
        let most = services.config.load().global.max_db_channels as usize;
        let (hub, reserved) = loop {
            let hub = services.listening.hub(services, &self.pool, encoding.unwrap_or_default());
            match tokio::time::timeout(PATIENCE, hub.reserve(&new, most)).await {
                Ok(Ok(reserved)) => break (hub, reserved),
                Ok(Err(ListenError::Ended)) => {}
                Ok(Err(ListenError::TooManyChannels)) => return Err(ClientError::ChannelsExceeded("max_db_channels")),
                Ok(Err(ListenError::Lost(why))) => return Err(cannot(why)),
                Err(_) => return Err(cannot("the server does not answer".to_owned())),
            }
        };
        let listener = self.listener.get_or_insert_with(|| {
            let mailbox = Arc::new(Mailbox::new(self.presence.handle.clone(), self.rules.max_pending));
            Box::new(Listener { mailbox, shares: Vec::with_capacity(1), told: 0, is_judged: false, notifies: None })
        });
        let (names, seen) = hub.start_at(mark, reserved, &listener.mailbox);
        match listener.shares.iter_mut().find(|share| Arc::ptr_eq(&share.hub, &hub)) {
            Some(share) => share.channels.extend(names),
            None => listener.shares.push(Share { hub, channels: names.into_iter().collect() }),
        }
        Ok(seen)
    }

    /// Waits until the client's own notifications have come back, so that they are known for its own, and stand before
    /// the end of their answer. Nobody else has its server before.
    pub(super) async fn await_own(&mut self, desk: &mut LentDesk, mut lease: Lease) -> Result<Lease, Farewell> {
        let listener = self.listener.as_ref().filter(|listener| listener.notifies.is_some());
        let Some(listener) = listener else { return Ok(lease) };
        let services = &self.presence.services;
        let mark = services.next_id();
        let hubs = listener.shares.iter().map(|share| share.hub.await_mark(mark));
        let seen: Vec<_> = hubs.collect();
        let sql = notify(services, mark);
        if let Err(failure) = self.act(&mut lease, &sql).await {
            self.stand_back();
            return Err(self.unsettled(desk, lease, &failure.to_string(), ClientError::ServerCrashed).await);
        }
        let all_seen = async {
            for seen in seen {
                let _ = seen.await;
            }
        };
        // One that takes longer is taken for somebody else's.
        let _ = tokio::time::timeout(OWN_PATIENCE, all_seen).await;
        self.listener.iter_mut().for_each(|listener| listener.stand_back());
        Ok(lease)
    }

    /// The conversation has ended in another way.
    pub(super) fn stand_back(&mut self) {
        if let Some(listener) = &mut self.listener {
            listener.stand_back();
            (listener.told, listener.is_judged) = (0, false);
        }
    }

    /// Whether the client is to be given notifications when it is outside of transaction blocks.
    pub(super) fn has_mail(&self) -> bool {
        self.listener.as_ref().is_some_and(|listener| listener.has_mail()) && self.bereft.is_none()
    }

    /// Adds what waits to an answer.
    pub(super) fn add_mail(&self, desk: &mut Desk) {
        if let Some(listener) = self.listener.as_ref().filter(|_| self.has_mail()) {
            desk.down.insert_before_ready(&listener.mailbox.take(BATCH));
        }
    }

    /// Gives an idle client what waits for it.
    pub(super) async fn deliver(&mut self) -> Result<(), Farewell> {
        let mut desk = LentDesk::take(self.rules.pkt_buf);
        while self.has_mail() {
            self.add_mail(&mut desk);
            self.flush(&mut desk).await?;
        }
        Ok(())
    }
}

fn notify(services: &Services, mark: u64) -> Vec<u8> {
    let mut sql = Vec::new();
    names::add_mark(&mut sql, services.listening.marks(), mark);
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_text_may_be_about_is_told_by_its_words() {
        assert_eq!(About::of(b"select 1"), About::default());
        assert!(About::of(b"UnListen a").channels && About::of(b"discard all").channels);
        assert!(About::of(b"select pg_Notify('a', '')").notifies && !About::of(b"notify a").channels);
    }
}
