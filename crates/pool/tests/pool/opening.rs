//! When servers are opened, and what failures do.

use crate::desk::{Desk, HERE, MS, SECOND, small};
use pool::{CheckOut, Claim, Purpose, Refused, Settings};

/// One lent server whose leases take `lease` and whose opening takes 20 ms.
fn measured(settings: Settings, lease: std::time::Duration) -> (Desk, pool::Lent<u32>) {
    let mut desk = Desk::new(settings);
    let ticket = desk.queue(HERE);
    desk.pass(20 * MS);
    desk.arrive();
    let lent = desk.claim(ticket);
    desk.pass(lease);
    desk.give_back(lent);
    let lent = desk.lend(HERE);
    (desk, lent)
}

#[test]
fn the_first_client_of_a_pool_opens_a_server_at_once() {
    let mut desk = Desk::new(small(5));
    let _ticket = desk.queue(HERE);
    assert_eq!(desk.purposes(), [Purpose::Waiter]);
}

#[test]
fn a_queue_opens_servers_side_by_side_up_to_max_opening() {
    let mut desk = Desk::new(Settings { max_opening: 3, ..small(10) });
    let _tickets: Vec<_> = (0..5).map(|_| desk.queue(HERE)).collect();
    assert_eq!(desk.opens.len(), 3);
    desk.arrive();
    assert_eq!(desk.opens.len(), 3, "one arrived, the next one is opened");
}

#[test]
fn no_more_servers_are_opened_than_people_wait() {
    let mut desk = Desk::new(Settings { max_opening: 10, ..small(10) });
    let _first = desk.queue(HERE);
    let _second = desk.queue(HERE);
    assert_eq!(desk.opens.len(), 2);
}

#[test]
fn the_pool_size_is_never_exceeded() {
    let mut desk = Desk::new(small(2));
    let _tickets: Vec<_> = (0..5).map(|_| desk.queue(HERE)).collect();
    assert_eq!(desk.opens.len(), 2);
    desk.arrive();
    desk.arrive();
    desk.tick();
    assert_eq!(desk.opens.len(), 0);
}

#[test]
fn closing_servers_leave_their_place_in_the_pool() {
    let mut desk = Desk::with_idle(small(1), 1);
    let lent = desk.lend(HERE);
    desk.call(|pool, now, out| pool.discard(lent, pool::CloseReason::Discarded("test"), now, out));
    let _ticket = desk.queue(HERE);
    assert_eq!((desk.pool.counts().closing, desk.pool.counts().opening), (1, 1));
}

#[test]
fn a_pool_without_a_size_has_no_limit() {
    let mut desk = Desk::new(Settings { pool_size: None, max_opening: 100, ..Settings::default() });
    let _tickets: Vec<_> = (0..60).map(|_| desk.queue(HERE)).collect();
    assert_eq!(desk.opens.len(), 60);
}

#[test]
fn an_imminent_return_is_preferred_to_a_new_connection() {
    let (mut desk, lent) = measured(small(5), MS);
    let ticket = desk.queue(HERE);
    assert_eq!(desk.opens.len(), 0);
    assert_eq!(desk.reviews, [desk.now + 20 * MS]);
    desk.pass(MS);
    desk.give_back(lent);
    assert_eq!(desk.claim(ticket).server, 1);
}

#[test]
fn a_return_that_fails_to_come_is_not_waited_for_any_longer() {
    let (mut desk, _lent) = measured(small(5), MS);
    let _ticket = desk.queue(HERE);
    desk.pass(20 * MS);
    desk.review();
    assert_eq!(desk.purposes(), [Purpose::Waiter]);
}

#[test]
fn long_leases_are_not_waited_for() {
    let (mut desk, _lent) = measured(small(5), SECOND);
    let _ticket = desk.queue(HERE);
    assert_eq!(desk.opens.len(), 1);
}

#[test]
fn a_queue_too_long_for_the_returns_opens_servers() {
    let (mut desk, _lent) = measured(small(20), MS);
    let _tickets: Vec<_> = (0..11).map(|_| desk.queue(HERE)).collect();
    assert!(!desk.opens.is_empty());
}

#[test]
fn the_reserve_is_for_those_who_have_waited_long_enough() {
    let settings = Settings { reserve_pool_size: 2, ..small(1) };
    let mut desk = Desk::with_idle(settings, 1);
    let _lent = desk.lend(HERE);
    let _first = desk.queue(HERE);
    assert_eq!(desk.reviews.last(), Some(&(desk.now + 5 * SECOND)));
    desk.pass(4 * SECOND);
    let _second = desk.queue(HERE);
    desk.pass(SECOND);
    desk.review();
    assert_eq!(desk.purposes(), [Purpose::Reserve], "the second has not waited long enough");
    assert_eq!(desk.reviews.last(), Some(&(desk.now + 4 * SECOND)));
}

#[test]
fn a_disabled_reserve_is_never_used() {
    let settings = Settings { reserve_pool_size: 2, reserve_pool_timeout: None, ..small(1) };
    let mut desk = Desk::with_idle(settings, 1);
    let _lent = desk.lend(HERE);
    let _ticket = desk.queue(HERE);
    desk.pass(1000 * SECOND);
    desk.tick();
    assert_eq!(desk.opens.len(), 0);
}

