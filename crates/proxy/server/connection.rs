//! A server connection as the pool keeps it, and the requests that the pooler makes of it on its own account.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pool::{Permit, WorkerId};
use protocol::backend::TxStatus;
use protocol::exchange::Reply;
use protocol::fields::Fields;
use protocol::params::{Other, Params, Tracked};
use protocol::statements::ServerStatements;
use protocol::{Exchange, Header, sqlstate};
use thiserror::Error;

use super::info::ServerInfo;
use crate::clock::Micros;
use crate::error::ServerReport;
use crate::services::Services;
use crate::socket::Socket;

/// Most bytes of one answer to a request of our own.
const MAX_ANSWER: usize = 1 << 20;
/// Most rows that are kept of one.
const MAX_ROWS: usize = 1 << 20;

/// A server connection that has logged in.
#[derive(Debug)]
pub struct Server {
    /// What others may see of it.
    pub info: Arc<ServerInfo>,
    /// The connection.
    pub socket: Socket,
    /// The worker whose runtime the socket is registered with.
    pub home: WorkerId,
    /// The values it has reported of the tracked parameters.
    pub params: Arc<Params>,
    /// The prepared statements it knows.
    pub statements: ServerStatements,
    /// It has run a `connect_query`, which a reset undoes.
    pub has_connect_query: bool,
    /// A client has had it since its session was clean.
    pub was_used: bool,
    /// When it was last returned; none for one that has just been opened.
    pub idle_since: Option<Micros>,
    /// Its share of the limits across pools.
    pub permit: Permit,
    /// Wakes the pool's keeper when something happens on it while nobody has it.
    pub watch: Waker,
    /// The bodies of the notifications that came with answers to requests of our own, if somebody wants them.
    pub heard: Option<Vec<Vec<u8>>>,
}

/// What a server answered to a request of our own.
#[derive(Debug)]
pub struct Answer {
    /// Where it left the session.
    pub status: TxStatus,
    /// Its first error.
    pub error: Option<ServerReport>,
    /// The bodies of its DataRows, the first million of them.
    pub rows: Vec<Vec<u8>>,
    /// The body of its last RowDescription.
    pub columns: Option<Vec<u8>>,
}

/// Why a server is of no more use.
#[derive(Debug, Error)]
pub enum ServerFailure {
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It ended the connection.
    #[error("server closed the connection")]
    Closed,
    /// It ended the session with an error.
    #[error("{}", .0.message)]
    Fatal(ServerReport),
    /// It does not speak the protocol.
    #[error("server broke the protocol")]
    Violation,
}

impl Server {
    /// Registers the socket with this thread's runtime, which is `worker`'s.
    ///
    /// # Errors
    /// What the kernel says; the server is of no more use then.
    pub fn rehome(&mut self, worker: WorkerId) -> io::Result<()> {
        if self.home != worker {
            self.socket.rehome()?;
            self.home = worker;
        }
        Ok(())
    }

    /// Has the keeper woken when something arrives. True if something has arrived already.
    pub fn is_noisy(&mut self) -> bool {
        let mut cx = Context::from_waker(&self.watch);
        // A look, because readiness outlives a receive that filled its buffer exactly.
        !matches!(self.socket.poll_peek(&mut cx), Poll::Pending)
    }

    /// Sends `request`, whose messages are ours, and reads all that is due for it.
    ///
    /// ParameterStatus updates the server's parameters.
    ///
    /// # Errors
    /// When the server is of no more use.
    pub async fn ask(&mut self, services: &Services, request: &[u8]) -> Result<Answer, ServerFailure> {
        self.converse(services, &mut Exchange::default(), request).await
    }

    /// The same in a conversation of the caller's, who can have its end proved.
    ///
    /// # Errors
    /// When the server is of no more use.
    pub async fn converse(
        &mut self,
        services: &Services,
        exchange: &mut Exchange,
        request: &[u8],
    ) -> Result<Answer, ServerFailure> {
        note_requests(exchange, request);
        self.socket.send_all(request).await?;
        self.finish(services, exchange, Vec::with_capacity(1024)).await
    }

