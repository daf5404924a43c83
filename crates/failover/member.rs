//! What is known about one node: the monitor's row, and what the node itself said last.

use crate::decision::Told;
use crate::{Answer, Endpoint, Failure, Node, NodeId, Probed};
use std::sync::Arc;
use std::time::Instant;

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: NodeId,
    pub(crate) name: Arc<str>,
    pub(crate) endpoint: Endpoint,
    /// `None` without a monitor.
    pub(crate) row: Option<Node>,
    pub(crate) seen: Seen,
}

/// What the probes of a node found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// When the last one was sent.
    pub(crate) asked_at: Option<Instant>,
    /// The last answer and when it was asked for, kept while later probes fail.
    pub(crate) answer: Option<(Instant, Answer)>,
    /// Why the last probe failed; `None` if it did not.
    pub(crate) failure: Option<Failure>,
    /// How many in a row had no answer in time.
    timeouts: u32,
}

impl Member {
    pub(crate) fn of_row(row: Node) -> Member {
        let (id, name, endpoint) = (row.id, row.name.clone(), row.endpoint.clone());
        Member { id, name, endpoint, row: Some(row), seen: Seen::default() }
    }

    pub(crate) fn of_host(index: usize, endpoint: Endpoint) -> Member {
        let name = endpoint.to_string().into();
        Member { id: NodeId(index as i64), name, endpoint, row: None, seen: Seen::default() }
    }

    /// The monitor's half of the proof.
    pub(crate) fn is_assigned(&self) -> bool {
        self.row.as_ref().is_some_and(Node::is_assigned)
    }

    pub(crate) fn told(&self) -> Option<Told> {
        let row = self.row.as_ref()?;
        Some(Told { node: self.id, reported: row.reported.clone(), goal: row.goal.clone() })
    }
}

impl Seen {
    /// Takes note of a probe; one that was sent before the last one is late and says nothing.
    pub(crate) fn take(&mut self, probed: Probed) {
        if self.asked_at.is_some_and(|asked_at| probed.asked_at < asked_at) {
            return;
        }
        self.asked_at = Some(probed.asked_at);
        match probed.outcome {
            Ok(answer) => {
                self.answer = Some((probed.asked_at, answer));
                self.failure = None;
                self.timeouts = 0;
            }
            Err(failure) => {
                self.failure = Some(failure);
                self.timeouts = if failure == Failure::Timeout { self.timeouts + 1 } else { 0 };
            }
        }
    }

    /// The last answer, if it was asked for after that moment and no later probe failed.
    pub(crate) fn fresh(&self, after: Instant) -> Option<&Answer> {
        match &self.answer {
            Some((asked_at, answer)) if *asked_at > after && self.failure.is_none() => Some(answer),
            _ => None,
        }
    }

    /// The last answer, if it was asked for after that moment and the node is not to be taken for unreachable since.
    pub(crate) fn standing(&self, after: Instant) -> Option<&Answer> {
        match &self.answer {
            Some((asked_at, answer)) if *asked_at > after && self.lost().is_none() => Some(answer),
            _ => None,
        }
    }

    pub(crate) fn is_heard(&self, after: Instant) -> bool {
        self.asked_at.is_some_and(|asked_at| asked_at > after)
    }

    /// Why the node is to be taken for unreachable. A single answer that is late may just be slow.
    pub(crate) fn lost(&self) -> Option<Failure> {
        self.failure.filter(|failure| *failure != Failure::Timeout || self.timeouts > 1)
    }

    pub(crate) fn last_answer(&self) -> Option<&Answer> {
        self.answer.as_ref().map(|(_, answer)| answer)
    }
}
