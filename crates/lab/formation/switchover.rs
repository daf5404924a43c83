//! A primary that changes on demand.

use std::thread;
use std::time::{Duration, Instant};

use super::{Formation, Member, birth};
use crate::LabError;

/// A monitor that was just talking to a keeper may refuse with a deadlock; asking again helps.
const DEADLOCK: &str = "40P01";
const ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_millis(200);
/// For the request itself: nobody knows what has become of one that was given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a switchover went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switchover {
    /// The primary before.
    pub from: Member,
    /// The primary after.
    pub to: Member,
    /// From the request until the new primary took ordinary writes.
    pub writable_after: Duration,
    /// From the request until the old primary followed the new one.
    pub stable_after: Duration,
}

impl Formation {
    /// Asks the monitor for another primary, any or this one, and returns at once: the change has only begun. The
    /// formation must be stable.
    pub fn perform_failover(&self, to: Option<Member>) -> Result<(), LabError> {
        let sql = match to {
            None => "select pgautofailover.perform_failover('default', 0)".to_owned(),
            Some(node) => format!("select pgautofailover.perform_promotion('default', '{node}')"),
        };
        let ask = || self.rows_within(PATIENCE, Member::Monitor, "pg_auto_failover", &sql).map(drop);
        for _ in 1..ATTEMPTS {
            match ask() {
                Err(LabError::Protocol(said)) if said.contains(DEADLOCK) => thread::sleep(PAUSE),
                ended => return ended,
            }
        }
        ask()
    }

    /// A planned change of the primary, from a stable formation to a stable formation.
    pub fn switchover(&self, to: Option<Member>) -> Result<Switchover, LabError> {
        self.wait_stable(birth::LIMIT)?;
        let from = self.primary().ok_or(LabError::NoPrimary)?;
        let asked = Instant::now();
        self.perform_failover(to)?;
        let to = self.wait_primary(Some(from), birth::LIMIT)?;
        let writable_after = asked.elapsed();
        self.wait_stable(birth::LIMIT)?;
        Ok(Switchover { from, to, writable_after, stable_after: asked.elapsed() })
    }
}