    /// Reads, and throws away, all that is still due in a conversation. `received` has what was received already.
    ///
    /// # Errors
    /// When the server is of no more use.
    pub async fn finish(
        &mut self,
        services: &Services,
        exchange: &mut Exchange,
        mut received: Vec<u8>,
    ) -> Result<Answer, ServerFailure> {
        let mut answer = Answer { status: TxStatus::Idle, error: None, rows: Vec::new(), columns: None };
        loop {
            let used = self.digest(services, exchange, &received, &mut answer)?;
            received.drain(..used);
            if exchange.is_quiet() {
                answer.status = exchange.status();
                return Ok(answer);
            }
            if received.len() >= MAX_ANSWER {
                return Err(ServerFailure::Violation);
            }
            if received.len() == received.capacity() {
                received.reserve(received.len().max(1024));
            }
            if self.socket.recv(&mut received).await? == 0 {
                return Err(ServerFailure::Closed);
            }
        }
    }

    /// Digests whole messages: how many bytes they took.
    fn digest(
        &mut self,
        services: &Services,
        exchange: &mut Exchange,
        bytes: &[u8],
        answer: &mut Answer,
    ) -> Result<usize, ServerFailure> {
        let mut used = 0;
        while let Some(header) = Header::peek(&bytes[used..]).map_err(|_| ServerFailure::Violation)? {
            let Some(body) = bytes.get(used + Header::SIZE..used + header.total_len()) else { break };
            match exchange.reply(header, body).map_err(|_| ServerFailure::Violation)? {
                Reply::Fatal => return Err(ServerFailure::Fatal(server_report(body))),
                Reply::Error | Reply::NoRoom(_) => {
                    answer.error.get_or_insert_with(|| server_report(body));
                }
                Reply::Parameter => self.note_parameter(services, body),
                Reply::Deallocated => self.statements.clear(),
                Reply::Forward if header.tag == b'D' && answer.rows.len() < MAX_ROWS => answer.rows.push(body.to_vec()),
                Reply::Forward if header.tag == b'T' => answer.columns = Some(body.to_vec()),
                Reply::Notification => self.heard.iter_mut().for_each(|heard| heard.push(body.to_vec())),
                Reply::Forward | Reply::Ready(_) | Reply::NeedBody(_) | Reply::Drop => {}
            }
            used += header.total_len();
        }
        Ok(used)
    }

    /// Notes that its session was reset: `wholly`, or in a way of the operator's own.
    pub fn is_reset(&mut self, services: &Services, wholly: bool) {
        if wholly && !self.has_connect_query {
            self.set_others(services, []);
        } else if self.has_connect_query || !self.params.others().is_empty() {
            self.is_unclear(services);
        }
    }

    /// Notes that something may be set that nobody knows of: no client has such settings, so all are reset for the next.
    pub fn is_unclear(&mut self, services: &Services) {
        let unclear = self.params.others().iter().cloned().chain([Other::default()]).collect::<Vec<_>>();
        self.set_others(services, unclear);
    }

    /// Notes what is set of what it does not report.
    pub fn set_others(&mut self, services: &Services, others: impl IntoIterator<Item = Other>) {
        let mut params = (*self.params).clone();
        params.set_others(others);
        self.params = services.intern(params);
    }

    /// Notes a ParameterStatus.
    pub fn note_parameter(&mut self, services: &Services, body: &[u8]) {
        if let Some(params) = changed_params(&self.params, &services.tracked, body) {
            self.params = services.intern(params);
        }
    }
}

/// The set with the change that a ParameterStatus tells of; none if that parameter is not tracked.
pub fn changed_params(params: &Params, tracked: &Tracked, body: &[u8]) -> Option<Params> {
    let (name, value) = split_parameter(body)?;
    let position = tracked.position(name)?;
    let mut params = params.clone();
    params.set(position, value);
    Some(params)
}

/// Name and value of a ParameterStatus.
pub fn split_parameter(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = body.splitn(3, |byte| *byte == 0);
    Some((parts.next()?, parts.next()?))
}

/// The error in an ErrorResponse's body.
pub fn server_report(body: &[u8]) -> ServerReport {
    let fields = Fields::parse(body);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    // Clients rely on five characters, which a server may not have sent.
    let sqlstate =
        if fields.sqlstate.len() == 5 { text(fields.sqlstate) } else { sqlstate::INTERNAL_ERROR.0.to_owned() };
    ServerReport { sqlstate, message: text(fields.message) }
}

fn note_requests(exchange: &mut Exchange, mut request: &[u8]) {
    while let Ok(Some(header)) = Header::peek(request) {
        let Some((message, rest)) = request.split_at_checked(header.total_len()) else { return };
        // Our own messages are well formed; the exchange refuses only what is not.
        let _ = exchange.request(header, &message[Header::SIZE..]);
        request = rest;
    }
}
