//! What server connections say.

use crate::scene::*;
use crate::waits;
use failover::*;

#[test]
fn a_session_that_ends_or_cannot_begin_stops_traffic_at_once() {
    use Signal::*;
    for signal in [AdminShutdown, CrashShutdown, CannotConnectNow, Refused, Reset, Eof] {
        let mut s = Scene::of(2);
        s.signal(signal);
        s.waits(|why| *why == Why::Signal(signal));
        s.round();
        assert!(s.serves(1), "a single session may have been ended by its administrator");
    }
}

#[test]
fn slow_commits_and_refused_writes_make_the_node_asked_but_do_not_stop() {
    for signal in [Signal::SyncWaitCanceled, Signal::ReadOnly] {
        let mut s = Scene::of(2);
        s.signal(signal);
        assert!(s.serves(1));
        let agenda = s.follower.agenda(s.now);
        assert!(agenda.read_now && agenda.probes[0].every < 100 * MS);
        s.round();
        assert!(s.follower.agenda(s.now).probes[0].every >= 1000 * MS);
    }
}

#[test]
fn a_connection_of_a_former_epoch_says_nothing_about_the_present_primary() {
    let mut s = Scene::of(2);
    s.state(1, "demoted").state(2, "wait_primary").answers(2, primary(6)).round().round();
    s.tell(Event::Signal { epoch: 1, signal: Signal::Eof });
    assert!(s.serves(2));
    s.tell(Event::Signal { epoch: 2, signal: Signal::Eof });
    waits!(s, Why::Signal(Signal::Eof));
}

#[test]
fn a_signal_during_a_hold_demands_newer_proofs() {
    let mut s = Scene::of(2);
    s.signal(Signal::Eof).snapshot().signal(Signal::Eof).probe(1);
    assert!(!s.serves(1));
    s.round();
    assert!(s.serves(1));
}

#[test]
fn a_new_connection_is_checked_against_its_route() {
    let s = Scene::of(2);
    let Decision::Keep(route) = s.follower.decision() else { panic!("open") };
    assert_eq!(route.admits(&primary(5)), Ok(()));
    assert_eq!(route.admits(&primary(4)), Err(Unfit::Timeline(4)));
    assert_eq!(route.admits(&standby()), Err(Unfit::InRecovery));
    assert_eq!(route.admits(&guarded(5)), Err(Unfit::ReadOnly));
    assert_eq!(route.admits(&Answer { system: SystemId(1), ..primary(5) }), Err(Unfit::System(SystemId(1))));
    assert_eq!(Route { early: true, ..route }.admits(&guarded(5)), Ok(()));
}
