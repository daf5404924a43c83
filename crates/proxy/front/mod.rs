//! The front door: accepts connections and logs clients in, on threads of its own, away from those who relay.

pub mod accept;
pub mod auth;
pub mod listen;
pub mod login;
