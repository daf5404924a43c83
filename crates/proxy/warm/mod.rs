//! Warm start (setting `warm_start_file`): servers that were in use before a restart are opened again, so that clients
//! who all come back at once do not meet cold pools.

mod file;
mod memory;

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use config::Secret;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use self::file::Entry;
use self::memory::Memory;
use crate::control;
use crate::pools::{PoolKey, SharedPool};
use crate::services::Services;

/// How often pools that have yet to be warmed up are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is seen whether a period is over.
const TICK: Duration = Duration::from_secs(1);
/// The period, for what is written at the end, if nothing is to be written before.
const PERIOD: Duration = Duration::from_secs(10);
/// After so long clients no longer come back because of a restart.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);
/// Most pools that are remembered.
const MAX_POOLS: usize = 10_000;
/// How long the end of the process may wait for the disk.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Warms up what the state file remembers, then keeps that file until a shutdown begins: what is in use at that moment
/// is what it says at the end. A file that is no state file stays as it is.
pub async fn keep(services: Arc<Services>) {
    let path = PathBuf::from(&services.config.load().global.warm_start_file);
    if path.as_os_str().is_empty() {
        return;
    }
    let started = Instant::now();
    let Some(entries) = read(&path).await else { return };
    let mut memory = Memory::new(entries);
    let mut file = StateFile { path, is_failing: false };
    begin(&services, &memory);
    let mut period_began = started;
    let mut shutdown = pin!(services.state.shutdown_begins());
    loop {
        let wait = if memory.cold.is_empty() { TICK } else { LOOK };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = &mut shutdown => break,
        }
        if started.elapsed() >= REMEMBERED_FOR {
            memory.forget();
        }
        memory.cold.retain(|key, servers| !warm_up_if_alive(&services, key, *servers));
        let period = services.config.load().global.warm_start_period;
        if period_began.elapsed() >= period.unwrap_or(PERIOD) {
            period_began = Instant::now();
            let entries = memory.end_period(peaks(&services));
            if period.is_some() {
                file.write(entries).await;
            }
        }
    }
    file.write(memory.end_period(peaks(&services))).await;
}

fn peaks(services: &Services) -> impl Iterator<Item = (PoolKey, u32)> {
    services.pools.all().into_iter().map(|pool| {
        let peak = pool.with_core(|core, _, _| core.take_peak());
        ((pool.database.clone(), pool.user.clone()), u32::try_from(peak).unwrap_or(u32::MAX))
    })
}

/// Makes the pools whose servers can be opened without a client, and begins to warm them up.
fn begin(services: &Arc<Services>, memory: &Memory) {
    for ((database, user), servers) in &memory.cold {
        if let Some(pool) = pool_with_secret(services, database, user) {
            info!(%database, %user, "warm start: {servers} servers were in use");
            warm_up(&pool, *servers);
        }
    }
}

/// The pool, if it is still configured so, and with a secret that can be shown to servers as it is.
fn pool_with_secret(services: &Arc<Services>, database: &str, user: &str) -> Option<Arc<SharedPool>> {
    let database = services.config.load().find_database(database)?;
    if database.user.as_deref().is_some_and(|forced| forced != user) {
        return None;
    }
    let (_, _, credentials) = control::new_pool_parts(services, &database, user);
    match credentials.secret()? {
        Secret::Plain(_) | Secret::Md5(_) => Some(control::pool_for(services, &database, user)),
        // A client has to prove that it has the keys first.
        Secret::Scram(_) => None,
    }
}

/// Warms up a pool that has a server: one that nobody could log in to before a client came, or could not reach. False if
/// there is none yet.
fn warm_up_if_alive(services: &Services, (database, user): &PoolKey, servers: u32) -> bool {
    let pool = services.pools.get(database, user).filter(|pool| {
        let counts = pool.counts();
        counts.idle + counts.lent > 0
    });
    pool.inspect(|pool| warm_up(pool, servers)).is_some()
}

fn warm_up(pool: &Arc<SharedPool>, servers: u32) {
    pool.with_core(|core, now, out| core.warm_up(servers, now, out));
}

/// What the file remembers; none when it is not to be written either.
async fn read(path: &Path) -> Option<Vec<Entry>> {
    let owned = path.to_owned();
    let read = spawn_blocking(move || file::read(&owned, SystemTime::now())).await;
    match read.map_err(|error| io::Error::other(error).into()).flatten() {
        Ok(entries) => Some(entries),
        Err(why) => {
            let kept = why.is_state_file();
            let verdict = if kept { "not used" } else { "neither used nor replaced" };
            warn!("warm_start_file {} is {verdict}: {why}", path.display());
            kept.then(Vec::new)
        }
    }
}

/// The file, and whether the last attempt to write it failed: that is said once.
struct StateFile {
    path: PathBuf,
    is_failing: bool,
}

impl StateFile {
    async fn write(&mut self, entries: Vec<Entry>) {
        let path = self.path.clone();
        let written = spawn_blocking(move || file::write(&path, entries, SystemTime::now())).await;
        let failure = written.map_err(io::Error::other).flatten().err();
        match &failure {
            Some(error) if !self.is_failing => {
                warn!("cannot write warm_start_file {}: {error}", self.path.display());
            }
            None if self.is_failing => info!("warm_start_file {} is written again", self.path.display()),
            Some(_) | None => {}
        }
        self.is_failing = failure.is_some();
    }
}
