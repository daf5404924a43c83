#![no_main]
//! See `fuzz::settings`, for pgbouncer.ini.

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fuzz::settings::check(input, "fuzz.ini"));
