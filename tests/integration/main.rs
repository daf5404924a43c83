//! The real program before a real PostgreSQL, by topic.

mod differential;
mod harness;

mod cancel;
mod command;
mod console;
mod disturbance;
mod hostile;
mod limits;
mod logins;
mod metrics;
mod modes;
mod opening;
mod parameters;
mod pause;
mod pools;
mod prepared;
mod reload;
mod server_trouble;
mod shutdown;
mod timeouts;
mod vanish;
