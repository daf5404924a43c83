//! The startup parameter `options`: settings in the words of a command line.

use thiserror::Error;

/// Text in `options` that is not a setting. The words are PgBouncer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed")]
pub struct OptionsError;

/// Name and value.
pub type Setting = (Vec<u8>, Vec<u8>);

/// Reads `-c name=value`, `-cname=value` and `--name=value`, in order.
///
/// Words are separated by blanks; a backslash keeps the next byte as it is. In `--name`, dashes stand for underscores.
/// Source: manual, `libpq` "options"; `pg_split_opts`.
///
/// # Errors
/// Any other word.
pub fn parse(options: &[u8]) -> Result<Vec<Setting>, OptionsError> {
    let mut found = Vec::new();
    let mut words = split(options).into_iter();
    while let Some(word) = words.next() {
        let (setting, dashed) = if let Some(long) = word.strip_prefix(b"--") {
            (long.to_vec(), true)
        } else if word == b"-c" {
            (words.next().ok_or(OptionsError)?, false)
        } else {
            (word.strip_prefix(b"-c").ok_or(OptionsError)?.to_vec(), false)
        };
        let at = memchr::memchr(b'=', &setting).ok_or(OptionsError)?;
        let mut name = setting[..at].to_vec();
        if dashed {
            name.iter_mut().filter(|byte| **byte == b'-').for_each(|byte| *byte = b'_');
        }
        found.push((name, setting[at + 1..].to_vec()));
    }
    Ok(found)
}

fn split(options: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = options.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => words.extend(word.take()),
            b'\\' => word.get_or_insert_default().extend(bytes.next()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &str) -> Result<Vec<(String, String)>, OptionsError> {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ok(parse(options.as_bytes())?.into_iter().map(|(name, value)| (text(name), text(value))).collect())
    }

    #[test]
    fn three_ways_to_write_a_setting() {
        let found = parsed("-c a=1  -cb=2 --time-zone=Asia\\ X").unwrap();
        let expected = [("a", "1"), ("b", "2"), ("time_zone", "Asia X")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn anything_else_is_refused() {
        for options in ["-x", "-c", "a=1", "--novalue", "-c novalue"] {
            assert_eq!(parsed(options), Err(OptionsError), "{options}");
        }
    }
}
