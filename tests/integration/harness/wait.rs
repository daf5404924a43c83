//! Waiting for something to become true: polled, and never for ever.

use std::time::{Duration, Instant};

/// How long anything may take that should happen at once. Generous, because tests share two cores.
pub const LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// Waits until `ready` is true, and fails the test with `what` if it does not become so.
#[track_caller]
pub fn eventually(what: &str, mut ready: impl FnMut() -> bool) {
    until(what, || ready().then_some(()));
}

/// Waits until `found` finds something, and returns it.
#[track_caller]
pub fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let mut value = None;
    let in_time = until_deadline(|| {
        value = found();
        value.is_some()
    });
    assert!(in_time, "not within {LIMIT:?}: {what}");
    value.expect("found in time")
}

/// Whether `ready` becomes true in time.
pub fn until_deadline(mut ready: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + LIMIT;
    while !ready() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}
