//! Opening a planned successor before it is writable by default.

use crate::scene::*;
use crate::waits;
use failover::*;

fn planned() -> Scene {
    let mut s = Scene::with(2, Settings { early_open: true, ..settings(Truth::Monitor) });
    let until = s.now + 25_000 * MS;
    s.tell(Event::PlannedBegun { until });
    s.state(1, "primary->demote_timeout")
        .state(2, "prepare_promotion->stop_replication")
        .answers(2, guarded(6))
        .round();
    waits!(s, Why::NoPrimary);
    s
}

fn stopped(s: &mut Scene) -> &mut Scene {
    s.state(1, "demote_timeout").fails(1, Failure::Refused).round()
}

fn is_early(s: &Scene) -> bool {
    matches!(s.follower.decision(), Decision::Keep(Route { early: true, node: NodeId(2), .. }))
}

#[test]
fn the_successor_opens_as_soon_as_the_old_primary_is_known_to_have_stopped() {
    let mut s = planned();
    stopped(&mut s);
    assert!(is_early(&s));
    assert_eq!(s.epoch(), 2);
}

#[test]
fn every_state_reported_after_the_stop_will_do() {
    let states = ["draining", "demote_timeout", "demoted", "prepare_maintenance", "maintenance"];
    for state in states.into_iter().chain(["report_lsn", "join_secondary"]) {
        let mut s = planned();
        s.state(1, state).fails(1, Failure::Refused).round();
        assert!(is_early(&s), "{state}");
    }
}

#[test]
fn the_winner_of_an_election_opens_when_it_is_promoted_and_no_other() {
    let mut s = Scene::with(3, Settings { early_open: true, ..settings(Truth::Monitor) });
    let until = s.now + 25_000 * MS;
    s.tell(Event::PlannedBegun { until });
    s.state(1, "draining->report_lsn").fails(1, Failure::Refused);
    s.state(2, "report_lsn").state(3, "secondary->report_lsn").fails(3, Failure::NotReady).round();
    waits!(s, Why::NoPrimary);
    s.state(1, "report_lsn->join_secondary").answers(1, standby());
    s.state(2, "prepare_promotion->wait_primary").state(3, "report_lsn->join_secondary").answers(3, standby()).round();
    waits!(s, Why::NoPrimary);
    s.answers(2, primary(6)).probe(2);
    assert!(is_early(&s), "{:?}", s.last);
    s.state(1, "join_secondary").fails(1, Failure::Refused).hint(1, "join_secondary").round();
    assert!(is_early(&s), "what becomes of the others does not stop it: {:?}", s.last);
    s.state(2, "wait_primary").round();
    assert!(s.serves(2) && !is_early(&s));
}

#[test]
fn it_is_settled_when_rule_one_holds_and_the_epoch_stays() {
    let mut s = planned();
    stopped(&mut s);
    s.state(2, "stop_replication->wait_primary").hint(2, "stop_replication->wait_primary").round();
    assert!(is_early(&s));
    s.state(2, "wait_primary").snapshot();
    assert!(is_early(&s), "the node is still guarded");
    s.answers(2, primary(6)).round();
    assert!(s.serves(2) && !is_early(&s));
    assert_eq!(s.epoch(), 2);
}

#[test]
fn settling_is_news() {
    let mut s = planned();
    stopped(&mut s);
    s.state(2, "wait_primary").answers(2, primary(6)).snapshot().probe(2);
    assert!(matches!(s.last.evidence.as_ref().unwrap().change, Change::Settled(_)));
}

#[test]
fn nothing_opens_early_without_the_option() {
    let mut s = Scene::of(2);
    let until = s.now + 25_000 * MS;
    s.tell(Event::PlannedBegun { until });
    s.state(2, "stop_replication").answers(2, guarded(6));
    stopped(&mut s);
    waits!(s, Why::NoPrimary);
}

#[test]
fn an_unplanned_failover_never_opens_early() {
    let mut s = Scene::with(2, Settings { early_open: true, ..settings(Truth::Monitor) });
    s.state(2, "stop_replication").answers(2, guarded(6)).state(1, "primary->demoted").round().round();
    waits!(s, Why::NoPrimary);
    stopped(&mut s);
    waits!(s, Why::NoPrimary);
}

#[test]
fn a_skipped_timeline_or_another_system_does_not_open_early() {
    for answer in [guarded(5), guarded(7), Answer { system: SystemId(1), ..guarded(6) }, standby()] {
        let mut s = planned();
        s.answers(2, answer).probe(2);
        stopped(&mut s);
        waits!(s, Why::NoPrimary);
    }
}

#[test]
fn a_node_that_the_monitor_does_not_promote_does_not_open_early() {
    let mut s = planned();
    s.state(2, "secondary");
    stopped(&mut s);
    waits!(s, Why::NoPrimary);
}

#[test]
fn what_was_asked_before_the_pause_does_not_open_early() {
    let mut s = Scene::with(2, Settings { early_open: true, ..settings(Truth::Monitor) });
    s.state(1, "demote_timeout").state(2, "stop_replication").answers(2, guarded(6)).fails(1, Failure::Refused);
    s.round();
    let until = s.now + 25_000 * MS;
    s.tell(Event::PlannedBegun { until }).probe(2);
    assert!(!s.serves(2));
    s.snapshot();
    assert!(is_early(&s));
}

#[test]
fn an_early_successor_that_the_monitor_turns_away_is_held() {
    let mut s = planned();
    stopped(&mut s);
    s.state(2, "stop_replication->demoted").snapshot();
    waits!(s, Why::Leaving(_));
}

#[test]
fn an_early_successor_that_fails_waits_for_rule_one() {
    let mut s = planned();
    stopped(&mut s);
    s.signal(Signal::Eof).round();
    waits!(s, Why::NoPrimary);
    s.state(2, "wait_primary").answers(2, primary(6)).round();
    assert!(s.serves(2) && !is_early(&s));
    assert_eq!(s.epoch(), 2);
}
