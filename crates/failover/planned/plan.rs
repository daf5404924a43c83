//! What is asked of a planned failover, its steps, and how it ends.

use std::fmt;
use std::time::Duration;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The node that is to become the primary; else the monitor chooses.
    pub to: Option<Box<str>>,
    /// Look whether it is possible, and do nothing.
    pub dry_run: bool,
    /// Go on although transactions do not end, or another pooler cannot be told.
    pub force: bool,
    /// Other poolers can be told: there is a secret.
    pub can_tell: bool,
    /// How long each step may take.
    pub limits: Limits,
}

/// How long the steps may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The monitor's answers, and those of other poolers.
    pub answer: Duration,
    /// A checkpoint on the primary.
    pub checkpoint: Duration,
    /// Transactions that have begun.
    pub drain: Duration,
    /// The whole pause.
    pub expiry: Duration,
    /// Other poolers, to follow the new primary after this one has.
    pub confirm: Duration,
}

impl Limits {
    /// For pauses of this length.
    pub fn within(expiry: Duration) -> Limits {
        Limits {
            answer: Duration::from_secs(5),
            checkpoint: Duration::from_secs(60),
            drain: Duration::from_secs(5).min(expiry / 2),
            expiry,
            confirm: Duration::from_secs(5),
        }
    }
}

/// A step, in the order in which they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nobody else does the same.
    Lock,
    /// Somebody can take over.
    Check,
    /// Other poolers are there, and agree.
    Poolers,
    /// What would make the old primary's end slow is done before.
    Checkpoint,
    /// No transaction begins, and those that have begun end.
    Pause,
    /// The monitor is told. From here on there is no way back.
    Commit,
    /// A new primary is proved.
    Open,
    /// The other poolers serve, too.
    Confirm,
}

impl Stage {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Lock => "lock",
            Stage::Check => "check",
            Stage::Poolers => "poolers",
            Stage::Checkpoint => "checkpoint",
            Stage::Pause => "pause",
            Stage::Commit => "commit",
            Stage::Open => "open",
            Stage::Confirm => "confirm",
        }
    }
}

/// A step that was taken, or something to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepDone {
    /// Which one.
    pub stage: Stage,
    /// What came of it.
    pub text: String,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for StepDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({} ms)", self.stage.name(), self.text, self.took.as_millis())
    }
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Transactions go to a new primary, everywhere.
    Done,
    /// It would be possible: nothing was done.
    Rehearsed,
    /// It is not possible, and nothing was touched.
    NotPossible(String),
    /// Somebody else coordinates one.
    Locked,
    /// Transactions go on where they went before.
    Aborted(String),
    /// The monitor has accepted it, but no writable node was found in time; transactions wait on.
    Stranded(String),
    /// Transactions go to a new primary, but some pooler did not say so.
    Unconfirmed(String),
}

impl Outcome {
    /// One word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Rehearsed => "rehearsed",
            Outcome::NotPossible(_) => "not possible",
            Outcome::Locked => "locked",
            Outcome::Aborted(_) => "aborted",
            Outcome::Stranded(_) => "stranded",
            Outcome::Unconfirmed(_) => "unconfirmed",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done => f.write_str("transactions go to the new primary"),
            Outcome::Rehearsed => f.write_str("a failover is possible; nothing was done"),
            Outcome::NotPossible(why) => write!(f, "a failover is not possible: {why}"),
            Outcome::Locked => f.write_str("another planned failover of this formation is under way"),
            Outcome::Aborted(why) => write!(f, "the failover was given up, transactions go on: {why}"),
            Outcome::Stranded(why) => write!(f, "the monitor has accepted the failover, but {why}"),
            Outcome::Unconfirmed(why) => write!(f, "transactions go to the new primary, but {why}"),
        }
    }
}
