//! The follower: events in, decisions out.

use crate::decision::Told;
use crate::evidence::{Change, Evidence};
use crate::member::Member;
use crate::proof::is_rising;
use crate::{
    Decision, Endpoint, Event, Failure, Health, Hint, Hold, Identity, NodeId, Probed, Route, Signal, Snapshot,
    Timeouts, Why,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A word older than this is not a present one: a monitor with no later one is silent, a node with none proves nothing.
pub(crate) const SILENT_AFTER: Duration = Duration::from_secs(3);

/// The longest that a planned failover may keep traffic waiting before it counts as an ordinary hold.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Who says which node is the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truth {
    /// The monitor of pg_auto_failover; a node has to agree.
    Monitor,
    /// The nodes of a list, each about itself. The epoch still fences: a successor has the same system identifier and a
    /// greater timeline. But a former primary that goes on alone, cut off from its successor's view and from ours of the
    /// successor, cannot be told from the primary: that needs a monitor.
    Hosts(Vec<Endpoint>),
}

/// What a follower is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The formation's name, as in the notifications.
    pub formation: Arc<str>,
    /// The group within the formation.
    pub group: i32,
    /// Who says which node is the primary.
    pub truth: Truth,
    /// In a planned failover, open the new primary before it is writable by default, once the old one has stopped.
    pub early_open: bool,
    /// The longest that transactions wait, whatever the monitor's timeouts are.
    pub wait_timeout: Option<Duration>,
}

/// Follows the primary of one group of one formation. It has no socket and no clock: its owner tells it what happened and
/// when, acts on the [`Decision`], and looks at the [`Agenda`](crate::Agenda) for what to ask next.
#[derive(Clone, Debug)]
pub struct Follower {
    pub(crate) settings: Settings,
    pub(crate) members: Vec<Member>,
    /// When the present snapshot was asked for.
    pub(crate) told_at: Option<Instant>,
    /// A snapshot asked for later than this is wanted at once.
    pub(crate) wanted_after: Option<Instant>,
    pub(crate) monitor_lost: bool,
    timeouts: Timeouts,
    /// The last primary that was proved.
    pub(crate) route: Option<Route>,
    /// `None` is open.
    pub(crate) hold: Option<Hold>,
    /// The last reason to stop: only what was asked for later is a proof.
    pub(crate) stopped_at: Instant,
    /// The last notification that stopped.
    pub(crate) hinted_at: Option<Instant>,
    /// The end of the planned failover that is under way.
    pub(crate) planned: Option<Instant>,
    accepted: Option<Identity>,
    /// The primary was asked for a reason at that moment, and has not answered yet.
    pub(crate) suspected_at: Option<Instant>,
    /// The monitor was silent when the last event was taken.
    pub(crate) was_silent: bool,
    /// Who else says that it takes writes, as far as that was told.
    pub(crate) told_claimant: Option<NodeId>,
}

/// The answer to one event.
#[derive(Clone, Debug)]
pub struct Step {
    /// What to do from now on.
    pub decision: Decision,
    /// What to log, if this is news.
    pub evidence: Option<Evidence>,
}

impl Follower {
    /// A follower that has found nobody yet and holds.
    pub fn new(settings: Settings, now: Instant) -> Follower {
        let members = match &settings.truth {
            Truth::Monitor => Vec::new(),
            Truth::Hosts(hosts) => {
                hosts.iter().enumerate().map(|(index, host)| Member::of_host(index, host.clone())).collect()
            }
        };
        let mut follower = Follower {
            settings,
            members,
            told_at: None,
            wanted_after: None,
            monitor_lost: false,
            timeouts: Timeouts::default(),
            route: None,
            hold: None,
            stopped_at: now,
            hinted_at: None,
            planned: None,
            accepted: None,
            suspected_at: None,
            was_silent: false,
            told_claimant: None,
        };
        follower.stop(Why::Starting, now);
        follower
    }

