//! Which primary: its identity, the number that server connections carry, and who may follow whom.

use crate::{Answer, Endpoint, NodeId, SystemId};
use std::fmt;
use thiserror::Error;

/// A primary of one period: two that differ in any part are never the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Which initdb it comes from.
    pub system: SystemId,
    /// The timeline it writes: each promotion begins a greater one.
    pub timeline: u32,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (system {}, timeline {})", self.endpoint, self.system, self.timeline)
    }
}

/// An identity that was proved, and its number among those this follower has proved. The number only grows; a connection
/// of a smaller one leads to a former primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// From 1.
    pub number: u64,
    /// Who it is.
    pub identity: Identity,
}

/// Where transactions go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The node that was proved.
    pub node: NodeId,
    /// Its epoch.
    pub epoch: Epoch,
    /// The node was opened before it is writable by default: each server connection needs
    /// `SET default_transaction_read_only = off; SET synchronous_commit = local`, again after DISCARD ALL or RESET ALL.
    /// Once this is false, both are undone with RESET.
    pub early: bool,
}

/// Why a new server connection does not lead to its route's primary, although it was opened there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unfit {
    /// It is a standby.
    #[error("it is in recovery")]
    InRecovery,
    /// It was promoted before its predecessor stopped, or an operator made it so.
    #[error("default_transaction_read_only is on")]
    ReadOnly,
    /// Another cluster listens there.
    #[error("its system identifier is {0}")]
    System(SystemId),
    /// It writes another timeline.
    #[error("its timeline is {0}")]
    Timeline(u32),
}

impl Route {
    /// Whether the node that gave this answer still is the one that was proved. Asked on each new server connection
    /// before it carries a transaction, and of each regular probe.
    pub fn admits(&self, answer: &Answer) -> Result<(), Unfit> {
        let identity = &self.epoch.identity;
        if answer.system != identity.system {
            return Err(Unfit::System(answer.system));
        }
        match answer.written_timeline() {
            None => Err(Unfit::InRecovery),
            Some(timeline) if timeline != identity.timeline => Err(Unfit::Timeline(timeline)),
            Some(_) if answer.read_only && !self.early => Err(Unfit::ReadOnly),
            Some(_) => Ok(()),
        }
    }

    /// The number of the epoch in which `found`, proved by both halves, follows this route; `None` if it must not without
    /// an operator's word. The same node on the same timeline was restarted in place: its epoch goes on, unless it has
    /// another address now.
    pub(crate) fn number_of(&self, node: NodeId, found: &Identity) -> Option<u64> {
        let Epoch { number, identity } = &self.epoch;
        if found == identity {
            return Some(*number);
        }
        let promoted = found.timeline > identity.timeline;
        let moved = found.timeline == identity.timeline && node == self.node;
        (found.system == identity.system && (promoted || moved)).then_some(number + 1)
    }
}
