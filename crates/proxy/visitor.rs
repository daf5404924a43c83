//! A client of the pooler that runs with a configuration: one question at a time, by threads that have nothing else to do.

use std::time::Duration;

use config::{Config, Secret};
use protocol::fields::{Fields, data_row};
use protocol::messages;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use crate::address::Endpoint;
use crate::console::remote::{self, Unreached};
use crate::server::connection::server_report;
use crate::server::login::LoginError;
use crate::wire::{Wire, WireError};

/// How often it is asked whether an answer is still waited for.
const LOOK: Duration = Duration::from_millis(100);
/// The fixed fields of a column in RowDescription, behind its name.
const COLUMN_FIELDS: usize = 18;

/// A session with the pooler.
#[derive(Debug)]
pub struct Visitor {
    // Before the runtime: its socket is registered there.
    wire: Wire,
    runtime: Runtime,
}

/// What a question found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows as text; none for NULL.
    pub rows: Vec<Vec<Option<String>>>,
}

impl Answer {
    /// A value of a row by its column's name; empty for NULL, and for a column that is not there.
    pub fn value<'a>(&self, row: &'a [Option<String>], column: &str) -> &'a str {
        let position = self.columns.iter().position(|name| name == column);
        position.and_then(|position| row.get(position)?.as_deref()).unwrap_or_default()
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Of the error; none if the connection broke, or never came about.
    pub sqlstate: Option<String>,
    /// In words.
    pub message: String,
    /// The session is over.
    pub is_over: bool,
}

impl Failure {
    fn lost(message: impl Into<String>) -> Self {
        Self { sqlstate: None, message: message.into(), is_over: true }
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::lost(error.to_string())
    }
}

impl From<LoginError> for Failure {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Refused(report) => {
                Self { sqlstate: Some(report.sqlstate), message: report.message, is_over: true }
            }
            other => Self::lost(other.to_string()),
        }
    }
}

impl Visitor {
    /// Logs in to a database as `user`.
    ///
    /// # Errors
    /// The pooler's, or why it cannot be reached.
    pub fn of_database(config: &Config, database: &str, user: &str, secret: Option<&Secret>) -> Result<Self, Failure> {
        Self::log_in(config, database, |_| (user.to_owned(), secret.cloned()))
    }

    /// Logs in to the console, as [`remote::run`] does.
    ///
    /// # Errors
    /// The pooler's, or why it cannot be reached.
    pub fn of_console(config: &Config) -> Result<Self, Failure> {
        Self::log_in(config, config::CONSOLE_NAMES[0], |endpoint| remote::account(config, endpoint))
    }

    fn log_in(
        config: &Config,
        database: &str,
        account: impl Fn(&Endpoint) -> (String, Option<Secret>),
    ) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::lost(error.to_string()))?;
        match runtime.block_on(remote::reach(config, database, account)) {
            Ok(session) => Ok(Self { wire: session.wire, runtime }),
            Err(Unreached::Silent(why)) => {
                Err(Failure::lost(why.unwrap_or_else(|| "the pooler listens nowhere".to_owned())))
            }
            Err(Unreached::Refused(endpoint, _, error)) => {
                let failure = Failure::from(error);
                Err(Failure { message: format!("{endpoint}: {}", failure.message), ..failure })
            }
        }
    }

    /// Asks, and waits for the answer until `given_up` says so. After a failure that `is_over` nothing can be asked.
    ///
    /// # Errors
    /// The error of whoever answered, or that nobody did.
    pub fn ask(&mut self, sql: &str, given_up: impl Fn() -> bool) -> Result<Answer, Failure> {
        let Self { wire, runtime } = self;
        runtime.block_on(async {
            tokio::select! {
                answer = ask(wire, sql) => answer,
                () = async { while !given_up() { sleep(LOOK).await } } => Err(Failure::lost("no answer in time")),
            }
        })
    }
}

/// As libpq leaves: whoever only closes is logged as a client that vanished.
impl Drop for Visitor {
    fn drop(&mut self) {
        let mut goodbye = Vec::with_capacity(8);
        messages::terminate(&mut goodbye);
        let Self { wire, runtime } = self;
        // A peer that is gone, or takes nothing, needs none.
        let _ = runtime.block_on(async { timeout(LOOK, wire.send(&goodbye)).await });
    }
}

async fn ask(wire: &mut Wire, sql: &str) -> Result<Answer, Failure> {
    let mut request = Vec::with_capacity(sql.len() + 8);
    messages::query(&mut request, sql.as_bytes());
    wire.send(&request).await?;
    let (mut answer, mut failure) = (Answer::default(), None);
    loop {
        let (tag, body) = match (wire.message().await, &failure) {
            (Ok(message), _) => message,
            // Last words say more than the end of the connection.
            (Err(_), Some(failure)) => return Err(Failure { is_over: true, ..Failure::clone(failure) }),
            (Err(error), None) => return Err(error.into()),
        };
        match tag {
            b'T' => answer.columns = columns(body).ok_or_else(|| Failure::lost("malformed columns"))?,
            b'D' => {
                let row = data_row(body).ok_or_else(|| Failure::lost("malformed row"))?;
                let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
                answer.rows.push(row.into_iter().map(|value| value.map(text)).collect());
            }
            b'E' => {
                let report = server_report(body);
                let is_over = Fields::parse(body).is_fatal();
                failure = Some(Failure { sqlstate: Some(report.sqlstate), message: report.message, is_over });
            }
            b'Z' => return failure.map_or(Ok(answer), Err),
            _ => {}
        }
    }
}

fn columns(body: &[u8]) -> Option<Vec<String>> {
    let (count, mut rest) = body.split_first_chunk()?;
    let mut names = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let end = rest.iter().position(|byte| *byte == 0)?;
        names.push(String::from_utf8_lossy(&rest[..end]).into_owned());
        rest = rest.get(end + 1 + COLUMN_FIELDS..)?;
    }
    Some(names)
}
