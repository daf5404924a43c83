//! KILL and KILL_CLIENT: clients that are disconnected by an operator.

use std::sync::Arc;

use config::CONSOLE_NAMES;

use super::{ControlError, check_database, pausing};
use crate::client::handle::Cut;
use crate::services::{Services, lock};

/// KILL: disconnects the clients of a database, or of every database that has a pool, and pauses it.
///
/// Their servers are closed with them. Who logs in then waits for `RESUME db`.
///
/// # Errors
/// An unknown database, or a PAUSE of everything.
pub fn kill(services: &Arc<Services>, database: Option<&str>) -> Result<(), ControlError> {
    if let Some(name) = database {
        check_database(services, "kill", name)?;
    }
    let _whole = lock(&services.state.acting);
    if services.state.paused(None).is_some() {
        return Err(ControlError::AlreadyPaused);
    }
    let pools = services.pools.all();
    let mut names: Vec<&str> = match database {
        Some(name) => vec![name],
        None => pools.iter().map(|pool| &*pool.database).collect(),
    };
    names.dedup();
    for name in names {
        services.state.pause(Some(name), None);
        pools.iter().filter(|pool| &*pool.database == name).for_each(|pool| pausing::hold(pool, true, None));
        cut_clients(services, |database| database == name, Cut::DatabaseRemoved);
    }
    Ok(())
}

/// KILL_CLIENT: disconnects the client with this id, as SHOW CLIENTS shows it. What follows the digits is ignored.
///
/// # Errors
/// No digits, or no such client.
pub fn kill_client(services: &Arc<Services>, id: &str) -> Result<(), ControlError> {
    let digits = id.find(|letter: char| !letter.is_ascii_digit()).map_or(id, |end| &id[..end]);
    let id: u64 = digits.parse().map_err(|_| ControlError::InvalidClient)?;
    let client = services.clients.all().into_iter().find(|client| client.id == id);
    client.ok_or(ControlError::ClientNotFound)?.cut(Cut::AdminDisconnect);
    Ok(())
}

/// Disconnects the clients of some databases; consoles have none.
pub(super) fn cut_clients(services: &Services, concerns: impl Fn(&str) -> bool, why: Cut) {
    for client in services.clients.all() {
        if !CONSOLE_NAMES.contains(&&*client.database) && concerns(&client.database) {
            client.cut(why);
        }
    }
}
