//! How a drill ended, and what it found.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::seconds;

/// How a drill ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Within the target, and every row is accounted for.
    Passed,
    /// The formation, or what the drill needs, is not in order.
    NotBegun(String),
    /// It was not wanted.
    Declined(String),
    /// For these reasons.
    Failed(Vec<String>),
    /// Something that the drill needs is not there.
    Missing(String),
}

impl End {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            End::Passed => 0,
            End::NotBegun(_) | End::Declined(_) => 1,
            End::Failed(_) => 2,
            End::Missing(_) => 3,
        }
    }

    /// Whether monitoring is to hear of it.
    pub fn is_recorded(&self) -> bool {
        !matches!(self, End::Declined(_))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Passed => f.write_str("the drill has passed"),
            End::NotBegun(why) => write!(f, "no drill: {why}"),
            End::Declined(why) => write!(f, "no drill, nothing was touched: {why}"),
            End::Failed(reasons) => write!(f, "the drill has failed: {}", reasons.join("; ")),
            End::Missing(why) => write!(f, "no drill, something is missing: {why}"),
        }
    }
}

/// What was measured, from the moment the failover was asked for.
#[derive(Debug)]
pub struct Findings {
    /// The longest that a client may have to wait.
    pub target: Duration,
    /// Until the pooler held transactions.
    pub detected: Option<Duration>,
    /// Until a row was acknowledged that a new primary has written.
    pub writable: Option<Duration>,
    /// The longest that one writer waited for an acknowledgement, errors and new logins included.
    pub gap: Option<Duration>,
    /// What is in the table; none if it could not be read.
    pub rows: Option<Rows>,
    /// How many rows were acknowledged.
    pub acknowledged: u64,
    /// Errors by SQLSTATE; `lost` for a connection that ended without one.
    pub errors: BTreeMap<String, u64>,
    /// Sessions that ended.
    pub reconnects: u64,
}

/// What the table says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Acknowledged, and not there.
    pub lost: u64,
    /// There twice, or there although the writer was told that they are not: whoever repeats those has them twice.
    pub doubled: u64,
}

impl Findings {
    /// Of a drill that never began.
    pub fn none(target: Duration) -> Self {
        Self {
            target,
            detected: None,
            writable: None,
            gap: None,
            rows: None,
            acknowledged: 0,
            errors: BTreeMap::new(),
            reconnects: 0,
        }
    }

    /// What is wrong with them.
    pub fn reasons(&self) -> Vec<String> {
        let over = self.gap.filter(|gap| *gap > self.target);
        let over =
            over.map(|gap| format!("a client waited for {}, the target is {}", seconds(gap), seconds(self.target)));
        let stranded = self.writable.is_none().then(|| "no row was written to a new primary".to_owned());
        let rows = match self.rows {
            None => Some("the rows could not be compared".to_owned()),
            Some(Rows { lost: 0, doubled: 0 }) => None,
            Some(Rows { lost, doubled }) => Some(format!("{lost} rows are lost, {doubled} doubled")),
        };
        [stranded, over, rows].into_iter().flatten().collect()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: Option<Duration>| time.map_or_else(|| "never".to_owned(), seconds);
        writeln!(f, "transactions held after  {}", time(self.detected))?;
        writeln!(f, "new primary wrote after  {}", time(self.writable))?;
        writeln!(f, "longest wait of a client {} (target {})", time(self.gap), seconds(self.target))?;
        write!(f, "rows                     {} acknowledged", self.acknowledged)?;
        match self.rows {
            Some(Rows { lost, doubled }) => writeln!(f, ", {lost} lost, {doubled} doubled")?,
            None => writeln!(f, ", not compared")?,
        }
        let errors: Vec<String> = self.errors.iter().map(|(sqlstate, count)| format!("{sqlstate}: {count}")).collect();
        let errors = if errors.is_empty() { "none".to_owned() } else { errors.join(", ") };
        writeln!(f, "errors                   {errors}; {} sessions ended", self.reconnects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Findings {
        let (gap, rows) = (Some(Duration::from_millis(1500)), Some(Rows::default()));
        Findings { writable: Some(Duration::from_secs(1)), gap, rows, ..Findings::none(Duration::from_secs(2)) }
    }

    #[test]
    fn a_drill_passes_within_the_target_and_with_every_row() {
        assert!(good().reasons().is_empty());
        let errors = BTreeMap::from([("08007".to_owned(), 1)]);
        assert!(Findings { errors, reconnects: 1, ..good() }.reasons().is_empty(), "errors are counted, not judged");
        let late = Findings { gap: Some(Duration::from_millis(2001)), ..good() };
        assert_eq!(late.reasons(), ["a client waited for 2.001 s, the target is 2.000 s"]);
        for rows in [Rows { lost: 1, doubled: 0 }, Rows { lost: 0, doubled: 1 }] {
            assert_eq!(Findings { rows: Some(rows), ..good() }.reasons().len(), 1);
        }
        assert_eq!(Findings::none(Duration::from_secs(2)).reasons().len(), 2);
    }
}
