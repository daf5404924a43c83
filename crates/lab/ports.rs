//! Ports nobody listens on.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

use crate::LabError;

/// Below Linux' usual range of ephemeral ports (32768 and up): a client's own port must never be in the way of a
/// server that restarts on the same port.
const RANGE: std::ops::Range<u16> = 15_000..32_000;
const ATTEMPTS: usize = 100;

/// A port on 127.0.0.1 that was free a moment ago. Whoever binds it may still lose a race and should then ask again.
pub fn free_port() -> Result<u16, LabError> {
    for _ in 0..ATTEMPTS {
        // Randomly keyed, so that processes that start together do not try the same ports in the same order.
        let random = RandomState::new().hash_one(RANGE.start);
        let port = RANGE.start + (random % u64::from(RANGE.end - RANGE.start)) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(LabError::NoPort)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound_and_is_not_ephemeral() {
        let port = free_port().unwrap();
        assert!(RANGE.contains(&port));
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
