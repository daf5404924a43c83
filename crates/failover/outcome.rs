//! Whether a COMMIT was made whose acknowledgement was lost: what is asked before it, what is asked after the loss, and
//! what follows from the answers.
//!
//! A new primary may give the same transaction id again, and so may one that has recovered from a crash: `pg_xact_status`
//! alone would take another's commit for ours. So the transaction leaves a mark in the write-ahead log before its COMMIT.
//! A node that has the mark has counted past the id, and cannot give it again.

mod history;
mod mark;

use std::fmt;

pub use history::History;
pub use mark::{Mark, Seen};

use crate::node::number;
use crate::{Answer, BadRow, Lsn, SystemId};

/// What a transaction was just before its COMMIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its id.
    pub xid: u64,
    /// Where its mark ends in the write-ahead log: its commit record can only be behind that.
    pub lsn: Lsn,
    /// The timeline that was written.
    pub timeline: u32,
    /// Which initdb the server comes from.
    pub system: SystemId,
    /// The mark.
    pub token: Box<str>,
}

impl Asked {
    /// The question, which leaves `token` as the mark. It has no row where no transaction id is assigned: such a transaction
    /// has changed nothing so far, and is given none for this.
    ///
    /// For PostgreSQL 13 and later, and any role.
    pub fn query(token: &str) -> String {
        format!(
            "select xid, pg_catalog.pg_logical_emit_message(true, 'pooler'::pg_catalog.text, \
             '{token}'::pg_catalog.text), \
             pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), \
             (select system_identifier from pg_catalog.pg_control_system()), '{token}'::pg_catalog.text \
             from (select pg_catalog.pg_current_xact_id_if_assigned() as xid) as asked where xid is not null"
        )
    }

    /// Reads the row of [`Asked::query`] in text format. The error names the first column that is wrong.
    pub fn parse(row: &[Option<&str>; 5]) -> Result<Self, BadRow> {
        let [xid, lsn, file, system, token] = *row;
        let timeline = file.and_then(|name| u32::from_str_radix(name.get(..8)?, 16).ok());
        Ok(Self {
            xid: number(xid, "xid")?,
            lsn: lsn.ok_or(BadRow("lsn"))?.parse()?,
            timeline: timeline.ok_or(BadRow("pg_walfile_name"))?,
            system: system.and_then(SystemId::parse).ok_or(BadRow("system_identifier"))?,
            token: token.ok_or(BadRow("token"))?.into(),
        })
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { xid, lsn, timeline, .. } = self;
        write!(f, "transaction {xid}, marked before {lsn} on timeline {timeline}")
    }
}

/// What a node says of a transaction id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Whoever has it is not done, or waits for a standby.
    InProgress,
    /// Somebody has committed with it.
    Committed,
    /// Nobody has, and nobody will.
    Aborted,
    /// It was never given there.
    Future,
    /// Too long ago.
    Forgotten,
}

impl Status {
    /// The error of `pg_xact_status` about an id that was never given: `invalid_parameter_value`.
    pub const FUTURE: &str = "22023";

    /// The question.
    pub fn query(xid: u64) -> String {
        format!("select pg_catalog.pg_xact_status('{xid}'::pg_catalog.xid8)")
    }

    /// Reads its answer.
    pub fn parse(text: Option<&str>) -> Result<Self, BadRow> {
        match text {
            Some("in progress") => Ok(Self::InProgress),
            Some("committed") => Ok(Self::Committed),
            Some("aborted") => Ok(Self::Aborted),
            None => Ok(Self::Forgotten),
            Some(_) => Err(BadRow("pg_xact_status")),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InProgress => "in progress",
            Self::Committed => "committed",
            Self::Aborted => "aborted",
            Self::Future => "never given",
            Self::Forgotten => "forgotten",
        })
    }
}

/// What was found out on the present primary.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// What it says of itself. It must be the primary.
    pub node: &'a Answer,
    /// What it says of the id.
    pub status: Status,
    /// Its timeline's history, if that was read.
    pub history: Option<&'a History>,
    /// What its write-ahead log has in the mark's place, if that was looked at.
    pub seen: Option<Seen>,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The transaction was committed.
    Committed,
    /// Nothing of it is left.
    RolledBack(&'static str),
    /// The history of the node's timeline decides.
    ReadHistory,
    /// The mark decides.
    LookForMark,
    /// Later it may be known.
    Wait(&'static str),
    /// It will not be known.
    Unknown(&'static str),
}

/// What follows for the transaction from what was found.
pub fn judge(asked: &Asked, found: &Found<'_>) -> Next {
    let Some(timeline) = found.node.timeline.filter(|_| !found.node.in_recovery) else {
        return Next::Wait("the node is in recovery");
    };
    if found.node.system != asked.system {
        return Next::Unknown("the node is of another system");
    }
    if timeline < asked.timeline {
        return Next::Unknown("the node has an older timeline");
    }
    match found.status {
        // If the id was given to another one, ours is not there, and this says the same.
        Status::Aborted => return Next::RolledBack("its id is aborted"),
        Status::Future => return Next::RolledBack("its id was never given there"),
        Status::Forgotten => return Next::Unknown("the node does not know so old an id any more"),
        Status::InProgress | Status::Committed => {}
    }
    if timeline > asked.timeline {
        match found.history.map(|history| history.end_of(asked.timeline)) {
            None => return Next::ReadHistory,
            Some(None) => return Next::RolledBack("its timeline is not in the node's history"),
            Some(Some(end)) if asked.lsn > end => return Next::RolledBack("its timeline ended before its mark"),
            Some(Some(_)) => {}
        }
    }
    match (found.status, found.seen) {
        (Status::InProgress, _) => Next::Wait("its id is in progress"),
        (_, None) => Next::LookForMark,
        (_, Some(Seen::Mark)) => Next::Committed,
        (_, Some(Seen::Nothing)) => Next::RolledBack("the node's log ends before its mark"),
        (_, Some(Seen::Another)) => Next::RolledBack("something else was written in the place of its mark"),
        (_, Some(Seen::Unclear)) => Next::Unknown("its id is committed, but the place of its mark cannot be read"),
    }
}

#[cfg(test)]
#[path = "outcome/tests.rs"]
mod tests;
