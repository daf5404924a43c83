//! Ages, idle times, minimum sizes and reloads.

use crate::desk::{Desk, HERE, MS, SECOND, small};
use pool::{CloseReason, Purpose, Settings};
use std::time::Duration;

#[test]
fn idle_servers_are_closed_after_the_idle_timeout_down_to_the_minimum() {
    let mut desk = Desk::with_idle(Settings { min_pool_size: 1, ..small(3) }, 3);
    desk.pass(599 * SECOND);
    desk.tick();
    assert!(desk.closed.is_empty());
    desk.pass(SECOND);
    desk.tick();
    assert_eq!(desk.closed, [(1, CloseReason::IdleTimeout), (2, CloseReason::IdleTimeout)]);
}

#[test]
fn without_an_idle_timeout_idle_servers_stay() {
    let mut desk = Desk::with_idle(Settings { server_idle_timeout: None, ..small(3) }, 3);
    desk.pass(3000 * SECOND);
    desk.tick();
    assert!(desk.closed.is_empty());
}

#[test]
fn old_servers_are_closed_one_after_another() {
    let settings = Settings { server_idle_timeout: None, server_lifetime: 100 * SECOND, ..small(10) };
    let mut desk = Desk::with_idle(settings, 3);
    desk.pass(100 * SECOND);
    for closed in 1..=3 {
        desk.tick();
        assert_eq!(desk.closed.len(), closed);
        assert_eq!(desk.closed.last().map(|(_, why)| *why), Some(CloseReason::Lifetime));
        desk.tick();
        assert_eq!(desk.closed.len(), closed, "the next one is closed a tenth of the lifetime later");
        desk.pass(10 * SECOND);
    }
}

#[test]
fn an_old_server_is_closed_on_return() {
    let mut desk = Desk::with_idle(small(1), 1);
    let lent = desk.lend(HERE);
    desk.pass(3600 * SECOND);
    desk.give_back(lent);
    assert_eq!(desk.closed, [(1, CloseReason::Lifetime)]);
}

#[test]
fn a_lifetime_of_zero_means_single_use() {
    let mut desk = Desk::new(Settings { server_lifetime: Duration::ZERO, min_pool_size: 1, ..small(2) });
    desk.tick();
    desk.arrive();
    desk.tick();
    assert!(desk.closed.is_empty(), "it has not been used yet");
    let lent = desk.lend(HERE);
    desk.give_back(lent);
    assert_eq!(desk.closed, [(1, CloseReason::Lifetime)]);
}

#[test]
fn the_minimum_is_filled_up_one_server_a_round() {
    let mut desk = Desk::new(Settings { min_pool_size: 2, ..small(5) });
    desk.tick();
    assert_eq!(desk.purposes(), [Purpose::MinPoolSize]);
    desk.arrive();
    assert!(desk.opens.is_empty());
    desk.tick();
    desk.arrive();
    desk.tick();
    assert!(desk.opens.is_empty());
    assert_eq!(desk.pool.counts().idle, 2);
}

#[test]
fn the_minimum_never_exceeds_the_pool_size() {
    let mut desk = Desk::new(Settings { min_pool_size: 5, ..small(1) });
    desk.tick();
    desk.arrive();
    desk.tick();
    assert!(desk.opens.is_empty());
}

#[test]
fn filling_up_pauses_while_opening_fails() {
    let mut desk = Desk::new(Settings { min_pool_size: 1, ..small(1) });
    desk.tick();
    desk.fail(false);
    desk.tick();
    assert!(desk.opens.is_empty());
    desk.pass(50 * MS);
    desk.tick();
    assert_eq!(desk.opens.len(), 1);
}

#[test]
fn a_smaller_pool_closes_idle_servers_now_and_lent_ones_on_return() {
    let mut desk = Desk::with_idle(small(3), 3);
    let lent = [desk.lend(HERE), desk.lend(HERE)];
    desk.call(|pool, now, out| pool.reconfigure(small(1), now, out));
    assert_eq!(desk.closed, [(1, CloseReason::Surplus)]);
    for lent in lent {
        desk.give_back(lent);
    }
    assert_eq!(desk.closed.len(), 2);
    assert_eq!(desk.pool.counts().idle, 1);
}

#[test]
fn a_larger_pool_serves_those_in_line() {
    let mut desk = Desk::with_idle(small(1), 1);
    let _lent = desk.lend(HERE);
    desk.pass(SECOND);
    let _ticket = desk.queue(HERE);
    desk.call(|pool, now, out| pool.reconfigure(small(2), now, out));
    assert_eq!(desk.opens.len(), 1);
    assert_eq!(desk.pool.settings(), &small(2));
}

#[test]
fn a_lost_review_is_made_up_for_by_the_next_tick() {
    let mut desk = Desk::new(small(1));
    let _ticket = desk.queue(HERE);
    desk.fail(false);
    desk.pass(SECOND);
    desk.tick();
    assert_eq!(desk.opens.len(), 1);
}
