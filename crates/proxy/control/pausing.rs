//! PAUSE and RESUME: the gates of pools, closed and opened by operators.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pool::Hold;
use tracing::info;

use super::{ControlError, check_database};
use crate::pools::SharedPool;
use crate::services::{Services, lock};
use crate::state::{Pause, Shutdown};

/// How soon a change is seen that nobody tells of: a server that could not be opened, the end of a PAUSE.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A PAUSE that has begun, for who wants to know when it is complete.
#[derive(Debug)]
#[must_use = "PAUSE is complete only when every server has ended"]
pub struct Pausing {
    services: Arc<Services>,
    database: Option<String>,
    pause: Pause,
}

/// PAUSE: servers go as they come to rest; answers when the last one has ended.
///
/// `limit` is the time after which it ends by itself; without one `pause_expiry` counts.
///
/// # Errors
/// An unknown database, a PAUSE already in force, or the end of this one before it was complete.
pub async fn pause(
    services: &Arc<Services>,
    database: Option<&str>,
    limit: Option<Duration>,
) -> Result<(), ControlError> {
    begin_pause(services, database, limit)?.complete().await
}

/// Begins a PAUSE, and does not wait.
///
/// # Errors
/// An unknown database, or a PAUSE of everything already in force.
pub fn begin_pause(
    services: &Arc<Services>,
    database: Option<&str>,
    limit: Option<Duration>,
) -> Result<Pausing, ControlError> {
    if let Some(name) = database {
        check_database(services, "pause", name)?;
    }
    let _whole = lock(&services.state.acting);
    if services.state.paused(None).is_some() {
        return Err(ControlError::AlreadyPaused);
    }
    let limit = limit.or(services.config.load().global.pause_expiry);
    let until = limit.and_then(|limit| Instant::now().checked_add(limit));
    let pause = services.state.pause(database, until);
    for pool in pools(services, database) {
        hold(&pool, database.is_some(), until);
    }
    Ok(Pausing { services: services.clone(), database: database.map(str::to_owned), pause })
}

/// RESUME: undoes PAUSE, or PAUSE and KILL of one database.
///
/// # Errors
/// When nothing is paused, or a shutdown is under way.
pub fn resume(services: &Arc<Services>, database: Option<&str>) -> Result<(), ControlError> {
    if services.state.shutdown() != Shutdown::No {
        return Err(ControlError::ShuttingDown);
    }
    let _whole = lock(&services.state.acting);
    if !services.state.resume(database) {
        return Err(match database {
            None => ControlError::NotPaused,
            Some(name) => {
                check_database(services, "resume", name)?;
                ControlError::DatabaseNotPaused(name.to_owned())
            }
        });
    }
    for pool in pools(services, database) {
        release(&pool, database.is_some());
    }
    Ok(())
}

impl Pausing {
    /// Returns when every server concerned has ended.
    ///
    /// # Errors
    /// When the PAUSE ends before, by RESUME or by itself.
    pub async fn complete(&self) -> Result<(), ControlError> {
        let database = self.database.as_deref();
        loop {
            let changed = self.services.state.changed.notified();
            let now = self.services.state.paused(database);
            if now.is_none_or(|now| now.number != self.pause.number) {
                return Err(self.why_over());
            }
            if pools(&self.services, database).iter().all(|pool| pool.with_core(|core, _, _| core.is_drained())) {
                info!("PAUSE of {} is complete", database.unwrap_or("all databases"));
                return Ok(());
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, changed).await;
        }
    }

    /// Undoes this PAUSE, and no other one.
    pub fn undo(&self) {
        let database = self.database.as_deref();
        let is_mine = |now: Pause| now.number == self.pause.number;
        if self.services.state.paused(database).is_some_and(is_mine) {
            // It may have ended by itself just now, which is as good.
            let _ = resume(&self.services, database);
        }
    }

    fn why_over(&self) -> ControlError {
        match self.pause.until {
            Some(until) if until <= Instant::now() => ControlError::Expired,
            Some(_) | None => ControlError::Resumed,
        }
    }
}

fn pools(services: &Services, database: Option<&str>) -> Vec<Arc<SharedPool>> {
    match database {
        None => services.pools.all(),
        Some(name) => services.pools.of_database(name),
    }
}

/// Closes the gate of one pool; a later PAUSE of the same kind replaces an earlier one, whichever of the two has an end.
pub(super) fn hold(pool: &Arc<SharedPool>, of_database: bool, until: Option<Instant>) {
    let (hold, other) = match (of_database, until) {
        (false, None) => (Hold::Operator, Hold::OperatorUntil(Instant::now())),
        (false, Some(until)) => (Hold::OperatorUntil(until), Hold::Operator),
        (true, None) => (Hold::Database, Hold::DatabaseUntil(Instant::now())),
        (true, Some(until)) => (Hold::DatabaseUntil(until), Hold::Database),
    };
    pool.with_core(|core, now, out| {
        core.hold(hold, now, out);
        core.release(other, now, out);
    });
}

fn release(pool: &Arc<SharedPool>, of_database: bool) {
    let now = Instant::now();
    let holds = match of_database {
        false => [Hold::Operator, Hold::OperatorUntil(now)],
        true => [Hold::Database, Hold::DatabaseUntil(now)],
    };
    pool.with_core(|core, now, out| holds.into_iter().for_each(|hold| core.release(hold, now, out)));
}