    /// After a reload: what a hold that has begun was told stays.
    pub fn reconfigure(&mut self, early_open: bool, wait_timeout: Option<Duration>) {
        self.settings.early_open = early_open;
        self.settings.wait_timeout = wait_timeout;
    }

    /// Takes one event. Only what the answer says changes; an answer of [`Decision::Switch`] is given once.
    pub fn handle(&mut self, event: Event, now: Instant) -> Step {
        let may_start = event.may_start();
        let before = self.standing(now);
        self.take(event, now);
        self.was_silent = self.is_silent(now);
        self.planned = self.planned.filter(|until| now < *until);
        if self.is_open()
            && let Some(why) = self.objection(now)
        {
            self.stop(why, now);
        }
        self.settle_early(now);
        let switched = may_start && !self.is_open() && self.try_to_open(now);
        if let Some(hold) = &mut self.hold {
            hold.expired |= now >= hold.deadline;
        }
        let decision = match (self.decision(), switched) {
            (Decision::Keep(route), true) => Decision::Switch(route),
            (decision, _) => decision,
        };
        let change = Change::between(&before, &self.standing(now));
        self.note_claimant(change.as_ref());
        let evidence = change.map(|change| self.evidence(change, now));
        Step { decision, evidence }
    }

    /// The present decision, without an event; never [`Decision::Switch`].
    pub fn decision(&self) -> Decision {
        match (&self.hold, &self.route) {
            (Some(hold), _) => Decision::Hold(hold.clone()),
            (None, Some(route)) => Decision::Keep(route.clone()),
            (None, None) => unreachable!("the gate opens with a route"),
        }
    }

