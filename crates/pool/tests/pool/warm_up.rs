//! Warming up: servers that are opened before anybody asks for them.

use crate::desk::{Desk, HERE, MS, SECOND, small};
use pool::{Hold, Purpose, Settings};

fn warmed(settings: Settings, servers: u32) -> Desk {
    let mut desk = Desk::new(settings);
    desk.call(|pool, now, out| pool.warm_up(servers, now, out));
    desk
}

/// Lets every opening succeed, and says how many servers are idle then.
fn all_arrive(desk: &mut Desk) -> usize {
    while !desk.opens.is_empty() {
        desk.arrive();
    }
    desk.pool.counts().idle
}

#[test]
fn one_server_is_opened_first_and_the_others_side_by_side_when_it_works() {
    let mut desk = warmed(Settings { max_opening: 3, ..small(20) }, 6);
    desk.tick();
    assert_eq!(desk.purposes(), [Purpose::MinPoolSize]);
    desk.arrive();
    assert_eq!(desk.opens.len(), 3);
    desk.arrive();
    assert_eq!(desk.opens.len(), 3);
    assert_eq!(all_arrive(&mut desk), 6);
}

#[test]
fn a_warm_up_goes_to_the_pool_size_and_not_to_the_reserve() {
    let mut desk = warmed(Settings { reserve_pool_size: 5, ..small(3) }, 8);
    assert_eq!(all_arrive(&mut desk), 3);
}

#[test]
fn servers_that_are_there_already_count() {
    let mut desk = Desk::with_idle(small(5), 2);
    let _lent = desk.lend(HERE);
    desk.call(|pool, now, out| pool.warm_up(3, now, out));
    assert_eq!(desk.opens.len(), 1);
}

#[test]
fn what_has_been_warmed_up_shrinks_with_the_idle_timeout_and_is_not_opened_again() {
    let mut desk = warmed(small(5), 4);
    all_arrive(&mut desk);
    desk.pass(600 * SECOND);
    desk.tick();
    assert_eq!((desk.closed.len(), desk.opens.len()), (4, 0));
}

#[test]
fn a_failure_is_the_end_of_a_warm_up() {
    let mut desk = warmed(small(5), 4);
    desk.fail(false);
    desk.pass(SECOND);
    desk.tick();
    assert!(desk.opens.is_empty());
}

#[test]
fn a_full_budget_is_the_end_of_a_warm_up() {
    let mut desk = warmed(small(5), 4);
    let open = desk.opens.remove(0);
    desk.call(|pool, now, out| pool.open_denied(open, now, out));
    desk.tick();
    assert!(desk.opens.is_empty());
}

#[test]
fn a_held_pool_is_warmed_up_when_it_is_released() {
    let mut desk = Desk::new(small(5));
    desk.call(|pool, now, out| pool.hold(Hold::Database, now, out));
    desk.call(|pool, now, out| pool.warm_up(2, now, out));
    desk.tick();
    assert!(desk.opens.is_empty());
    desk.call(|pool, now, out| pool.release(Hold::Database, now, out));
    desk.tick();
    assert_eq!(all_arrive(&mut desk), 2);
}

#[test]
fn a_warm_up_ends_after_half_a_minute() {
    let mut desk = Desk::new(small(5));
    desk.call(|pool, now, out| pool.hold(Hold::Database, now, out));
    desk.call(|pool, now, out| pool.warm_up(2, now, out));
    desk.pass(30 * SECOND);
    desk.call(|pool, now, out| pool.release(Hold::Database, now, out));
    desk.tick();
    assert!(desk.opens.is_empty());
}

#[test]
fn who_comes_during_a_warm_up_is_served_by_it() {
    let mut desk = warmed(small(5), 3);
    let ticket = desk.queue(HERE);
    assert_eq!(desk.opens.len(), 1, "one is on its way");
    desk.pass(MS);
    desk.arrive();
    let _lent = desk.claim(ticket);
    assert_eq!(desk.opens.len(), 2, "what is lent counts towards the warm-up");
}

#[test]
fn the_peak_is_what_was_lent_at_once_since_it_was_asked_for() {
    let mut desk = Desk::with_idle(small(5), 3);
    assert_eq!(desk.pool.take_peak(), 3);
    let lent = [desk.lend(HERE), desk.lend(HERE)];
    let [kept, returned] = lent;
    desk.give_back(returned);
    assert_eq!(desk.pool.take_peak(), 2);
    assert_eq!(desk.pool.take_peak(), 1, "one is still lent");
    desk.give_back(kept);
    assert_eq!((desk.pool.take_peak(), desk.pool.take_peak()), (1, 0));
}
