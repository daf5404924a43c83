//! What operators do: by console, by signal, and by changing the configuration.

mod clients;
mod databases;
mod pausing;
mod pool_maker;
mod reload;
mod shutdown;

pub use clients::{kill, kill_client};
pub use databases::{disable, enable, reconnect, wait_close};
pub use pausing::{Pausing, begin_pause, pause, resume};
pub(crate) use pool_maker::pool_settings;
pub use pool_maker::{apply_holds, new_pool_parts, pool_for, warm_up};
pub use reload::{Report, reload, set};
pub use shutdown::shutdown;

use config::CONSOLE_NAMES;
use protocol::sqlstate::{self, SqlState};
use thiserror::Error;

use crate::services::Services;

/// Why an operator's wish is not fulfilled. The words are PgBouncer's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the words of each variant say what it is")]
pub enum ControlError {
    #[error("no such database: {0}")]
    NoSuchDatabase(String),
    #[error("a database is required")]
    DatabaseRequired,
    #[error("cannot {0} admin db: {1}")]
    ConsoleDatabase(&'static str, String),
    #[error("already suspended/paused")]
    AlreadyPaused,
    #[error("pooler is not paused/suspended")]
    NotPaused,
    #[error("database {0} is not paused")]
    DatabaseNotPaused(String),
    #[error("RESUME ended this PAUSE before it was complete")]
    Resumed,
    #[error("PAUSE reached its end before it was complete")]
    Expired,
    #[error("pooler is shutting down")]
    ShuttingDown,
    #[error("invalid client pointer supplied")]
    InvalidClient,
    #[error("client not found")]
    ClientNotFound,
    #[error("SET failed")]
    SetFailed(String),
}

impl ControlError {
    /// The SQLSTATE that goes with it.
    pub fn sqlstate(&self) -> SqlState {
        match self {
            Self::NoSuchDatabase(_) => sqlstate::INVALID_CATALOG_NAME,
            Self::DatabaseRequired => sqlstate::SYNTAX_ERROR,
            Self::ConsoleDatabase(..) => sqlstate::FEATURE_NOT_SUPPORTED,
            Self::AlreadyPaused | Self::NotPaused | Self::DatabaseNotPaused(_) => {
                sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Self::Resumed | Self::Expired | Self::ClientNotFound => sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::ShuttingDown => sqlstate::CANNOT_CONNECT_NOW,
            Self::InvalidClient | Self::SetFailed(_) => sqlstate::INVALID_PARAMETER_VALUE,
        }
    }

    /// More than PgBouncer would say; may be empty.
    pub fn detail(&self) -> &str {
        match self {
            Self::SetFailed(why) => why,
            Self::NoSuchDatabase(_) | Self::DatabaseRequired | Self::ConsoleDatabase(..) => "",
            Self::AlreadyPaused | Self::NotPaused | Self::DatabaseNotPaused(_) | Self::Resumed | Self::Expired => "",
            Self::ShuttingDown | Self::InvalidClient | Self::ClientNotFound => "",
        }
    }
}

/// Makes sure that a database can be the object of a command, whose name is for the message.
fn check_database(services: &Services, command: &'static str, name: &str) -> Result<(), ControlError> {
    if CONSOLE_NAMES.contains(&name) {
        return Err(ControlError::ConsoleDatabase(command, name.to_owned()));
    }
    match services.config.load().find_database(name) {
        Some(_) => Ok(()),
        None => Err(ControlError::NoSuchDatabase(name.to_owned())),
    }
}

#[cfg(test)]
pub(crate) mod tests;
