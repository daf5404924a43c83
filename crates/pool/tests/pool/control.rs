//! Holds, RECONNECT, epochs, and the end of a database.

use crate::desk::{Desk, HERE, MS, SECOND, small};
use pool::{CheckOut, Claim, CloseReason, Hold, Purpose, Refused, Settings};

fn hold(desk: &mut Desk, hold: Hold) {
    desk.call(|pool, now, out| pool.hold(hold, now, out));
}

fn release(desk: &mut Desk, hold: Hold) {
    desk.call(|pool, now, out| pool.release(hold, now, out));
}

#[test]
fn a_hold_closes_idle_servers_at_once_and_lent_ones_on_return() {
    let mut desk = Desk::with_idle(small(2), 2);
    let lent = desk.lend(HERE);
    hold(&mut desk, Hold::Operator);
    assert_eq!(desk.closed, [(1, CloseReason::Held)]);
    desk.give_back(lent);
    assert_eq!(desk.closed, [(1, CloseReason::Held), (2, CloseReason::Held)]);
}

#[test]
fn a_held_pool_is_drained_when_the_last_connection_has_ended() {
    let mut desk = Desk::with_idle(small(2), 1);
    let lent = desk.lend(HERE);
    hold(&mut desk, Hold::Operator);
    assert!(!desk.pool.is_drained());
    desk.give_back(lent);
    assert!(!desk.pool.is_drained());
    desk.pool.closed();
    assert!(desk.pool.is_drained());
}

#[test]
fn a_server_that_arrives_under_a_hold_is_closed() {
    let mut desk = Desk::new(small(1));
    let ticket = desk.queue(HERE);
    hold(&mut desk, Hold::Operator);
    desk.arrive();
    assert_eq!(desk.closed, [(1, CloseReason::Held)]);
    let _ticket = desk.still_waits(ticket, 1);
}

#[test]
fn a_suspicion_serves_nobody_and_closes_nothing() {
    let mut desk = Desk::with_idle(small(2), 2);
    let lent = desk.lend(HERE);
    hold(&mut desk, Hold::Suspicion);
    let first = desk.queue(HERE);
    desk.give_back(lent);
    let first = desk.still_waits(first, 1);
    let second = desk.queue(HERE);
    assert_eq!((desk.closed.len(), desk.opens.len(), desk.pool.counts().idle), (0, 0, 2));
    release(&mut desk, Hold::Suspicion);
    assert_eq!((desk.claim(first).server, desk.claim(second).server), (1, 2));
    assert!(desk.closed.is_empty() && desk.opens.is_empty());
}

#[test]
fn a_server_that_was_handed_over_before_a_suspicion_is_taken_back_and_kept() {
    let mut desk = Desk::with_idle(small(1), 1);
    let lent = desk.lend(HERE);
    let ticket = desk.queue(HERE);
    desk.give_back(lent);
    hold(&mut desk, Hold::Suspicion);
    let ticket = desk.still_waits(ticket, 1);
    release(&mut desk, Hold::Suspicion);
    assert_eq!(desk.claim(ticket).server, 1);
    assert!(desk.closed.is_empty());
}

#[test]
fn a_suspicion_that_is_confirmed_closes_like_any_hold() {
    let mut desk = Desk::with_idle(small(2), 2);
    hold(&mut desk, Hold::Suspicion);
    let ticket = desk.queue(HERE);
    hold(&mut desk, Hold::NoPrimary);
    assert_eq!(desk.closed, [(1, CloseReason::Held), (2, CloseReason::Held)]);
    release(&mut desk, Hold::Suspicion);
    let _ticket = desk.still_waits(ticket, 1);
    assert_eq!(desk.pool.holds(), [Hold::NoPrimary]);
}

#[test]
fn who_comes_under_a_hold_waits_and_is_served_after_it() {
    let mut desk = Desk::with_idle(small(1), 1);
    hold(&mut desk, Hold::NoPrimary);
    let ticket = desk.queue(HERE);
    assert!(desk.opens.is_empty());
    release(&mut desk, Hold::NoPrimary);
    desk.arrive();
    assert_eq!(desk.claim(ticket).server, 2);
}

#[test]
fn the_gate_opens_with_the_last_hold() {
    let mut desk = Desk::new(small(1));
    hold(&mut desk, Hold::Operator);
    hold(&mut desk, Hold::NoPrimary);
    let _ticket = desk.queue(HERE);
    release(&mut desk, Hold::NoPrimary);
    assert!(desk.opens.is_empty());
    assert_eq!(desk.pool.holds(), [Hold::Operator]);
    release(&mut desk, Hold::Operator);
    assert_eq!(desk.opens.len(), 1);
}

#[test]
fn a_hold_with_an_end_is_released_by_the_review_it_asked_for() {
    let mut desk = Desk::new(small(1));
    let until = desk.now + SECOND;
    hold(&mut desk, Hold::Failover(until));
    assert_eq!(desk.reviews, [until]);
    let _ticket = desk.queue(HERE);
    desk.pass(SECOND);
    desk.review();
    assert_eq!(desk.opens.len(), 1);
}

#[test]
fn a_server_handed_over_but_not_claimed_is_withdrawn_and_the_waiter_stays_first() {
    let mut desk = Desk::with_idle(small(1), 1);
    let lent = desk.lend(HERE);
    let first = desk.queue(HERE);
    let _second = desk.queue(HERE);
    desk.give_back(lent);
    hold(&mut desk, Hold::Operator);
    assert_eq!(desk.closed, [(1, CloseReason::Held)]);
    desk.woken.clear();
    let first = desk.still_waits(first, 33);
    release(&mut desk, Hold::Operator);
    desk.arrive();
    assert_eq!(desk.woken, [33]);
    assert_eq!(desk.claim(first).server, 2);
}

