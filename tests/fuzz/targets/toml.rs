#![no_main]
//! See `fuzz::settings`, for pooler.toml.

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fuzz::settings::check(input, "fuzz.toml"));
