//! What a follower is told.

use crate::{Answer, Endpoint, Failure, Hint, Identity, Node, NodeId, Timeouts};
use std::fmt;
use std::time::Instant;

/// Something that happened. Only a snapshot, a probe, the passing of time, the end of a planned failover and an
/// operator's word can start traffic; each of the others can only stop it.
#[derive(Clone, Debug)]
pub enum Event {
    /// The monitor's table was read.
    Snapshot(Snapshot),
    /// The monitor, or somebody in its name, notified.
    Hint(Hint),
    /// The connection to the monitor broke, or could not be opened.
    MonitorLost,
    /// The connection to the monitor is back; a snapshot follows.
    MonitorBack,
    /// A node was asked.
    Probed(Probed),
    /// A server connection of that epoch learned something.
    Signal {
        /// The number of the epoch in which the connection was opened.
        epoch: u64,
        /// What it learned.
        signal: Signal,
    },
    /// An operator accepts the new identity that [`Follower::refused`](crate::Follower::refused) showed.
    Accept(Identity),
    /// A planned failover begins: nothing new starts on the present primary until it ends, or until that moment.
    PlannedBegun {
        /// When its coordinator is taken for lost.
        until: Instant,
    },
    /// The planned failover was given up: if nothing has changed, traffic goes on where it was.
    PlannedEnded,
    /// Nothing but the time.
    Tick,
}

impl Event {
    /// Whether traffic may start in answer to it.
    pub(crate) fn may_start(&self) -> bool {
        match self {
            Event::Snapshot(_) | Event::Probed(_) | Event::Accept(_) | Event::PlannedEnded | Event::Tick => true,
            Event::Hint(_)
            | Event::MonitorLost
            | Event::MonitorBack
            | Event::Signal { .. }
            | Event::PlannedBegun { .. } => false,
        }
    }
}

/// The monitor's table of the nodes of one group.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When the query was sent: an answer older than a stop proves nothing.
    pub asked_at: Instant,
    /// The nodes of the group.
    pub nodes: Vec<Node>,
    /// The monitor's own timeouts, if they were read.
    pub timeouts: Option<Timeouts>,
}

/// A probe of one node, and what came of it.
#[derive(Clone, Debug)]
pub struct Probed {
    /// The node that was asked.
    pub node: NodeId,
    /// Where it was asked: an answer from a former address says nothing.
    pub endpoint: Endpoint,
    /// When it was asked: before the connection was opened, or the query sent.
    pub asked_at: Instant,
    /// What it answered.
    pub outcome: Result<Answer, Failure>,
}

/// What a server connection learned about the node it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// 25006: it refused to write. A client's own READ ONLY transaction does that, too.
    ReadOnly,
    /// FATAL 57P01.
    AdminShutdown,
    /// 57P02.
    CrashShutdown,
    /// 57P03, at login.
    CannotConnectNow,
    /// A connection was refused.
    Refused,
    /// A connection was reset.
    Reset,
    /// End of file without a word.
    Eof,
    /// A warning that a commit no longer waits for the standby (01000 or 57P01).
    SyncWaitCanceled,
}

impl Signal {
    /// Whether it stops traffic before the cause is known. A node that refuses to write does no harm meanwhile, and
    /// slow commits are not a dead primary: these two only make it asked at once.
    pub(crate) fn stops(self) -> bool {
        !matches!(self, Signal::ReadOnly | Signal::SyncWaitCanceled)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signal::ReadOnly => "refused to write (25006)",
            Signal::AdminShutdown => "ended a session (57P01)",
            Signal::CrashShutdown => "ended a session after a crash (57P02)",
            Signal::CannotConnectNow => "does not accept sessions now (57P03)",
            Signal::Refused => "refused a connection",
            Signal::Reset => "reset a connection",
            Signal::Eof => "closed a connection",
            Signal::SyncWaitCanceled => "canceled a wait for its standby",
        })
    }
}
