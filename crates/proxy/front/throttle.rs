//! Holding back the answer to failed logins, longer with each failure from one address (setting `auth_failure_delay`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::services::lock;

/// Failures that cost nothing: people mistype.
const FREE: u32 = 3;
/// The first delay; each further failure doubles it.
const FIRST: Duration = Duration::from_millis(100);
/// One failure is forgotten after so long.
const FORGET: Duration = Duration::from_secs(10);
/// Addresses that are remembered. Whoever has more of them is not stopped by this.
const MAX_ADDRESSES: usize = 10_000;

/// Recent failures by address.
#[derive(Debug, Default)]
pub struct Throttle {
    by_address: Mutex<HashMap<IpAddr, Failures>>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    /// When the count was right.
    at: Instant,
}

impl Failures {
    /// Forgets those that are long ago.
    fn settle(&mut self, now: Instant) {
        let gone = now.duration_since(self.at).as_secs() / FORGET.as_secs();
        self.count = self.count.saturating_sub(u32::try_from(gone).unwrap_or(u32::MAX));
        self.at += FORGET * u32::try_from(gone).unwrap_or(0);
    }
}

impl Throttle {
    /// Notes a failure: how long its answer is to be held back, `longest` at most.
    pub fn failed(&self, address: IpAddr, longest: Duration, now: Instant) -> Duration {
        let mut by_address = lock(&self.by_address);
        if by_address.len() >= MAX_ADDRESSES && !by_address.contains_key(&address) {
            by_address.retain(|_, failures| {
                failures.settle(now);
                failures.count > 0
            });
            if by_address.len() >= MAX_ADDRESSES {
                by_address.clear();
            }
        }
        let failures = by_address.entry(address.to_canonical()).or_insert(Failures { count: 0, at: now });
        failures.settle(now);
        failures.count = failures.count.saturating_add(1);
        match failures.count.checked_sub(FREE + 1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST.saturating_mul(1 << doublings.min(16)).min(longest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(2);
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn the_delay_grows_to_its_limit_and_is_forgotten() {
        let throttle = Throttle::default();
        let now = Instant::now();
        let delays: Vec<_> = (0..10).map(|_| throttle.failed(HERE, LONGEST, now).as_millis()).collect();
        assert_eq!(delays, [0, 0, 0, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(throttle.failed(HERE, LONGEST, now + FORGET * 100), Duration::ZERO);
    }

    #[test]
    fn one_address_does_not_answer_for_another() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for _ in 0..10 {
            throttle.failed(HERE, LONGEST, now);
        }
        let other = "2001:db8::1".parse().unwrap();
        assert_eq!(throttle.failed(other, LONGEST, now), Duration::ZERO);
        assert_eq!(throttle.failed("::ffff:127.0.0.1".parse().unwrap(), LONGEST, now), LONGEST, "the same host");
    }

    #[test]
    fn invented_addresses_cannot_fill_the_memory() {
        let throttle = Throttle::default();
        for number in 0..3 * MAX_ADDRESSES as u32 {
            throttle.failed(std::net::Ipv4Addr::from(number).into(), LONGEST, Instant::now());
        }
        assert!(lock(&throttle.by_address).len() <= MAX_ADDRESSES);
    }
}
