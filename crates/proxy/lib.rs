//! The only crate with sockets, tasks and clocks: listeners, workers, client and server connections, the relay between
//! them, the console and the metrics page.

pub mod address;
pub mod cancel;
pub mod check;
pub mod client;
pub mod clock;
pub mod console;
pub mod control;
pub mod dns;
pub mod encryption;
pub mod error;
pub mod errors_seen;
pub mod flow;
pub mod follow;
pub mod front;
pub mod greeting;
pub mod housekeeping;
pub mod keeper;
pub mod link;
pub mod meter;
pub mod metrics;
pub mod pins;
mod pool_table;
pub mod pools;
pub mod process;
pub mod random;
pub mod registry;
pub mod server;
pub mod services;
pub mod socket;
pub mod state;
pub mod stats;
pub mod tls;
pub mod visitor;
pub mod warm;
pub mod wire;
pub mod worker;
