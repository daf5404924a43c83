//! The front door: accepts connections and logs clients in, on threads of its own, away from those who relay.

pub mod accept;
mod ask;
pub mod auth;
pub mod door;
mod hello;
pub mod listen;
pub mod login;
mod silence;
pub mod throttle;
mod turnstile;
