//! The same conversation, direct and through the pooler, gives the same messages, byte for byte.
//!
//! Nothing is masked: both sides talk to the same server, tables are made once so that their OIDs agree, and no
//! conversation asks for process ids or the time. Each runs in transaction mode, in session mode, and in transaction
//! mode with the client's bytes sent one at a time.

mod copy;
mod errors;
mod extended;
mod pipelines;
mod runner;
mod script;
mod simple;
mod state;
mod statements;
