//! What operators have switched off, and whether the process is about to end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use tokio::sync::Notify;

use crate::services::lock;

/// How the process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Shutdown {
    /// It is not.
    No,
    /// When no client is left; those that are there work on.
    WaitForClients,
    /// When no server is left; who needs one is disconnected.
    WaitForServers,
    /// At once.
    Immediate,
}

/// What operators have switched off, and whether the process is about to end.
#[derive(Debug, Default)]
pub struct State {
    paused: Mutex<Paused>,
    shutdown: AtomicU8,
    /// Told when any of it changes, when a server has ended and, in a shutdown, when a client has left.
    pub changed: Notify,
    /// Held while what is said here is carried to the pools, so that no pool hears of a PAUSE after its RESUME.
    pub(crate) acting: Mutex<()>,
    /// Held while a configuration replaces another, so that none is lost.
    pub(crate) configuring: Mutex<()>,
}

/// A PAUSE that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it ends by itself.
    pub until: Option<Instant>,
    /// Which one it is: after a RESUME the next one has another number.
    pub number: u64,
}

#[derive(Debug, Default)]
struct Paused {
    /// By database; none is all of them.
    pauses: BTreeMap<Option<String>, Pause>,
    begun: u64,
    disabled: BTreeSet<String>,
}

impl State {
    /// Begins a PAUSE of one database, or of all. One that is in force goes on under its number, with the new end.
    pub fn pause(&self, database: Option<&str>, until: Option<Instant>) -> Pause {
        let number = self.paused(database).map(|pause| pause.number);
        let mut paused = lock(&self.paused);
        paused.begun += 1;
        let pause = Pause { until, number: number.unwrap_or(paused.begun) };
        paused.pauses.insert(database.map(str::to_owned), pause);
        drop(paused);
        self.changed.notify_waiters();
        pause
    }

    /// Ends the PAUSE of one database, or of all; false if there is none.
    pub fn resume(&self, database: Option<&str>) -> bool {
        let was_paused = self.paused(database).is_some();
        lock(&self.paused).pauses.remove(&database.map(str::to_owned));
        self.changed.notify_waiters();
        was_paused
    }

    /// The PAUSE (or KILL) in force for one database, or for all.
    pub fn paused(&self, database: Option<&str>) -> Option<Pause> {
        let now = Instant::now();
        let mut paused = lock(&self.paused);
        paused.pauses.retain(|_, pause| pause.until.is_none_or(|until| now < until));
        paused.pauses.get(&database.map(str::to_owned)).copied()
    }

    /// Whether DISABLE is in force for this database.
    pub fn is_disabled(&self, name: &str) -> bool {
        lock(&self.paused).disabled.contains(name)
    }

    /// Begins or ends DISABLE for one database.
    pub fn set_disabled(&self, name: &str, disabled: bool) {
        switch(&mut lock(&self.paused).disabled, name, disabled);
    }

    /// How the process is to end.
    pub fn shutdown(&self) -> Shutdown {
        match self.shutdown.load(Ordering::Acquire) {
            0 => Shutdown::No,
            1 => Shutdown::WaitForClients,
            2 => Shutdown::WaitForServers,
            _ => Shutdown::Immediate,
        }
    }

    /// Waits until a shutdown begins.
    pub async fn shutdown_begins(&self) {
        loop {
            let changed = self.changed.notified();
            if self.shutdown() != Shutdown::No {
                return;
            }
            changed.await;
        }
    }

    /// Tells a shutdown that a client has left; nobody else waits for that.
    pub fn client_left(&self) {
        if self.shutdown() != Shutdown::No {
            self.changed.notify_waiters();
        }
    }

    /// Says how it is to end; there is no way back to a slower one.
    pub fn set_shutdown(&self, how: Shutdown) {
        self.shutdown.fetch_max(how as u8, Ordering::AcqRel);
        self.changed.notify_waiters();
    }
}

fn switch(set: &mut BTreeSet<String>, name: &str, on: bool) -> bool {
    if on { set.insert(name.to_owned()) } else { set.remove(name) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_pause_after_a_resume_is_another_one() {
        let state = State::default();
        let first = state.pause(Some("app"), None);
        assert_eq!(state.pause(Some("app"), None), first, "a PAUSE repeated is the same one");
        assert!(state.paused(None).is_none() && state.resume(Some("app")));
        assert!(!state.resume(Some("app")), "it is over");
        assert_ne!(state.pause(Some("app"), None).number, first.number);
    }

    #[test]
    fn a_pause_ends_by_itself_at_its_moment() {
        let state = State::default();
        state.pause(None, Some(Instant::now()));
        assert_eq!(state.paused(None), None);
        state.pause(None, Some(Instant::now() + Duration::from_secs(60)));
        assert!(state.paused(None).is_some());
    }

    #[test]
    fn a_shutdown_only_becomes_faster() {
        let state = State::default();
        state.set_shutdown(Shutdown::WaitForServers);
        state.set_shutdown(Shutdown::WaitForClients);
        assert_eq!(state.shutdown(), Shutdown::WaitForServers);
    }
}
