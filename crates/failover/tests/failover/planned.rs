//! Switchovers, ours and those of others, in the order in which a formation goes through them.

use crate::scene::*;
use crate::waits;
use failover::*;

#[test]
fn a_switchover_of_two_nodes_is_followed_step_by_step() {
    let mut s = Scene::of(2);
    s.hint(1, "primary->draining");
    waits!(s, Why::Hinted(_));
    s.state(1, "primary->draining").state(2, "secondary->prepare_promotion").snapshot();
    waits!(s, Why::NoPrimary);
    // The new one is out of recovery, guarded, while the old one still runs.
    s.state(1, "primary->demote_timeout").state(2, "prepare_promotion->stop_replication");
    s.answers(2, guarded(6)).round();
    waits!(s, Why::NoPrimary);
    s.fails(1, Failure::NotReady).round();
    s.state(1, "demote_timeout").fails(1, Failure::Refused).round();
    waits!(s, Why::NoPrimary);
    // The monitor wants it to be the primary; its guard is gone, but it has not said so to the monitor.
    s.state(1, "demote_timeout->demoted").state(2, "stop_replication->wait_primary").answers(2, primary(6)).round();
    waits!(s, Why::NoPrimary);
    s.state(2, "wait_primary").round();
    assert!(s.serves(2));
    assert_eq!(s.epoch(), 2);
    s.state(1, "demoted->catchingup").round();
    s.state(1, "secondary").state(2, "primary").answers(1, standby()).round();
    assert!(s.serves(2));
    assert_eq!(s.epoch(), 2);
}

#[test]
fn the_switch_is_answered_once_and_then_kept() {
    let mut s = Scene::of(2);
    s.state(1, "draining->demoted").state(2, "wait_primary").answers(2, primary(6)).fails(1, Failure::Refused);
    s.snapshot();
    assert!(matches!(s.last.decision, Decision::Hold(_)));
    s.snapshot().probe(2);
    assert!(matches!(&s.last.decision, Decision::Switch(route) if route.epoch.number == 2 && !route.early));
    s.probe(2);
    assert!(matches!(&s.last.decision, Decision::Keep(route) if route.epoch.number == 2));
}

#[test]
fn a_switchover_of_three_nodes_passes_through_an_election() {
    let mut s = Scene::of(3);
    s.state(1, "primary->draining").snapshot();
    waits!(s, Why::Leaving(_));
    s.state(1, "draining").fails(1, Failure::Refused).round();
    for id in 1..=3 {
        s.state(id, "report_lsn");
    }
    s.fails(2, Failure::Refused).fails(3, Failure::Refused).round();
    waits!(s, Why::NoPrimary);
    s.state(2, "prepare_promotion->wait_primary").answers(2, primary(6)).round();
    waits!(s, Why::NoPrimary);
    s.state(2, "wait_primary").state(3, "report_lsn->join_secondary").round();
    assert!(s.serves(2));
}

#[test]
fn maintenance_of_the_primary_is_a_switchover() {
    let mut s = Scene::of(2);
    s.state(1, "primary->prepare_maintenance").state(2, "secondary->prepare_promotion").snapshot();
    waits!(s, Why::Leaving(_));
    s.state(1, "prepare_maintenance").state(2, "stop_replication").fails(1, Failure::Refused).answers(2, guarded(6));
    s.round();
    waits!(s, Why::NoPrimary);
    s.state(1, "maintenance").state(2, "wait_primary").answers(2, primary(6)).round();
    assert!(s.serves(2));
}

#[test]
fn a_node_in_maintenance_that_takes_writes_is_ignored() {
    let mut s = Scene::of(2);
    s.state(2, "maintenance").answers(2, primary(9)).round();
    assert!(s.serves(1));
}

#[test]
fn losing_and_regaining_the_standby_is_not_a_routing_event() {
    let mut s = Scene::of(2);
    for states in ["primary->wait_primary", "wait_primary", "wait_primary->primary", "primary->apply_settings"] {
        s.state(1, states).state(2, "secondary->catchingup").hint(1, states).round();
        assert!(s.serves(1), "{states}");
    }
    s.state(1, "apply_settings").round();
    assert!(s.serves(1));
}

#[test]
fn a_goal_assigned_is_not_a_goal_reported() {
    let mut s = Scene::of(2);
    s.state(1, "primary->demoted").state(2, "stop_replication->wait_primary").answers(2, primary(6)).round().round();
    waits!(s, Why::NoPrimary);
}

#[test]
fn our_own_pause_does_not_end_while_the_old_primary_is_fine() {
    let mut s = Scene::of(2);
    let until = s.now + 25_000 * MS;
    s.tell(Event::PlannedBegun { until });
    waits!(s, Why::Planned);
    s.round().round();
    waits!(s, Why::Planned);
}

#[test]
fn our_own_pause_ends_on_the_new_primary() {
    let mut s = Scene::of(2);
    let until = s.now + 25_000 * MS;
    s.tell(Event::PlannedBegun { until });
    s.state(1, "demoted").state(2, "wait_primary").fails(1, Failure::Refused).answers(2, primary(6)).round();
    assert!(s.serves(2));
}

#[test]
fn a_pause_given_up_resumes_on_the_old_primary() {
    let mut s = Scene::of(2);
    let until = s.now + 25_000 * MS;
    s.tell(Event::PlannedBegun { until }).round().tell(Event::PlannedEnded);
    assert!(s.serves(1));
    assert_eq!(s.epoch(), 1);
}

#[test]
fn a_pause_whose_coordinator_died_expires_and_resumes_if_nothing_happened() {
    let mut s = Scene::of(2);
    let until = s.now + 2_000 * MS;
    s.tell(Event::PlannedBegun { until });
    assert_eq!(s.follower.agenda(s.now).wake_at, Some(until));
    s.round();
    waits!(s, Why::Planned);
    s.tick(until - s.now);
    assert!(s.serves(1));
}

#[test]
fn a_pause_that_expires_in_mid_failover_becomes_an_ordinary_hold_with_its_own_time() {
    let mut s = Scene::of(2);
    let until = s.now + 2_000 * MS;
    s.tell(Event::PlannedBegun { until });
    let Decision::Hold(hold) = s.last.decision.clone() else { panic!("held") };
    assert_eq!(hold.deadline, until + Timeouts::default().failover());
    s.state(1, "demoted").state(2, "stop_replication").round();
    s.tick(until - s.now);
    waits!(s, Why::NoPrimary);
    s.tick(hold.deadline - s.now);
    assert!(matches!(&s.last.decision, Decision::Hold(hold) if hold.expired));
}

#[test]
fn a_pause_that_asks_for_too_much_is_cut() {
    let mut s = Scene::of(2);
    let until = s.now + 86_400_000 * MS;
    s.tell(Event::PlannedBegun { until });
    assert!(s.follower.agenda(s.now).wake_at.unwrap() <= s.now + 60_000 * MS);
}

#[test]
fn a_pause_during_the_start_does_not_open_on_what_may_be_the_old_primary() {
    let mut s = Scene::unproved(2, settings(Truth::Monitor));
    let until = s.now + 2_000 * MS;
    s.tell(Event::PlannedBegun { until }).round();
    waits!(s, Why::Planned);
    s.tick(until - s.now);
    assert!(s.serves(1));
}
