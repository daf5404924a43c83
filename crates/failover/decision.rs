//! What a follower decides, and why.

use crate::{Endpoint, Failure, Identity, NodeId, NodeState, Route, Signal, SystemId, Unfit};
use std::fmt;
use std::time::Instant;

/// Where transactions go, or that none may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Serve, on the epoch of last time.
    Keep(Route),
    /// Begin no transaction.
    Hold(Hold),
    /// Serve, on a new epoch: servers of an older one are cut. Answered once, then it is kept.
    Switch(Route),
}

/// Transactions wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// When it began.
    pub since: Instant,
    /// When those who wait are to be told (57P03). It never moves while the hold lasts; the search goes on after it.
    pub deadline: Instant,
    /// The deadline has passed.
    pub expired: bool,
    /// What stands in the way.
    pub why: Why,
}

/// What stands in the way of traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing was proved since the start.
    Starting,
    /// A planned failover waits for its successor.
    Planned,
    /// A notification said so.
    Hinted(Told),
    /// The monitor's table says so.
    Leaving(Told),
    /// The monitor's health checks fail.
    Unhealthy(NodeId),
    /// A server connection learned something.
    Signal(Signal),
    /// The node gives no answer.
    Unreachable(NodeId, Failure),
    /// The node says of itself that it is not the writable primary that was proved.
    Unfit(NodeId, Unfit),
    /// The node is not where it was.
    Moved(NodeId, Endpoint),
    /// The node is not in the monitor's table any more.
    Gone(NodeId),
    /// The monitor has no writable node.
    NoPrimary,
    /// Two nodes are the primary, says the monitor or, without one, say they.
    Contradiction(NodeId, NodeId),
    /// The node has another system identifier than the monitor says.
    Impostor(NodeId, SystemId),
    /// Both halves of the proof hold, but it is not a successor of the last primary. An operator can accept it.
    Refused {
        /// Who was found.
        found: Identity,
        /// The last primary.
        last: Identity,
    },
    /// The monitor is silent, and another node writes a timeline that is not smaller.
    Stale(NodeId, u32),
    /// The monitor is silent, and the primary has lost the standby that its commits wait for.
    Isolated,
    /// The monitor is silent since before traffic stopped, and no node confirms its last word.
    MonitorSilent,
    /// Without a monitor: some hosts have not been heard.
    Unheard(NodeId),
}

/// What the monitor wants of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which node.
    pub node: NodeId,
    /// The state it reported.
    pub reported: NodeState,
    /// The state it is to reach.
    pub goal: NodeState,
}

impl Why {
    /// It may be a false alarm: neither the monitor's table nor the node itself has been asked yet. Server connections are
    /// worth keeping until they have answered, some milliseconds later.
    pub fn is_suspicion(&self) -> bool {
        let of_one_server = |signal: &Signal| matches!(signal, Signal::AdminShutdown | Signal::Reset | Signal::Eof);
        match self {
            Why::Hinted(_) | Why::Unhealthy(_) => true,
            Why::Signal(signal) => of_one_server(signal),
            _ => false,
        }
    }

    /// Whether a human should look at it even before the deadline.
    pub(crate) fn is_alarming(&self) -> bool {
        match self {
            Why::Contradiction(..) | Why::Impostor(..) | Why::Refused { .. } | Why::Stale(..) | Why::Isolated => true,
            Why::Starting
            | Why::Planned
            | Why::Hinted(_)
            | Why::Leaving(_)
            | Why::Unhealthy(_)
            | Why::Signal(_)
            | Why::Unreachable(..)
            | Why::Unfit(..)
            | Why::Moved(..)
            | Why::Gone(_)
            | Why::NoPrimary
            | Why::MonitorSilent
            | Why::Unheard(_) => false,
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is to go from {} to {}", self.node, self.reported, self.goal)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Starting => f.write_str("no primary has been found yet"),
            Why::Planned => f.write_str("a planned failover is under way"),
            Why::Hinted(told) => write!(f, "a notification says that {told}"),
            Why::Leaving(told) => write!(f, "the monitor says that {told}"),
            Why::Unhealthy(node) => write!(f, "the monitor finds {node} unhealthy"),
            Why::Signal(signal) => write!(f, "the primary {signal}"),
            Why::Unreachable(node, failure) => write!(f, "{node} {failure}"),
            Why::Unfit(node, unfit) => write!(f, "{node} is not the primary: {unfit}"),
            Why::Moved(node, endpoint) => write!(f, "{node} is now at {endpoint}"),
            Why::Gone(node) => write!(f, "the monitor does not know {node} any more"),
            Why::NoPrimary => f.write_str("the monitor has no writable node"),
            Why::Contradiction(one, other) => write!(f, "both {one} and {other} are said to be the primary"),
            Why::Impostor(node, system) => {
                write!(f, "{node} has the system identifier {system}, which is not the one the monitor has for it")
            }
            Why::Refused { found, last } => write!(f, "{found} cannot follow {last} unless an operator says ACCEPT"),
            Why::Stale(node, timeline) => {
                write!(f, "the monitor is silent and {node} is out of recovery on timeline {timeline}")
            }
            Why::Isolated => f.write_str("the monitor is silent and the primary has no standby to confirm its commits"),
            Why::MonitorSilent => f.write_str("the monitor is silent and no other node confirms the primary"),
            Why::Unheard(node) => write!(f, "{node} has not been heard yet"),
        }
    }
}
