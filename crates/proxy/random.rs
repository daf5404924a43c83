//! Randomness from the operating system, by way of the cryptographic library.

use std::cell::RefCell;

use zeroize::Zeroize as _;

/// How much is fetched at a time, in bytes: a call of the library costs a login more than the bytes do.
const STOCK: usize = 1024;

thread_local! {
    static RANDOM: RefCell<Stock> = const { RefCell::new(Stock { bytes: [0; STOCK], left: 0 }) };
}

/// Random bytes that have not been given out: the first `left` of them. Those that have been are wiped.
struct Stock {
    bytes: [u8; STOCK],
    left: usize,
}

impl Stock {
    fn take(&mut self, out: &mut [u8]) {
        if self.left < out.len() {
            aws_lc_rs::rand::fill(&mut self.bytes).expect("the operating system gives randomness");
            self.left = STOCK;
        }
        let given = &mut self.bytes[self.left - out.len()..self.left];
        out.copy_from_slice(given);
        given.zeroize();
        self.left -= out.len();
    }
}

/// Random bytes that nobody can guess, at most 1 kB.
///
/// # Panics
/// If the operating system has no randomness, which no security can survive.
pub fn bytes<const N: usize>() -> [u8; N] {
    const { assert!(N <= STOCK) };
    let mut bytes = [0; N];
    RANDOM.with_borrow_mut(|stock| stock.take(&mut bytes));
    bytes
}

/// A random number.
pub fn number() -> u32 {
    u32::from_ne_bytes(bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nothing_is_given_out_twice() {
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            assert!(seen.insert(bytes::<24>()), "twice");
        }
    }
}
