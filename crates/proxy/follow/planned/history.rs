//! The last failovers, for SHOW FAILOVERS.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use failover::{StepDone, Why};

use crate::clock::Micros;
use crate::services::lock;

/// How many are remembered.
const REMEMBERED: usize = 20;

/// A failover that is over.
#[derive(Clone, Debug)]
pub struct Record {
    /// When it began, or when transactions were stopped.
    pub began: Micros,
    /// The formation's name in the configuration.
    pub formation: Arc<str>,
    /// Who wanted it.
    pub kind: Kind,
    /// How it ended, in a word.
    pub outcome: &'static str,
    /// The primary before.
    pub from: String,
    /// The primary after.
    pub to: String,
    /// For how long transactions were stopped.
    pub held: Duration,
    /// What was done; only of those that were coordinated here.
    pub steps: Vec<StepDone>,
}

/// Who wanted a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An operator of a pooler.
    Planned,
    /// The monitor, of a primary that was well: somebody asked it to.
    External,
    /// Nobody, as far as is known: the primary was lost, or its sessions were before the monitor said why.
    Unplanned,
}

impl Kind {
    /// All of them, each in its place.
    pub const ALL: [Self; 3] = [Self::Planned, Self::External, Self::Unplanned];

    /// Going by why transactions were stopped.
    pub fn of(why: &Why) -> Self {
        match why {
            Why::Planned => Self::Planned,
            Why::Hinted(_) | Why::Leaving(_) => Self::External,
            _ => Self::Unplanned,
        }
    }

    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Planned => "planned",
            Kind::External => "external",
            Kind::Unplanned => "unplanned",
        }
    }
}

/// The last failovers.
#[derive(Debug, Default)]
pub struct History(Mutex<VecDeque<Record>>);

impl History {
    /// Notes one.
    pub fn add(&self, record: Record) {
        let mut records = lock(&self.0);
        records.push_back(record);
        if records.len() > REMEMBERED {
            records.pop_front();
        }
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<Record> {
        lock(&self.0).iter().cloned().collect()
    }
}
