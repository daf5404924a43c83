//! What a node says about itself: one query, its answer, and what it means when there is none.

use crate::node::number;
use crate::{BadRow, Lsn, SystemId};
use std::fmt;

/// What a node answered to [`Answer::QUERY`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// A standby, or a node that is still recovering.
    pub in_recovery: bool,
    /// `default_transaction_read_only`: the guard of a node that was promoted before its predecessor stopped.
    pub read_only: bool,
    /// Which initdb it comes from.
    pub system: SystemId,
    /// The timeline it writes; `None` in recovery.
    pub timeline: Option<u32>,
    /// Whether `synchronous_standby_names` is set.
    pub sync_on: bool,
    /// How many processes send WAL, to standbys or backups.
    pub walsenders: u32,
    /// When its postmaster started, as text: another one means that it was restarted.
    pub started: Box<str>,
    /// Where it writes, or how far it has replayed.
    pub lsn: Option<Lsn>,
}

impl Answer {
    /// One round trip, on a primary or a standby, for any role.
    pub const QUERY: &str = "select pg_catalog.pg_is_in_recovery(), \
        pg_catalog.current_setting('default_transaction_read_only'), \
        (select system_identifier from pg_catalog.pg_control_system()), \
        case when not pg_catalog.pg_is_in_recovery() then \
            ('x' || pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8))::bit(32)::int end, \
        pg_catalog.current_setting('synchronous_standby_names') <> '', \
        (select pg_catalog.count(*) from pg_catalog.pg_stat_replication), \
        pg_catalog.pg_postmaster_start_time(), \
        case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() \
            else pg_catalog.pg_current_wal_lsn() end";

    /// Reads the row of [`Answer::QUERY`] in text format. The error names the first column that is wrong.
    pub fn parse(row: &[Option<&str>; 8]) -> Result<Answer, BadRow> {
        let [in_recovery, read_only, system, timeline, sync_on, walsenders, started, lsn] = *row;
        let answer = Answer {
            in_recovery: boolean(in_recovery, "pg_is_in_recovery")?,
            read_only: boolean(read_only, "default_transaction_read_only")?,
            system: system.and_then(SystemId::parse).ok_or(BadRow("system_identifier"))?,
            timeline: timeline.map(|text| number(Some(text), "timeline")).transpose()?,
            sync_on: boolean(sync_on, "synchronous_standby_names")?,
            walsenders: number(walsenders, "walsenders")?,
            started: started.ok_or(BadRow("pg_postmaster_start_time"))?.into(),
            lsn: lsn.map(str::parse).transpose()?,
        };
        match answer.in_recovery || answer.timeline.is_some() {
            true => Ok(answer),
            false => Err(BadRow("timeline")),
        }
    }

    /// Whether it says that it takes writes: the node's half of the proof. It does not tell a stale primary.
    pub fn claims_writes(&self) -> bool {
        !self.in_recovery && !self.read_only
    }

    /// The timeline it writes, if it is out of recovery.
    pub(crate) fn written_timeline(&self) -> Option<u32> {
        self.timeline.filter(|_| !self.in_recovery)
    }
}

fn boolean(text: Option<&str>, column: &'static str) -> Result<bool, BadRow> {
    match text {
        Some("t" | "on") => Ok(true),
        Some("f" | "off") => Ok(false),
        _ => Err(BadRow(column)),
    }
}

/// Why a node gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing listens there.
    Refused,
    /// The connection broke.
    Reset,
    /// No answer in time: dead, frozen, cut off or merely slow.
    Timeout,
    /// 57P03: starting up or shutting down.
    NotReady,
    /// Any other error: no such role, too many connections, an unreadable answer.
    Other,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::Refused => "refuses connections",
            Failure::Reset => "resets connections",
            Failure::Timeout => "does not answer",
            Failure::NotReady => "is starting up or shutting down",
            Failure::Other => "answers with an error",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: [Option<&str>; 8] = [
        Some("f"),
        Some("off"),
        Some("7710200781268129695"),
        Some("67"),
        Some("t"),
        Some("1"),
        Some("2026-01-01 00:00:00+00"),
        Some("0/308FBA0"),
    ];

    #[test]
    fn an_answer_is_read() {
        let answer = Answer::parse(&PRIMARY).unwrap();
        assert!(answer.claims_writes() && answer.sync_on);
        assert_eq!((answer.timeline, answer.walsenders, answer.lsn), (Some(67), 1, Some(Lsn(0x308FBA0))));
    }

    #[test]
    fn a_guarded_or_recovering_node_does_not_claim_writes() {
        for (index, value) in [(0, "t"), (1, "on")] {
            let mut row = PRIMARY;
            row[index] = Some(value);
            assert!(!Answer::parse(&row).unwrap().claims_writes());
        }
    }

    #[test]
    fn only_a_standby_may_leave_its_timeline_out() {
        let mut row = PRIMARY;
        row[3] = None;
        assert_eq!(Answer::parse(&row), Err(BadRow("timeline")));
        row[0] = Some("t");
        assert!(Answer::parse(&row).is_ok());
    }

    #[test]
    fn an_answer_with_a_wrong_value_names_its_column() {
        for (index, column) in [(0, "pg_is_in_recovery"), (2, "system_identifier"), (5, "walsenders"), (7, "lsn")] {
            let mut row = PRIMARY;
            row[index] = Some("?");
            assert_eq!(Answer::parse(&row), Err(BadRow(column)));
        }
    }
}
