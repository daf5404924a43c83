//! The planned failover step by step, and long random histories of one.

use std::time::{Duration, Instant};

use failover::*;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::scene::{MS, Scene};

const EXPIRY: Duration = Duration::from_secs(25);

fn plan() -> Plan {
    Plan { to: None, dry_run: false, force: false, can_tell: true, limits: Limits::within(EXPIRY) }
}

struct Run {
    procedure: Procedure,
    order: Option<Order>,
    now: Instant,
}

impl Run {
    fn of(plan: Plan) -> Run {
        let now = Instant::now();
        let (procedure, order) = Procedure::begin(plan, now);
        Run { procedure, order: Some(order), now }
    }

    fn tell(&mut self, input: Input) -> &mut Run {
        self.now += MS;
        self.order = self.procedure.handle(input, self.now);
        self
    }

    fn pass(&mut self, time: Duration) -> &mut Run {
        self.now += time;
        self.tell(Input::Tick)
    }

    fn checked(&mut self) -> &mut Run {
        self.tell(Input::Locked(true));
        let scene = Scene::of(2);
        self.tell(Input::Checked(candidate(&scene.follower.report(scene.now), None)))
    }

    /// Up to the pause, with these others.
    fn paused(&mut self, others: &[i32]) -> &mut Run {
        self.checked().tell(Input::Found(others.iter().copied().collect()));
        for other in others {
            self.tell(Input::Ready(*other, Ok(())));
        }
        assert_eq!(self.order, Some(Order::Checkpoint));
        self.tell(Input::Checkpointed(Ok(())));
        assert!(matches!(self.order, Some(Order::Pause(until)) if until == self.now + EXPIRY), "{:?}", self.order);
        self
    }

    fn opened(&mut self, who: Who) -> &mut Run {
        self.tell(Input::Opened { who, endpoint: "10.0.0.1:5432".into(), moved: true })
    }

    #[track_caller]
    fn ends(&self, wanted: fn(&Outcome) -> bool, resume: bool) {
        assert_eq!(self.order, Some(Order::End { resume }), "{:?}", self.procedure);
        assert!(self.procedure.outcome().is_some_and(wanted), "{:?}", self.procedure);
        assert_eq!(self.procedure.deadline(), None);
    }
}

#[test]
fn all_goes_well() {
    let mut run = Run::of(plan());
    assert_eq!(run.order, Some(Order::Lock));
    run.tell(Input::Locked(true));
    assert_eq!(run.order, Some(Order::Check));
    let mut run = Run::of(plan());
    assert_eq!(run.checked().order, Some(Order::Find));
    assert_eq!(run.tell(Input::Found([7].into())).order, Some(Order::Ask));
    assert_eq!(run.tell(Input::Ready(7, Ok(()))).order, Some(Order::Checkpoint));
    run.tell(Input::Checkpointed(Err("no right to".into())));
    assert!(!run.procedure.is_committed());
    assert_eq!(run.tell(Input::Drained(Who::Here, 0)).order, None, "the other one works on");
    assert_eq!(run.tell(Input::Drained(Who::Pooler(7), 0)).order, Some(Order::Commit));
    assert!(run.procedure.is_committed());
    assert_eq!(run.tell(Input::Accepted).order, Some(Order::Await));
    assert_eq!(run.opened(Who::Here).order, None);
    run.opened(Who::Pooler(7)).ends(|outcome| *outcome == Outcome::Done, false);
    let stages: Vec<_> = run.procedure.steps().iter().map(|step| step.stage.name()).collect();
    assert_eq!(stages, ["lock", "check", "poolers", "checkpoint", "pause", "commit", "open", "confirm"]);
}

#[test]
fn each_step_says_how_long_it_took() {
    let mut run = Run::of(plan());
    run.paused(&[]).pass(500 * MS).tell(Input::Drained(Who::Here, 0));
    let pause = run.procedure.steps().last().unwrap();
    assert_eq!((pause.stage, pause.took), (Stage::Pause, 502 * MS));
}

