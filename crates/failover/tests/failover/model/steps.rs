//! What may happen next, drawn from one random word.

use super::world::{NODES, Switching, World, id};
use crate::scene::{MS, endpoint};
use failover::*;

/// Gives out the digits of a random word.
pub struct Word(u32);

impl Word {
    pub fn choose(&mut self, n: usize) -> usize {
        let choice = self.0 as usize % n;
        self.0 /= n as u32;
        choice
    }
}

const STATES: [&str; 10] = [
    "primary",
    "wait_primary",
    "draining",
    "demoted",
    "secondary",
    "prepare_promotion",
    "stop_replication",
    "maintenance",
    "report_lsn",
    "no_such_state",
];

impl World {
    pub fn step(&mut self, word: u32) {
        let mut word = Word(word);
        match word.choose(32) {
            0..=4 => self.pass([1, 3, 10, 100, 700, 1500, 3500, 30_000][word.choose(8)] * MS),
            5..=6 => self.ask_monitor(),
            7..=9 => self.ask_node(word.choose(NODES)),
            10..=12 => self.deliver_snapshot(&mut word),
            13..=16 => self.deliver_probe(&mut word),
            17..=18 => self.a_round(),
            19..=21 => self.advance_or_begin(&mut word),
            22 => self.hint(&mut word),
            23 => self.signal(&mut word),
            24 => self.monitor_changes(&mut word),
            25..=26 => self.node_changes(&mut word),
            27 => self.plan(&mut word),
            28 => self.lose(&mut word),
            29 => self.rebel(&mut word),
            30 => self.accept(&mut word),
            _ => self.monitor_lies(&mut word),
        }
    }

    fn deliver_snapshot(&mut self, word: &mut Word) {
        if !self.snapshots.is_empty() {
            let index = word.choose(self.snapshots.len());
            let snapshot = self.snapshots.swap_remove(index);
            self.now += MS * word.choose(2) as u32;
            self.tell(Event::Snapshot(snapshot));
        }
    }

    fn deliver_probe(&mut self, word: &mut Word) {
        if !self.probes.is_empty() {
            let index = word.choose(self.probes.len());
            let probed = self.probes.swap_remove(index);
            self.now += MS * word.choose(2) as u32;
            self.tell(Event::Probed(probed));
        }
    }

    /// An owner and a network at their best: everybody is asked and answers in a millisecond.
    fn a_round(&mut self) {
        self.pass(MS);
        self.ask_monitor();
        (0..NODES).for_each(|index| self.ask_node(index));
        self.pass(MS);
        self.deliver_everything();
    }

    fn advance_or_begin(&mut self, word: &mut Word) {
        if self.switching.is_some() {
            let stages = 1 + word.choose(3);
            return (0..stages).for_each(|_| self.advance());
        }
        let to = word.choose(NODES);
        if to != self.primary && self.nodes[to].up && self.nodes[to].in_recovery {
            self.switching = Some(Switching { from: self.primary, to, stage: 0 });
            self.advance();
            self.tell_of(self.primary);
        }
    }

    /// What the monitor really notifies.
    fn tell_of(&mut self, index: usize) {
        if !self.monitor_dead && !self.monitor_cut {
            let Node { reported, goal, health, .. } = self.rows[index].clone();
            self.notify(index, reported, goal, health);
        }
    }

    fn hint(&mut self, word: &mut Word) {
        let index = word.choose(NODES);
        if word.choose(2) == 0 {
            return self.tell_of(index);
        }
        let reported = NodeState::parse(STATES[word.choose(STATES.len())]);
        let goal = NodeState::parse(STATES[word.choose(STATES.len())]);
        let health = [Health::Good, Health::Bad][word.choose(2)];
        self.notify(index, reported, goal, health);
    }

    fn notify(&mut self, index: usize, reported: NodeState, goal: NodeState, health: Health) {
        let (node, endpoint) = (id(index), endpoint(index as i64));
        self.tell(Event::Hint(Hint { formation: "default".into(), group: 0, node, endpoint, reported, goal, health }));
    }

