//! Who gets which server connection, and when.
//!
//! A [`Pool`] is one plain value for one (database, user). Its owner keeps it behind one short mutex, asks it twice per
//! transaction ([`Pool::check_out`], [`Pool::check_in`]), and performs the [`Command`]s it answered with *after*
//! unlocking. The pool has no socket, no task, no clock (it is told `now`) and no randomness, so that every decision can be
//! replayed in a test.
//!
//! ```text
//!          Open          opened            check_out / claim
//! (nothing) ──► opening ───────► idle ◄───────────────────► lent ──► (closing) ──► (gone)
//!                   │   straight to the oldest waiter        ▲ check_in, discard      closed
//!                   └────────────────────────────────────────┘
//! ```
//!
//! A connection is in exactly one of these places, and being in a place *is* its state: there are no flags to disagree with.
//! Limits across pools are a [`Budget`], touched only when a server is opened or closed.

mod backoff;
mod budget;
mod commands;
mod control;
mod counts;
mod gate;
mod list;
mod opening;
mod pace;
mod pool;
mod queue;
mod server;
mod servers;
mod settings;
mod upkeep;
mod warm_up;

pub use budget::{Budget, Permit, Scope, ScopeId};
pub use commands::{CloseReason, Command, Commands};
pub use counts::Counts;
pub use gate::Hold;
pub use pool::{CheckOut, Claim, Pool};
pub use queue::{Refused, Ticket};
pub use server::{Lent, OpenTicket, Purpose, ServerId, WorkerId};
pub use settings::Settings;
