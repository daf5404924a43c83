//! The grammar of SCRAM messages: `letter=value`, separated by commas (RFC 5802, section 7).

use super::{BASE64, MAX_MESSAGE_LEN, ScramError};
use base64::Engine as _;
use std::num::NonZeroU32;

/// Reads a message attribute by attribute; everything it lends is a part of the message as received.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    message: &'a [u8],
    /// Where the next attribute starts; beyond the end after the last one.
    next: usize,
}

impl<'a> Attributes<'a> {
    /// Refuses what is too long, and NUL bytes, which no production of the grammar allows.
    pub(super) fn new(message: &'a [u8]) -> Result<Self, ScramError> {
        if message.len() > MAX_MESSAGE_LEN {
            return Err(ScramError::TooLong);
        }
        if message.contains(&0) {
            return Err(ScramError::NotAnAttribute);
        }
        Ok(Self { message, next: 0 })
    }

    /// The offset of the next attribute.
    pub(super) fn position(&self) -> usize {
        self.next
    }

    /// The next attribute's letter and value, or `None` at the end. `m=` has one meaning wherever it stands.
    pub(super) fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, ScramError> {
        let Some(rest) = self.message.get(self.next..) else {
            return Ok(None);
        };
        let len = rest.iter().position(|&byte| byte == b',').unwrap_or(rest.len());
        self.next += len + 1;
        match &rest[..len] {
            [b'm', b'=', ..] => Err(ScramError::MandatoryExtension),
            [letter, b'=', value @ ..] if letter.is_ascii_alphabetic() => Ok(Some((*letter, value))),
            _ => Err(ScramError::NotAnAttribute),
        }
    }

    /// The value of the next attribute, which has to be this one.
    pub(super) fn expect(&mut self, letter: u8) -> Result<&'a [u8], ScramError> {
        match self.next() {
            Ok(Some((found, value))) if found == letter => Ok(value),
            Err(ScramError::MandatoryExtension) => Err(ScramError::MandatoryExtension),
            Ok(_) | Err(_) => Err(ScramError::Expected(letter.into())),
        }
    }

    /// Steps over optional extensions up to the end: whoever does not know them ignores them (RFC 5802, section 7).
    pub(super) fn ignore_extensions(&mut self) -> Result<(), ScramError> {
        while self.next()?.is_some() {}
        Ok(())
    }

    /// Refuses anything more.
    pub(super) fn end(&self) -> Result<(), ScramError> {
        if self.next > self.message.len() { Ok(()) } else { Err(ScramError::Trailing) }
    }
}

/// The nonce in a message: one or more printable characters without comma.
pub(super) fn nonce(value: &[u8]) -> Result<&[u8], ScramError> {
    let printable = value.iter().all(u8::is_ascii_graphic);
    if printable && !value.is_empty() { Ok(value) } else { Err(ScramError::InvalidNonce) }
}

/// The value of an attribute in strict base64.
pub(super) fn base64(letter: u8, value: &[u8]) -> Result<Vec<u8>, ScramError> {
    BASE64.decode(value).map_err(|_| ScramError::InvalidValue(letter.into()))
}

/// A number of iterations: digits only, from 1 to PostgreSQL's largest integer.
pub(super) fn iterations(value: &[u8]) -> Option<NonZeroU32> {
    // `str::parse` alone would also take a sign.
    let digits = value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().filter(|_| digits)?.parse::<i32>().ok()?;
    u32::try_from(number).ok().and_then(NonZeroU32::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_be_empty_and_may_hold_equal_signs() {
        let mut attributes = Attributes::new(b"n=,r=a=b").unwrap();
        assert_eq!(attributes.expect(b'n'), Ok(&b""[..]));
        assert_eq!(attributes.end(), Err(ScramError::Trailing));
        assert_eq!(attributes.expect(b'r'), Ok(&b"a=b"[..]));
        assert_eq!(attributes.end(), Ok(()));
        assert_eq!(attributes.next(), Ok(None));
    }

    #[test]
    fn an_attribute_is_a_letter_an_equal_sign_and_a_value() {
        for message in [&b""[..], b",", b"n", b"=", b"1=x", b"nn=x", b"\xc3\xa9=x", b"n=x,"] {
            let mut attributes = Attributes::new(message).unwrap();
            assert_eq!(attributes.ignore_extensions(), Err(ScramError::NotAnAttribute), "{message:?}");
        }
    }

    #[test]
    fn a_mandatory_extension_is_refused_wherever_it_stands() {
        assert_eq!(Attributes::new(b"m=x,r=y").unwrap().expect(b'r'), Err(ScramError::MandatoryExtension));
        assert_eq!(Attributes::new(b"x=y,m=").unwrap().ignore_extensions(), Err(ScramError::MandatoryExtension));
    }

    #[test]
    fn nul_bytes_and_endless_messages_are_refused() {
        assert_eq!(Attributes::new(b"n=a\0").unwrap_err(), ScramError::NotAnAttribute);
        assert!(Attributes::new(&[b'a'; MAX_MESSAGE_LEN]).is_ok());
        assert_eq!(Attributes::new(&[b'a'; MAX_MESSAGE_LEN + 1]).unwrap_err(), ScramError::TooLong);
    }

    #[test]
    fn iterations_are_plain_positive_integers() {
        assert_eq!(iterations(b"4096").map(u32::from), Some(4096));
        assert_eq!(iterations(b"2147483647").map(u32::from), Some(2_147_483_647));
        for bad in [&b""[..], b"0", b"+1", b"-1", b" 1", b"1 ", b"2147483648", b"4e3", b"\xff"] {
            assert_eq!(iterations(bad), None, "{bad:?}");
        }
    }
}
