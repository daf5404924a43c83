//! A throw-away PostgreSQL, or a whole pg_auto_failover [`Formation`], on this machine, for the demo, the tests and the
//! benches.
//!
//! ```no_run
//! let postgres = lab::Postgres::start(lab::Options::default())?;
//! assert_eq!(postgres.psql("select 1")?, "1");
//! # Ok::<(), lab::LabError>(())
//! ```
//!
//! The server listens on 127.0.0.1 and on a Unix socket of its own, and ends with the value: when it is dropped, and
//! also when the process that owns it is killed (see [`Scratch`]). Blocking; no runtime needed.
//!
//! | role | password | how the server lets it in |
//! |---|---|---|
//! | `postgres` | – | trust, superuser |
//! | `app` | – | trust |
//! | `app_scram` | `secret` | scram-sha-256 |
//! | `app_md5` | `secret` | md5 |
//! | `app_plain` | `secret` | password (clear text) |
//! | `app_cert` | – | cert: only over TLS, with the client certificate of the [`Authority`] |
//!
//! Databases: `app` and `other`, both owned by `app`, beside `postgres`.

mod account;
mod authority;
mod binaries;
mod cable;
mod client;
mod command;
mod error;
mod formation;
mod options;
mod ports;
mod postgres;
pub mod scram;
mod scratch;
mod template;
mod tls;
mod watchdog;

pub use account::Account;
pub use authority::Authority;
pub use cable::Cable;
pub use client::{Client, Login};
pub use error::LabError;
pub use formation::{Formation, FormationOptions, Member, NodeState, Part, Profile, Switchover};
pub use options::Options;
pub use ports::free_port;
pub use postgres::Postgres;
pub use scratch::{Scratch, root as temporary_root};

/// The password of every role that has one.
pub const PASSWORD: &str = "secret";
