//! The SQLSTATEs that the pooler itself gives. Source: PostgreSQL's manual, "PostgreSQL Error Codes".

/// A five-letter condition code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SqlState(pub &'static str);

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        $($(#[$doc])* pub const $name: SqlState = SqlState($code);)*
    };
}

states! {
    /// All is well; what a NOTICE carries.
    SUCCESSFUL_COMPLETION = "00000";
    /// What a WARNING carries.
    WARNING = "01000";
    /// A server was lost in the middle of its work.
    CONNECTION_FAILURE = "08006";
    /// A transaction was committed, or was not: nobody can tell.
    TRANSACTION_RESOLUTION_UNKNOWN = "08007";
    /// The other side broke the protocol.
    PROTOCOL_VIOLATION = "08P01";
    /// A feature that is switched off.
    FEATURE_NOT_SUPPORTED = "0A000";
    /// A parameter has a value it cannot have.
    INVALID_PARAMETER_VALUE = "22023";
    /// A block has failed, and hears of nothing but its end.
    IN_FAILED_SQL_TRANSACTION = "25P02";
    /// A block stayed idle for too long.
    IDLE_IN_TRANSACTION_SESSION_TIMEOUT = "25P03";
    /// A transaction took too long.
    TRANSACTION_TIMEOUT = "25P04";
    /// A prepared statement of that name does not exist.
    INVALID_SQL_STATEMENT_NAME = "26000";
    /// Not allowed to log in.
    INVALID_AUTHORIZATION_SPECIFICATION = "28000";
    /// The password is wrong.
    INVALID_PASSWORD = "28P01";
    /// A database of that name does not exist.
    INVALID_CATALOG_NAME = "3D000";
    /// Not allowed to do this.
    INSUFFICIENT_PRIVILEGE = "42501";
    /// A transaction was rolled back for no fault of its own, and may be repeated.
    SERIALIZATION_FAILURE = "40001";
    /// Words that make no command.
    SYNTAX_ERROR = "42601";
    /// A prepared statement of that name exists already.
    DUPLICATE_PREPARED_STATEMENT = "42P05";
    /// A limit on something else than connections is reached.
    CONFIGURATION_LIMIT_EXCEEDED = "53400";
    /// A limit on connections is reached.
    TOO_MANY_CONNECTIONS = "53300";
    /// A limit of a protocol kind is passed.
    PROGRAM_LIMIT_EXCEEDED = "54000";
    /// The object is not in the state that the command needs.
    OBJECT_NOT_IN_PREREQUISITE_STATE = "55000";
    /// Canceled by the user or by a time limit.
    QUERY_CANCELED = "57014";
    /// Ended by an operator or by a shutdown.
    ADMIN_SHUTDOWN = "57P01";
    /// Nothing there that could serve.
    CANNOT_CONNECT_NOW = "57P03";
    /// A session stayed idle for too long.
    IDLE_SESSION_TIMEOUT = "57P05";
    /// Ours is the fault.
    INTERNAL_ERROR = "XX000";
    /// The configuration asks for the impossible.
    CONFIG_FILE_ERROR = "F0000";
}
