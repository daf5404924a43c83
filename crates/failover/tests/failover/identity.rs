//! Who may follow whom.

use crate::scene::*;
use crate::waits;
use failover::*;

/// Node 2 is the primary by both halves, and answers that.
fn replaced_by(answer: Answer) -> Scene {
    let mut s = Scene::of(2);
    s.row(2).system = Some(answer.system);
    s.state(1, "demoted").fails(1, Failure::Refused).state(2, "wait_primary").answers(2, answer).round().round();
    s
}

#[test]
fn a_greater_timeline_of_the_same_system_follows() {
    assert!(replaced_by(primary(6)).serves(2));
    assert!(replaced_by(primary(60)).serves(2));
}

#[test]
fn the_same_or_a_smaller_timeline_elsewhere_does_not_follow() {
    for timeline in [4, 5] {
        let s = replaced_by(primary(timeline));
        waits!(s, Why::Refused { .. });
        assert_eq!(s.follower.refused().unwrap().timeline, timeline);
    }
}

#[test]
fn another_system_does_not_follow_whatever_its_timeline() {
    waits!(replaced_by(Answer { system: SystemId(1), ..primary(6) }), Why::Refused { .. });
}

#[test]
fn an_operator_accepts_exactly_what_was_shown() {
    let mut s = replaced_by(Answer { system: SystemId(1), ..primary(1) });
    let shown = s.follower.refused().unwrap().clone();
    s.tell(Event::Accept(Identity { timeline: 2, ..shown.clone() })).round();
    waits!(s, Why::Refused { .. });
    s.tell(Event::Accept(shown));
    assert!(s.serves(2));
    assert_eq!(s.epoch(), 2);
}

#[test]
fn an_acceptance_is_used_once_and_not_kept_for_later() {
    let mut s = Scene::of(2);
    let other = Identity { endpoint: endpoint(2), system: SYSTEM, timeline: 4 };
    s.tell(Event::Accept(other));
    s.state(1, "demoted").fails(1, Failure::Refused).state(2, "wait_primary").answers(2, primary(4)).round().round();
    waits!(s, Why::Refused { .. });
}

#[test]
fn the_same_node_at_a_new_address_is_a_new_epoch() {
    let mut s = Scene::of(2);
    s.row(1).endpoint = Endpoint::new("10.0.0.9", 5432);
    s.snapshot();
    waits!(s, Why::Moved(NodeId(1), _));
    let asked_at = s.now + MS;
    s.snapshot();
    let endpoint = Endpoint::new("10.0.0.9", 5432);
    s.tell(Event::Probed(Probed { node: NodeId(1), endpoint, asked_at, outcome: Ok(primary(5)) }));
    assert!(matches!(&s.last.decision, Decision::Switch(route) if route.epoch.number == 2));
}

#[test]
fn an_answer_from_a_former_address_says_nothing() {
    let mut s = Scene::of(2);
    s.row(1).endpoint = Endpoint::new("10.0.0.9", 5432);
    s.snapshot().snapshot().probe(1);
    assert!(!s.serves(1));
}

#[test]
fn a_node_that_is_not_the_one_the_monitor_knows_is_refused() {
    let mut s = Scene::unproved(2, settings(Truth::Monitor));
    s.answers(1, Answer { system: SystemId(1), ..primary(5) }).round();
    waits!(s, Why::Impostor(NodeId(1), SystemId(1)));
    assert!(s.follower.refused().is_none());
}

#[test]
fn a_primary_replaced_in_place_by_another_cluster_is_held() {
    let mut s = Scene::of(2);
    s.answers(1, Answer { system: SystemId(1), ..primary(5) }).probe(1);
    waits!(s, Why::Unfit(NodeId(1), Unfit::System(_)));
}

#[test]
fn a_node_promoted_again_is_a_new_epoch_at_the_old_place() {
    let mut s = Scene::of(2);
    s.answers(1, primary(7)).probe(1);
    waits!(s, Why::Unfit(NodeId(1), Unfit::Timeline(7)));
    s.round();
    assert!(s.serves(1));
    assert_eq!(s.epoch(), 2);
}

#[test]
fn a_node_registered_again_under_a_new_number_goes_on() {
    let mut s = Scene::of(2);
    s.rows[0].id = NodeId(7);
    s.snapshot();
    waits!(s, Why::Gone(NodeId(1)));
    s.snapshot();
    let asked_at = s.now;
    s.tell(Event::Probed(Probed { node: NodeId(7), endpoint: endpoint(1), asked_at, outcome: Ok(primary(5)) }));
    assert!(s.serves(7));
    assert_eq!(s.epoch(), 1);
}
