//! What to ask next, and when to look again.

use crate::follower::SILENT_AFTER;
use crate::member::Member;
use crate::state::Class;
use crate::{Endpoint, Follower, NodeId, Truth};
use std::time::{Duration, Instant};

const CALM: Duration = Duration::from_secs(1);
const URGENT: Duration = Duration::from_millis(10);
/// After the deadline nobody waits for milliseconds any more.
const PATIENT: Duration = Duration::from_millis(200);

/// What the owner is to ask, until the next event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agenda {
    /// Read the monitor's table at once, unless a query is under way that was sent after the last event.
    pub read_now: bool,
    /// Read it this often in any case: reading is also how the monitor's silence is noticed.
    pub read_every: Duration,
    /// Whom to probe, and how often: the pause between sending one probe and the next, at most one at a time for a node.
    pub probes: Vec<Errand>,
    /// Tell the follower the time at this moment, if nothing happens before.
    pub wake_at: Option<Instant>,
}

/// One node to probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// The node.
    pub node: NodeId,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// How often.
    pub every: Duration,
}

impl Follower {
    /// What to ask from now on. It changes with every event.
    pub fn agenda(&self, now: Instant) -> Agenda {
        let has_monitor = self.settings.truth == Truth::Monitor;
        let pace = match &self.hold {
            None => CALM,
            Some(hold) if hold.expired => PATIENT,
            Some(_) => URGENT,
        };
        let probe = |member: &Member| Errand {
            node: member.id,
            endpoint: member.endpoint.clone(),
            every: if self.is_suspected(member) {
                URGENT
            } else if self.may_be_next(member) {
                pace
            } else {
                CALM
            },
        };
        let is_due = |after| self.told_at.is_none_or(|told_at| told_at <= after);
        Agenda {
            read_now: has_monitor && self.wanted_after.is_some_and(is_due),
            read_every: if pace == CALM { CALM } else { pace.max(10 * URGENT) },
            probes: self.members.iter().map(probe).collect(),
            wake_at: self.wake_at(now),
        }
    }

    fn is_suspected(&self, member: &Member) -> bool {
        self.is_open() && self.suspected_at.is_some() && self.route.as_ref().is_some_and(|last| last.node == member.id)
    }

    /// The last primary, and whoever the monitor may be making the next one; without a monitor, anybody.
    fn may_be_next(&self, member: &Member) -> bool {
        let is_last = self.route.as_ref().is_some_and(|last| last.node == member.id);
        is_last
            || member.row.as_ref().is_none_or(|row| {
                [&row.reported, &row.goal]
                    .iter()
                    .any(|state| matches!(state.class(), Class::Writable | Class::Promoting))
            })
    }

    fn wake_at(&self, now: Instant) -> Option<Instant> {
        let deadline = self.hold.as_ref().filter(|hold| !hold.expired).map(|hold| hold.deadline);
        let silence = self.told_at.map(|told_at| told_at + SILENT_AFTER).filter(|at| now < *at);
        [deadline, silence, self.planned].into_iter().flatten().min()
    }
}
