//! The real program before a real pg_auto_failover formation: what clients see of failovers.

#[allow(dead_code, unused_imports, reason = "shared with the integration tests, which use the rest")]
#[path = "../integration/harness/mod.rs"]
mod harness;

mod bad_days;
mod command;
mod control;
mod crash;
mod drill;
mod election;
mod hosts;
mod identity;
mod inflight;
mod monitor;
mod monitors;
mod orphans;
mod partition;
mod planned;
mod poolers;
mod program;
mod resolve;
mod scene;
mod soak;
mod stage;
mod standby;
mod standing;
mod switchover;
mod writers;
