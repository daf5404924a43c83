//! What the monitor knows of the nodes, and what follows from it.

use std::time::Duration;

use super::{Formation, Member};
use crate::LabError;

/// The states in which pg_auto_failover lets a node take writes.
const WRITING: [&str; 5] = ["single", "primary", "wait_primary", "apply_settings", "join_primary"];

const TABLE: &str = "select nodename, reportedstate, goalstate, health, reportedtli, reportedlsn \
                     from pgautofailover.node where formationid = 'default' order by nodeid";

/// For ordinary sessions, not just out of recovery: a promoted node is read-only until its predecessor has ended.
const TAKES_WRITES: &str =
    "select not pg_is_in_recovery() and current_setting('default_transaction_read_only') = 'off'";

/// A node as the monitor sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// Its name.
    pub node: Member,
    /// What its keeper said last.
    pub reported: String,
    /// What the monitor wants it to be.
    pub goal: String,
    /// What the monitor's own attempt to connect found: None before the first.
    pub healthy: Option<bool>,
    /// The timeline it reported.
    pub timeline: u32,
    /// The position in the write-ahead log it reported.
    pub lsn: String,
}

impl NodeState {
    /// Whether it has reached this state and is to stay there.
    pub(super) fn is(&self, state: &str) -> bool {
        self.reported == state && self.goal == state
    }

    /// The monitor's half of the proof that a node is the primary.
    fn may_write(&self) -> bool {
        WRITING.contains(&self.reported.as_str()) && WRITING.contains(&self.goal.as_str())
    }

    fn from_row(row: &[String]) -> Option<NodeState> {
        let [name, reported, goal, health, timeline, lsn] = row else { return None };
        Some(NodeState {
            node: name.parse().ok()?,
            reported: reported.clone(),
            goal: goal.clone(),
            healthy: match health.as_str() {
                "1" => Some(true),
                "0" => Some(false),
                _ => None,
            },
            timeline: timeline.parse().ok()?,
            lsn: lsn.clone(),
        })
    }
}

impl Formation {
    /// The monitor's table, in the order in which the nodes came.
    pub fn states(&self) -> Result<Vec<NodeState>, LabError> {
        let rows = self.rows(Member::Monitor, "pg_auto_failover", TABLE)?;
        Ok(rows.iter().filter_map(|row| NodeState::from_row(row)).collect())
    }

    /// Whether an ordinary session on this node may write. A stale primary says yes as well: see
    /// [`primary`](Formation::primary).
    pub fn takes_writes(&self, node: Member) -> bool {
        self.rows(node, "postgres", TAKES_WRITES).is_ok_and(|rows| rows == [["t"]])
    }

    /// The primary, when both the monitor and the node say so; None also while the monitor is down.
    pub fn primary(&self) -> Option<Member> {
        self.primary_but(None)
    }

    fn primary_but(&self, old: Option<Member>) -> Option<Member> {
        let states = self.states().ok()?;
        let candidates = states.iter().filter(|state| state.may_write()).map(|state| state.node);
        candidates.filter(|node| Some(*node) != old).find(|node| self.takes_writes(*node))
    }

    /// Waits for a primary other than `old`.
    pub fn wait_primary(&self, old: Option<Member>, limit: Duration) -> Result<Member, LabError> {
        let mut found = None;
        self.wait("a primary", limit, || {
            found = self.primary_but(old);
            found.is_some()
        })?;
        found.ok_or(LabError::NoPrimary)
    }

    /// Waits until there is one primary, and all others are its healthy standbys, or in maintenance.
    pub fn wait_stable(&self, limit: Duration) -> Result<(), LabError> {
        self.wait("a stable formation", limit, || self.states().is_ok_and(|states| is_stable(&states)))
    }

    /// Waits until a node has reached what the monitor wants of it, and answers if it should.
    pub(super) fn wait_settled(&self, node: Member, limit: Duration) -> Result<(), LabError> {
        let settled = |state: &NodeState| {
            let rest = ["single", "primary", "wait_primary", "secondary"].iter().any(|rest| state.is(rest));
            state.node == node && (state.is("maintenance") || rest && self.rows(node, "postgres", "select 1").is_ok())
        };
        self.wait(&format!("{node}"), limit, || self.states().is_ok_and(|states| states.iter().any(settled)))
    }
}

fn is_stable(states: &[NodeState]) -> bool {
    let count = |wanted: &[&str]| states.iter().filter(|state| wanted.iter().any(|name| state.is(name))).count();
    // A primary whose only standby is in maintenance waits for it.
    let primaries = match count(&["maintenance"]) {
        0 => count(&["primary", "single"]),
        _ => count(&["primary", "single", "wait_primary"]),
    };
    let healthy = states.iter().all(|state| state.healthy == Some(true) || state.is("maintenance"));
    healthy && primaries == 1 && count(&["secondary", "maintenance"]) + 1 == states.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8, reported: &str, goal: &str, healthy: bool) -> NodeState {
        let (reported, goal) = (reported.to_owned(), goal.to_owned());
        let node = Member::Node(number);
        NodeState { node, reported, goal, healthy: Some(healthy), timeline: 1, lsn: "0/0".into() }
    }

    #[test]
    fn stable_is_one_primary_and_healthy_standbys() {
        let primary = node(1, "primary", "primary", true);
        let standby = node(2, "secondary", "secondary", true);
        let resting = node(2, "maintenance", "maintenance", false);
        let waiting = node(1, "wait_primary", "wait_primary", true);
        assert!(is_stable(&[primary.clone(), standby.clone()]));
        assert!(is_stable(&[node(1, "single", "single", true)]));
        assert!(is_stable(&[waiting.clone(), resting]));
        assert!(!is_stable(&[]));
        assert!(!is_stable(&[waiting, standby.clone()]));
        assert!(!is_stable(&[primary.clone(), primary.clone()]));
        assert!(!is_stable(&[primary.clone(), node(2, "secondary", "secondary", false)]));
        assert!(!is_stable(&[node(1, "primary", "draining", true), standby]));
    }

    #[test]
    fn a_primary_that_is_to_leave_may_not_write() {
        assert!(node(1, "primary", "wait_primary", true).may_write());
        assert!(!node(1, "primary", "draining", true).may_write());
        assert!(!node(1, "stop_replication", "wait_primary", true).may_write());
    }
}
