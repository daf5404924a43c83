//! Lending, queueing, handing over.

use crate::desk::{Desk, ELSEWHERE, HERE, MS, small};
use pool::{CheckOut, CloseReason, Settings};
use std::time::Duration;

#[test]
fn the_server_used_last_is_lent_first() {
    let mut desk = Desk::with_idle(small(3), 3);
    assert_eq!(desk.lend(HERE).server, 3);
    assert_eq!(desk.lend(HERE).server, 2);
}

#[test]
fn round_robin_lends_the_server_idle_for_longest() {
    let mut desk = Desk::with_idle(Settings { server_round_robin: true, ..small(3) }, 3);
    let first = desk.lend(HERE);
    assert_eq!(first.server, 1);
    desk.give_back(first);
    assert_eq!(desk.lend(HERE).server, 2);
}

#[test]
fn a_worker_prefers_the_server_it_used_itself() {
    let mut desk = Desk::with_idle(small(3), 3);
    let lent = desk.lend(HERE);
    desk.give_back_on(lent, ELSEWHERE);
    let second = desk.lend(HERE);
    assert_eq!(second.server, 2, "3 was used last, but elsewhere");
    let third = desk.lend(ELSEWHERE);
    assert_eq!((third.server, third.worker()), (3, ELSEWHERE));
}

#[test]
fn a_worker_without_servers_of_its_own_borrows_the_one_used_last() {
    let mut desk = Desk::with_idle(small(2), 2);
    let lent = desk.lend(ELSEWHERE);
    assert_eq!((lent.server, lent.worker()), (2, HERE));
}

#[test]
fn a_returned_server_goes_to_the_first_in_line() {
    let mut desk = Desk::with_idle(small(1), 1);
    let lent = desk.lend(HERE);
    let first = desk.queue(HERE);
    let second = desk.queue(HERE);
    desk.give_back(lent);
    assert_eq!(desk.woken, [3], "waiters 1 and 2 were served before");
    let second = desk.still_waits(second, 4);
    let lent = desk.claim(first);
    desk.give_back(lent);
    assert_eq!(desk.claim(second).server, 1);
}

#[test]
fn whoever_comes_does_not_overtake_those_in_line() {
    let mut desk = Desk::with_idle(small(1), 1);
    let lent = desk.lend(HERE);
    let ticket = desk.queue(HERE);
    desk.give_back(lent);
    let _second = desk.queue(HERE);
    assert_eq!(desk.claim(ticket).server, 1);
}

#[test]
fn a_cancelled_ticket_passes_its_server_on() {
    let mut desk = Desk::with_idle(small(1), 1);
    let lent = desk.lend(HERE);
    let first = desk.queue(HERE);
    let second = desk.queue(HERE);
    desk.give_back(lent);
    desk.call(|pool, now, out| pool.cancel(first, now, out));
    assert_eq!(desk.claim(second).server, 1);
}

#[test]
fn the_last_cancelled_ticket_leaves_its_server_idle() {
    let mut desk = Desk::with_idle(small(1), 1);
    let lent = desk.lend(HERE);
    let ticket = desk.queue(HERE);
    desk.give_back(lent);
    desk.call(|pool, now, out| pool.cancel(ticket, now, out));
    assert_eq!(desk.pool.idle().collect::<Vec<_>>(), [&1]);
}

#[test]
fn a_ticket_cancelled_in_line_is_not_served() {
    let mut desk = Desk::with_idle(small(1), 1);
    let lent = desk.lend(HERE);
    let first = desk.queue(HERE);
    let second = desk.queue(HERE);
    desk.call(|pool, now, out| pool.cancel(first, now, out));
    desk.give_back(lent);
    assert_eq!(desk.claim(second).server, 1);
}

#[test]
fn a_claim_too_early_renews_the_waker() {
    let mut desk = Desk::with_idle(small(1), 1);
    let lent = desk.lend(HERE);
    let ticket = desk.queue(HERE);
    let ticket = desk.still_waits(ticket, 77);
    desk.give_back(lent);
    assert_eq!(desk.woken, [77]);
    assert_eq!(desk.claim(ticket).server, 1);
}

#[test]
fn a_discarded_server_is_replaced_for_those_in_line() {
    let mut desk = Desk::with_idle(small(1), 1);
    let lent = desk.lend(HERE);
    let ticket = desk.queue(HERE);
    let reason = CloseReason::Discarded("unclean server");
    desk.call(|pool, now, out| pool.discard(lent, reason, now, out));
    assert_eq!(desk.closed, [(1, reason)]);
    desk.arrive();
    assert_eq!(desk.claim(ticket).server, 2);
}

#[test]
fn a_waiter_on_the_returning_worker_overtakes_within_the_slack() {
    let mut desk = Desk::with_idle(Settings { handover_slack: 1, ..small(1) }, 1);
    let lent = desk.lend(HERE);
    let elsewhere = desk.queue(ELSEWHERE);
    let near = desk.queue(HERE);
    let also_near = desk.queue(HERE);
    desk.give_back(lent);
    let lent = desk.claim(near);
    desk.give_back(lent);
    let lent = desk.claim(elsewhere);
    desk.give_back_on(lent, ELSEWHERE);
    assert_eq!(desk.claim(also_near).server, 1);
}

#[test]
fn without_slack_nobody_overtakes() {
    let mut desk = Desk::with_idle(small(1), 1);
    let lent = desk.lend(HERE);
    let elsewhere = desk.queue(ELSEWHERE);
    let _near = desk.queue(HERE);
    desk.give_back(lent);
    assert_eq!(desk.claim(elsewhere).server, 1);
}

#[test]
fn a_noisy_idle_server_can_be_taken_out_and_put_back() {
    let mut desk = Desk::with_idle(Settings { server_lifetime: Duration::ZERO, ..small(1) }, 0);
    let ticket = desk.queue(HERE);
    let id = desk.opens[0].id();
    desk.arrive();
    desk.call(|pool, now, out| pool.cancel(ticket, now, out));
    let lent = desk.pool.take_idle(id).expect("it is idle");
    assert!(desk.pool.take_idle(id).is_none(), "it is not idle any more");
    desk.give_back(lent);
    assert_eq!(desk.pool.idle().count(), 1, "inspecting is not using, even of a single-use server");
}

#[test]
fn a_name_is_never_used_for_another_server() {
    let mut desk = Desk::with_idle(small(1), 1);
    let lent = desk.lend(HERE);
    let first = lent.id();
    desk.call(|pool, now, out| pool.discard(lent, CloseReason::Discarded("test"), now, out));
    let ticket = desk.queue(HERE);
    desk.arrive();
    let lent = desk.claim(ticket);
    assert_ne!(lent.id(), first);
    desk.give_back(lent);
    assert!(desk.pool.take_idle(first).is_none());
}

#[test]
fn a_lent_server_says_how_old_it_is_and_which_epoch_it_belongs_to() {
    let mut desk = Desk::new(small(1));
    desk.call(|pool, now, out| assert_eq!(pool.move_epoch(7, now, out).count(), 0));
    let ticket = desk.queue(HERE);
    desk.pass(20 * MS);
    desk.arrive();
    let opened_at = desk.now;
    desk.pass(20 * MS);
    let lent = desk.claim(ticket);
    assert_eq!((lent.opened_at(), lent.epoch()), (opened_at, 7));
    desk.give_back(lent);
    assert!(matches!(desk.check_out(HERE), CheckOut::Ready(_)));
}