#[test]
fn a_waiter_woken_in_vain_is_served_without_another_wake() {
    let mut desk = Desk::with_idle(small(1), 1);
    let lent = desk.lend(HERE);
    let ticket = desk.queue(HERE);
    desk.give_back(lent);
    hold(&mut desk, Hold::Operator);
    release(&mut desk, Hold::Operator);
    desk.arrive();
    assert_eq!(desk.woken, [3], "it has not polled since its first wake");
    assert_eq!(desk.claim(ticket).server, 2);
}

#[test]
fn after_a_hold_a_failing_server_is_tried_at_once() {
    let mut desk = Desk::new(small(1));
    let _ticket = desk.queue(HERE);
    desk.fail(false);
    hold(&mut desk, Hold::Operator);
    release(&mut desk, Hold::Operator);
    assert_eq!(desk.opens.len(), 1);
}

#[test]
fn reconnect_replaces_every_present_server() {
    let mut desk = Desk::with_idle(small(3), 2);
    let lent = desk.lend(HERE);
    let fresh = desk.lend(HERE);
    desk.give_back(fresh);
    desk.call(|pool, now, out| pool.reconnect(now, out));
    assert_eq!(desk.closed, [(1, CloseReason::Reconnect)]);
    assert_eq!(desk.pool.counts().close_needed, 1);
    desk.give_back(lent);
    assert_eq!(desk.closed.last(), Some(&(2, CloseReason::Reconnect)));
    assert_eq!(desk.pool.counts().close_needed, 0);
    let ticket = desk.queue(HERE);
    desk.arrive();
    assert_eq!(desk.claim(ticket).server, 3);
}

#[test]
fn a_server_in_opening_at_a_reconnect_is_closed_on_arrival_and_replaced() {
    let mut desk = Desk::new(small(2));
    let ticket = desk.queue(HERE);
    desk.call(|pool, now, out| pool.reconnect(now, out));
    assert_eq!(desk.opens.len(), 2, "the stale one is of no use to the waiter");
    desk.arrive();
    assert_eq!(desk.closed, [(1, CloseReason::Reconnect)]);
    desk.arrive();
    assert_eq!(desk.claim(ticket).server, 2);
}

#[test]
fn servers_withdrawn_at_a_reconnect_are_not_replaced_by_the_reserve() {
    let settings = Settings { reserve_pool_size: 1, ..small(1) };
    let mut desk = Desk::new(settings);
    let _first = desk.queue(HERE);
    let _second = desk.queue(HERE);
    desk.pass(5 * SECOND);
    desk.review();
    desk.arrive();
    desk.arrive();
    desk.call(|pool, now, out| pool.reconnect(now, out));
    assert_eq!(desk.purposes(), [Purpose::Waiter, Purpose::Reserve]);
}

#[test]
fn a_new_epoch_names_the_lent_servers_to_cut() {
    let mut desk = Desk::with_idle(small(3), 3);
    let lent = [desk.lend(HERE), desk.lend(HERE)];
    let ids: Vec<_> = lent.iter().map(pool::Lent::id).collect();
    let cut: Vec<_> = desk.call(|pool, now, out| pool.move_epoch(1, now, out).collect());
    assert_eq!(cut.len(), 2);
    assert!(ids.iter().all(|id| cut.contains(id)));
    assert_eq!(desk.closed, [(1, CloseReason::Epoch)]);
    for lent in lent {
        desk.give_back(lent);
    }
    assert_eq!(desk.closed.last(), Some(&(2, CloseReason::Epoch)), "never lent again");
}

#[test]
fn an_epoch_of_the_past_or_the_present_changes_nothing() {
    let mut desk = Desk::new(small(1));
    desk.call(|pool, now, out| assert_eq!(pool.move_epoch(5, now, out).count(), 0));
    let ticket = desk.queue(HERE);
    desk.arrive();
    let lent = desk.claim(ticket);
    for epoch in [4, 5] {
        desk.call(|pool, now, out| assert_eq!(pool.move_epoch(epoch, now, out).count(), 0));
    }
    assert_eq!(desk.pool.epoch(), 5);
    desk.give_back(lent);
    assert!(desk.closed.is_empty());
}

#[test]
fn a_failure_of_the_old_primary_says_nothing_about_the_new_one() {
    let mut desk = Desk::new(small(2));
    let _ticket = desk.queue(HERE);
    desk.call(|pool, now, out| assert_eq!(pool.move_epoch(1, now, out).count(), 0));
    assert_eq!(desk.opens[1].epoch(), 1);
    desk.fail(true);
    assert!(desk.woken.is_empty());
    desk.fail(false);
    assert_eq!(desk.reviews.last(), Some(&(desk.now + 50 * MS)));
}

#[test]
fn a_removed_database_refuses_those_in_line_and_those_who_come() {
    let mut desk = Desk::with_idle(small(2), 2);
    let lent = [desk.lend(HERE), desk.lend(HERE)];
    let [first, second] = lent;
    let handed = desk.queue(HERE);
    let waiting = desk.queue(HERE);
    desk.give_back(first);
    desk.call(|pool, now, out| pool.drain(Refused::DatabaseRemoved, now, out));
    assert_eq!(desk.woken, [5, 6]);
    for ticket in [handed, waiting] {
        assert!(matches!(desk.pool.claim(ticket, || 0, desk.now), Claim::Refused(Refused::DatabaseRemoved)));
    }
    assert!(matches!(desk.check_out(HERE), CheckOut::Refused(Refused::DatabaseRemoved)));
    desk.give_back(second);
    assert_eq!(desk.closed.len(), 2);
    desk.pool.closed();
    desk.pool.closed();
    assert!(desk.pool.is_drained());
}
