//! The one place where what went wrong becomes severity, SQLSTATE and words for a client.
//!
//! The words are PgBouncer's, so that runbooks keep working; the SQLSTATEs are PostgreSQL's.

use protocol::exchange::{ClientViolation, ServerViolation};
use protocol::header::FrameError;
use protocol::messages::{self, Severity};
use protocol::options::OptionsError;
use protocol::sqlstate::{self as state, SqlState};
use protocol::startup::StartupError;
use thiserror::Error;

use crate::pins::Kind;

/// An error that a server answered with, kept for those who wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerReport {
    /// Its SQLSTATE.
    pub sqlstate: String,
    /// Its message.
    pub message: String,
}

/// How a client has lost its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Lost {
    /// The connection ended, or broke.
    #[error("the server closed the connection")]
    Closed,
    /// It was told to end the session: FATAL 57P01.
    #[error("the server terminated the session due to administrator command")]
    Terminated,
    /// It ended all sessions because one of them has crashed: FATAL 57P02.
    #[error("the server terminated the session because of the crash of another one")]
    Crashed,
    /// It is not the primary any more.
    #[error("the primary has moved")]
    PrimaryMoved,
}

impl Lost {
    /// What an error says of the server that ends the session with it; none if it is about this session alone.
    pub fn of(report: &ServerReport) -> Option<Self> {
        match report.sqlstate.as_str() {
            "57P01" => Some(Self::Terminated),
            "57P02" => Some(Self::Crashed),
            _ => None,
        }
    }
}

