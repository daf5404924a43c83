//! Monitors that die, nodes that are cut off, nodes that freeze and come back.

use crate::scene::*;
use crate::waits;
use failover::*;

/// The monitor is not heard for a while; the nodes still are.
fn without_monitor(s: &mut Scene) -> &mut Scene {
    s.tell(Event::MonitorLost).tick(3_000 * MS).probe_all()
}

#[test]
fn a_dead_monitor_with_healthy_nodes_changes_nothing_and_is_said_once() {
    let mut s = Scene::of(2);
    s.tell(Event::MonitorLost);
    assert!(s.serves(1));
    s.tick(3_000 * MS);
    assert_eq!(s.last.evidence.as_ref().unwrap().change, Change::MonitorSilent);
    for _ in 0..30 {
        s.tick(1_000 * MS).probe_all();
        assert!(s.serves(1) && s.last.evidence.is_none());
    }
    s.tell(Event::MonitorBack);
    assert!(s.follower.agenda(s.now).read_now);
    s.snapshot();
    assert_eq!(s.last.evidence.as_ref().unwrap().change, Change::MonitorBack);
}

#[test]
fn the_owner_is_woken_when_the_monitor_becomes_silent() {
    let s = Scene::of(2);
    let silent_at = s.follower.agenda(s.now).wake_at.unwrap();
    assert!(silent_at > s.now && silent_at <= s.now + 3_000 * MS);
}

#[test]
fn a_monitor_that_lost_its_table_counts_as_silent() {
    let mut s = Scene::of(2);
    s.rows.clear();
    s.snapshot();
    assert!(s.serves(1));
    s.tick(3_000 * MS);
    assert!(s.serves(1));
    assert!(matches!(s.follower.report(s.now).monitor, Some(Monitor::Silent(_))));
}

#[test]
fn a_lone_primary_that_dies_is_waited_for() {
    let mut s = Scene::of(2);
    s.state(1, "wait_primary").state(2, "catchingup").fails(2, Failure::Refused).round();
    s.signal(Signal::Eof).fails(1, Failure::Refused);
    s.row(1).health = Health::Bad;
    s.round().tick(60_000 * MS).round();
    waits!(s, Why::Unreachable(NodeId(1), _));
    s.answers(1, primary(5)).round();
    assert!(s.serves(1));
}

#[test]
fn a_monitor_that_dies_in_mid_switchover_leaves_no_primary_until_it_is_back() {
    let mut s = Scene::of(2);
    s.state(1, "primary->draining").state(2, "secondary->prepare_promotion").snapshot();
    without_monitor(&mut s);
    assert!(!s.serves(1), "the monitor's last word was to stop");
    s.answers(2, primary(6)).fails(1, Failure::Refused).probe_all();
    waits!(s, Why::Leaving(_) | Why::NoPrimary | Why::MonitorSilent);
    s.state(1, "demoted").state(2, "wait_primary").round();
    assert!(s.serves(2));
}

#[test]
fn a_hint_that_was_the_monitors_last_word_is_not_overruled_by_an_older_table() {
    let mut s = Scene::of(2);
    s.hint(1, "primary->draining");
    without_monitor(&mut s).probe_all();
    waits!(s, Why::MonitorSilent);
}

#[test]
fn a_primary_whose_standby_dies_goes_on_and_its_slow_commits_are_no_reason() {
    let mut s = Scene::of(2);
    s.fails(2, Failure::Refused).answers(1, Answer { walsenders: 0, ..primary(5) }).round();
    s.row(2).health = Health::Bad;
    s.signal(Signal::SyncWaitCanceled).round();
    assert!(s.serves(1));
}

#[test]
fn three_nodes_with_both_standbys_gone_still_have_their_primary() {
    let mut s = Scene::of(3);
    s.fails(2, Failure::Timeout).fails(3, Failure::Timeout).answers(1, Answer { walsenders: 0, ..primary(5) });
    s.round().round().round();
    assert!(s.serves(1));
}

#[test]
fn a_primary_cut_off_from_monitor_and_standby_is_held_and_returns() {
    let mut s = Scene::of(2);
    s.answers(1, Answer { walsenders: 0, ..primary(5) });
    without_monitor(&mut s);
    waits!(s, Why::Isolated);
    s.answers(1, primary(5)).probe_all();
    assert!(s.serves(1));
    assert_eq!(s.epoch(), 1);
}

#[test]
fn a_primary_without_synchronous_replication_is_not_isolated() {
    let mut s = Scene::of(2);
    s.answers(1, Answer { walsenders: 0, sync_on: false, ..primary(5) });
    without_monitor(&mut s);
    assert!(s.serves(1));
}

