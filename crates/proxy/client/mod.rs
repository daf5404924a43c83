//! A client's life after login: its rules, its session, and what others see of it.

mod commit;
pub mod handle;
mod listen;
mod lost;
mod pins;
mod prepared;
pub mod reclaim;
pub mod relay;
mod repair;
pub mod rules;
pub mod session;
mod settle;
