//! Notifications: they may stop, never start.

use crate::scene::*;
use crate::waits;
use failover::*;

#[test]
fn a_spoofed_hint_costs_a_pause_until_monitor_and_node_agree() {
    let mut s = Scene::of(2);
    s.hint(1, "primary->draining");
    waits!(s, Why::Hinted(_));
    assert!(s.follower.agenda(s.now).read_now);
    s.probe(1);
    assert!(!s.serves(1));
    s.snapshot();
    assert!(s.serves(1));
    assert_eq!(s.epoch(), 1);
}

#[test]
fn a_stop_is_a_suspicion_until_the_monitors_table_or_the_node_confirms_it() {
    let is_suspicion = |s: &Scene| matches!(s.follower.decision(), Decision::Hold(hold) if hold.why.is_suspicion());
    let stops: [fn(&mut Scene); 3] = [
        |s| _ = s.hint(1, "primary->draining"),
        |s| _ = s.signal(Signal::AdminShutdown),
        |s| _ = s.tell(Event::Hint(Hint { health: Health::Bad, ..hint(1, "primary") })),
    ];
    for stop in stops {
        let mut s = Scene::of(2);
        stop(&mut s);
        assert!(is_suspicion(&s), "{:?}", s.last);
        s.state(1, "primary->draining").snapshot();
        waits!(s, Why::NoPrimary);
        let mut s = Scene::of(2);
        stop(&mut s);
        s.snapshot().fails(1, Failure::Refused).probe(1);
        waits!(s, Why::Unreachable(..));
        assert!(!is_suspicion(&s));
    }
}

#[test]
fn every_goal_that_does_not_write_stops() {
    for goal in ["draining", "demote_timeout", "demoted", "prepare_maintenance", "dropped", "report_lsn", "nonsense"] {
        let mut s = Scene::of(2);
        s.hint(1, &format!("primary->{goal}"));
        waits!(s, Why::Hinted(_));
    }
}

#[test]
fn a_hint_that_names_a_new_primary_starts_nothing() {
    let mut s = Scene::of(2);
    s.hint(1, "primary->draining").answers(2, primary(6)).probe(2).hint(2, "wait_primary");
    assert!(matches!(s.last.decision, Decision::Hold(_)));
    s.hint(1, "primary").probe(1).probe(2);
    waits!(s, Why::Hinted(_));
}

#[test]
fn hints_about_others_only_make_the_table_read_again() {
    let mut s = Scene::of(2);
    assert!(!s.follower.agenda(s.now).read_now);
    s.hint(2, "secondary->catchingup");
    assert!(s.serves(1) && s.follower.agenda(s.now).read_now);
}

#[test]
fn hints_about_another_formation_or_group_are_nothing() {
    let mut s = Scene::of(2);
    s.tell(Event::Hint(Hint { formation: "other".into(), ..hint(1, "primary->draining") }));
    s.tell(Event::Hint(Hint { group: 1, ..hint(1, "primary->draining") }));
    assert!(s.serves(1) && !s.follower.agenda(s.now).read_now);
}

#[test]
fn bad_health_stops_when_it_is_new() {
    let mut s = Scene::of(2);
    let ill = || Event::Hint(Hint { health: Health::Bad, ..hint(1, "primary") });
    s.tell(ill());
    waits!(s, Why::Unhealthy(NodeId(1)));
    s.row(1).health = Health::Bad;
    s.round();
    assert!(s.serves(1));
    s.tell(ill());
    assert!(s.serves(1));
}
