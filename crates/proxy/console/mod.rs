//! The admin console: PgBouncer's commands and tables, by the simple and the extended protocol.

mod catalog;
mod command;
mod error;
mod execute;
mod extended;
mod failover;
mod formations;
mod listeners;
mod moment;
mod pools;
pub mod remote;
mod request;
mod show;
mod sockets;
mod stats;
mod table;
mod various;

pub use catalog::{DatabaseRow, snapshot as databases};
pub use pools::{PoolRow, ServerStates, snapshot as pools};
pub use stats::{COUNTERS, Counter, DatabaseStats, by_database};
pub use various::list_sizes;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use protocol::backend::TxStatus;
use protocol::messages::{self, Authentication, Severity};
use protocol::sqlstate;
use tracing::warn;

use crate::client::handle::{ClientHandle, Cut};
use crate::services::Services;
use crate::wire::{Wire, WireError};
use command::Command;
use error::ConsoleError;
use extended::Extended;
use request::{Malformed, Request};

/// What SHOW VERSION and `--version` say.
pub const VERSION: &str = concat!("pooler ", env!("CARGO_PKG_VERSION"));

/// Bytes of answers that may wait before they are sent.
const MAX_UNSENT: usize = 1 << 14;

/// What PgBouncer's console says of itself at login.
const GREETING: [(&str, &str); 7] = [
    ("server_version", concat!(env!("CARGO_PKG_VERSION"), "/bouncer")),
    ("client_encoding", "UTF8"),
    ("server_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("TimeZone", "GMT"),
    ("standard_conforming_strings", "on"),
    ("is_superuser", "on"),
];

/// What somebody may do in the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything (`admin_users`).
    Admin,
    /// Look (`stats_users`).
    Stats,
}

/// Serves one who has proved who he is, until he leaves or must go. Begins with AuthenticationOk.
pub async fn serve(services: Arc<Services>, wire: Wire, handle: Arc<ClientHandle>, access: Access) {
    let mut console =
        Console { services, wire, handle, access, unsent: Vec::with_capacity(1024), extended: Extended::default() };
    let end = match console.run().await {
        Ok(()) => End::Left,
        Err(end) => end,
    };
    console.leave(end).await;
}

/// Why a console session ends.
#[derive(Debug)]
enum End {
    /// The operator has left.
    Left,
    /// The operator is gone.
    Gone(WireError),
    /// Somebody wants it to end.
    Cut(Cut),
    /// What came is not the protocol.
    Malformed(Malformed),
    /// The process ends.
    Exit,
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Io(_) | WireError::Closed => Self::Gone(error),
            WireError::Frame(error) => Self::Malformed(Malformed(error.to_string())),
            WireError::TooLarge(_) | WireError::Unexpected(_) => Self::Malformed(Malformed(error.to_string())),
        }
    }
}

/// Why a request is not fulfilled: only for itself, or for the whole session.
#[derive(Debug)]
enum Failure {
    Request(ConsoleError),
    Session(End),
}

impl<E: Into<ConsoleError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Request(error.into())
    }
}

impl From<End> for Failure {
    fn from(end: End) -> Self {
        Self::Session(end)
    }
}

#[derive(Debug)]
struct Console {
    services: Arc<Services>,
    wire: Wire,
    handle: Arc<ClientHandle>,
    access: Access,
    /// Answers that have not been sent. More than [`MAX_UNSENT`] are sent before the next row is made.
    unsent: Vec<u8>,
    extended: Extended,
}

impl Console {
    async fn run(&mut self) -> Result<(), End> {
        messages::authentication(&mut self.unsent, Authentication::Ok);
        for (name, value) in GREETING {
            messages::parameter_status(&mut self.unsent, name.as_bytes(), value.as_bytes());
        }
        messages::backend_key_data(&mut self.unsent, self.handle.pid, &self.handle.key);
        messages::ready_for_query(&mut self.unsent, TxStatus::Idle);
        self.send().await?;
        loop {
            match self.request().await? {
                Request::Terminate => return Ok(()),
                Request::Query(text) => self.simple(&text).await?,
                request => self.extended(request).await?,
            }
            if self.unsent.len() >= MAX_UNSENT {
                self.send().await?;
            }
        }
    }

    /// The next request. A cancel finds nothing to cancel here.
    async fn request(&mut self) -> Result<Request, End> {
        let Self { wire, handle, .. } = self;
        tokio::select! {
            message = wire.message() => {
                let (tag, body) = message?;
                Request::parse(tag, body).map_err(End::Malformed)
            }
            cut = cut(handle) => Err(End::Cut(cut)),
        }
    }

    /// Sends what waits to be sent, for as long as the operator takes to read it.
    async fn send(&mut self) -> Result<(), End> {
        let Self { wire, handle, unsent, .. } = self;
        tokio::select! {
            sent = wire.send(unsent) => sent?,
            cut = cut(handle) => return Err(End::Cut(cut)),
        }
        unsent.clear();
        Ok(())
    }

    /// A simple Query: one command, its answer, ReadyForQuery.
    async fn simple(&mut self, text: &str) -> Result<(), End> {
        self.extended.forget_unnamed();
        match self.simple_answer(text).await {
            Ok(()) => {}
            Err(Failure::Request(error)) => error.write(&mut self.unsent),
            Err(Failure::Session(end)) => return Err(end),
        }
        messages::ready_for_query(&mut self.unsent, TxStatus::Idle);
        self.send().await
    }

    async fn simple_answer(&mut self, text: &str) -> Result<(), Failure> {
        let command = Command::parse(text)?;
        if let Some(answer) = self.execute(&command).await? {
            table::describe(&mut self.unsent, &answer.fields, |_| table::Format::Text);
            for cells in answer.rows {
                table::row(&mut self.unsent, &answer.fields, &cells, |_| table::Format::Text);
                if self.unsent.len() >= MAX_UNSENT {
                    self.send().await?;
                }
            }
        }
        messages::command_complete(&mut self.unsent, &command.tag());
        Ok(())
    }

    async fn leave(mut self, end: End) {
        let reason = match &end {
            End::Left => "client close request".to_owned(),
            End::Gone(error) => error.to_string(),
            End::Exit => "shutdown".to_owned(),
            End::Cut(cut) => {
                let error = cut.error();
                error.write(&mut self.unsent);
                error.to_string()
            }
            End::Malformed(error) => {
                warn!(client = self.handle.id, user = %self.handle.user, "console: {error}");
                messages::report(&mut self.unsent, Severity::Fatal, sqlstate::PROTOCOL_VIOLATION, &error.0, "");
                error.0.clone()
            }
        };
        if matches!(end, End::Cut(_) | End::Malformed(_)) {
            // Who does not read has had its chance.
            let _ = tokio::time::timeout(std::time::Duration::from_secs(1), self.wire.send(&self.unsent)).await;
        }
        self.services.log_end(&self.handle, &reason);
        self.wire.socket.shutdown();
    }
}

/// Returns when somebody wants this session to end.
async fn cut(handle: &ClientHandle) -> Cut {
    poll_fn(|cx| {
        handle.set_waker(cx.waker());
        handle.is_cut().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

#[cfg(test)]
mod tests;
