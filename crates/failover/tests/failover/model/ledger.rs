//! What a careful reader of the same events knows, and the promises: the naive model.

use crate::scene::MS;
use failover::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SILENT_AFTER: Duration = Duration::from_secs(3);
/// The monitor's timeouts of this world make 8.875 s, those that count before its first word 66.25 s; a pause may ask for
/// a minute before.
const LONGEST_HOLD: Duration = Duration::from_millis(66_250 + 60_000);

pub struct Ledger {
    stopped_at: Instant,
    hinted_at: Option<Instant>,
    planned: Option<Instant>,
    snapshot: Option<Snapshot>,
    probes: BTreeMap<NodeId, Probed>,
    answers: BTreeMap<NodeId, Answer>,
    late: BTreeMap<NodeId, u32>,
    epochs: BTreeMap<u64, Identity>,
    route: Option<Route>,
    open: bool,
    hold: Option<Hold>,
    /// The last one that was served.
    pub identity: Option<Identity>,
    pub accepted: Option<Identity>,
}

impl Ledger {
    pub fn new(now: Instant) -> Ledger {
        Ledger {
            stopped_at: now,
            hinted_at: None,
            planned: None,
            snapshot: None,
            probes: BTreeMap::new(),
            answers: BTreeMap::new(),
            late: BTreeMap::new(),
            epochs: BTreeMap::new(),
            route: None,
            open: false,
            hold: None,
            identity: None,
            accepted: None,
        }
    }

