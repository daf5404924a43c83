//! The full figures, which nobody waits for in CI: `make soak`. Each asserts what must never happen, and prints the rest.

mod clerks;
mod foreign;
mod killed;
mod peer;
mod planned;

use std::fs;
use std::time::Duration;

/// How long a formation may take to be stable again.
const STABLE: Duration = Duration::from_secs(120);

/// A number from the environment.
pub fn wanted(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A line of findings, with the machine's load: the figures are worth no more than the machine was free.
fn say(what: &str, text: &str) {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    eprintln!("soak: {what} [load {load}]: {text}");
}

/// The middle and the last of several times.
fn median_and_longest(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort();
    times.last().map_or_else(Default::default, |longest| (times[times.len() / 2], *longest))
}
