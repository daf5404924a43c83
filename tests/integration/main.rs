//! The real program before a real PostgreSQL, by topic.

mod differential;
mod harness;

mod auth_query;
mod auth_table;
mod cancel;
mod command;
mod console;
mod cves;
mod disturbance;
mod front_door;
mod hba;
mod hostile;
mod limits;
mod logins;
mod metrics;
mod modes;
mod opening;
mod outcome;
mod parameters;
mod pass_through;
mod pause;
mod pools;
mod prepared;
mod reload;
mod rotation;
mod sasl;
mod server_trouble;
mod session_state;
mod shutdown;
mod timeouts;
mod tls_clients;
mod tls_handshakes;
mod tls_servers;
mod vanish;
mod warm_start;