    pub fn before(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Snapshot(snapshot) => {
                if self.snapshot.as_ref().is_none_or(|last| last.asked_at <= snapshot.asked_at) {
                    self.snapshot = Some(snapshot.clone());
                }
            }
            Event::Probed(probed) => {
                if self.probes.get(&probed.node).is_none_or(|last| last.asked_at <= probed.asked_at) {
                    self.note(probed.clone());
                }
            }
            Event::Hint(hint) => {
                let is_ours = self.route.as_ref().is_some_and(|route| route.node == hint.node && !route.early);
                if is_ours && !(hint.goal.is_writable() && hint.reported.is_writable()) {
                    self.hinted_at = Some(now);
                    self.stopped_at = now;
                }
            }
            Event::Signal { epoch, signal } => {
                let is_ours = self.route.as_ref().is_some_and(|route| route.epoch.number == *epoch);
                if is_ours && !matches!(signal, Signal::ReadOnly | Signal::SyncWaitCanceled) {
                    self.stopped_at = now;
                }
            }
            Event::PlannedBegun { until } => {
                self.planned = Some(*until);
                self.stopped_at = now;
            }
            Event::PlannedEnded => self.planned = None,
            Event::MonitorLost | Event::MonitorBack | Event::Accept(_) | Event::Tick => {}
        }
    }

    fn note(&mut self, probed: Probed) {
        let late = self.late.entry(probed.node).or_default();
        match &probed.outcome {
            Err(Failure::Timeout) => *late += 1,
            _ => *late = 0,
        }
        if let Ok(answer) = &probed.outcome {
            self.answers.insert(probed.node, answer.clone());
        }
        self.probes.insert(probed.node, probed);
    }

    pub fn after(&mut self, event: &Event, step: &Step, follower: &Follower, now: Instant) {
        match &step.decision {
            Decision::Hold(hold) => self.holds(hold, follower, now),
            Decision::Keep(route) => self.serves(event, route, false, now),
            Decision::Switch(route) => self.serves(event, route, true, now),
        }
    }

    /// No hold exceeds its deadline unnoticed, and its deadline never moves.
    fn holds(&mut self, hold: &Hold, follower: &Follower, now: Instant) {
        if self.open {
            self.stopped_at = now;
            assert_eq!(hold.since, now);
        }
        if let Some(before) = &self.hold {
            assert_eq!((before.since, before.deadline), (hold.since, hold.deadline), "the deadline moves");
        }
        assert!(hold.deadline - hold.since <= LONGEST_HOLD);
        assert_eq!(hold.expired, now >= hold.deadline, "a deadline passes unnoticed");
        let wake_at = follower.agenda(now).wake_at;
        assert!(hold.expired || wake_at.is_some_and(|at| at <= hold.deadline), "nobody looks at the deadline");
        (self.open, self.hold) = (false, Some(hold.clone()));
    }

    fn serves(&mut self, event: &Event, route: &Route, switched: bool, now: Instant) {
        let is_new = self.route.as_ref().is_none_or(|last| last.epoch.number != route.epoch.number);
        assert_eq!(is_new, switched, "a new epoch is announced, and nothing else");
        let known = self.epochs.entry(route.epoch.number).or_insert_with(|| route.epoch.identity.clone());
        assert_eq!(*known, route.epoch.identity, "one endpoint per epoch");
        assert_eq!(self.epochs.keys().max(), Some(&route.epoch.number), "epochs only grow");
        if is_new {
            self.follows(&route.epoch.identity);
        }
        if !self.open {
            self.starts(event, route, now);
        }
        self.nothing_speaks_against(route, now);
        self.identity = Some(route.epoch.identity.clone());
        self.route = Some(route.clone());
        (self.open, self.hold) = (true, None);
        if is_new {
            self.planned = None;
        }
    }

    fn follows(&self, next: &Identity) {
        let Some(last) = &self.identity else { return };
        let is_successor = next.system == last.system && next.timeline > last.timeline;
        assert!(is_successor || self.accepted.as_ref() == Some(next), "{next} does not follow {last}");
    }

    fn is_silent(&self, now: Instant) -> bool {
        now - self.snapshot.as_ref().expect("the monitor was heard once").asked_at >= SILENT_AFTER
    }

    fn assigned(&self) -> Vec<&Node> {
        let writes = |state: &NodeState| {
            matches!(state.name(), "single" | "primary" | "wait_primary" | "apply_settings" | "join_primary")
        };
        let rows = self.snapshot.as_ref().expect("the monitor was heard once").nodes.iter();
        rows.filter(|row| writes(&row.reported) && writes(&row.goal)).collect()
    }

    /// Traffic starts only on what was proved after the last stop.
    fn starts(&self, event: &Event, route: &Route, now: Instant) {
        let may_start = matches!(
            event,
            Event::Snapshot(_) | Event::Probed(_) | Event::Tick | Event::Accept(_) | Event::PlannedEnded
        );
        assert!(may_start, "started by {event:?}");
        let told_at = self.snapshot.as_ref().expect("nothing starts without the monitor").asked_at;
        let probed = &self.probes[&route.node];
        let answer = probed.outcome.as_ref().expect("nothing starts on a node that does not answer");
        assert!(probed.asked_at > self.stopped_at, "started on a node's old word");
        assert!(now - probed.asked_at < SILENT_AFTER, "started on a node's word of long ago");
        assert!(!answer.in_recovery);
        assert_eq!(
            (answer.system, answer.timeline),
            (route.epoch.identity.system, Some(route.epoch.identity.timeline))
        );
        assert!(self.planned.is_none_or(|until| now >= until) || Some(&route.epoch.identity) != self.identity.as_ref());
        if route.early {
            return self.starts_early(route, told_at, now);
        }
        assert!(!answer.read_only);
        assert_eq!(self.assigned().iter().map(|row| row.id).collect::<Vec<_>>(), [route.node]);
        match self.is_silent(now) {
            false => assert!(told_at > self.stopped_at, "started on the monitor's old word"),
            true => self.starts_in_silence(route, told_at, answer),
        }
    }

    fn starts_early(&self, route: &Route, told_at: Instant, now: Instant) {
        assert!(told_at > self.stopped_at && !self.is_silent(now));
        assert!(self.planned.is_some_and(|until| now < until), "early without a plan");
        let last = self.identity.as_ref().expect("there is an old primary");
        assert_eq!(route.epoch.identity.timeline, last.timeline + 1);
        let rows = &self.snapshot.as_ref().unwrap().nodes;
        let old = rows.iter().find(|row| row.endpoint == last.endpoint).unwrap();
        assert!(old.reported.proves_stopped(), "the old primary may still run");
    }

    /// While the monitor is silent, its last word has to be confirmed.
    fn starts_in_silence(&self, route: &Route, told_at: Instant, answer: &Answer) {
        if told_at <= self.stopped_at {
            assert_eq!(self.identity.as_ref(), Some(&route.epoch.identity), "a successor needs the monitor");
            assert!(self.hinted_at.is_none_or(|at| at < told_at), "the monitor's last word was to stop");
        }
        let row = self.assigned()[0];
        let is_lone = |state: &NodeState| matches!(state.name(), "single" | "wait_primary");
        let is_standby = |node: &Node| {
            let answer = self.probes.get(&node.id).filter(|probed| probed.asked_at > self.stopped_at);
            let answer = answer.and_then(|probed| probed.outcome.as_ref().ok());
            answer.is_some_and(|answer| answer.in_recovery && answer.system == route.epoch.identity.system)
        };
        let mut others = self.snapshot.as_ref().unwrap().nodes.iter().filter(|node| node.id != route.node);
        let is_confirmed =
            answer.walsenders > 0 || (is_lone(&row.reported) && is_lone(&row.goal)) || others.all(is_standby);
        assert!(is_confirmed, "nobody confirms the monitor's last word");
    }

    /// Whatever was heard last does not contradict the route that is served.
    fn nothing_speaks_against(&self, route: &Route, now: Instant) {
        let assigned: Vec<_> = self.assigned().iter().map(|row| row.id).collect();
        match route.early {
            false => assert_eq!(assigned, [route.node], "not the monitor's word"),
            true => assert!(assigned.is_empty() || assigned == [route.node]),
        }
        let probed = &self.probes[&route.node];
        match &probed.outcome {
            Ok(answer) => assert_eq!(route.admits(answer), Ok(()), "not the node's word"),
            Err(Failure::Timeout) => assert!(self.late[&route.node] < 2, "the node is gone"),
            Err(failure) => panic!("the node {failure}"),
        }
        if !self.is_silent(now) {
            return;
        }
        let identity = &route.epoch.identity;
        for (node, answer) in self.answers.iter().filter(|(node, _)| **node != route.node) {
            let is_rival = answer.system == identity.system && !answer.in_recovery;
            assert!(!is_rival || answer.timeline < Some(identity.timeline), "{node} may have replaced it");
        }
        let answer = &self.answers[&route.node];
        assert!(route.early || !answer.sync_on || answer.walsenders > 0, "it is isolated");
    }
}

/// How long a second is for those who wait.
#[test]
fn the_bound_of_a_hold_is_made_of_its_parts() {
    assert_eq!(LONGEST_HOLD, Timeouts::default().failover() + 60_000 * MS);
}
