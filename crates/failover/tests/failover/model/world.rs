//! The formation itself: nodes with roles and timelines, a monitor that moves them, and what is on its way to the follower.

use super::ledger::Ledger;
use crate::scene::{MS, SYSTEM, endpoint, settings};
use failover::*;
use std::time::{Duration, Instant};

pub const NODES: usize = 3;

/// A node as it really is.
pub struct Real {
    pub up: bool,
    pub frozen: bool,
    /// The network between us and it is cut.
    pub cut: bool,
    /// Its keeper does nothing: it does not stop when it is told to.
    pub stubborn: bool,
    pub in_recovery: bool,
    pub read_only: bool,
    pub timeline: u32,
    pub system: SystemId,
    pub walsenders: u32,
    pub sync_on: bool,
}

/// A failover that the monitor has begun.
pub struct Switching {
    pub from: usize,
    pub to: usize,
    pub stage: u32,
}

pub struct World {
    pub now: Instant,
    pub follower: Follower,
    pub ledger: Ledger,
    pub nodes: Vec<Real>,
    pub rows: Vec<Node>,
    pub primary: usize,
    pub switching: Option<Switching>,
    pub monitor_dead: bool,
    pub monitor_cut: bool,
    pub snapshots: Vec<Snapshot>,
    pub probes: Vec<Probed>,
}

pub fn id(index: usize) -> NodeId {
    NodeId(index as i64)
}

impl World {
    pub fn new(early_open: bool) -> World {
        let now = Instant::now() + 1000 * MS;
        let node = |index| Real {
            up: true,
            frozen: false,
            cut: false,
            stubborn: false,
            in_recovery: index != 0,
            read_only: false,
            timeline: 5,
            system: SYSTEM,
            walsenders: if index == 0 { 2 } else { 0 },
            sync_on: true,
        };
        let row = |index| crate::scene::row(index as i64, if index == 0 { "primary" } else { "secondary" });
        World {
            now,
            follower: Follower::new(Settings { early_open, ..settings(Truth::Monitor) }, now),
            ledger: Ledger::new(now),
            nodes: (0..NODES).map(node).collect(),
            rows: (0..NODES).map(row).collect(),
            primary: 0,
            switching: None,
            monitor_dead: false,
            monitor_cut: false,
            snapshots: Vec::new(),
            probes: Vec::new(),
        }
    }

    /// The follower is told, and everything it says is checked.
    pub fn tell(&mut self, event: Event) {
        self.ledger.before(&event, self.now);
        let step = self.follower.handle(event.clone(), self.now);
        self.ledger.after(&event, &step, &self.follower, self.now);
    }