#[test]
fn a_frozen_primary_that_thaws_after_its_failover_is_not_used() {
    let mut s = Scene::of(2);
    s.fails(1, Failure::Timeout).probe(1).probe(1);
    waits!(s, Why::Unreachable(..));
    s.state(1, "primary->demoted").state(2, "wait_primary").answers(2, primary(6)).round();
    s.answers(1, primary(5)).round();
    assert!(s.serves(2));
    s.state(1, "primary").state(2, "demoted").round().round();
    waits!(s, Why::Refused { .. });
}

#[test]
fn a_stale_primary_is_found_out_by_the_other_nodes_while_the_monitor_is_silent() {
    let mut s = Scene::of(2);
    s.answers(2, guarded(6));
    without_monitor(&mut s);
    waits!(s, Why::Stale(NodeId(2), 6));
    s.fails(2, Failure::Timeout).probe_all();
    waits!(s, Why::Stale(NodeId(2), 6));
}

#[test]
fn two_nodes_on_the_highest_timeline_stop_traffic_while_the_monitor_is_silent() {
    let mut s = Scene::of(2);
    s.answers(2, primary(5)).round();
    assert!(s.serves(1), "while the monitor is heard, its word counts");
    without_monitor(&mut s);
    waits!(s, Why::Stale(NodeId(2), 5));
}

#[test]
fn a_node_of_another_system_is_no_reason_to_stop() {
    let mut s = Scene::of(2);
    s.answers(2, Answer { system: SystemId(1), ..primary(9) });
    without_monitor(&mut s);
    assert!(s.serves(1));
}

#[test]
fn an_old_primary_that_comes_back_as_one_is_ignored() {
    let mut s = Scene::of(2);
    s.state(1, "demoted").state(2, "wait_primary").answers(2, primary(6)).round().round();
    without_monitor(&mut s);
    assert!(s.serves(2));
}

#[test]
fn a_session_ended_by_an_administrator_while_the_monitor_is_down_is_not_an_outage() {
    let mut s = Scene::of(2);
    without_monitor(&mut s).signal(Signal::AdminShutdown);
    assert!(!s.serves(1));
    s.probe(1);
    assert!(s.serves(1), "its standby follows it, and the monitor's last word stands");
}

#[test]
fn while_the_monitor_is_down_a_primary_that_nobody_confirms_is_not_used_again() {
    let mut s = Scene::of(2);
    let alone = Answer { sync_on: false, walsenders: 0, ..primary(5) };
    s.answers(1, alone).fails(2, Failure::Timeout);
    without_monitor(&mut s).signal(Signal::Eof).probe_all();
    waits!(s, Why::MonitorSilent);
    s.answers(2, standby()).probe_all();
    assert!(s.serves(1));
}

#[test]
fn a_standby_that_may_follow_an_unseen_successor_confirms_nothing() {
    let mut s = Scene::of(3);
    s.answers(1, Answer { sync_on: false, walsenders: 0, ..primary(5) }).fails(2, Failure::Timeout);
    without_monitor(&mut s).signal(Signal::Eof).probe_all();
    waits!(s, Why::MonitorSilent);
    s.answers(2, standby()).probe_all();
    assert!(s.serves(1));
}

#[test]
fn a_lone_primary_cannot_have_been_replaced_while_the_monitor_is_down() {
    let mut s = Scene::of(2);
    s.state(1, "wait_primary").state(2, "catchingup").fails(2, Failure::Refused);
    s.answers(1, Answer { sync_on: false, walsenders: 0, ..primary(5) }).round();
    without_monitor(&mut s).signal(Signal::Eof).probe_all();
    assert!(s.serves(1));
}

#[test]
fn a_table_read_before_a_long_silence_opens_nothing_unconfirmed() {
    let mut s = Scene::of(2);
    s.signal(Signal::Eof).snapshot();
    s.fails(1, Failure::Timeout).fails(2, Failure::Timeout);
    without_monitor(&mut s);
    s.answers(1, Answer { walsenders: 0, sync_on: false, ..primary(5) }).probe(1);
    waits!(s, Why::MonitorSilent);
}

#[test]
fn a_monitor_that_is_only_reconnected_proves_nothing() {
    let mut s = Scene::of(2);
    s.hint(1, "primary->draining");
    without_monitor(&mut s).tell(Event::MonitorBack).probe_all();
    assert!(!s.serves(1));
    s.snapshot();
    assert!(s.serves(1));
}

#[test]
fn without_any_word_from_the_monitor_nothing_starts() {
    let mut s = Scene::unproved(2, settings(Truth::Monitor));
    s.tell(Event::MonitorLost).tick(10_000 * MS).probe_all();
    waits!(s, Why::Starting);
}