#[test]
fn a_failed_opening_is_tried_again_after_a_growing_pause() {
    let mut desk = Desk::new(small(1));
    let ticket = desk.queue(HERE);
    for pause in [50, 100, 200] {
        desk.fail(false);
        assert!(desk.opens.is_empty());
        assert_eq!(desk.reviews.last(), Some(&(desk.now + pause * MS)));
        desk.pass(pause * MS);
        desk.review();
        assert_eq!(desk.opens.len(), 1);
    }
    desk.arrive();
    let lent = desk.claim(ticket);
    desk.call(|pool, now, out| pool.discard(lent, pool::CloseReason::Discarded("lost"), now, out));
    let _ticket = desk.queue(HERE);
    desk.fail(false);
    assert_eq!(desk.reviews.last(), Some(&(desk.now + 50 * MS)), "a success resets the pause");
}

#[test]
fn while_opening_fails_one_attempt_at_a_time_is_made() {
    let mut desk = Desk::new(small(4));
    let _tickets: Vec<_> = (0..4).map(|_| desk.queue(HERE)).collect();
    (0..4).for_each(|_| desk.fail(false));
    desk.pass(50 * MS);
    desk.review();
    assert_eq!(desk.opens.len(), 1);
    desk.arrive();
    assert_eq!(desk.opens.len(), 3, "it works again");
}

#[test]
fn a_network_failure_leaves_the_line_waiting() {
    let mut desk = Desk::new(small(1));
    let ticket = desk.queue(HERE);
    desk.fail(false);
    let _ticket = desk.still_waits(ticket, 1);
    assert!(matches!(desk.check_out(HERE), CheckOut::Queued(_)));
}

#[test]
fn an_error_of_the_server_refuses_everyone_when_there_is_no_server() {
    let mut desk = Desk::new(small(2));
    let first = desk.queue(HERE);
    let second = desk.queue(HERE);
    desk.fail(true);
    assert!(desk.woken.is_empty(), "another attempt is under way");
    desk.fail(true);
    assert_eq!(desk.woken, [1, 2]);
    for ticket in [first, second] {
        assert!(matches!(desk.pool.claim(ticket, || 0, desk.now), Claim::Refused(Refused::OpenFailed)));
    }
    assert!(matches!(desk.check_out(HERE), CheckOut::Refused(Refused::OpenFailed)));
    desk.pass(50 * MS);
    let _ticket = desk.queue(HERE);
    assert_eq!(desk.opens.len(), 1, "after the pause it is tried again");
}

#[test]
fn an_error_of_the_server_is_no_reason_to_refuse_while_a_server_lives() {
    let mut desk = Desk::with_idle(small(2), 1);
    let lent = desk.lend(HERE);
    desk.pass(SECOND);
    let ticket = desk.queue(HERE);
    desk.fail(true);
    desk.give_back(lent);
    assert_eq!(desk.claim(ticket).server, 1);
}

#[test]
fn a_denied_opening_waits_for_a_review() {
    let mut desk = Desk::new(small(2));
    let _ticket = desk.queue(HERE);
    let open = desk.opens.remove(0);
    desk.call(|pool, now, out| pool.open_denied(open, now, out));
    assert!(desk.pool.wants_server());
    let _second = desk.queue(HERE);
    assert!(desk.opens.is_empty());
    desk.review();
    assert_eq!(desk.opens.len(), 2);
    assert!(!desk.pool.wants_server());
}

#[test]
fn a_denied_opening_is_tried_again_at_the_next_tick() {
    let mut desk = Desk::new(small(2));
    let _ticket = desk.queue(HERE);
    let open = desk.opens.remove(0);
    desk.call(|pool, now, out| pool.open_denied(open, now, out));
    desk.tick();
    assert_eq!(desk.purposes(), [Purpose::Waiter]);
}

#[test]
fn a_denial_is_forgotten_when_nobody_waits_any_more() {
    let mut desk = Desk::new(small(2));
    let ticket = desk.queue(HERE);
    let open = desk.opens.remove(0);
    desk.call(|pool, now, out| pool.open_denied(open, now, out));
    desk.call(|pool, now, out| pool.cancel(ticket, now, out));
    assert!(!desk.pool.wants_server());
    let _next = desk.queue(HERE);
    assert_eq!(desk.opens.len(), 1);
}

#[test]
fn who_relied_on_a_denied_filling_gets_an_opening_of_their_own() {
    let mut desk = Desk::new(Settings { min_pool_size: 1, ..small(2) });
    desk.tick();
    let _ticket = desk.queue(HERE);
    assert_eq!(desk.purposes(), [Purpose::MinPoolSize]);
    let open = desk.opens.remove(0);
    desk.call(|pool, now, out| pool.open_denied(open, now, out));
    assert_eq!(desk.purposes(), [Purpose::Waiter]);
}

#[test]
fn the_longest_idle_server_is_given_up_for_a_sibling() {
    let mut desk = Desk::with_idle(small(2), 2);
    assert_eq!(desk.pool.longest_idle_since(), Some(desk.now));
    assert!(desk.call(|pool, now, out| pool.evict_idle(now, out)));
    assert_eq!(desk.closed, [(1, pool::CloseReason::Evicted)]);
    assert!(desk.call(|pool, now, out| pool.evict_idle(now, out)));
    assert!(!desk.call(|pool, now, out| pool.evict_idle(now, out)));
}