    /// Time goes by, and the follower is woken when it wants to be.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(wake_at) = self.follower.agenda(self.now).wake_at.filter(|at| *at <= end) {
            self.now = self.now.max(wake_at);
            self.tell(Event::Tick);
            let next = self.follower.agenda(self.now).wake_at;
            assert!(next.is_none_or(|next| next > self.now), "wants to be woken for ever");
        }
        self.now = end;
        self.tell(Event::Tick);
    }

    pub fn ask_monitor(&mut self) {
        if !self.monitor_dead && !self.monitor_cut {
            let timeouts = Some(Timeouts { unhealthy: 3000 * MS, demote: 1000 * MS });
            self.snapshots.push(Snapshot { asked_at: self.now, nodes: self.rows.clone(), timeouts });
        }
    }

    /// A node is asked if it is on the agenda.
    pub fn ask_node(&mut self, index: usize) {
        if !self.follower.agenda(self.now).probes.iter().any(|errand| errand.node == id(index)) {
            return;
        }
        let real = &self.nodes[index];
        let outcome = match real {
            Real { cut: true, .. } | Real { frozen: true, .. } => Err(Failure::Timeout),
            Real { up: false, .. } => Err(Failure::Refused),
            real => Ok(Answer {
                in_recovery: real.in_recovery,
                read_only: real.read_only,
                system: real.system,
                timeline: (!real.in_recovery).then_some(real.timeline),
                sync_on: real.sync_on,
                walsenders: real.walsenders,
                started: "".into(),
                lsn: None,
            }),
        };
        let endpoint = endpoint(index as i64);
        self.probes.push(Probed { node: id(index), endpoint, asked_at: self.now, outcome });
    }

    pub fn set(&mut self, index: usize, reported: NodeState, goal: NodeState) {
        self.rows[index].reported = reported;
        self.rows[index].goal = goal;
    }

    fn goal(&mut self, index: usize, goal: NodeState) {
        self.rows[index].goal = goal;
    }

    /// The monitor and the keepers do the next thing of a failover, in the order in which real ones do.
    pub fn advance(&mut self) {
        let Some(Switching { from, to, stage }) = self.switching else { return };
        if self.monitor_dead {
            return;
        }
        use NodeState::*;
        match stage {
            0 => {
                self.goal(from, Draining);
                self.goal(to, PreparePromotion);
            }
            1 => {
                self.set(to, PreparePromotion, StopReplication);
                self.goal(from, DemoteTimeout);
            }
            2 => self.promote(to),
            3 => self.stop(from),
            4 if !self.nodes[from].up && !self.nodes[from].stubborn => self.set(from, DemoteTimeout, DemoteTimeout),
            4 => {}
            5 => {
                self.set(to, StopReplication, WaitPrimary);
                self.goal(from, Demoted);
            }
            6 => self.nodes[to].read_only = false,
            7 => self.set(to, WaitPrimary, WaitPrimary),
            _ => {
                self.primary = to;
                self.switching = None;
                return self.follow(from);
            }
        }
        self.switching = Some(Switching { from, to, stage: stage + 1 });
    }

    fn promote(&mut self, index: usize) {
        let greatest = self.nodes.iter().map(|node| node.timeline).max().unwrap_or(0);
        let node = &mut self.nodes[index];
        (node.in_recovery, node.read_only, node.timeline, node.walsenders) = (false, true, greatest + 1, 0);
    }

    fn stop(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.walsenders = 0;
        if !node.stubborn && !node.frozen {
            node.up = false;
        }
    }

    /// A former primary becomes a standby, if it can.
    pub fn follow(&mut self, index: usize) {
        let (timeline, system) = (self.nodes[self.primary].timeline, self.nodes[self.primary].system);
        let node = &mut self.nodes[index];
        if node.stubborn || node.frozen || index == self.primary {
            return;
        }
        (node.up, node.in_recovery, node.read_only) = (true, true, false);
        (node.timeline, node.system, node.walsenders) = (timeline, system, 0);
        self.set(index, NodeState::Secondary, NodeState::Secondary);
        self.rows[index].timeline = timeline;
        self.rows[index].system = Some(system);
        self.set(self.primary, NodeState::Primary, NodeState::Primary);
        self.nodes[self.primary].walsenders = 1;
    }

    /// Whoever lives is repaired, and nothing happens any more: service has to come back by itself, or because an
    /// operator accepts an identity that cannot follow the last one.
    pub fn a_stable_truth_is_served_in_the_end(&mut self) {
        (self.monitor_dead, self.monitor_cut) = (false, false);
        for node in &mut self.nodes {
            (node.frozen, node.cut, node.stubborn) = (false, false, false);
        }
        while self.switching.is_some() {
            self.advance();
        }
        let primary = &mut self.nodes[self.primary];
        (primary.up, primary.in_recovery, primary.read_only) = (true, false, false);
        self.rows[self.primary].system = Some(primary.system);
        (0..NODES).for_each(|index| self.follow(index));
        self.tell(Event::PlannedEnded);
        self.deliver_everything();
        // Whatever was heard before is too old to start anything.
        self.pass(4000 * MS);
        let last = self.ledger.identity.clone();
        self.serve_within(10);
        if let Some(refused) = self.follower.refused().cloned() {
            let last = last.expect("only a second one is refused");
            assert!(refused.system != last.system || refused.timeline <= last.timeline);
            self.ledger.accepted = Some(refused.clone());
            self.tell(Event::Accept(refused));
            self.serve_within(10);
        }
        match self.follower.decision() {
            Decision::Keep(route) => assert_eq!((route.node, route.early), (id(self.primary), false)),
            decision => panic!("not served: {decision:?}"),
        }
    }

    fn serve_within(&mut self, rounds: u32) {
        for _ in 0..rounds {
            self.pass(20 * MS);
            self.ask_monitor();
            (0..NODES).for_each(|index| self.ask_node(index));
            self.pass(MS);
            self.deliver_everything();
        }
    }

    pub fn deliver_everything(&mut self) {
        for snapshot in std::mem::take(&mut self.snapshots) {
            self.tell(Event::Snapshot(snapshot));
        }
        for probed in std::mem::take(&mut self.probes) {
            self.tell(Event::Probed(probed));
        }
    }
}
