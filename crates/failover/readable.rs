//! Which standbys may be read, and how far behind they are.

use crate::follower::SILENT_AFTER;
use crate::member::Member;
use crate::node::Node;
use crate::state::Class;
use crate::{Endpoint, Follower, Lsn, NodeId};
use std::time::Instant;

/// A standby that may be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// The node.
    pub node: NodeId,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// How many bytes of WAL it is behind the primary; `None` if that cannot be told.
    pub lag: Option<u64>,
}

impl Follower {
    /// The standbys that may be read, with at most `max_lag` bytes of WAL missing; with a limit, one whose lag cannot be
    /// told is left out. They do not depend on the gate. The monitor must want the node to be a standby that is up to
    /// date, and the node itself must have said within the last seconds that it is a standby of our system.
    pub fn readable(&self, max_lag: Option<u64>, now: Instant) -> Vec<Standby> {
        let standbys = self.members.iter().filter(|member| self.is_readable(member, now)).map(|member| Standby {
            node: member.id,
            endpoint: member.endpoint.clone(),
            lag: self.lag(member, now),
        });
        standbys.filter(|standby| max_lag.is_none_or(|most| standby.lag.is_some_and(|lag| lag <= most))).collect()
    }

    fn is_readable(&self, member: &Member, now: Instant) -> bool {
        let Some(route) = &self.route else { return false };
        let identity = &route.epoch.identity;
        let is_wanted = |row: &Node| {
            let is_current = row.timeline >= identity.timeline || row.timeline == 0;
            row.reported.class() == Class::Standby && is_up_to_date(row) && is_current
        };
        let recent = now.checked_sub(SILENT_AFTER).and_then(|moment| member.seen.standing(moment));
        let is_standby = recent.is_some_and(|answer| answer.in_recovery && answer.system == identity.system);
        is_standby && member.row.as_ref().is_none_or(is_wanted)
    }

    /// The primary's position less the standby's, each as its node said it, or else as its keeper reported it.
    pub(crate) fn lag(&self, member: &Member, now: Instant) -> Option<u64> {
        let route = self.route.as_ref()?;
        if route.node == member.id {
            return None;
        }
        let primary = position(self.member(route.node)?, now)?;
        let standby = position(member, now)?;
        Some(primary.0.saturating_sub(standby.0))
    }
}

/// `secondary -> catchingup` lags or is unhealthy; `secondary -> report_lsn` and the like are about to lose their readers.
fn is_up_to_date(row: &Node) -> bool {
    use crate::NodeState::{Secondary, WaitMaintenance};
    matches!(row.goal, Secondary | WaitMaintenance)
}

fn position(member: &Member, now: Instant) -> Option<Lsn> {
    let recent = now.checked_sub(SILENT_AFTER).and_then(|moment| member.seen.fresh(moment));
    let said = recent.and_then(|answer| answer.lsn);
    said.max(member.row.as_ref().map(|row| row.lsn)).filter(|lsn| lsn.0 > 0)
}
