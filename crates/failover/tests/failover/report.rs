//! What people and the owner are shown: the state, the lines of the log, the agenda, the standbys to read.

use crate::scene::*;
use failover::*;

#[test]
fn a_decision_is_one_line_with_its_evidence() {
    let mut s = Scene::of(2);
    s.state(1, "primary->draining").snapshot();
    let line = s.last.evidence.as_ref().unwrap().to_string();
    let expected = "formation default/0: transactions wait: the monitor says that node 1 is to go from primary to draining \
                    [ node1 10.0.0.1:5431 primary->draining health good timeline 5 takes writes; \
                    node2 10.0.0.1:5432 secondary health good timeline 5 is in recovery ]";
    assert_eq!(line, expected);
}

#[test]
fn only_decisions_are_news() {
    let mut s = Scene::of(2);
    s.signal(Signal::Eof);
    assert!(s.last.evidence.is_some());
    for _ in 0..20 {
        s.signal(Signal::Eof).fails(1, Failure::Refused).probe(1).snapshot();
        assert!(s.last.evidence.is_none());
    }
    s.answers(1, primary(5)).probe(1);
    assert!(matches!(s.last.evidence.as_ref().unwrap().change, Change::Resumed(..)));
}

#[test]
fn a_refusal_during_a_hold_is_news_once() {
    let mut s = Scene::of(2);
    s.state(1, "demoted").fails(1, Failure::Refused).snapshot();
    s.state(2, "wait_primary").answers(2, primary(4)).snapshot().probe(2);
    assert!(matches!(s.last.evidence.as_ref().unwrap().change, Change::Blocked(Why::Refused { .. })));
    s.probe(2);
    assert!(s.last.evidence.is_none());
}

#[test]
fn the_report_shows_gate_epoch_states_and_lag() {
    let mut s = Scene::of(2);
    s.answers(2, Answer { lsn: Some(Lsn(900)), ..standby() }).row(2).lsn = Lsn(880);
    s.round();
    let report = s.follower.report(s.now);
    assert_eq!((report.gate, report.why), (Gate::Open, None));
    assert_eq!(report.route.unwrap().epoch.identity.timeline, 5);
    assert_eq!(report.nodes.iter().map(|node| node.lag).collect::<Vec<_>>(), [None, Some(100)]);
    assert_eq!(report.nodes.iter().map(|node| node.is_target).collect::<Vec<_>>(), [true, false]);
    assert_eq!(report.nodes.iter().map(|node| node.word).collect::<Vec<_>>(), [Word::Writable, Word::InRecovery]);
    s.signal(Signal::Eof);
    assert_eq!(s.follower.report(s.now).gate, Gate::Held);
}

#[test]
fn probes_are_calm_when_open_and_quick_for_candidates_in_transition() {
    let mut s = Scene::of(3);
    let pace = |s: &Scene| s.follower.agenda(s.now).probes.iter().map(|errand| errand.every.as_millis()).collect();
    let calm: Vec<u128> = pace(&s);
    assert_eq!(calm, [1000, 1000, 1000]);
    s.state(1, "primary->draining").state(2, "secondary->prepare_promotion").snapshot();
    let urgent: Vec<u128> = pace(&s);
    assert_eq!(urgent, [10, 10, 1000]);
    s.tick(100_000 * MS);
    let patient: Vec<u128> = pace(&s);
    assert_eq!(patient, [200, 200, 1000]);
}

fn readable(s: &Scene, max_lag: Option<u64>) -> Vec<i64> {
    s.follower.readable(max_lag, s.now).iter().map(|standby| standby.node.0).collect()
}

#[test]
fn standbys_in_good_states_are_readable() {
    for (states, expected) in [
        ("secondary", true),
        ("catchingup->secondary", true),
        ("secondary->wait_maintenance", true),
        ("secondary->catchingup", false),
        ("secondary->report_lsn", false),
        ("secondary->prepare_promotion", false),
        ("report_lsn->join_secondary", false),
        ("wait_standby->catchingup", false),
        ("maintenance", false),
        ("wait_maintenance->maintenance", false),
        ("unheard_of", false),
    ] {
        let mut s = Scene::of(2);
        s.state(2, states).round();
        assert_eq!(readable(&s, None), if expected { vec![2] } else { vec![] }, "{states}");
    }
}

#[test]
fn a_standby_beyond_the_lag_limit_is_not_readable() {
    let mut s = Scene::of(3);
    s.row(2).lsn = Lsn(400);
    s.answers(2, Answer { lsn: Some(Lsn(500)), ..standby() });
    s.round();
    assert_eq!(readable(&s, Some(499)), [3]);
    assert_eq!(readable(&s, Some(500)), [2, 3]);
}

#[test]
fn a_standby_that_does_not_answer_or_is_none_or_is_another_systems_is_not_readable() {
    let mut s = Scene::of(2);
    s.fails(2, Failure::Refused).round();
    assert!(readable(&s, None).is_empty());
    s.answers(2, primary(9)).round();
    assert!(readable(&s, None).is_empty());
    s.answers(2, Answer { system: SystemId(1), ..standby() }).round();
    assert!(readable(&s, None).is_empty());
    s.answers(2, standby()).round();
    assert_eq!(readable(&s, None), [2]);
    s.fails(2, Failure::Timeout).probe(2);
    assert_eq!(readable(&s, None), [2], "one late answer says nothing");
    s.probe(2);
    assert!(readable(&s, None).is_empty());
    s.answers(2, standby()).round();
    assert_eq!(readable(&s, None), [2]);
    s.tick(10_000 * MS);
    assert!(readable(&s, None).is_empty(), "its last word is too old");
}

#[test]
fn a_standby_left_behind_on_a_former_timeline_is_not_readable() {
    let mut s = Scene::of(3);
    s.state(1, "demoted").state(2, "wait_primary").answers(2, primary(6)).row(2).timeline = 6;
    s.round().round();
    assert!(s.serves(2) && readable(&s, None).is_empty());
    s.row(3).timeline = 6;
    s.round();
    assert_eq!(readable(&s, None), [3]);
}

#[test]
fn standbys_stay_readable_while_the_gate_is_closed() {
    let mut s = Scene::of(2);
    s.signal(Signal::Eof).probe(2);
    assert_eq!(readable(&s, None), [2]);
}
