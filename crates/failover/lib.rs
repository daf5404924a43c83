//! Which node is writable, and the way there.
//!
//! A [`Follower`] follows the primary of one group of a pg_auto_failover formation, or of a plain list of hosts. It has no
//! socket, no task, no clock (it is told `now`) and no randomness: [`Event`]s go in, a [`Decision`] comes out, and its
//! [`Agenda`] says what to ask next.
//!
//! ```text
//!          a doubt: the monitor's table, a notification, a probe, a server connection
//!  open ────────────────────────────────────────────────────────────────────────────► hold
//!       ◄────────────────────────────────────────────────────────────────────────────
//!          rule one: the monitor says so and the node says so, both asked after the last doubt,
//!          about a node of the same system, on a greater timeline or the same node on the same one
//! ```
//!
//! Hints stop, proofs start. A stop costs a pause; a start on the wrong node costs data.

mod agenda;
mod decision;
mod epoch;
mod event;
mod evidence;
mod follower;
mod hint;
mod member;
mod node;
pub mod outcome;
mod planned;
mod probe;
mod proof;
mod readable;
mod report;
mod state;

pub use agenda::{Agenda, Errand};
pub use decision::{Decision, Hold, Told, Why};
pub use epoch::{Epoch, Identity, Route, Unfit};
pub use event::{Event, Probed, Signal, Snapshot};
pub use evidence::{Change, Evidence};
pub use follower::{Follower, Settings, Step, Truth};
pub use hint::Hint;
pub use node::{BadRow, Endpoint, Health, Lsn, Node, NodeId, SystemId, Timeouts};
pub use planned::{Candidate, ControlKey, Guard, Limits, Message, Outcome, Plan, ProcedureId, Rejected, Said, channel};
pub use planned::{Input, Order, Procedure, Stage, StepDone, Who, Witness, candidate};
pub use probe::{Answer, Failure};
pub use readable::Standby;
pub use report::{Gate, Monitor, NodeReport, Report, Word};
pub use state::{Class, NodeState};
