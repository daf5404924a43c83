//! Randomness from the operating system, by way of the cryptographic library.

/// Random bytes that nobody can guess.
///
/// # Panics
/// If the operating system has no randomness, which no security can survive.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// A random number.
pub fn number() -> u32 {
    u32::from_ne_bytes(bytes())
}
