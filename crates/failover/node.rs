//! What names a node, and what the monitor's table says about it.

use crate::NodeState;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// The monitor's number of a node; for a list of hosts, the place in that list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub i64);

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// A name, an address, or a directory of Unix sockets.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// The endpoint of that host and port.
    pub fn new(host: &str, port: u16) -> Endpoint {
        Endpoint { host: host.into(), port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// PostgreSQL's system identifier: the same for all that were copied from one initdb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SystemId(pub u64);

impl SystemId {
    /// Reads what SQL shows, which is a signed number.
    pub(crate) fn parse(text: &str) -> Option<SystemId> {
        text.parse::<i64>().ok().map(|number| SystemId(number as u64))
    }
}

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A position in the write-ahead log, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub u64);

impl FromStr for Lsn {
    type Err = BadRow;

    /// Reads PostgreSQL's notation, as in `16/B374D848`.
    fn from_str(text: &str) -> Result<Lsn, BadRow> {
        let half = |part: &str| match part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => u32::from_str_radix(part, 16).ok(),
            false => None,
        };
        let (high, low) = text.split_once('/').ok_or(BadRow("lsn"))?;
        match (half(high), half(low)) {
            (Some(high), Some(low)) => Ok(Lsn(u64::from(high) << 32 | u64::from(low))),
            _ => Err(BadRow("lsn")),
        }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 as u32)
    }
}

/// What the monitor's own health checks found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not checked yet.
    Unknown,
    /// No answer.
    Bad,
    /// An answer, be it an error.
    Good,
}

impl Health {
    /// The word that notifications use.
    pub fn name(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Bad => "bad",
            Health::Good => "good",
        }
    }
}

/// One row of the monitor's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its name, for people.
    pub name: Arc<str>,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// `None` before it is known.
    pub system: Option<SystemId>,
    /// The state its keeper reported last.
    pub reported: NodeState,
    /// The state the monitor wants it to be in.
    pub goal: NodeState,
    /// What the monitor's health checks found.
    pub health: Health,
    /// The timeline its keeper reported last; zero before the first report.
    pub timeline: u32,
    /// The position its keeper reported last.
    pub lsn: Lsn,
    /// Zero: it never becomes the primary by itself.
    pub candidate_priority: i32,
}

/// A column of a row that cannot be what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the column {0} has an unexpected value")]
pub struct BadRow(pub &'static str);

impl Node {
    /// What to select, `from` the monitor's table or a view of it, for [`Node::parse`].
    pub const COLUMNS: &str = "nodeid, nodename, nodehost, nodeport, sysidentifier, reportedstate::text, \
                               goalstate::text, health, reportedtli, reportedlsn, candidatepriority";

    /// Reads a row of [`Node::COLUMNS`] in text format. The error names the first column that is wrong.
    pub fn parse(row: &[Option<&str>; 11]) -> Result<Node, BadRow> {
        let [id, name, host, port, system, reported, goal, health, timeline, lsn, priority] = *row;
        let host = host.ok_or(BadRow("nodehost"))?;
        Ok(Node {
            id: NodeId(number(id, "nodeid")?),
            name: name.ok_or(BadRow("nodename"))?.into(),
            endpoint: Endpoint::new(host, number(port, "nodeport")?),
            system: match system {
                None | Some("0") => None,
                Some(text) => Some(SystemId::parse(text).ok_or(BadRow("sysidentifier"))?),
            },
            reported: NodeState::parse(reported.ok_or(BadRow("reportedstate"))?),
            goal: NodeState::parse(goal.ok_or(BadRow("goalstate"))?),
            health: match number(health, "health")? {
                0 => Health::Bad,
                1 => Health::Good,
                -1 => Health::Unknown,
                _ => return Err(BadRow("health")),
            },
            timeline: number(timeline, "reportedtli")?,
            lsn: lsn.ok_or(BadRow("reportedlsn"))?.parse().map_err(|_| BadRow("reportedlsn"))?,
            candidate_priority: number(priority, "candidatepriority")?,
        })
    }

    /// The monitor's half of the proof: it wants the node to take writes, and the node's keeper says that it does.
    pub fn is_assigned(&self) -> bool {
        self.reported.is_writable() && self.goal.is_writable()
    }
}

pub(crate) fn number<T: FromStr>(text: Option<&str>, column: &'static str) -> Result<T, BadRow> {
    text.and_then(|text| text.parse().ok()).ok_or(BadRow(column))
}

/// How long the monitor takes to replace a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// `pgautofailover.node_considered_unhealthy_timeout`.
    pub unhealthy: Duration,
    /// `pgautofailover.primary_demote_timeout`.
    pub demote: Duration,
}

