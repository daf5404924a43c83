//! How soon a formation notices that its primary is gone.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A set of the monitor's and the keepers' time limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// A dead primary is replaced in about 4 s (6 s with three nodes), and a busy machine raises no false alarm.
    #[default]
    Fast,
    /// In about 2 s: the health checks decide alone.
    Fastest,
    /// What pg_auto_failover ships: about 51 s.
    Shipped,
}

/// All of them, by the names people use.
const NAMES: [(&str, Profile); 3] =
    [("fast", Profile::Fast), ("fastest", Profile::Fastest), ("default", Profile::Shipped)];

impl Profile {
    /// The settings of the monitor, without their prefix `pgautofailover.`, all in milliseconds but the retries.
    pub(super) fn monitor_settings(self) -> [(&'static str, u32); 7] {
        let [period, timeout, retries, delay, unhealthy, demote, grace] = match self {
            Profile::Fast => [500, 1000, 1, 200, 3000, 1000, 5000],
            Profile::Fastest => [100, 1000, 1, 50, 500, 100, 1000],
            Profile::Shipped => [5000, 5000, 2, 2000, 20_000, 30_000, 10_000],
        };
        [
            ("health_check_period", period),
            ("health_check_timeout", timeout),
            ("health_check_max_retries", retries),
            ("health_check_retry_delay", delay),
            ("node_considered_unhealthy_timeout", unhealthy),
            ("primary_demote_timeout", demote),
            ("startup_grace_period", grace),
        ]
    }

    /// The keepers' `timeout.network_partition_timeout` in seconds, after which an isolated primary stops itself. It
    /// is below the time in which the others replace it.
    pub(super) fn partition_timeout(self) -> u32 {
        match self {
            Profile::Fast => 2,
            Profile::Fastest => 1,
            Profile::Shipped => 20,
        }
    }

    /// The longest that two nodes should be without a primary after it died: the time to notice, then the time given
    /// to the old primary or, if longer, the promotion (1.1 s), then 3 s for the round trips between, and a quarter
    /// more. Three nodes take two seconds longer, because every standby restarts twice.
    pub fn failover_limit(self) -> Duration {
        let [.., (_, unhealthy), (_, demote), _] = self.monitor_settings();
        Duration::from_millis(u64::from(unhealthy + demote.max(1100) + 3000) * 5 / 4)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = NAMES.iter().find(|(_, profile)| profile == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(wanted: &str) -> Result<Profile, String> {
        let found = NAMES.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, profile)| *profile).ok_or_else(|| format!("{wanted:?} is not fast, fastest or default"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_reads_as_it_is_written() {
        for (name, profile) in NAMES {
            assert_eq!(name.parse(), Ok(profile));
            assert_eq!(profile.to_string(), name);
        }
        assert!("slow".parse::<Profile>().is_err());
    }

    #[test]
    fn the_limit_follows_from_the_settings() {
        let limits = NAMES.map(|(_, profile)| profile.failover_limit().as_millis());
        assert_eq!(limits, [8875, 5750, 66_250]);
    }
}
