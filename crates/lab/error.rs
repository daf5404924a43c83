//! What can go wrong in the lab, in words that say what to do.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::Member;

/// Why PostgreSQL, or something beside it, could not be started, asked or stopped.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Neither `$PGBIN` nor the usual directories hold PostgreSQL's programs.
    #[error("no PostgreSQL found in {0}: install postgresql, or set PGBIN to the directory of its programs")]
    NoBinaries(String),
    /// PostgreSQL refuses to run as root, and there is no other account to run it as.
    #[error("running as root, and there is no account `postgres` or `nobody` to run PostgreSQL as")]
    NoAccount,
    /// A directory of ours belongs to somebody else, who could plant a data directory there.
    #[error("{0} belongs to another user, or others may enter it: remove it, or choose another (TMPDIR)")]
    ForeignDirectory(PathBuf),
    /// The operating system refused something.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A program ended with an error.
    #[error("{program} failed ({status}): {stderr}")]
    Failed {
        /// The program's name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// A program did not end in time and was killed.
    #[error("{program} did not finish within {limit:?}")]
    TooSlow {
        /// The program's name.
        program: String,
        /// How long it had.
        limit: Duration,
    },
    /// PostgreSQL ended, or was not ready in time.
    #[error("PostgreSQL did not start; its log ends with:\n{log}")]
    NotReady {
        /// The last lines of its log.
        log: String,
    },
    /// No free port was found on 127.0.0.1.
    #[error("no free port on 127.0.0.1")]
    NoPort,
    /// Something needs a running server, and it was stopped.
    #[error("PostgreSQL is stopped")]
    Stopped,
    /// The process named is not a backend of this server.
    #[error("process {0} is not a child of this PostgreSQL")]
    NotABackend(u32),
    /// A part of pg_auto_failover is not installed.
    #[error(
        "{0} is missing: install pg_auto_failover (Debian: postgresql-15-auto-failover and pg-auto-failover-cli; \
         .ci/setup does it), or set PGBIN to a PostgreSQL that has it"
    )]
    NoAutoFailover(&'static str),
    /// The path of a formation's directory has to fit a Unix socket, and settings without quotes.
    #[error("{0:?} cannot hold a formation: at most 80 letters, digits and any of / . _ - +")]
    BadDirectory(PathBuf),
    /// Not a formation's directory; nothing in it is touched.
    #[error("{0} is not empty, and no formation was there before")]
    NotEmpty(PathBuf),
    /// One directory, one formation.
    #[error("a formation runs in {0} already, or is about to end")]
    InUse(PathBuf),
    /// Nobody started a formation there.
    #[error("no formation runs in {0}: start one with `lab formation`")]
    NoFormation(PathBuf),
    /// The formation has no such member, or it is not one for this.
    #[error("{0} is not a member of the formation, or not one for this")]
    NoMember(Member),
    /// pg_autoctl ended.
    #[error("{member} ended by itself; its logs end with:\n{log}")]
    MemberEnded {
        /// Whose.
        member: Member,
        /// The last lines of pg_autoctl's log and the server's.
        log: String,
    },
    /// The monitor and the nodes do not agree on a node that takes writes.
    #[error("the formation has no primary at the moment")]
    NoPrimary,
    /// Something did not come to pass in time.
    #[error("not within {limit:?}: {what}; last seen: {seen}")]
    NotYet {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// What the monitor said in the end.
        seen: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS could not be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The server, or the pooler before it, answered with an error or with nonsense.
    #[error("{0}")]
    Protocol(String),
}

impl LabError {
    /// An error of the operating system while doing `what`, for `map_err`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> LabError {
        let what = what.into();
        move |source| LabError::Io { what, source }
    }
}