impl Default for Timeouts {
    /// What pg_auto_failover ships with.
    fn default() -> Self {
        Timeouts { unhealthy: Duration::from_secs(20), demote: Duration::from_secs(30) }
    }
}

impl Timeouts {
    /// Reads both in milliseconds; any role may ask for them, whatever their unit.
    pub const QUERY: &str = "select max(setting) filter (where name like '%.node_considered_unhealthy_timeout'), \
                             max(setting) filter (where name like '%.primary_demote_timeout') \
                             from pg_settings where name like 'pgautofailover.%' and unit = 'ms'";

    /// Reads the row of [`Timeouts::QUERY`].
    pub fn parse(row: &[Option<&str>; 2]) -> Result<Timeouts, BadRow> {
        let [unhealthy, demote] = *row;
        Ok(Timeouts {
            unhealthy: Duration::from_millis(number::<u32>(unhealthy, "node_considered_unhealthy_timeout")?.into()),
            demote: Duration::from_millis(number::<u32>(demote, "primary_demote_timeout")?.into()),
        })
    }

    /// How long a failover may take until the new primary takes writes: the detection, then the promotion (it sleeps a
    /// second) beside the time given to the old primary, then three of the keepers' rounds; and a quarter more.
    pub fn failover(&self) -> Duration {
        let promotion = self.demote.max(Duration::from_millis(1100));
        self.unhealthy.saturating_add(promotion).saturating_add(Duration::from_secs(3)).saturating_mul(5) / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: [Option<&str>; 11] = [
        Some("1"),
        Some("node1"),
        Some("127.0.0.1"),
        Some("17501"),
        Some("7710200781268129695"),
        Some("primary"),
        Some("draining"),
        Some("1"),
        Some("67"),
        Some("0/308FBA0"),
        Some("50"),
    ];

    #[test]
    fn a_row_of_the_monitor_is_read() {
        let node = Node::parse(&ROW).unwrap();
        assert_eq!((node.id, &*node.name, node.endpoint.to_string()), (NodeId(1), "node1", "127.0.0.1:17501".into()));
        assert_eq!(node.system, Some(SystemId(7710200781268129695)));
        assert_eq!((node.reported, node.goal), (NodeState::Primary, NodeState::Draining));
        assert_eq!((node.health, node.timeline, node.lsn), (Health::Good, 67, Lsn(0x308FBA0)));
    }

    #[test]
    fn a_row_with_a_wrong_value_names_its_column() {
        for (index, column) in [(0, "nodeid"), (3, "nodeport"), (7, "health"), (9, "reportedlsn")] {
            let mut row = ROW;
            row[index] = Some("-x/1");
            assert_eq!(Node::parse(&row), Err(BadRow(column)));
        }
    }

    #[test]
    fn a_system_identifier_of_zero_is_not_known_yet() {
        let mut row = ROW;
        row[4] = Some("0");
        assert_eq!(Node::parse(&row).unwrap().system, None);
    }

    #[test]
    fn a_position_is_read_as_postgresql_writes_it() {
        let lsn: Lsn = "16/B374D848".parse().unwrap();
        assert_eq!((lsn.0, lsn.to_string().as_str()), (0x16_B374_D848, "16/B374D848"));
        for bad in ["", "16", "16/", "/1", "+1/1", "1/123456789", "1/2/3"] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_monitors_timeouts_say_how_long_a_failover_takes() {
        assert_eq!(Timeouts::default().failover(), Duration::from_millis(66_250));
        let fast = Timeouts::parse(&[Some("3000"), Some("1000")]).unwrap();
        assert_eq!(fast.failover(), Duration::from_millis(8_875));
        assert!(Timeouts::parse(&[None, Some("1000")]).is_err());
    }
}
