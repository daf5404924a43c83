//! PostgreSQL's md5 authentication: the stored secret, the answer to a challenge, and checking either.
//!
//! Source: protocol chapter, "AuthenticationMD5Password": `md5(md5(password + user) + salt)`, each in hexadecimal.

use aws_lc_rs::constant_time;
use md5::{Digest as _, Md5};
use std::fmt;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

/// What every secret and every answer begins with.
const PREFIX: &str = "md5";
/// Hexadecimal digits of an MD5 hash.
const DIGITS: usize = 32;

/// A user's md5 secret, as in `pg_authid.rolpassword` and in an auth_file. It is as good as the password: whoever has
/// it can log in by md5.
///
/// `Display` writes PostgreSQL's form (`md5` and 32 digits); `Debug` does not show it; it is wiped when dropped.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Md5Secret([u8; DIGITS]);

impl Md5Secret {
    /// Reads `md5` and 32 lower-case hexadecimal digits; `None` if PostgreSQL would take this for a plain password.
    pub fn parse(secret: &str) -> Option<Self> {
        let digits: [u8; DIGITS] = secret.strip_prefix(PREFIX)?.as_bytes().try_into().ok()?;
        digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')).then_some(Self(digits))
    }

    /// The secret of a user whose password is known in plain text. A renamed user needs a new one.
    pub fn from_password(password: &[u8], user: &[u8]) -> Self {
        Self(hex_of_md5(password, user))
    }

    /// What a client sends in its PasswordMessage to this AuthenticationMD5Password salt, without the final NUL.
    pub fn response(&self, salt: [u8; 4]) -> String {
        let mut digits = hex_of_md5(&self.0, &salt);
        let response = PREFIX.chars().chain(digits.iter().map(|&digit| char::from(digit))).collect();
        digits.zeroize();
        response
    }

    /// Whether a PasswordMessage (without its NUL) answers this salt, compared in constant time.
    pub fn accepts(&self, salt: [u8; 4], response: &[u8]) -> bool {
        let expected = Zeroizing::new(self.response(salt));
        constant_time::verify_slices_are_equal(expected.as_bytes(), response).is_ok()
    }

    /// Whether a password received in plain text (`auth_type=plain`) is the right one, compared in constant time.
    pub fn check_password(&self, password: &[u8], user: &[u8]) -> bool {
        *self == Self::from_password(password, user)
    }
}

impl PartialEq for Md5Secret {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Md5Secret {}

impl fmt::Display for Md5Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(PREFIX)?;
        self.0.iter().try_for_each(|&digit| fmt::Write::write_char(formatter, char::from(digit)))
    }
}

impl fmt::Debug for Md5Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Md5Secret(…)")
    }
}

fn hex_of_md5(first: &[u8], second: &[u8]) -> [u8; DIGITS] {
    let hash = Md5::new().chain_update(first).chain_update(second).finalize();
    let mut hex = [0; DIGITS];
    for (digits, byte) in hex.chunks_exact_mut(2).zip(hash) {
        digits[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        digits[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;
    use postgres_protocol::authentication::md5_hash;

    const SALT: [u8; 4] = [0xff, 0, b'x', 0x80];

    #[test]
    fn a_secret_is_what_postgresql_stores() {
        // Made by PostgreSQL 15: CREATE ROLE alicemd5 PASSWORD 'secret', with password_encryption = md5.
        let secret = Md5Secret::from_password(b"secret", b"alicemd5");
        assert_eq!(secret.to_string(), "md5a5c81120f0e0bb37e0759ad80bd15c35");
        assert_eq!(Md5Secret::parse(&secret.to_string()), Some(secret));
    }

    #[test]
    fn an_answer_is_what_another_driver_gives() {
        for (user, password) in [("alice", "secret"), ("", ""), ("é", "\u{a0}x")] {
            let ours = Md5Secret::from_password(password.as_bytes(), user.as_bytes()).response(SALT);
            assert_eq!(ours, md5_hash(user.as_bytes(), password.as_bytes(), SALT));
        }
    }

    #[test]
    fn only_the_right_answer_to_this_salt_is_accepted() {
        let secret = Md5Secret::from_password(b"secret", b"alice");
        let response = secret.response(SALT);
        assert!(secret.accepts(SALT, response.as_bytes()));
        assert!(!secret.accepts([0; 4], response.as_bytes()));
        assert!(!secret.accepts(SALT, &response.as_bytes()[..34]));
        assert!(!secret.accepts(SALT, format!("{response}0").as_bytes()));
        assert!(!secret.accepts(SALT, response.to_uppercase().as_bytes()));
        assert!(!secret.accepts(SALT, secret.to_string().as_bytes()));
        assert!(!secret.accepts(SALT, b""));
    }

    #[test]
    fn a_plain_password_is_checked_with_its_user() {
        let secret = Md5Secret::from_password(b"secret", b"alice");
        assert!(secret.check_password(b"secret", b"alice"));
        assert!(!secret.check_password(b"secret", b"bob"));
        assert!(!secret.check_password(b"Secret", b"alice"));
    }

    #[test]
    fn what_postgresql_takes_for_a_plain_password_is_no_md5_secret() {
        let digits = "0123456789abcdef0123456789abcdef";
        assert!(Md5Secret::parse(&format!("md5{digits}")).is_some());
        for plain in [format!("MD5{digits}"), format!("md5{digits}0"), format!("md5{}", &digits[1..]), "md5".into()] {
            assert_eq!(Md5Secret::parse(&plain), None, "{plain}");
        }
        assert_eq!(Md5Secret::parse(&format!("md5{}", digits.to_uppercase())), None);
        assert_eq!(Md5Secret::parse("md5ééééééééééééééé"), None);
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Md5Secret::from_password(b"secret", b"alice")), "Md5Secret(…)");
    }
}
