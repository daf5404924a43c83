//! What the monitor notifies on its channel `state`. Anybody who may connect can send one: it is never a proof.

use crate::{Endpoint, Health, NodeId, NodeState};
use serde::Deserialize;

/// A notification about one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The formation it is about.
    pub formation: Box<str>,
    /// The group within the formation.
    pub group: i32,
    /// The node it is about.
    pub node: NodeId,
    /// Where that node listens.
    pub endpoint: Endpoint,
    /// The state its keeper reported.
    pub reported: NodeState,
    /// The state the monitor wants.
    pub goal: NodeState,
    /// What the monitor's health checks found.
    pub health: Health,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    r#type: &'a str,
    formation: String,
    group_id: i32,
    node_id: i64,
    host: String,
    port: u16,
    reported_state: String,
    goal_state: String,
    health: String,
}

impl Hint {
    /// Reads a payload of the channel `state`. What is malformed, or of another type, is a hint of nothing.
    pub fn parse(payload: &str) -> Option<Hint> {
        let payload: Payload = serde_json::from_str(payload).ok()?;
        if payload.r#type != "state" {
            return None;
        }
        Some(Hint {
            formation: payload.formation.into(),
            group: payload.group_id,
            node: NodeId(payload.node_id),
            endpoint: Endpoint::new(&payload.host, payload.port),
            reported: NodeState::parse(&payload.reported_state),
            goal: NodeState::parse(&payload.goal_state),
            health: match payload.health.as_str() {
                "good" => Health::Good,
                "bad" => Health::Bad,
                _ => Health::Unknown,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DRAINING: &str = r#"{"type": "state", "formation": "default", "groupId": 0, "nodeId": 2, "name": "node2", "host": "127.0.0.1", "port": 17502, "reportedState": "primary", "goalState": "draining", "health":"good"}"#;

    #[test]
    fn a_notification_of_the_monitor_is_read() {
        let hint = Hint::parse(DRAINING).unwrap();
        assert_eq!((&*hint.formation, hint.group, hint.node), ("default", 0, NodeId(2)));
        assert_eq!(hint.endpoint, Endpoint::new("127.0.0.1", 17502));
        assert_eq!((hint.reported, hint.goal), (NodeState::Primary, NodeState::Draining));
        assert_eq!(hint.health, Health::Good);
    }

    #[test]
    fn new_keys_and_a_name_with_quotes_do_no_harm() {
        let payload = DRAINING.replace("node2\"", "no\\\"de\\u00e92\", \"region\": {\"a\": [1, null]}");
        assert_eq!(Hint::parse(&payload), Hint::parse(DRAINING));
    }

    #[test]
    fn what_is_malformed_is_a_hint_of_nothing() {
        let other_type = DRAINING.replace("\"state\"", "\"log\"");
        let negative_port = DRAINING.replace("17502", "-1");
        for payload in ["", "{}", "null", "[1]", &DRAINING[1..], &other_type, &negative_port, "{\"type\": \"state\"}"] {
            assert_eq!(Hint::parse(payload), None, "{payload}");
        }
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic(payload in ".*", at in 0..DRAINING.len(), byte in any::<char>()) {
            let _ = Hint::parse(&payload);
            let mut changed: Vec<char> = DRAINING.chars().collect();
            changed[at] = byte;
            let _ = Hint::parse(&changed.into_iter().collect::<String>());
        }
    }
}
