//! What SHOW FORMATIONS shows.

use crate::member::Member;
use crate::{Answer, Endpoint, Failure, Follower, Health, Lsn, NodeId, NodeState, Route, Truth, Why};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The state of one group of one formation.
#[derive(Clone, Debug)]
pub struct Report {
    /// The formation.
    pub formation: Arc<str>,
    /// The group.
    pub group: i32,
    /// Whether transactions may begin.
    pub gate: Gate,
    /// What stands in the way.
    pub why: Option<Why>,
    /// The last primary that was proved, whether traffic goes there or not.
    pub route: Option<Route>,
    /// Whether the monitor is heard; `None` if there is none.
    pub monitor: Option<Monitor>,
    /// Its nodes, in the monitor's order.
    pub nodes: Vec<NodeReport>,
}

/// Whether transactions may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// They may.
    Open,
    /// They wait.
    Held,
    /// They wait, and have been told that it takes too long.
    Expired,
}

impl Gate {
    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Gate::Open => "open",
            Gate::Held => "held",
            Gate::Expired => "expired",
        }
    }
}

/// How the monitor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Monitor {
    /// It has not said anything yet.
    NeverHeard,
    /// It answers; its last word is that old.
    Heard(Duration),
    /// It does not answer; its last word is that old.
    Silent(Duration),
}

/// What is known of one node.
#[derive(Clone, Debug)]
pub struct NodeReport {
    /// Its number.
    pub id: NodeId,
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The state its keeper reported; `None` without a monitor.
    pub reported: Option<NodeState>,
    /// The state the monitor wants.
    pub goal: Option<NodeState>,
    /// What the monitor's health checks found.
    pub health: Option<Health>,
    /// Its candidate priority.
    pub candidate_priority: Option<i32>,
    /// The timeline it writes, or which its keeper reported.
    pub timeline: Option<u32>,
    /// Its position in the write-ahead log.
    pub lsn: Option<Lsn>,
    /// How many bytes it is behind the primary.
    pub lag: Option<u64>,
    /// What it said itself.
    pub word: Word,
    /// Whether traffic goes there.
    pub is_target: bool,
}

/// What a node said of itself last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It was not asked yet.
    NotAsked,
    /// It takes writes.
    Writable,
    /// It is out of recovery, but read-only by default.
    ReadOnly,
    /// It is a standby, or still recovering.
    InRecovery,
    /// It gave no answer.
    None(Failure),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Word::NotAsked => f.write_str("has not been asked"),
            Word::Writable => f.write_str("takes writes"),
            Word::ReadOnly => f.write_str("is read-only by default"),
            Word::InRecovery => f.write_str("is in recovery"),
            Word::None(failure) => failure.fmt(f),
        }
    }
}

impl Word {
    fn of(member: &Member) -> Word {
        match (member.seen.failure, member.seen.last_answer()) {
            (Some(failure), _) => Word::None(failure),
            (None, None) => Word::NotAsked,
            (None, Some(Answer { in_recovery: true, .. })) => Word::InRecovery,
            (None, Some(Answer { read_only: true, .. })) => Word::ReadOnly,
            (None, Some(_)) => Word::Writable,
        }
    }
}

impl Follower {
    /// The present state, for people.
    pub fn report(&self, now: Instant) -> Report {
        Report {
            formation: self.settings.formation.clone(),
            group: self.settings.group,
            gate: match &self.hold {
                None => Gate::Open,
                Some(hold) if hold.expired => Gate::Expired,
                Some(_) => Gate::Held,
            },
            why: self.hold.as_ref().map(|hold| hold.why.clone()),
            route: self.route.clone(),
            monitor: (self.settings.truth == Truth::Monitor).then(|| self.monitor(now)),
            nodes: self.node_reports(now),
        }
    }

    fn monitor(&self, now: Instant) -> Monitor {
        match self.told_at.map(|told_at| now.saturating_duration_since(told_at)) {
            None => Monitor::NeverHeard,
            Some(age) if self.monitor_lost || self.is_silent(now) => Monitor::Silent(age),
            Some(age) => Monitor::Heard(age),
        }
    }

    pub(crate) fn node_reports(&self, now: Instant) -> Vec<NodeReport> {
        let target = self.route.as_ref().filter(|_| self.is_open()).map(|route| route.node);
        let report = |member: &Member| {
            let row = member.row.as_ref();
            let answer = member.seen.last_answer();
            NodeReport {
                id: member.id,
                name: member.name.clone(),
                endpoint: member.endpoint.clone(),
                reported: row.map(|row| row.reported.clone()),
                goal: row.map(|row| row.goal.clone()),
                health: row.map(|row| row.health),
                candidate_priority: row.map(|row| row.candidate_priority),
                timeline: answer.and_then(Answer::written_timeline).or(row.map(|row| row.timeline)),
                lsn: answer.and_then(|answer| answer.lsn).max(row.map(|row| row.lsn)),
                lag: self.lag(member, now),
                word: Word::of(member),
                is_target: target == Some(member.id),
            }
        };
        self.members.iter().map(report).collect()
    }
}

impl fmt::Display for NodeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.endpoint)?;
        if let (Some(reported), Some(goal), Some(health)) = (&self.reported, &self.goal, self.health) {
            write!(f, " {reported}")?;
            if reported != goal {
                write!(f, "->{goal}")?;
            }
            write!(f, " health {}", health.name())?;
        }
        if let Some(timeline) = self.timeline {
            write!(f, " timeline {timeline}")?;
        }
        write!(f, " {}", self.word)
    }
}