#[test]
fn a_dry_run_touches_nothing() {
    let mut run = Run::of(Plan { dry_run: true, ..plan() });
    run.checked().tell(Input::Found([7].into())).tell(Input::Ready(7, Ok(())));
    run.ends(|outcome| *outcome == Outcome::Rehearsed, false);
}

#[test]
fn what_is_found_before_the_pause_stops_it_and_nothing_was_touched() {
    Run::of(plan()).tell(Input::Locked(false)).ends(|outcome| *outcome == Outcome::Locked, false);
    let mut run = Run::of(plan());
    run.tell(Input::Locked(true)).tell(Input::Checked(Err("no".into())));
    run.ends(|outcome| matches!(outcome, Outcome::NotPossible(why) if why == "no"), false);
    let mut run = Run::of(plan());
    run.checked().tell(Input::Found([7].into())).tell(Input::Ready(7, Err("it holds".into())));
    run.ends(|outcome| matches!(outcome, Outcome::NotPossible(_)), false);
    let mut run = Run::of(plan());
    run.checked().tell(Input::Found([7, 8].into())).tell(Input::Ready(7, Ok(()))).pass(EXPIRY);
    run.ends(|outcome| matches!(outcome, Outcome::NotPossible(why) if why.contains("session 8 ")), false);
    let mut run = Run::of(plan());
    run.checked().tell(Input::Cancel).ends(|outcome| matches!(outcome, Outcome::NotPossible(_)), false);
    let mut run = Run::of(plan());
    run.checked().tell(Input::Lost("gone".into())).ends(|outcome| matches!(outcome, Outcome::NotPossible(_)), false);
}

#[test]
fn others_that_cannot_be_told_are_a_reason_not_to_begin() {
    let mut run = Run::of(Plan { can_tell: false, ..plan() });
    run.checked().tell(Input::Found([7].into()));
    run.ends(|outcome| matches!(outcome, Outcome::NotPossible(why) if why.contains("control_secret")), false);
    let mut run = Run::of(Plan { can_tell: false, force: true, ..plan() });
    assert_eq!(run.checked().tell(Input::Found([7].into())).order, Some(Order::Checkpoint));
    run.tell(Input::Checkpointed(Ok(())));
    assert_eq!(run.tell(Input::Drained(Who::Here, 0)).order, Some(Order::Commit), "nobody else is waited for");
}

#[test]
fn before_the_commit_point_everything_is_undone() {
    let stops: [fn(&mut Run); 5] = [
        |run| {
            run.tell(Input::Cancel);
        },
        |run| {
            run.tell(Input::Lost("gone".into()));
        },
        |run| {
            run.tell(Input::Drained(Who::Here, 3)).pass(EXPIRY);
        },
        |run| {
            run.pass(EXPIRY);
        },
        |run| {
            run.tell(Input::Drained(Who::Here, 0)).tell(Input::Refused("not stable".into()));
        },
    ];
    for stop in stops {
        let mut run = Run::of(plan());
        stop(run.paused(&[]));
        run.ends(|outcome| matches!(outcome, Outcome::Aborted(_)), true);
    }
}

#[test]
fn transactions_that_do_not_end_are_counted() {
    let mut run = Run::of(plan());
    run.paused(&[7]).tell(Input::Drained(Who::Pooler(7), 0)).tell(Input::Drained(Who::Here, 2)).pass(EXPIRY);
    run.ends(|outcome| matches!(outcome, Outcome::Aborted(why) if why == "2 servers are still in use here"), true);
}

#[test]
fn force_goes_on_without_those_who_do_not_answer_and_over_transactions() {
    let mut run = Run::of(Plan { force: true, ..plan() });
    run.checked().tell(Input::Found([7].into())).pass(EXPIRY);
    assert_eq!(run.order, Some(Order::Checkpoint));
    run.tell(Input::Checkpointed(Ok(()))).tell(Input::Drained(Who::Here, 1)).pass(6000 * MS);
    assert_eq!(run.order, Some(Order::Commit));
    run.tell(Input::Accepted).opened(Who::Here).ends(|outcome| *outcome == Outcome::Done, false);
}

