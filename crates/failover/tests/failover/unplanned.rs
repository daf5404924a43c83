//! Primaries that die, and what the monitor's words mean meanwhile.

use crate::scene::*;
use crate::waits;
use failover::*;

#[test]
fn a_dead_primary_of_two_is_replaced() {
    let mut s = Scene::of(2);
    s.signal(Signal::Reset).fails(1, Failure::Refused).round();
    // The monitor has not noticed: its table still names the dead one.
    waits!(s, Why::Unreachable(NodeId(1), Failure::Refused));
    s.row(1).health = Health::Bad;
    s.round();
    waits!(s, Why::Unreachable(..));
    s.state(1, "primary->draining").state(2, "secondary->prepare_promotion").round();
    waits!(s, Why::NoPrimary);
    s.state(1, "primary->demoted").state(2, "wait_primary").answers(2, primary(6)).round();
    assert!(s.serves(2));
}

#[test]
fn a_dead_primary_of_three_is_replaced_after_an_election() {
    let mut s = Scene::of(3);
    s.signal(Signal::Eof).fails(1, Failure::Timeout).round();
    s.state(1, "primary->draining").state(2, "report_lsn").state(3, "report_lsn").round();
    waits!(s, Why::NoPrimary);
    s.state(3, "fast_forward").round();
    waits!(s, Why::NoPrimary);
    s.state(1, "primary->demoted").state(3, "wait_primary").answers(3, primary(6)).round();
    assert!(s.serves(3));
}

#[test]
fn a_primary_restarted_in_place_keeps_its_epoch() {
    let mut s = Scene::of(2);
    s.signal(Signal::CrashShutdown).fails(1, Failure::NotReady).round();
    waits!(s, Why::Unreachable(NodeId(1), Failure::NotReady));
    s.answers(1, Answer { started: "later".into(), ..primary(5) }).round();
    assert!(s.serves(1));
    assert_eq!(s.epoch(), 1);
    assert!(matches!(s.follower.decision(), Decision::Keep(_)));
}

#[test]
fn one_late_answer_is_not_a_dead_primary_two_are() {
    let mut s = Scene::of(2);
    s.fails(1, Failure::Timeout).probe(1);
    assert!(s.serves(1));
    let errand = &s.follower.agenda(s.now).probes[0];
    assert!(errand.node == NodeId(1) && errand.every < 100 * MS, "it is asked again at once");
    s.probe(1);
    waits!(s, Why::Unreachable(NodeId(1), Failure::Timeout));
}

#[test]
fn a_late_answer_between_good_ones_does_no_harm() {
    let mut s = Scene::of(2);
    for _ in 0..5 {
        s.fails(1, Failure::Timeout).probe(1).answers(1, primary(5)).probe(1);
        assert!(s.serves(1));
    }
}

#[test]
fn an_unhealthy_primary_that_answers_us_goes_on() {
    let mut s = Scene::of(2);
    s.row(1).health = Health::Bad;
    s.snapshot();
    waits!(s, Why::Unhealthy(NodeId(1)));
    s.round();
    assert!(s.serves(1));
    s.round();
    assert!(s.serves(1), "an illness stops once, not at each snapshot");
}

#[test]
fn a_new_primary_assigned_too_early_is_not_used_before_it_is_writable() {
    let mut s = Scene::of(2);
    s.state(1, "primary->demoted").state(2, "wait_primary").answers(2, guarded(6)).round().round();
    waits!(s, Why::Unfit(NodeId(2), Unfit::ReadOnly));
    s.answers(2, standby()).round();
    waits!(s, Why::Unfit(NodeId(2), Unfit::InRecovery));
    s.answers(2, primary(6)).round();
    assert!(s.serves(2));
}

#[test]
fn a_primary_that_turned_standby_or_read_only_is_held_at_its_next_answer() {
    for (answer, unfit) in [(standby(), Unfit::InRecovery), (guarded(5), Unfit::ReadOnly)] {
        let mut s = Scene::of(2);
        s.answers(1, answer).probe(1);
        s.waits(|why| *why == Why::Unfit(NodeId(1), unfit));
    }
}

