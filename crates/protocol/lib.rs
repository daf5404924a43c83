//! PostgreSQL's wire protocol as pure decisions: no socket, no clock, no randomness, no global.
//!
//! Bytes and headers come in, verdicts and bytes go out. The specification is PostgreSQL's manual, chapter
//! "Frontend/Backend Protocol"; each item names the section it obeys.

pub mod backend;
mod changes;
pub mod commits;
pub mod deallocate;
pub mod exchange;
pub mod fields;
pub mod frontend;
pub mod header;
pub mod lexer;
pub mod lost;
pub mod md5;
pub mod messages;
pub mod options;
pub mod outdated;
pub mod params;
pub mod prepared;
pub mod scram;
pub mod sqlstate;
pub mod stand_in;
pub mod startup;
pub mod statements;
pub mod traces;
pub mod transaction;

pub use exchange::{AtRest, Exchange};
pub use header::{FrameError, Header};