/// Why a client's wish is not fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the words of each variant say what it is")]
pub enum ClientError {
    #[error("{0}")]
    Startup(#[from] StartupError),
    #[error("{0}")]
    Options(#[from] OptionsError),
    #[error("received unencrypted data after SSL request")]
    DataBeforeTls,
    #[error("encryption was asked for twice")]
    AskedTwice,
    #[error("too many connections are logging in (max_unauthenticated_conn)")]
    TooManyLogins,
    #[error("too many connections from this address are logging in (max_unauthenticated_conn_per_address)")]
    TooManyLoginsFromAddress,
    #[error("login packet of {0} bytes is too large (max_login_packet_size)")]
    LoginPacketTooLarge(usize),
    #[error("unexpected message type {0} during login")]
    UnexpectedLoginMessage(u8),
    #[error("client_login_timeout")]
    LoginTimeout,
    #[error("client_login_timeout (server down)")]
    LoginTimeoutServerDown,
    #[error("password authentication failed")]
    WrongPassword,
    #[error("SASL authentication failed")]
    SaslFailed,
    #[error("\"trust\" authentication failed")]
    TrustFailed,
    #[error("empty password returned by client")]
    EmptyPassword,
    #[error("SSL required")]
    TlsRequired,
    #[error("no authentication method is found")]
    NoAuthMethod,
    #[error("login rejected")]
    LoginRejected,
    #[error("certificate authentication failed")]
    CertificateFailed,
    #[error("unix socket login rejected")]
    PeerFailed,
    #[error("authentication database \"{0}\" is disabled")]
    AuthDatabaseDisabled(String),
    #[error("bouncer config error")]
    BouncerConfig,
    #[error("not allowed")]
    ConsoleNotAllowed,
    #[error("no such database: {0}")]
    NoSuchDatabase(String),
    #[error("database \"{0}\" is disabled")]
    DatabaseDisabled(String),
    #[error("no more connections allowed (max_client_conn)")]
    MaxClientConn,
    #[error("client connections exceeded (max_db_client_connections)")]
    MaxDbClientConnections,
    #[error("client connections exceeded (max_user_client_connections)")]
    MaxUserClientConnections,
    #[error("replication connections are not available")]
    Replication,
    #[error("pooler is shutting down")]
    ShuttingDown,
    #[error("server shutting down")]
    ServerShuttingDown,
    #[error("database removed")]
    DatabaseRemoved,
    #[error("admin forced disconnect")]
    AdminDisconnect,
    #[error("query_wait_timeout")]
    QueryWaitTimeout,
    #[error("query timeout")]
    QueryTimeout,
    #[error("query_timeout")]
    QueryTimeoutWaiting,
    #[error("idle transaction timeout")]
    IdleTransactionTimeout,
    #[error("transaction timeout")]
    TransactionTimeout,
    #[error("client_idle_timeout")]
    ClientIdleTimeout,
    #[error("canceling statement due to user request")]
    Canceled,
    #[error("no suitable node, and failover_wait_timeout is over")]
    NoWritableNode,
    #[error("no suitable node, and failover_wait_timeout is over")]
    LoginNoWritableNode,
    #[error("the primary has moved, and the transaction on the former one is lost")]
    PrimaryMoved,
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Violation(#[from] ClientViolation),
    #[error("message of {0} bytes is too large (max_packet_size)")]
    PacketTooLarge(usize),
    #[error("PQexec disallowed")]
    SimpleQueryDisallowed,
    #[error("transaction blocks not allowed in statement pooling mode")]
    TransactionInStatementMode,
    #[error("server conn crashed?")]
    ServerCrashed,
    #[error("the transaction was rolled back: {0}")]
    RolledBack(Lost),
    #[error("it is unknown whether the transaction was committed: {0}")]
    OutcomeUnknown(Lost),
    #[error("it is unknown whether the transaction was committed, and where the session stands: {0}")]
    SessionUnknown(Lost),
    #[error("current transaction is aborted, commands ignored until end of transaction block")]
    InFailedBlock,
    #[error("{0}")]
    ServerViolation(#[from] ServerViolation),
    #[error("too many prepared statements in this session (max_client_prepared_bytes)")]
    NoRoomForStatement,
    #[error("too many prepared statements (max_prepared_bytes)")]
    NoRoomForStatements,
    #[error("{} is not available in this database ({})", .0.name, .0.setting)]
    StateRefused(&'static Kind),
    #[error("too many clients keep a server connection (max_pinned)")]
    TooManyPinned,
    #[error("pinned_idle_timeout")]
    PinnedIdleTimeout,
    #[error("too many notifications wait for this client (max_pending_notifications)")]
    NotificationsLag,
    #[error("the connection that listens for this client was lost, and notifications may be lost with it")]
    ListeningLost,
    #[error("cannot listen for this client: {0}")]
    CannotListen(String),
    #[error("cannot listen for this client: too many channels ({0})")]
    ChannelsExceeded(&'static str),
    #[error("too many channels (max_client_channels)")]
    TooManyChannels,
    #[error("client unexpected eof")]
    ClientLeft,
    #[error("server login has been failing, cached error: {} (server_login_retry)", .0.message)]
    ServerLoginFailing(ServerReport),
    #[error("{}", .0.message)]
    Server(ServerReport),
    #[error("{}", .0.message)]
    InvalidServerParameter(ServerReport),
}

impl ClientError {
    /// Severity and SQLSTATE that the client is told.
    pub fn class(&self) -> (Severity, SqlState) {
        use ClientError as E;
        let sqlstate = match self {
            E::Startup(_) | E::Options(_) | E::DataBeforeTls | E::AskedTwice | E::UnexpectedLoginMessage(_) => {
                state::PROTOCOL_VIOLATION
            }
            E::Frame(_) | E::Violation(_) | E::ServerViolation(_) => state::PROTOCOL_VIOLATION,
            E::SimpleQueryDisallowed | E::TransactionInStatementMode | E::Replication => state::FEATURE_NOT_SUPPORTED,
            E::LoginPacketTooLarge(_) | E::PacketTooLarge(_) => state::PROGRAM_LIMIT_EXCEEDED,
            E::StateRefused(_) => state::FEATURE_NOT_SUPPORTED,
            E::NoRoomForStatement | E::NoRoomForStatements | E::TooManyPinned => state::CONFIGURATION_LIMIT_EXCEEDED,
            E::LoginTimeout | E::QueryTimeout | E::QueryTimeoutWaiting | E::Canceled => state::QUERY_CANCELED,
            E::LoginTimeoutServerDown | E::ServerLoginFailing(_) => state::CANNOT_CONNECT_NOW,
            E::NoWritableNode | E::LoginNoWritableNode => state::CANNOT_CONNECT_NOW,
            E::WrongPassword | E::SaslFailed | E::EmptyPassword => state::INVALID_PASSWORD,
            E::TlsRequired | E::NoAuthMethod | E::LoginRejected | E::CertificateFailed | E::PeerFailed => {
                state::INVALID_AUTHORIZATION_SPECIFICATION
            }
            E::TrustFailed | E::ConsoleNotAllowed => state::INVALID_AUTHORIZATION_SPECIFICATION,
            E::BouncerConfig => state::CONFIG_FILE_ERROR,
            E::NoSuchDatabase(_) => state::INVALID_CATALOG_NAME,
            E::DatabaseDisabled(_) | E::AuthDatabaseDisabled(_) => state::CANNOT_CONNECT_NOW,
            E::TooManyLogins | E::TooManyLoginsFromAddress | E::MaxClientConn => state::TOO_MANY_CONNECTIONS,
            E::MaxDbClientConnections | E::MaxUserClientConnections => state::TOO_MANY_CONNECTIONS,
            E::QueryWaitTimeout => state::TOO_MANY_CONNECTIONS,
            E::ShuttingDown | E::ServerShuttingDown | E::DatabaseRemoved | E::AdminDisconnect => state::ADMIN_SHUTDOWN,
            E::IdleTransactionTimeout => state::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            E::TransactionTimeout => state::TRANSACTION_TIMEOUT,
            E::ClientIdleTimeout | E::PinnedIdleTimeout => state::IDLE_SESSION_TIMEOUT,
            E::RolledBack(_) => state::SERIALIZATION_FAILURE,
            E::OutcomeUnknown(_) | E::SessionUnknown(_) => state::TRANSACTION_RESOLUTION_UNKNOWN,
            E::InFailedBlock => state::IN_FAILED_SQL_TRANSACTION,
            E::NotificationsLag | E::TooManyChannels | E::ChannelsExceeded(_) => state::CONFIGURATION_LIMIT_EXCEEDED,
            E::ListeningLost | E::CannotListen(_) => state::CONNECTION_FAILURE,
            E::ServerCrashed | E::ClientLeft | E::PrimaryMoved => state::CONNECTION_FAILURE,
            E::Server(_) | E::InvalidServerParameter(_) => state::INTERNAL_ERROR,
        };
        let severity = if self.spares_session() { Severity::Error } else { Severity::Fatal };
        (severity, sqlstate)
    }

    /// Whether it ends only what was asked, and the client may ask again.
    pub fn spares_session(&self) -> bool {
        use ClientError as E;
        let is_about_one_request =
            matches!(self, E::Canceled | E::NoWritableNode | E::NoRoomForStatement | E::NoRoomForStatements)
                || matches!(self, E::StateRefused(_) | E::TooManyPinned | E::TooManyChannels);
        is_about_one_request || matches!(self, E::RolledBack(_) | E::OutcomeUnknown(_) | E::InFailedBlock)
    }

    /// Detail and hint, where there is more to say.
    fn advice(&self) -> [&'static str; 2] {
        match self {
            Self::RolledBack(_) => [
                "Nothing of it is left. The session goes on with another server.",
                "Repeat the transaction from its beginning, after ROLLBACK if it was a block.",
            ],
            Self::OutcomeUnknown(_) => [
                "The server was lost before it acknowledged the commit. The session goes on with another server.",
                "Look at the data before the transaction is repeated.",
            ],
            Self::SessionUnknown(_) => [
                "The server was lost before it acknowledged what it was sent.",
                "Look at the data before anything is repeated.",
            ],
            _ => ["", ""],
        }
    }

    /// Why a client has not proved who it is, in a word for the metrics page; none if it is about something else.
    pub fn auth_failure(&self) -> Option<&'static str> {
        Some(match self {
            Self::WrongPassword | Self::EmptyPassword => "password",
            Self::SaslFailed => "sasl",
            Self::TrustFailed => "trust",
            Self::CertificateFailed => "certificate",
            Self::PeerFailed => "peer",
            Self::TlsRequired => "tls",
            Self::NoAuthMethod | Self::LoginRejected => "hba",
            Self::ConsoleNotAllowed => "console",
            _ => return None,
        })
    }

    /// The SQLSTATE as text: a server's own where it is a server's error.
    pub fn sqlstate(&self) -> &str {
        match self {
            Self::Server(report) | Self::InvalidServerParameter(report) => &report.sqlstate,
            _ => self.class().1.0,
        }
    }

    /// Appends the ErrorResponse.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (severity, _) = self.class();
        messages::report_with_advice(out, severity, self.sqlstate(), &self.to_string(), self.advice());
    }

    /// The ErrorResponse alone.
    pub fn to_message(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        self.write(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_error_keeps_its_sqlstate() {
        let report = ServerReport { sqlstate: "3D000".into(), message: "database \"x\" does not exist".into() };
        let message = ClientError::Server(report).to_message();
        assert!(message.windows(6).any(|bytes| bytes == b"C3D000"));
    }

    #[test]
    fn a_cancel_and_a_statement_too_many_leave_the_session_alive() {
        assert_eq!(ClientError::NoRoomForStatement.class(), (Severity::Error, state::CONFIGURATION_LIMIT_EXCEEDED));
        assert_eq!(ClientError::Canceled.class(), (Severity::Error, state::QUERY_CANCELED));
        assert_eq!(ClientError::QueryWaitTimeout.class(), (Severity::Fatal, state::TOO_MANY_CONNECTIONS));
    }
}
