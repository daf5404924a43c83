#![no_main]
//! Settings in `options` survive being written again, and are never more than was said.

use libfuzzer_sys::fuzz_target;
use protocol::options;

fuzz_target!(|input: &[u8]| {
    let Ok(settings) = options::parse(input) else { return };
    let size: usize = settings.iter().map(|(name, value)| name.len() + value.len() + 3).sum();
    assert!(size <= input.len());
    let mut again = Vec::new();
    for (name, value) in &settings {
        assert!(!name.contains(&b'='));
        again.extend_from_slice(b"-c ");
        for byte in [name, &b"="[..], value].concat() {
            again.extend_from_slice(&[b'\\', byte]);
        }
        again.push(b' ');
    }
    assert_eq!(options::parse(&again).as_ref(), Ok(&settings));
});
