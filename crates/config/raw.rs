//! A value as it was written, before it is known what it should be.

use std::fmt;

/// The longest part of a value that an error message repeats, in characters.
const QUOTED: usize = 60;

/// A value from one of the dialects: the same text means different things in each.
///
/// It may be a password: only tests can print it with `Debug`, and `Display` shortens it.
#[derive(Clone, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) enum Raw {
    /// Rest of a line of an ini file, or the value of the console's SET.
    Ini(String),
    /// Value of a `key=value` pair in a connection string of an ini file.
    Pair(String),
    /// TOML string.
    Text(String),
    /// TOML integer.
    Integer(i64),
    /// TOML float.
    Float(f64),
    /// TOML boolean.
    Boolean(bool),
    /// TOML array of strings.
    List(Vec<String>),
    /// TOML that is never a setting's value (dates, tables, mixed arrays), described.
    Other(&'static str),
}

impl Raw {
    /// The whole number this stands for, if it is written as one in its dialect.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Ini(text) => base_zero(text),
            Self::Pair(text) => text.parse().ok(),
            Self::Integer(number) => Some(*number),
            Self::Text(_) | Self::Float(_) | Self::Boolean(_) | Self::List(_) | Self::Other(_) => None,
        }
    }

    /// The text this stands for, if it is text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Ini(text) | Self::Pair(text) | Self::Text(text) => Some(text),
            Self::Integer(_) | Self::Float(_) | Self::Boolean(_) | Self::List(_) | Self::Other(_) => None,
        }
    }

    /// The message for a value of the wrong type.
    pub fn not(&self, expected: impl fmt::Display) -> String {
        format!("expected {expected}, found {self}")
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ini(text) | Self::Pair(text) if text.is_empty() => write!(f, "nothing"),
            Self::Ini(text) | Self::Pair(text) => write!(f, "{}", quoted(text)),
            Self::Text(text) => write!(f, "the text {}", quoted(text)),
            Self::Integer(number) => write!(f, "the number {number}"),
            Self::Float(number) => write!(f, "the number {number}"),
            Self::Boolean(value) => write!(f, "the boolean {value}"),
            Self::List(_) => write!(f, "a list"),
            Self::Other(what) => write!(f, "{what}"),
        }
    }
}

/// A word of a file in quotes, cut where it is long.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{:?}", format!("{}…", &text[..end])),
        None => format!("{text:?}"),
    }
}

/// C's `strtol(text, &end, 0)` with nothing left over: `0x` is hexadecimal, a leading 0 octal.
fn base_zero(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    // from_str_radix would take a second sign.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let number = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ini_numbers_are_read_as_c_reads_them() {
        let read = |text: &str| Raw::Ini(text.into()).integer();
        assert_eq!(read("0x20"), Some(32));
        assert_eq!(read("0777"), Some(511));
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("-1"), Some(-1));
        for bad in ["", "-", "--1", "0x", "08", "20 ; comment", "yes", "1.5", "99999999999999999999"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn numbers_of_connection_strings_are_decimal() {
        assert_eq!(Raw::Pair("010".into()).integer(), Some(10));
    }

    #[test]
    fn a_long_value_is_cut_in_messages() {
        let message = Raw::Text("é".repeat(500)).not("a number");
        assert!(message.chars().count() < 120, "{message}");
    }
}