#[test]
fn after_the_commit_point_there_is_no_way_back() {
    let mut run = Run::of(plan());
    run.paused(&[7]).tell(Input::Drained(Who::Here, 0)).tell(Input::Drained(Who::Pooler(7), 0));
    run.tell(Input::Cancel);
    assert!(run.order.is_none() && run.procedure.steps().last().unwrap().text.contains("no way back"));
    run.tell(Input::Accepted).tell(Input::Lost("gone".into()));
    assert!(run.order.is_none() && run.procedure.is_committed());
    run.opened(Who::Here).pass(6000 * MS);
    run.ends(|outcome| matches!(outcome, Outcome::Unconfirmed(_)), false);
}

#[test]
fn an_accepted_failover_without_a_successor_leaves_transactions_waiting() {
    let mut run = Run::of(plan());
    run.paused(&[]).tell(Input::Drained(Who::Here, 0)).tell(Input::Accepted).pass(EXPIRY + 1000 * MS);
    run.ends(|outcome| matches!(outcome, Outcome::Stranded(_)), false);
}

#[test]
fn whoever_does_not_know_whether_the_monitor_accepted_waits_for_the_truth() {
    for (moved, wanted) in [(true, "done"), (false, "aborted")] {
        let mut run = Run::of(plan());
        run.paused(&[]).tell(Input::Drained(Who::Here, 0)).tell(Input::Unknown("reset".into()));
        assert_eq!(run.order, Some(Order::Await));
        run.tell(Input::Opened { who: Who::Here, endpoint: "h:1".into(), moved });
        assert_eq!(run.procedure.outcome().map(Outcome::name), Some(wanted));
    }
}

#[test]
fn who_can_take_over_is_told_from_who_cannot() {
    let refusal = |edit: fn(&mut Scene), wanted: Option<&str>| {
        let mut scene = Scene::of(3);
        edit(&mut scene);
        scene.round();
        candidate(&scene.follower.report(scene.now), wanted).expect_err("nobody should take over")
    };
    let chosen = candidate(&Scene::of(3).follower.report(Instant::now()), None).unwrap();
    let names: Vec<_> = chosen.to.iter().map(|node| &*node.name).collect();
    assert_eq!((&*chosen.from.name, names), ("node1", vec!["node2", "node3"]));
    assert!(refusal(|_| {}, Some("node9")).contains("there is no node \"node9\", but node1, node2, node3"));
    assert!(refusal(|_| {}, Some("node1")).contains("node1 is the primary already"));
    let edit: fn(&mut Scene) = |scene| {
        scene.state(3, "secondary->catchingup");
    };
    assert!(refusal(edit, None).contains("node3 (secondary -> catchingup): it is on its way"));
    let edit: fn(&mut Scene) = |scene| scene.row(2).candidate_priority = 0;
    assert!(refusal(edit, Some("node2")).contains("its candidate priority is 0"));
    let edit: fn(&mut Scene) = |scene| {
        scene.fails(2, Failure::Refused);
    };
    assert!(refusal(edit, Some("node2")).contains("refuse"));
    let edit: fn(&mut Scene) = |scene| {
        scene.state(1, "wait_primary");
    };
    assert!(refusal(edit, None).contains("no standby in sync"));
    let edit: fn(&mut Scene) = |scene| {
        scene.state(2, "maintenance").state(3, "catchingup");
    };
    assert!(refusal(edit, None).contains("no node can take over"));
    let edit: fn(&mut Scene) = |scene| {
        scene.hint(1, "primary->draining").state(1, "primary->draining");
    };
    assert!(refusal(edit, None).contains("transactions wait already"));
}

/// What an owner usually answers to an order.
fn usual(order: &Order, word: u32) -> Input {
    match order {
        Order::Lock => Input::Locked(true),
        Order::Check => input(1).0,
        Order::Find => input(5 + word / 64 % 3 * 32).0,
        Order::Ask => Input::Ready(7 + (word / 64 % 2) as i32, Ok(())),
        Order::Checkpoint => Input::Checkpointed(Ok(())),
        Order::Pause(_) => Input::Drained([Who::Here, Who::Pooler(7), Who::Pooler(8)][word as usize / 64 % 3], 0),
        Order::Commit => Input::Accepted,
        Order::Await | Order::End { .. } => input(26 + word / 64 * 32).0,
    }
}

