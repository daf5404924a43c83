//! The keys behind a password (RFC 5802, section 3), and the arithmetic of proofs and signatures.

use super::saslprep;
use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use std::fmt;
use std::num::NonZeroU32;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

/// The length of every key, proof and signature of SCRAM-SHA-256, in bytes.
pub const KEY_LEN: usize = 32;

/// A secret of 32 bytes: compared in constant time, not shown by `Debug`, wiped when dropped.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Key([u8; KEY_LEN]);

impl Key {
    /// The secret itself.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// The key in this slice, if it has the right length.
    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut key = Self([0; KEY_LEN]);
        if bytes.len() != KEY_LEN {
            return None;
        }
        key.0.copy_from_slice(bytes);
        Some(key)
    }

    /// HMAC with this key.
    pub(super) fn sign(&self, message: &[u8]) -> Self {
        Self::hmac(&self.0, message)
    }

    /// HMAC with a key of any length.
    pub(super) fn hmac(key: &[u8], message: &[u8]) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
        let mut out = Self([0; KEY_LEN]);
        out.0.copy_from_slice(tag.as_ref());
        out
    }

    /// SHA-256 of this key: the StoredKey, when this is a ClientKey.
    pub(super) fn hash(&self) -> Self {
        let hash = digest::digest(&digest::SHA256, &self.0);
        let mut out = Self([0; KEY_LEN]);
        out.0.copy_from_slice(hash.as_ref());
        out
    }

    /// ClientKey XOR signature is the proof, and proof XOR signature is the ClientKey.
    pub(super) fn xor(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.0.iter_mut().zip(&other.0).for_each(|(byte, other)| *byte ^= other);
        out
    }
}

impl From<[u8; KEY_LEN]> for Key {
    fn from(mut bytes: [u8; KEY_LEN]) -> Self {
        let key = Self(bytes);
        bytes.zeroize();
        key
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(…)")
    }
}

/// All a client needs to log in without the password, wherever salt and iterations are the same.
///
/// They come from a password ([`Keys::derive`]) or from a client that has just logged in to us
/// ([`Authenticated`](super::Authenticated)), and know where they fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    salt: Vec<u8>,
    iterations: NonZeroU32,
    client_key: Key,
    server_key: Key,
}

impl Keys {
    /// Derives the keys of a password: about 0.15 µs per iteration, so not for a thread that serves others.
    ///
    /// The password is prepared as PostgreSQL does ([`saslprep`]). Keep the result and forget the password.
    pub fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut salted = Zeroizing::new([0; KEY_LEN]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, &saslprep(password), salted.as_mut());
        Self {
            salt: salt.to_vec(),
            iterations,
            client_key: Key::hmac(salted.as_ref(), b"Client Key"),
            server_key: Key::hmac(salted.as_ref(), b"Server Key"),
        }
    }

    /// Puts together keys that were stored or handed over apart.
    pub fn from_parts(salt: Vec<u8>, iterations: NonZeroU32, client_key: Key, server_key: Key) -> Self {
        Self { salt, iterations, client_key, server_key }
    }

    /// The salt they were derived with.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The number of PBKDF2 rounds they were derived with.
    pub fn iterations(&self) -> NonZeroU32 {
        self.iterations
    }

    /// Whoever has it can log in as the user.
    pub fn client_key(&self) -> &Key {
        &self.client_key
    }

    /// Whoever has it can play the server to the user.
    pub fn server_key(&self) -> &Key {
        &self.server_key
    }

    /// Whether they were derived with this salt and this number of rounds.
    pub fn fit(&self, salt: &[u8], iterations: NonZeroU32) -> bool {
        self.salt == salt && self.iterations == iterations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    #[test]
    fn debug_shows_no_key() {
        let keys = Keys::derive(b"secret", b"salt", rounds(1));
        let shown = format!("{keys:?}");
        assert!(shown.contains("client_key: Key(…), server_key: Key(…)"), "{shown}");
    }

    #[test]
    fn password_salt_and_iterations_all_make_a_difference() {
        let keys = Keys::derive(b"secret", b"salt", rounds(2));
        assert_eq!(keys, Keys::derive(b"secret", b"salt", rounds(2)));
        for other in [
            Keys::derive(b"Secret", b"salt", rounds(2)),
            Keys::derive(b"secret", b"Salt", rounds(2)),
            Keys::derive(b"secret", b"salt", rounds(3)),
        ] {
            assert_ne!(keys.client_key, other.client_key);
            assert_ne!(keys.server_key, other.server_key);
        }
    }

    #[test]
    fn the_empty_password_has_keys_too() {
        assert_ne!(Keys::derive(b"", b"salt", rounds(1)), Keys::derive(b" ", b"salt", rounds(1)));
    }

    #[test]
    fn only_32_bytes_are_a_key() {
        assert!(Key::from_slice(&[1; 31]).is_none());
        assert!(Key::from_slice(&[1; 33]).is_none());
        assert_eq!(Key::from_slice(&[1; 32]), Some(Key::from([1; 32])));
    }
}
