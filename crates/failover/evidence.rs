//! What is worth a line in the log: the decision that changed, and what it was based on.

use crate::proof::claimant;
use crate::report::NodeReport;
use crate::{Follower, Identity, NodeId, Why};
use std::fmt;
use std::mem::discriminant;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One decision and its reasons. Formatting it gives one line; nothing is formatted before.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The formation.
    pub formation: Arc<str>,
    /// The group.
    pub group: i32,
    /// What changed.
    pub change: Change,
    /// What was known of each node.
    pub nodes: Vec<NodeReport>,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Traffic stops.
    Held(Why),
    /// Traffic goes on, on the same epoch.
    Resumed(Identity, Duration),
    /// Traffic goes on, on a new epoch.
    Switched {
        /// The new primary.
        to: Identity,
        /// The number of its epoch.
        number: u64,
        /// Opened before it is writable by default.
        early: bool,
        /// How long transactions were held.
        held: Duration,
    },
    /// An early opening is an ordinary one now.
    Settled(Identity),
    /// Still held, for a reason that needs a human.
    Blocked(Why),
    /// Those who wait are told now.
    Expired(Why),
    /// The monitor is not heard any more; traffic goes on.
    MonitorSilent,
    /// The monitor is heard again.
    MonitorBack,
    /// A node that is not the primary says that it takes writes. It is ignored.
    Claimant(NodeId),
}

impl Change {
    /// Whether a human should look at it.
    pub fn is_warning(&self) -> bool {
        match self {
            Change::Held(Why::Planned) => false,
            Change::Held(_) | Change::Blocked(_) | Change::Expired(_) => true,
            Change::MonitorSilent | Change::Claimant(_) => true,
            Change::Resumed(..) | Change::Switched { .. } | Change::Settled(_) | Change::MonitorBack => false,
        }
    }

    pub(crate) fn between(before: &Standing, now: &Standing) -> Option<Change> {
        match (&before.held, &now.held) {
            (None, Some((_, _, why))) => Some(Change::Held(why.clone())),
            (Some((since, ..)), None) => {
                let (number, to, early) = now.route.clone()?;
                let held = now.at.saturating_duration_since(*since);
                match before.route.as_ref().is_some_and(|(last, ..)| *last == number) {
                    true => Some(Change::Resumed(to, held)),
                    false => Some(Change::Switched { to, number, early, held }),
                }
            }
            (Some((_, false, _)), Some((_, true, why))) => Some(Change::Expired(why.clone())),
            (Some((_, _, was)), Some((_, _, why))) if why.is_alarming() && discriminant(was) != discriminant(why) => {
                Some(Change::Blocked(why.clone()))
            }
            (Some(_), Some(_)) => None,
            (None, None) => Change::while_open(before, now),
        }
    }

    fn while_open(before: &Standing, now: &Standing) -> Option<Change> {
        let was_early = before.route.as_ref().is_some_and(|(_, _, early)| *early);
        match &now.route {
            Some((_, identity, false)) if was_early => return Some(Change::Settled(identity.clone())),
            _ => {}
        }
        match (before.silent, now.silent) {
            (false, true) => return Some(Change::MonitorSilent),
            (true, false) => return Some(Change::MonitorBack),
            _ => {}
        }
        now.claimant.filter(|_| now.told_claimant != now.claimant).map(Change::Claimant)
    }
}

/// What is compared to find out whether something is news.
pub(crate) struct Standing {
    at: Instant,
    held: Option<(Instant, bool, Why)>,
    route: Option<(u64, Identity, bool)>,
    silent: bool,
    claimant: Option<NodeId>,
    told_claimant: Option<NodeId>,
}

impl Follower {
    pub(crate) fn standing(&self, now: Instant) -> Standing {
        let route = self.route.as_ref();
        Standing {
            at: now,
            held: self.hold.as_ref().map(|hold| (hold.since, hold.expired, hold.why.clone())),
            route: route.map(|route| (route.epoch.number, route.epoch.identity.clone(), route.early)),
            silent: self.was_silent,
            claimant: claimant(self),
            told_claimant: self.told_claimant,
        }
    }

    /// One that was found while something else was worth telling is told at the next event.
    pub(crate) fn note_claimant(&mut self, change: Option<&Change>) {
        match change {
            Some(Change::Claimant(node)) => self.told_claimant = Some(*node),
            _ if self.is_open() && claimant(self).is_none() => self.told_claimant = None,
            _ => {}
        }
    }

    pub(crate) fn evidence(&self, change: Change, now: Instant) -> Evidence {
        let formation = self.settings.formation.clone();
        Evidence { formation, group: self.settings.group, change, nodes: self.node_reports(now) }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = Duration::as_millis;
        match self {
            Change::Held(why) => write!(f, "transactions wait: {why}"),
            Change::Resumed(identity, held) => write!(f, "goes on with {identity} after {} ms", ms(held)),
            Change::Switched { to, number, early, held } => {
                let early = if *early { ", early" } else { "" };
                write!(f, "follows {to}{early}, epoch {number}, after {} ms", ms(held))
            }
            Change::Settled(identity) => write!(f, "{identity} is writable by default now"),
            Change::Blocked(why) => write!(f, "transactions still wait: {why}"),
            Change::Expired(why) => write!(f, "transactions have waited too long: {why}"),
            Change::MonitorSilent => f.write_str("the monitor is silent; keeps the primary and asks the other nodes"),
            Change::MonitorBack => f.write_str("the monitor is back"),
            Change::Claimant(node) => write!(f, "ignores {node}, which says that it takes writes"),
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "formation {}/{}: {}", self.formation, self.group, self.change)?;
        for (index, node) in self.nodes.iter().enumerate() {
            write!(f, "{} {node}", if index == 0 { " [" } else { ";" })?;
        }
        if self.nodes.is_empty() { Ok(()) } else { f.write_str(" ]") }
    }
}
