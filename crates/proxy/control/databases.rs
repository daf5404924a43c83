//! DISABLE, ENABLE, RECONNECT and WAIT_CLOSE.

use std::sync::Arc;
use std::time::Duration;

use super::{ControlError, check_database};
use crate::pools::SharedPool;
use crate::services::Services;

/// How soon WAIT_CLOSE sees a change that nobody tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// DISABLE: nobody logs in to this database any more. Clients that are there stay.
///
/// # Errors
/// No database, or an unknown one.
pub fn disable(services: &Services, database: Option<&str>) -> Result<(), ControlError> {
    set_disabled(services, "disable", database, true)
}

/// ENABLE: undoes DISABLE.
///
/// # Errors
/// No database, or an unknown one.
pub fn enable(services: &Services, database: Option<&str>) -> Result<(), ControlError> {
    set_disabled(services, "enable", database, false)
}

fn set_disabled(
    services: &Services,
    command: &'static str,
    database: Option<&str>,
    on: bool,
) -> Result<(), ControlError> {
    let name = database.ok_or(ControlError::DatabaseRequired)?;
    check_database(services, command, name)?;
    services.state.set_disabled(name, on);
    Ok(())
}

/// RECONNECT: every server of a database, or of all, is replaced: idle ones now, lent ones when they come back.
///
/// The next login asks a new server what to tell clients.
///
/// # Errors
/// An unknown database.
pub fn reconnect(services: &Services, database: Option<&str>) -> Result<(), ControlError> {
    if let Some(name) = database {
        check_database(services, "reconnect", name)?;
    }
    for pool in concerned(services, database) {
        pool.reconnect();
        services.listening.end(&pool.database, "RECONNECT");
    }
    Ok(())
}

/// WAIT_CLOSE: answers when every server that RECONNECT or RELOAD wanted replaced has been returned.
///
/// # Errors
/// An unknown database.
pub async fn wait_close(services: &Services, database: Option<&str>) -> Result<(), ControlError> {
    if let Some(name) = database {
        check_database(services, "wait_close", name)?;
    }
    loop {
        let changed = services.state.changed.notified();
        if concerned(services, database).iter().all(|pool| pool.counts().close_needed == 0) {
            return Ok(());
        }
        let _ = tokio::time::timeout(LOOK_AGAIN, changed).await;
    }
}

fn concerned(services: &Services, database: Option<&str>) -> Vec<Arc<SharedPool>> {
    match database {
        None => services.pools.all(),
        Some(name) => services.pools.of_database(name),
    }
}