#[test]
fn only_answers_asked_after_the_stop_open() {
    let mut s = Scene::of(2);
    let asked_before = s.now;
    s.signal(Signal::Eof);
    let late = Probed { node: NodeId(1), endpoint: endpoint(1), asked_at: asked_before, outcome: Ok(primary(5)) };
    s.snapshot().tell(Event::Probed(late));
    assert!(!s.serves(1));
    s.probe(1);
    assert!(s.serves(1));
}

#[test]
fn an_answer_of_long_ago_does_not_open() {
    let mut s = Scene::of(2);
    s.signal(Signal::Eof).probe(1).tick(3_000 * MS).snapshot();
    assert!(!s.serves(1));
    s.probe(1);
    assert!(s.serves(1));
}

#[test]
fn only_a_snapshot_asked_after_the_stop_opens() {
    let mut s = Scene::of(2);
    let asked_at = s.now;
    s.signal(Signal::Eof).probe(1);
    let nodes = s.rows.clone();
    s.tell(Event::Snapshot(Snapshot { asked_at, nodes, timeouts: None }));
    assert!(!s.serves(1));
    assert!(s.follower.agenda(s.now).read_now);
    s.snapshot();
    assert!(s.serves(1));
    assert!(!s.follower.agenda(s.now).read_now);
}

#[test]
fn a_snapshot_that_overtook_another_is_not_undone_by_it() {
    let mut s = Scene::of(2);
    let (asked_at, nodes) = (s.now, s.rows.clone());
    s.state(1, "primary->draining").snapshot();
    s.tell(Event::Snapshot(Snapshot { asked_at, nodes, timeouts: None })).probe(1);
    waits!(s, Why::Leaving(_));
}

#[test]
fn two_primaries_in_the_monitors_table_stop_traffic() {
    let mut s = Scene::of(2);
    s.state(2, "primary").answers(2, primary(6)).round();
    waits!(s, Why::Contradiction(..));
    s.state(1, "demoted").round();
    assert!(s.serves(2));
}

#[test]
fn another_node_that_says_it_takes_writes_is_ignored_and_reported_once() {
    let mut s = Scene::of(2);
    s.answers(2, primary(9)).probe(2);
    assert!(s.serves(1));
    assert_eq!(s.last.evidence.as_ref().unwrap().change, Change::Claimant(NodeId(2)));
    s.probe(2);
    assert!(s.last.evidence.is_none());
}

#[test]
fn one_that_said_so_before_there_was_a_primary_is_reported_as_well() {
    let mut s = Scene::unproved(2, settings(Truth::Monitor));
    s.answers(2, primary(9)).snapshot().probe(2).probe(1);
    assert!(s.serves(1) && matches!(s.last.evidence.as_ref().unwrap().change, Change::Switched { .. }));
    s.probe(1);
    assert_eq!(s.last.evidence.as_ref().unwrap().change, Change::Claimant(NodeId(2)));
    s.probe(1);
    assert!(s.last.evidence.is_none());
}

#[test]
fn a_hold_ends_where_the_monitors_timeouts_say_and_the_search_goes_on() {
    let mut s = Scene::of(2);
    let timeouts = Timeouts { unhealthy: 3000 * MS, demote: 1000 * MS };
    let (asked_at, nodes) = (s.now, s.rows.clone());
    s.tell(Event::Snapshot(Snapshot { asked_at, nodes, timeouts: Some(timeouts) }));
    s.signal(Signal::Refused).fails(1, Failure::Refused);
    let Decision::Hold(hold) = s.last.decision.clone() else { panic!("held") };
    assert_eq!(hold.deadline - hold.since, 8875 * MS);
    s.signal(Signal::Eof).round();
    let agenda = s.follower.agenda(s.now);
    assert!(agenda.wake_at.unwrap() <= hold.deadline);
    s.tick(hold.deadline - s.now);
    assert!(matches!(&s.last.decision, Decision::Hold(now) if now.expired && now.deadline == hold.deadline));
    assert!(matches!(s.last.evidence.as_ref().unwrap().change, Change::Expired(_)));
    s.answers(1, primary(5)).round();
    assert!(s.serves(1));
}

#[test]
fn the_setting_bounds_the_hold() {
    let wait_timeout = Some(5_000 * MS);
    let mut s = Scene::with(2, Settings { wait_timeout, ..settings(Truth::Monitor) });
    s.signal(Signal::Eof);
    assert!(matches!(&s.last.decision, Decision::Hold(hold) if hold.deadline - hold.since == 5_000 * MS));
}
