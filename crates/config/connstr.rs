//! Connection strings of `[databases]`, `[users]`, `[peers]` and `[formations]` in an ini file.

use crate::document::{Entry, Notes};
use crate::problem::Place;
use crate::raw::Raw;

/// Takes a connection string apart: `key=value` separated by blanks, the value optionally in
/// single quotes, where `''` stands for one.
///
/// `place` is where the string begins. An error ends the parsing, since what follows can only be guessed at.
pub(crate) fn parse(text: &str, place: &Place, notes: &mut Notes) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let column = place.col + text[..text.len() - rest.len()].chars().count();
        let place = place.at(place.line, column);
        match pair(rest) {
            Ok((key, value, after)) => {
                entries.push(Entry { key: key.to_string(), place, value: Raw::Pair(value) });
                rest = after.trim_start();
            }
            Err(message) => {
                notes.error(&place, message);
                break;
            }
        }
    }
    entries
}

fn pair(text: &str) -> Result<(&str, String, &str), String> {
    let end = text.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(text.len());
    let (key, rest) = text.split_at(end);
    let Some(rest) = rest.strip_prefix('=').filter(|_| !key.is_empty()) else {
        // The word itself is not repeated: it may be the second half of a password with a blank.
        return Err("connection string: expected key=value, without blanks around \"=\" and with values that contain blanks in single quotes".into());
    };
    let (value, rest) = match rest.strip_prefix('\'') {
        Some(quoted) => unquote(quoted).ok_or_else(|| format!("{key}: the closing quote is missing"))?,
        None => {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            (rest[..end].to_string(), &rest[end..])
        }
    };
    if value.is_empty() {
        return Err(format!("{key}: the value is empty"));
    }
    if rest.starts_with(|c: char| !c.is_whitespace()) {
        return Err(format!("{key}: expected a blank after the closing quote"));
    }
    Ok((key, value, rest))
}

/// Reads up to the closing single quote; returns the text and what follows the quote.
pub(crate) fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('\'')?;
        value.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return Some((value, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        let mut notes = Notes::default();
        let entries = parse(text, &Place::top(Path::new("x.ini")), &mut notes);
        match notes.errors.first() {
            Some(problem) => Err(format!("{}: {}", problem.col, problem.message)),
            None => Ok(entries.into_iter().map(|e| (e.key, e.value.text().unwrap_or_default().to_string())).collect()),
        }
    }

    #[test]
    fn quotes_hold_blanks_and_doubled_quotes() {
        let pairs = read("host=a  connect_query='select ''x'', 1'\tport=1").unwrap();
        assert_eq!(pairs[1], ("connect_query".into(), "select 'x', 1".into()));
        assert_eq!(pairs.len(), 3);
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn an_error_names_the_column_and_never_a_password() {
        assert!(read("host=a dbname=").unwrap_err().starts_with("8: dbname: the value is empty"));
        assert!(read("host=a dbname=''").unwrap_err().contains("empty"));
        assert!(read("password='secret").unwrap_err().contains("closing quote"));
        assert!(read("password='secret'x").unwrap_err().contains("blank"));
        let message = read("password=two words").unwrap_err();
        assert!(message.starts_with("14:") && !message.contains("words without"), "{message}");
        assert!(read("=x").is_err() && read("host = a").is_err());
    }
}
