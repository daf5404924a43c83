//! What poolers of one formation tell each other in a planned failover, through notifications in the monitor's database.
//!
//! Anybody who may connect there can notify. What counts is sealed with a secret that only poolers have, and names the
//! session that sends it, which the monitor's server tells each listener by itself: a copy from another session is worth
//! nothing.

use std::fmt;

use aws_lc_rs::{digest, hmac};
use serde::{Deserialize, Serialize};

/// What a payload begins with: another version is none of ours.
const VERSION: &str = "1";
/// The server takes no payload that is longer.
const MAX_PAYLOAD: usize = 7999;
/// Bytes of a seal: those of SHA-256.
const SEAL: usize = 32;

/// The channel of these notifications. Each group of each formation has its own: its poolers may have another secret.
pub fn channel(formation: &str, group: i32) -> String {
    let digest = digest::digest(&digest::SHA256, format!("{group} {formation}").as_bytes());
    format!("pooler_control_{}", hex(&digest.as_ref()[..8]))
}

/// One planned failover, by a number nobody can guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcedureId(pub u64);

/// A message, from whoever coordinates a failover or back to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The failover it belongs to.
    pub procedure: ProcedureId,
    /// The formation, in the monitor's words.
    pub formation: String,
    /// The group within the formation.
    pub group: i32,
    /// The process id of the session that sends it.
    pub sender: i32,
    /// Grows from message to message of one sender.
    pub number: u32,
    /// When it is worth nothing any more, by the monitor's clock: microseconds since 1970.
    pub deadline: i64,
    /// What it says.
    pub said: Said,
}

/// What is said: by the coordinator to all, or back by one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// Coordinator: who is there?
    Ask,
    /// Transactions go to this primary, and may begin.
    Ready {
        /// Its address.
        endpoint: String,
        /// The timeline it writes.
        timeline: u32,
    },
    /// Transactions wait here already, for this reason.
    NotReady {
        /// The reason.
        why: String,
    },
    /// Coordinator: begin no transaction before the deadline, or before another primary is proved.
    Pause {
        /// The timeline of the primary that is left: whoever is past it has nothing to wait for.
        timeline: u32,
        /// How long transactions that have begun may take, in milliseconds.
        drain: u64,
    },
    /// None begins, and so many have not ended: none, or the time for it is over.
    Paused {
        /// How many servers are still lent.
        active: u32,
    },
    /// Coordinator: it is given up, go on as before.
    Resume,
    /// Coordinator: the monitor has accepted the failover.
    Committed,
    /// Transactions begin again.
    Opened {
        /// The address of their primary.
        endpoint: String,
        /// How long they waited, in milliseconds.
        held: u64,
    },
}

/// What seals messages: the setting `control_secret`.
pub struct ControlKey(hmac::Key);

impl fmt::Debug for ControlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlKey(..)")
    }
}

impl ControlKey {
    /// The key of a secret; none for the empty one.
    pub fn new(secret: &str) -> Option<ControlKey> {
        (!secret.is_empty()).then(|| ControlKey(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())))
    }

    /// The payload of a notification.
    pub fn seal(&self, message: &Message) -> String {
        let text = serde_json::to_string(message).expect("a message is plain data");
        let seal = hmac::sign(&self.0, text.as_bytes());
        format!("{VERSION} {} {text}", hex(seal.as_ref()))
    }

    /// Reads the payload of a notification; none if nobody who has the secret wrote it.
    pub fn open(&self, payload: &str) -> Option<Message> {
        if payload.len() > MAX_PAYLOAD {
            return None;
        }
        let (seal, text) = payload.strip_prefix(VERSION)?.strip_prefix(' ')?.split_once(' ')?;
        hmac::verify(&self.0, text.as_bytes(), &bytes(seal)?).ok()?;
        serde_json::from_str(text).ok()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Option<[u8; SEAL]> {
    let digit = |at: usize| char::from(hex.as_bytes()[at]).to_digit(16).map(|digit| digit as u8);
    let mut bytes = [0; SEAL];
    if hex.len() != 2 * SEAL {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = digit(2 * index)? << 4 | digit(2 * index + 1)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> Message {
        Message {
            procedure: ProcedureId(u64::MAX),
            formation: "de\"fault é".into(),
            group: 3,
            sender: 4711,
            number: 1,
            deadline: 1_800_000_000_000_000,
            said: Said::Pause { timeline: 5, drain: 5000 },
        }
    }

    #[test]
    fn what_was_sealed_is_read_by_whoever_has_the_secret_and_by_nobody_else() {
        let key = ControlKey::new("secret").expect("a key");
        let payload = key.seal(&message());
        assert_eq!(key.open(&payload), Some(message()));
        assert_eq!(ControlKey::new("Secret").expect("a key").open(&payload), None);
        assert!(ControlKey::new("").is_none());
        assert!(!format!("{key:?} {payload}").contains("secret"));
    }

    #[test]
    fn each_group_of_each_formation_has_a_channel_of_its_own() {
        let names = [channel("default", 0), channel("default", 1), channel("Default", 0), channel("0 default", 0)];
        assert_eq!(names[0], "pooler_control_c4e9e7ab5f70edd3");
        assert!((1..4).all(|n| !names[..n].contains(&names[n])), "{names:?}");
    }

    #[test]
    fn each_saying_is_read_back() {
        let key = ControlKey::new("s").expect("a key");
        let sayings = [
            Said::Ask,
            Said::Ready { endpoint: "h:1".into(), timeline: 5 },
            Said::NotReady { why: "it's held".into() },
            Said::Pause { timeline: 5, drain: 1 },
            Said::Paused { active: 2 },
            Said::Resume,
            Said::Committed,
            Said::Opened { endpoint: "h:2".into(), held: 1200 },
        ];
        for said in sayings {
            let message = Message { said, ..message() };
            assert_eq!(key.open(&key.seal(&message)), Some(message));
        }
    }

    proptest! {
        #[test]
        fn a_payload_that_was_changed_is_worth_nothing(at in 0..400usize, to in any::<char>(), noise in ".*") {
            let key = ControlKey::new("s").expect("a key");
            let payload = key.seal(&message());
            let mut changed: Vec<char> = payload.chars().collect();
            let at = at % changed.len();
            changed[at] = to;
            let changed: String = changed.into_iter().collect();
            // Capitals in the seal are the same seal.
            if changed.to_lowercase() != payload.to_lowercase() {
                prop_assert_eq!(key.open(&changed), None);
            }
            prop_assert_eq!(key.open(&noise), None);
            prop_assert_eq!(key.open(&format!("1 {noise} {noise}")), None);
        }
    }
}
