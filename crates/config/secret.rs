//! Passwords and the forms in which PostgreSQL stores them.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::raw::Raw;
use crate::value::{Value, quote};

/// What is shown in place of a secret.
pub(crate) const MASK: &str = "********";

/// What is known of a user's password. `Debug` never prints it, and its memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub enum Secret {
    /// The password itself.
    Plain(String),
    /// `md5` and 32 hexadecimal digits, as in pg_authid.
    Md5(String),
    /// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey` (RFC 5803), as in pg_authid.
    Scram(String),
}

impl Secret {
    /// Tells the form from the text, as PostgreSQL does: what is neither md5 nor SCRAM is a password.
    pub fn parse(text: &str) -> Self {
        if is_md5(text) {
            Self::Md5(text.to_string())
        } else if is_scram(text) {
            Self::Scram(text.to_string())
        } else {
            Self::Plain(text.to_string())
        }
    }

    /// The text as it stands in the file. Never log it.
    pub fn reveal(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Md5(text) | Self::Scram(text) => text,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(********)",
            Self::Md5(_) => "Md5(********)",
            Self::Scram(_) => "Scram(********)",
        })
    }
}

impl Value for Secret {
    const EXPECTED: &'static str = "text";

    fn read(raw: &Raw) -> Result<Self, String> {
        // The message must not repeat what was found: it may be the password without its quotes.
        let text = raw.text().ok_or("expected text in quotes")?;
        if text.contains('\0') {
            return Err("text must not contain NUL".into());
        }
        Ok(Self::parse(text))
    }

    fn text(&self) -> String {
        let text = if self.reveal().is_empty() { "" } else { MASK };
        text.into()
    }

    fn toml(&self) -> String {
        quote(self.reveal())
    }

    fn masked(&self) -> String {
        quote(&self.text())
    }
}

fn is_md5(text: &str) -> bool {
    text.strip_prefix("md5")
        .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

fn is_scram(text: &str) -> bool {
    let parts = || {
        let (iterations, rest) = text.strip_prefix("SCRAM-SHA-256$")?.split_once(':')?;
        let (salt, keys) = rest.split_once('$')?;
        let (stored, server) = keys.split_once(':')?;
        Some((iterations, salt, stored, server))
    };
    // Digits only: `str::parse` alone would also take a sign. PostgreSQL's largest integer is the bound.
    let rounds = |text: &str| text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<i32>().is_ok_and(|n| n > 0);
    let bytes = |text| base64_len(text).unwrap_or(0);
    parts().is_some_and(|(iterations, salt, stored, server)| {
        rounds(iterations) && bytes(salt) > 0 && bytes(stored) == 32 && bytes(server) == 32
    })
}

/// How many bytes a text in strict base64 stands for (RFC 4648, section 3.5: bits left over are zero).
fn base64_len(text: &str) -> Option<usize> {
    let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    let value = |byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let last = digits.bytes().try_fold(0, |_, byte| value(byte))?;
    let left_over = match text.len() - digits.len() {
        0 => 0,
        1 => last & 0b11,
        _ => last & 0b1111,
    };
    (text.len().is_multiple_of(4) && left_over == 0).then_some(digits.len() * 3 / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAM: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn the_form_of_a_secret_is_told_from_its_text() {
        assert!(matches!(Secret::parse("md5d8578edf8458ce06fbc5bb76a58c5ca4"), Secret::Md5(_)));
        assert!(matches!(Secret::parse(SCRAM), Secret::Scram(_)));
        for password in
            ["", "md5", "md5d8578edf8458ce06fbc5bb76a58c5cax", "SCRAM-SHA-256$", "SCRAM-SHA-256$1:a$b:c", "pass"]
        {
            assert!(matches!(Secret::parse(password), Secret::Plain(_)), "{password:?}");
        }
    }

    #[test]
    fn debug_and_error_messages_never_show_a_secret() {
        for secret in ["hunter2", "md5d8578edf8458ce06fbc5bb76a58c5ca4", SCRAM] {
            let shown = format!("{:?}", Secret::parse(secret));
            assert!(!shown.contains(secret) && shown.contains("***"), "{shown}");
        }
        assert!(!Secret::read(&Raw::Integer(12345)).unwrap_err().contains("12345"));
    }
}
