//! Moving the primary on command: what is done in which order, what the poolers tell each other, and what may be believed.

mod candidate;
mod guard;
mod message;
mod plan;
mod procedure;

pub use candidate::{Candidate, candidate};
pub use guard::{Guard, Rejected, Witness};
pub use message::{ControlKey, Message, ProcedureId, Said, channel};
pub use plan::{Limits, Outcome, Plan, Stage, StepDone};
pub use procedure::{Input, Order, Procedure, Who};