    /// The identity that an operator may accept: it is proved, but does not follow the last primary.
    pub fn refused(&self) -> Option<&Identity> {
        match &self.hold.as_ref()?.why {
            Why::Refused { found, .. } => Some(found),
            _ => None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.hold.is_none()
    }

    pub(crate) fn member(&self, id: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// Whether the monitor has not been heard for too long. Without one it never is: see [`Truth::Hosts`].
    pub(crate) fn is_silent(&self, now: Instant) -> bool {
        self.told_at.is_some_and(|told_at| now.saturating_duration_since(told_at) >= SILENT_AFTER)
    }

    fn take(&mut self, event: Event, now: Instant) {
        match event {
            Event::Snapshot(snapshot) => self.take_snapshot(snapshot, now),
            Event::Hint(hint) => self.take_hint(hint, now),
            Event::MonitorLost => self.monitor_lost = true,
            Event::MonitorBack => {
                self.monitor_lost = false;
                self.wanted_after = Some(now);
            }
            Event::Probed(probed) => self.take_probe(probed),
            Event::Signal { epoch, signal } => self.take_signal(epoch, signal, now),
            Event::Accept(identity) => {
                if self.refused() == Some(&identity) {
                    self.accepted = Some(identity);
                }
            }
            Event::PlannedBegun { until } => {
                self.planned = Some(until.min(now + LONGEST_PAUSE));
                self.stop(Why::Planned, now);
            }
            Event::PlannedEnded => self.planned = None,
            Event::Tick => {}
        }
    }

    /// An empty table is that of a monitor that knows nothing: it counts as silent, the last full one stands.
    fn take_snapshot(&mut self, snapshot: Snapshot, now: Instant) {
        let is_late = self.told_at.is_some_and(|told_at| snapshot.asked_at < told_at);
        if self.settings.truth != Truth::Monitor || is_late || snapshot.nodes.is_empty() {
            return;
        }
        self.told_at = Some(snapshot.asked_at);
        self.monitor_lost = false;
        self.timeouts = snapshot.timeouts.unwrap_or(self.timeouts);
        let primary = self.route.as_ref().map(|route| route.node);
        let mut fell_ill = false;
        let before = std::mem::take(&mut self.members);
        for row in snapshot.nodes {
            let mut member = Member::of_row(row);
            if let Some(known) = before.iter().find(|known| known.id == member.id) {
                fell_ill |= Some(member.id) == primary && is_ill(&member) && !is_ill(known);
                if known.endpoint == member.endpoint {
                    member.seen = known.seen.clone();
                }
            }
            self.members.push(member);
        }
        if let Some(node) = primary.filter(|_| fell_ill && self.is_open()) {
            self.stop(Why::Unhealthy(node), now);
        }
    }

    fn take_hint(&mut self, hint: Hint, now: Instant) {
        if *hint.formation != *self.settings.formation || hint.group != self.settings.group {
            return;
        }
        self.wanted_after = Some(now);
        let Some(route) = self.route.as_ref().filter(|route| route.node == hint.node) else { return };
        let node = route.node;
        let was_ill = self.member(node).is_some_and(is_ill);
        let keeps_writing = match route.early {
            true => is_rising(&hint.goal),
            false => hint.goal.is_writable() && hint.reported.is_writable(),
        };
        if !keeps_writing {
            self.hinted_at = Some(now);
            self.stop(Why::Hinted(Told { node, reported: hint.reported, goal: hint.goal }), now);
        } else if hint.health == Health::Bad && !was_ill {
            self.stop(Why::Unhealthy(node), now);
        }
    }

    fn take_probe(&mut self, probed: Probed) {
        let is_primary = self.route.as_ref().is_some_and(|route| route.node == probed.node);
        if is_primary && self.suspected_at.is_some_and(|suspected_at| probed.asked_at > suspected_at) {
            self.suspected_at = None;
        }
        let mut members = self.members.iter_mut();
        if let Some(member) = members.find(|member| member.id == probed.node && member.endpoint == probed.endpoint) {
            if is_primary && probed.outcome == Err(Failure::Timeout) {
                self.suspected_at = Some(probed.asked_at);
            }
            member.seen.take(probed);
        }
    }

    fn take_signal(&mut self, epoch: u64, signal: Signal, now: Instant) {
        if self.route.as_ref().is_none_or(|route| route.epoch.number != epoch) {
            return;
        }
        self.wanted_after = Some(now);
        self.suspected_at = Some(now);
        if signal.stops() {
            self.stop(Why::Signal(signal), now);
        }
    }

    /// Closes the gate, or demands newer proofs if it is closed already.
    fn stop(&mut self, why: Why, now: Instant) {
        self.stopped_at = now;
        self.wanted_after = Some(now);
        let planned = self.planned;
        match &mut self.hold {
            Some(hold) if planned.is_none() => hold.why = why,
            Some(_) => {}
            None => {
                // A planned hold that nobody ends becomes an ordinary one.
                let deadline = planned.unwrap_or(now).max(now) + self.hold_timeout();
                self.hold = Some(Hold { since: now, deadline, expired: false, why });
            }
        }
    }

    fn hold_timeout(&self) -> Duration {
        self.timeouts.failover().min(self.settings.wait_timeout.unwrap_or(Duration::MAX))
    }

    /// Opens the gate if everything needed is proved; says whether on a new epoch.
    fn try_to_open(&mut self, now: Instant) -> bool {
        match self.proof(now) {
            Ok(route) => {
                let is_new = self.route.as_ref().is_none_or(|last| last.epoch.number != route.epoch.number);
                self.route = Some(route);
                self.hold = None;
                self.planned = None;
                self.accepted = None;
                self.suspected_at = None;
                is_new
            }
            Err(obstacle) => {
                if let (Some(hold), Some(why)) = (&mut self.hold, obstacle) {
                    hold.why = why;
                }
                false
            }
        }
    }

    /// The number of the epoch of a node that both halves have proved.
    pub(crate) fn succeed(&self, node: NodeId, found: &Identity) -> Result<u64, Why> {
        let Some(last) = &self.route else { return Ok(1) };
        let is_accepted = self.accepted.as_ref() == Some(found);
        last.number_of(node, found)
            .or(is_accepted.then_some(last.epoch.number + 1))
            .ok_or_else(|| Why::Refused { found: found.clone(), last: last.epoch.identity.clone() })
    }
}

fn is_ill(member: &Member) -> bool {
    member.row.as_ref().is_some_and(|row| row.health == Health::Bad)
}
