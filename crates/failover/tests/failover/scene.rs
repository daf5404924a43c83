//! A formation as a test sets it, and a follower that is shown it.

use failover::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub const MS: Duration = Duration::from_millis(1);
pub const SYSTEM: SystemId = SystemId(7710200781268129695);

pub struct Scene {
    pub follower: Follower,
    pub now: Instant,
    pub rows: Vec<Node>,
    pub answers: BTreeMap<i64, Result<Answer, Failure>>,
    pub last: Step,
}

pub fn endpoint(id: i64) -> Endpoint {
    Endpoint::new("10.0.0.1", 5430 + id as u16)
}

pub fn row(id: i64, states: &str) -> Node {
    let (reported, goal) = states.split_once("->").unwrap_or((states, states));
    Node {
        id: NodeId(id),
        name: format!("node{id}").into(),
        endpoint: endpoint(id),
        system: Some(SYSTEM),
        reported: NodeState::parse(reported),
        goal: NodeState::parse(goal),
        health: Health::Good,
        timeline: 5,
        lsn: Lsn(1000),
        candidate_priority: 50,
    }
}

pub fn primary(timeline: u32) -> Answer {
    Answer {
        in_recovery: false,
        read_only: false,
        system: SYSTEM,
        timeline: Some(timeline),
        sync_on: true,
        walsenders: 1,
        started: "2026-01-01 00:00:00+00".into(),
        lsn: Some(Lsn(1000)),
    }
}

pub fn guarded(timeline: u32) -> Answer {
    Answer { read_only: true, ..primary(timeline) }
}

pub fn standby() -> Answer {
    Answer { in_recovery: true, timeline: None, walsenders: 0, ..primary(0) }
}

pub fn settings(truth: Truth) -> Settings {
    Settings { formation: "default".into(), group: 0, truth, early_open: false, wait_timeout: None }
}

pub fn hint(id: i64, states: &str) -> Hint {
    let Node { reported, goal, health, endpoint, .. } = row(id, states);
    Hint { formation: "default".into(), group: 0, node: NodeId(id), endpoint, reported, goal, health }
}

impl Scene {
    /// The first node is the primary on timeline 5, the others follow it, and traffic flows.
    pub fn of(size: i64) -> Scene {
        Scene::with(size, settings(Truth::Monitor))
    }

    pub fn with(size: i64, settings: Settings) -> Scene {
        let mut scene = Scene::unproved(size, settings);
        scene.round();
        assert!(scene.serves(1), "{:?}", scene.last);
        scene
    }

    pub fn unproved(size: i64, settings: Settings) -> Scene {
        let now = Instant::now() + 1000 * MS;
        let mut follower = Follower::new(settings, now);
        let last = follower.handle(Event::Tick, now);
        let rows = (1..=size).map(|id| row(id, if id == 1 { "primary" } else { "secondary" })).collect();
        let answers = (1..=size).map(|id| (id, Ok(if id == 1 { primary(5) } else { standby() }))).collect();
        Scene { follower, now, rows, answers, last }
    }

    /// Nodes 0 to `size - 1` of a list; the first one is the primary on timeline 5.
    pub fn hosts(size: i64) -> Scene {
        let hosts = (0..size).map(endpoint).collect();
        let mut scene = Scene::unproved(0, settings(Truth::Hosts(hosts)));
        scene.answers = (0..size).map(|id| (id, Ok(if id == 0 { primary(5) } else { standby() }))).collect();
        scene
    }

    pub fn tell(&mut self, event: Event) -> &mut Scene {
        self.now += MS;
        self.last = self.follower.handle(event, self.now);
        self
    }

    pub fn state(&mut self, id: i64, states: &str) -> &mut Scene {
        let (reported, goal) = states.split_once("->").unwrap_or((states, states));
        let row = self.row(id);
        row.reported = NodeState::parse(reported);
        row.goal = NodeState::parse(goal);
        self
    }

    pub fn row(&mut self, id: i64) -> &mut Node {
        self.rows.iter_mut().find(|row| row.id == NodeId(id)).unwrap()
    }

    pub fn answers(&mut self, id: i64, answer: Answer) -> &mut Scene {
        self.answers.insert(id, Ok(answer));
        self
    }

    pub fn fails(&mut self, id: i64, failure: Failure) -> &mut Scene {
        self.answers.insert(id, Err(failure));
        self
    }

    /// The monitor is asked, and answers a millisecond later.
    pub fn snapshot(&mut self) -> &mut Scene {
        self.now += MS;
        let snapshot = Snapshot { asked_at: self.now, nodes: self.rows.clone(), timeouts: None };
        self.tell(Event::Snapshot(snapshot))
    }

    /// A node is asked, and answers a millisecond later.
    pub fn probe(&mut self, id: i64) -> &mut Scene {
        self.now += MS;
        let outcome = self.answers[&id].clone();
        let probed = Probed { node: NodeId(id), endpoint: endpoint(id), asked_at: self.now, outcome };
        self.tell(Event::Probed(probed))
    }

    pub fn probe_all(&mut self) -> &mut Scene {
        for id in self.answers.keys().copied().collect::<Vec<_>>() {
            self.probe(id);
        }
        self
    }

    /// Everybody is asked.
    pub fn round(&mut self) -> &mut Scene {
        if !self.rows.is_empty() {
            self.snapshot();
        }
        self.probe_all()
    }

    pub fn hint(&mut self, id: i64, states: &str) -> &mut Scene {
        self.tell(Event::Hint(hint(id, states)))
    }

    /// A connection of the present epoch learned something.
    pub fn signal(&mut self, signal: Signal) -> &mut Scene {
        let epoch = self.epoch();
        self.tell(Event::Signal { epoch, signal })
    }

    pub fn tick(&mut self, time: Duration) -> &mut Scene {
        self.now += time;
        self.tell(Event::Tick)
    }

    pub fn epoch(&self) -> u64 {
        self.follower.report(self.now).route.map_or(0, |route| route.epoch.number)
    }

    pub fn serves(&self, id: i64) -> bool {
        match self.follower.decision() {
            Decision::Keep(route) => route.node == NodeId(id),
            _ => false,
        }
    }

    pub fn why(&self) -> Option<Why> {
        self.follower.report(self.now).why
    }

    /// Asserts that traffic waits, and that this is the reason.
    #[track_caller]
    pub fn waits(&self, expected: impl Fn(&Why) -> bool) -> &Scene {
        let why = self.why().expect("traffic waits");
        assert!(expected(&why), "{why:?}");
        self
    }
}

/// Asserts that traffic waits, and that the reason has this shape.
#[macro_export]
macro_rules! waits {
    ($scene:expr, $why:pat) => {
        $scene.waits(|why| matches!(why, $why))
    };
}