    fn signal(&mut self, word: &mut Word) {
        use Signal::*;
        let signals = [ReadOnly, AdminShutdown, CrashShutdown, CannotConnectNow, Refused, Reset, Eof, SyncWaitCanceled];
        let signal = signals[word.choose(signals.len())];
        let present = self.follower.report(self.now).route.map_or(0, |route| route.epoch.number);
        let epoch = present.saturating_sub(word.choose(2) as u64);
        self.tell(Event::Signal { epoch, signal });
    }

    fn monitor_changes(&mut self, word: &mut Word) {
        match word.choose(4) {
            0 => self.monitor_dead = !self.monitor_dead,
            1 => self.monitor_cut = !self.monitor_cut,
            2 => self.tell(Event::MonitorLost),
            _ => self.tell(Event::MonitorBack),
        }
    }

    fn node_changes(&mut self, word: &mut Word) {
        let index = word.choose(NODES);
        let node = &mut self.nodes[index];
        match word.choose(8) {
            0 => node.up = false,
            1 => node.up = true,
            2 => node.frozen = !node.frozen,
            3 => node.cut = !node.cut,
            4 => node.stubborn = !node.stubborn,
            5 => node.walsenders = if node.walsenders == 0 { 1 } else { 0 },
            6 => node.sync_on = !node.sync_on,
            _ => self.rows[index].health = [Health::Good, Health::Bad][word.choose(2)],
        }
    }

    fn plan(&mut self, word: &mut Word) {
        match word.choose(3) {
            0 => self.tell(Event::PlannedEnded),
            n => {
                let until = self.now + [20_000, 300][n - 1] * MS;
                self.tell(Event::PlannedBegun { until });
                // A coordinator goes on, and the failover reaches the point where an early opening is possible.
                if n == 1 && word.choose(2) == 0 {
                    self.advance_or_begin(&mut Word(word.choose(NODES) as u32));
                    (0..3).for_each(|_| self.advance());
                }
            }
        }
    }

    fn lose(&mut self, word: &mut Word) {
        match word.choose(2) {
            0 => drop(self.snapshots.pop()),
            _ => drop(self.probes.pop()),
        }
    }

    /// A node does what nobody told it: it is promoted by hand, made read-only, or replaced by another cluster.
    fn rebel(&mut self, word: &mut Word) {
        let index = word.choose(NODES);
        let node = &mut self.nodes[index];
        match word.choose(5) {
            0 => (node.in_recovery, node.timeline) = (false, node.timeline + word.choose(3) as u32),
            1 => node.read_only = !node.read_only,
            2 => node.in_recovery = !node.in_recovery,
            3 => (node.in_recovery, node.timeline) = (false, node.timeline.saturating_sub(1).max(1)),
            _ => {
                node.system = SystemId(1 + word.choose(2) as u64);
                self.rows[index].system = [None, Some(node.system)][word.choose(2)];
            }
        }
    }

    fn accept(&mut self, word: &mut Word) {
        let shown = self.follower.refused().cloned();
        let identity = match word.choose(3) {
            0 => Some(Identity { endpoint: endpoint(1), system: SystemId(9), timeline: 1 }),
            _ => shown.clone(),
        };
        if let Some(identity) = identity {
            if shown.as_ref() == Some(&identity) {
                self.ledger.accepted = Some(identity.clone());
            }
            self.tell(Event::Accept(identity));
        }
    }

    /// A monitor restored from a backup, or repaired by hand.
    fn monitor_lies(&mut self, word: &mut Word) {
        let index = word.choose(NODES);
        let reported = NodeState::parse(STATES[word.choose(STATES.len())]);
        let goal = NodeState::parse(STATES[word.choose(STATES.len())]);
        if word.choose(2) == 0 {
            self.set(index, reported, goal);
        }
    }
}