fn input(word: u32) -> (Input, Duration) {
    let who = [Who::Here, Who::Pooler(7), Who::Pooler(8)][word as usize / 32 % 3];
    let pooler = 7 + (word / 32 % 2) as i32;
    let scene = || Scene::of(2);
    let input = match word % 32 {
        0 => Input::Locked(word % 64 < 60),
        1..=3 => {
            let scene = scene();
            Input::Checked(candidate(&scene.follower.report(scene.now), None))
        }
        4 => Input::Checked(Err("no".into())),
        5..=7 => Input::Found([vec![], vec![7], vec![7, 8]][word as usize / 32 % 3].iter().copied().collect()),
        8..=12 => Input::Ready(pooler, Ok(())),
        13 => Input::Ready(pooler, Err("no".into())),
        14..=16 => Input::Checkpointed(Ok(())),
        17..=21 => Input::Drained(who, 0),
        22 => Input::Drained(who, 3),
        23 => Input::Accepted,
        24 => Input::Refused("no".into()),
        25 => Input::Unknown("?".into()),
        26..=27 => Input::Opened { who, endpoint: "h:1".into(), moved: !(word / 96).is_multiple_of(8) },
        28 => Input::Cancel,
        29 => Input::Lost("gone".into()),
        _ => Input::Tick,
    };
    (input, [1, 1, 1, 10, 10, 10, 400, 3000][word as usize / 512 % 8] * MS)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens, and in whatever order: the monitor is told at most once and only after a pause in which nothing
    /// was left in progress (or by force), nobody resumes after it was told unless it refused, everybody does if it was
    /// not told, and it ends.
    #[test]
    fn every_history_keeps_the_promises(
        force in any::<bool>(), dry_run in any::<bool>(), can_tell in any::<bool>(), history in vec(4096..u32::MAX, 0..100)
    ) {
        let start = Instant::now();
        let (mut procedure, mut last) = Procedure::begin(Plan { force, dry_run, can_tell, ..plan() }, start);
        let (mut now, mut paused, mut told, mut refused, mut awaits, mut ended) =
            (start, false, false, false, false, None);
        let mut drained: Vec<Who> = Vec::new();
        // Random events alone may wait for ever: in the end nothing but time passes.
        let ticks = std::iter::repeat_n(30, 40).map(|word: u32| word + 7 * 512);
        for word in history.into_iter().chain(ticks) {
            let (any, time) = input(word);
            let input = if word >= 4096 && word / 4096 % 4 != 0 { usual(&last, word) } else { any };
            now += time;
            if let (Input::Refused(_), true, false) = (&input, told, awaits) {
                refused = true;
            }
            if let (Input::Drained(who, 0), true) = (&input, paused) {
                drained.push(*who);
            }
            let was_over = procedure.outcome().is_some();
            let order = procedure.handle(input, now);
            prop_assert!(!was_over || order.is_none(), "nothing is done after the end");
            last = order.clone().unwrap_or(last);
            match order {
                Some(Order::Pause(until)) => {
                    prop_assert!(!paused && until == now + EXPIRY);
                    paused = true;
                }
                Some(Order::Commit) => {
                    prop_assert!(paused && !told && !dry_run);
                    prop_assert!(force || drained.contains(&Who::Here));
                    told = true;
                }
                Some(Order::Checkpoint) => prop_assert!(!dry_run && !paused),
                Some(Order::End { resume }) => {
                    prop_assert_eq!(resume, paused && (!told || refused), "{:?}", procedure);
                    ended = Some(now);
                }
                Some(Order::Await) => awaits = true,
                Some(Order::Lock | Order::Check | Order::Find | Order::Ask) | None => {}
            }
            prop_assert_eq!(procedure.outcome().is_some(), ended.is_some());
            prop_assert!(procedure.deadline().is_none_or(|at| at <= now + Duration::from_secs(60)));
        }
        prop_assert!(ended.is_some(), "it goes on for ever: {procedure:?}");
    }
}
