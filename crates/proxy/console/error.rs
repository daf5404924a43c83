//! What goes wrong in the console, in PgBouncer's words and with PostgreSQL's SQLSTATEs.

use config::Problems;
use protocol::messages::{self, Severity};
use protocol::sqlstate::{self, SqlState};
use thiserror::Error;

use crate::control::ControlError;

/// A portal of that name does not exist.
const INVALID_CURSOR_NAME: SqlState = SqlState("34000");
/// A portal of that name exists already.
const DUPLICATE_CURSOR: SqlState = SqlState("42P03");
/// Somebody else has the lock.
const LOCK_NOT_AVAILABLE: SqlState = SqlState("55P03");
/// Longest part of a command that is repeated in an error.
const MAX_REPEATED: usize = 100;

/// Why a command is not obeyed; the session goes on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the words of each variant say what it is")]
pub enum ConsoleError {
    #[error("invalid command '{0}', use SHOW HELP;")]
    Invalid(String),
    #[error("bad arguments")]
    TooLong,
    #[error("admin access needed")]
    AdminNeeded,
    #[error("{0}")]
    Control(#[from] ControlError),
    #[error("RELOAD failed, see logs for additional details")]
    ReloadFailed(String),
    #[error("{0} is not available in this version")]
    NotAvailable(&'static str),
    #[error("canceling statement due to user request")]
    Canceled,
    #[error("{0}")]
    NoFailover(String),
    #[error("{0}")]
    NotAccepted(String),
    #[error("{0}")]
    FailoverLocked(String),
    #[error("{0}")]
    FailoverAborted(String),
    #[error("{0}")]
    FailoverStranded(String),
    #[error("prepared statement \"{0}\" does not exist")]
    NoSuchStatement(String),
    #[error("prepared statement \"{0}\" already exists")]
    StatementExists(String),
    #[error("portal \"{0}\" does not exist")]
    NoSuchPortal(String),
    #[error("portal \"{0}\" already exists")]
    PortalExists(String),
    #[error("too many {0}, at most {1}")]
    TooMany(&'static str, usize),
    #[error("bind message supplies {0} parameters, but the console's commands have none")]
    Parameters(usize),
    #[error("bind message has {0} result formats but query has {1} columns")]
    Formats(usize, usize),
}

impl ConsoleError {
    /// For text that is no command.
    pub fn invalid(text: &str) -> Self {
        Self::Invalid(text.chars().take(MAX_REPEATED).collect())
    }

    /// The SQLSTATE that goes with it.
    pub fn sqlstate(&self) -> SqlState {
        match self {
            Self::Invalid(_) | Self::TooLong => sqlstate::SYNTAX_ERROR,
            Self::AdminNeeded => sqlstate::INSUFFICIENT_PRIVILEGE,
            Self::Control(error) => error.sqlstate(),
            Self::ReloadFailed(_) => sqlstate::CONFIG_FILE_ERROR,
            Self::NotAvailable(_) => sqlstate::FEATURE_NOT_SUPPORTED,
            Self::Canceled | Self::FailoverAborted(_) => sqlstate::QUERY_CANCELED,
            Self::NoFailover(_) | Self::NotAccepted(_) => sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::FailoverLocked(_) => LOCK_NOT_AVAILABLE,
            Self::FailoverStranded(_) => sqlstate::CANNOT_CONNECT_NOW,
            Self::NoSuchStatement(_) => sqlstate::INVALID_SQL_STATEMENT_NAME,
            Self::StatementExists(_) => sqlstate::DUPLICATE_PREPARED_STATEMENT,
            Self::NoSuchPortal(_) => INVALID_CURSOR_NAME,
            Self::PortalExists(_) => DUPLICATE_CURSOR,
            Self::TooMany(..) => sqlstate::PROGRAM_LIMIT_EXCEEDED,
            Self::Parameters(_) | Self::Formats(..) => sqlstate::PROTOCOL_VIOLATION,
        }
    }

    /// More than PgBouncer would say; may be empty.
    fn detail(&self) -> &str {
        if let Self::ReloadFailed(problems) = self {
            return problems;
        }
        if let Self::Control(error) = self { error.detail() } else { "" }
    }

    /// Appends the ErrorResponse.
    pub fn write(&self, out: &mut Vec<u8>) {
        messages::report(out, Severity::Error, self.sqlstate(), &self.to_string(), self.detail());
    }
}

impl From<Problems> for ConsoleError {
    fn from(problems: Problems) -> Self {
        Self::ReloadFailed(problems.to_string())
    }
}
