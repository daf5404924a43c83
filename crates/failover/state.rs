//! The states that pg_auto_failover gives its nodes, and what each means to a pooler.

use std::fmt;

/// What a state lets a pooler do with the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The node takes writes.
    Writable,
    /// The node is about to stop taking writes, or has stopped.
    Leaving,
    /// The node may become the primary; it does not take writes yet.
    Promoting,
    /// A standby that may be read.
    Standby,
    /// Neither written nor read: Postgres is stopped, or is not part of replication yet. Unknown states are here.
    Unusable,
}

macro_rules! states {
    ($($(#[$doc:meta])* $state:ident = $name:literal, $class:ident;)*) => {
        /// A node's state, in the monitor's words.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum NodeState {
            $($(#[$doc])* $state,)*
            /// A word this version does not know, kept as it came. Never writable.
            Unknown(Box<str>),
        }

        impl NodeState {
            /// The state of that name; every name is one.
            pub fn parse(name: &str) -> NodeState {
                match name {
                    $($name => NodeState::$state,)*
                    _ => NodeState::Unknown(name.into()),
                }
            }

            /// The monitor's word for it.
            pub fn name(&self) -> &str {
                match self {
                    $(NodeState::$state => $name,)*
                    NodeState::Unknown(name) => name,
                }
            }

            /// What a pooler may do with a node in this state.
            pub fn class(&self) -> Class {
                match self {
                    $(NodeState::$state => Class::$class,)*
                    NodeState::Unknown(_) => Class::Unusable,
                }
            }
        }

        #[cfg(test)]
        const KNOWN: &[NodeState] = &[$(NodeState::$state),*];
    };
}

states! {
    /// Registered, nothing more.
    Init = "init", Unusable;
    /// The only node.
    Single = "single", Writable;
    /// The primary, with a standby.
    Primary = "primary", Writable;
    /// The primary, without a standby: replication is not synchronous.
    WaitPrimary = "wait_primary", Writable;
    /// The primary, about to change its replication settings.
    ApplySettings = "apply_settings", Writable;
    /// A primary that a standby joins; older versions.
    JoinPrimary = "join_primary", Writable;
    /// Told to stop taking writes; once reported, its Postgres is stopped.
    Draining = "draining", Leaving;
    /// Stopped, its clients given time to notice.
    DemoteTimeout = "demote_timeout", Leaving;
    /// Stopped for good, until it joins as a standby.
    Demoted = "demoted", Leaving;
    /// A primary that goes into maintenance.
    PrepareMaintenance = "prepare_maintenance", Leaving;
    /// In the operator's hands: Postgres may be up or down.
    Maintenance = "maintenance", Leaving;
    /// Removed from the formation.
    Dropped = "dropped", Leaving;
    /// An election: every standby says how much WAL it has.
    ReportLsn = "report_lsn", Promoting;
    /// The winner of an election fetches WAL from another standby.
    FastForward = "fast_forward", Promoting;
    /// Chosen to be promoted.
    PreparePromotion = "prepare_promotion", Promoting;
    /// Promoted, not to be written to before the old primary has stopped.
    StopReplication = "stop_replication", Promoting;
    /// A standby in sync.
    Secondary = "secondary", Standby;
    /// A standby that lags.
    CatchingUp = "catchingup", Standby;
    /// A standby that goes into maintenance.
    WaitMaintenance = "wait_maintenance", Standby;
    /// A standby waiting for its base backup.
    WaitStandby = "wait_standby", Unusable;
    /// A standby, stopped, that changes to a new primary.
    JoinSecondary = "join_secondary", Unusable;
}

impl NodeState {
    /// Whether the node takes writes in this state: half of the monitor's half of the proof.
    pub fn is_writable(&self) -> bool {
        self.class() == Class::Writable
    }

    /// Whether a primary that *reports* this state has been stopped: its keeper reports it after `pg_ctl stop` returned.
    /// With several standbys the old primary takes part in the election, restarted as a standby: `report_lsn`, which leads
    /// to `join_secondary`. A primary gets there by way of the others only.
    pub fn proves_stopped(&self) -> bool {
        use NodeState::{DemoteTimeout, Demoted, Draining, JoinSecondary, Maintenance, PrepareMaintenance, ReportLsn};
        matches!(
            self,
            Draining | DemoteTimeout | Demoted | PrepareMaintenance | Maintenance | ReportLsn | JoinSecondary
        )
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_read_back_as_itself() {
        for state in KNOWN {
            assert_eq!(NodeState::parse(state.name()), *state);
        }
    }

    #[test]
    fn exactly_the_five_states_of_rule_one_are_writable() {
        let writable: Vec<_> = KNOWN.iter().filter(|state| state.is_writable()).map(NodeState::name).collect();
        assert_eq!(writable, ["single", "primary", "wait_primary", "apply_settings", "join_primary"]);
    }

    #[test]
    fn an_unknown_state_keeps_its_name_and_is_not_writable() {
        let state = NodeState::parse("Primary ");
        assert_eq!(state.name(), "Primary ");
        assert_eq!(state.class(), Class::Unusable);
    }

    #[test]
    fn only_states_reported_after_the_stop_prove_it() {
        let proving: Vec<_> = KNOWN.iter().filter(|state| state.proves_stopped()).map(NodeState::name).collect();
        let expected = [
            "draining",
            "demote_timeout",
            "demoted",
            "prepare_maintenance",
            "maintenance",
            "report_lsn",
            "join_secondary",
        ];
        assert_eq!(proving, expected);
    }
}
