//! Server connections: where they are, opening, closing, and what is asked of them.

pub mod closing;
pub mod connection;
pub mod dial;
pub mod info;
pub mod login;
pub mod opening;
pub mod question;
pub mod secure;
pub mod target;
