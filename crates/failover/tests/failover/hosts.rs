//! A list of hosts and no monitor.

use crate::scene::*;
use crate::waits;
use failover::*;

#[test]
fn the_host_that_takes_writes_is_used_once_all_have_been_asked() {
    let mut s = Scene::hosts(3);
    s.probe(0).probe(1);
    waits!(s, Why::Unheard(NodeId(2)));
    s.fails(2, Failure::Timeout).probe(2);
    assert!(s.serves(0));
    assert!(s.follower.report(s.now).monitor.is_none());
}

#[test]
fn a_promoted_host_on_a_greater_timeline_follows() {
    let mut s = Scene::hosts(2);
    s.round().fails(0, Failure::Refused).round();
    waits!(s, Why::Unreachable(NodeId(0), Failure::Refused));
    s.answers(1, primary(6)).round();
    assert!(s.serves(1));
    assert_eq!(s.epoch(), 2);
}

#[test]
fn a_former_primary_is_found_out_by_its_successor() {
    let mut s = Scene::hosts(2);
    s.round().answers(1, primary(6)).probe(1);
    waits!(s, Why::Stale(NodeId(1), 6));
    s.round();
    assert!(s.serves(1));
    s.round();
    assert!(s.serves(1));
}

#[test]
fn two_hosts_on_the_highest_timeline_stop_traffic() {
    let mut s = Scene::hosts(2);
    s.round().answers(1, primary(5)).round().round();
    waits!(s, Why::Contradiction(..));
}

#[test]
fn hosts_of_two_systems_are_a_contradiction_at_the_start_only() {
    let mut s = Scene::hosts(2);
    s.answers(1, Answer { system: SystemId(1), ..primary(9) }).round();
    waits!(s, Why::Contradiction(..));
    s.answers(1, standby()).round();
    s.answers(1, Answer { system: SystemId(1), ..primary(9) }).round();
    assert!(s.serves(0));
}

#[test]
fn a_former_primary_does_not_come_back_when_its_successor_is_gone() {
    let mut s = Scene::hosts(2);
    s.round().answers(1, primary(6)).round().round();
    s.fails(1, Failure::Refused).round().round();
    waits!(s, Why::Refused { .. });
}

#[test]
fn an_ended_session_waits_for_its_host_alone() {
    let mut s = Scene::hosts(2);
    s.round().signal(Signal::AdminShutdown).probe(0);
    assert!(s.serves(0));
    assert_eq!(s.epoch(), 1);
}

#[test]
fn a_host_list_is_probed_and_no_table_is_read() {
    let s = Scene::hosts(2);
    let agenda = s.follower.agenda(s.now);
    assert!(!agenda.read_now);
    assert!(agenda.probes.len() == 2 && agenda.probes.iter().all(|errand| errand.every < 100 * MS));
}

#[test]
fn a_primary_without_standbys_is_not_isolated_by_a_monitor_that_does_not_exist() {
    let mut s = Scene::hosts(2);
    s.answers(0, Answer { walsenders: 0, ..primary(5) }).round().tick(10_000 * MS).round();
    assert!(s.serves(0));
}
