//! The names of a formation's parts.

use std::fmt;
use std::str::FromStr;

/// The monitor, or one of the data nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// The monitor.
    Monitor,
    /// A data node: node1, node2 and so on.
    Node(u8),
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Member::Monitor => f.write_str("monitor"),
            Member::Node(number) => write!(f, "node{number}"),
        }
    }
}

impl FromStr for Member {
    type Err = String;

    fn from_str(name: &str) -> Result<Member, String> {
        if name == "monitor" {
            return Ok(Member::Monitor);
        }
        let number = name.strip_prefix("node").and_then(|number| number.parse().ok());
        number.map(Member::Node).ok_or_else(|| format!("{name:?} is neither monitor nor node1, node2, …"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_as_it_is_written() {
        for member in [Member::Monitor, Member::Node(1), Member::Node(12)] {
            assert_eq!(member.to_string().parse(), Ok(member));
        }
        for wrong in ["", "node", "node0x", "Monitor", "node300"] {
            assert!(wrong.parse::<Member>().is_err(), "{wrong}");
        }
    }
}
