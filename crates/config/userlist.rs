//! auth_file: PgBouncer's list of users and their secrets, one `"user" "secret"` a line.

use std::collections::BTreeMap;
use std::path::Path;

use zeroize::Zeroizing;

use crate::document::{Notes, named_text};
use crate::problem::Place;
use crate::secret::Secret;

/// PgBouncer's bound on user names, in bytes.
pub(crate) const MAX_USER: usize = 127;

/// PgBouncer's bound on passwords, in bytes.
const MAX_PASSWORD: usize = 65_530;

/// Reads `auth_file`; `named_at` is where the configuration names it.
pub(crate) fn read(path: &Path, named_at: &Place, notes: &mut Notes) -> BTreeMap<String, Secret> {
    let text = named_text("auth_file", path, named_at, notes).map(Zeroizing::new);
    text.map(|text| parse(path, &text, notes)).unwrap_or_default()
}

/// Takes the text apart. `;` begins a comment line; `""` stands for one quote; what follows the
/// secret is ignored. Lines end in LF or CRLF.
pub(crate) fn parse(path: &Path, text: &str, notes: &mut Notes) -> BTreeMap<String, Secret> {
    let top = Place::top(path);
    let mut users = BTreeMap::new();
    for (nth, line) in text.lines().enumerate() {
        let place = top.at(nth + 1, 1);
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(';') {
            continue;
        }
        match entry(line) {
            Ok((user, secret)) => {
                if users.insert(user.clone(), secret).is_some() {
                    notes.warn(&place, format!("user {user:?} is listed twice; the last line counts"));
                }
            }
            Err(message) => notes.error(&place, message),
        }
    }
    users
}

fn entry(line: &str) -> Result<(String, Secret), &'static str> {
    let name = line.strip_prefix('"').ok_or("expected the user's name in double quotes")?;
    let (user, rest) = quoted(name).ok_or("the closing quote of the user's name is missing")?;
    let secret = rest.trim_start().strip_prefix('"');
    let secret = secret.ok_or("expected the secret in double quotes after the user's name")?;
    let (secret, _) = quoted(secret).ok_or("the closing quote of the secret is missing")?;
    let secret = Zeroizing::new(secret);
    match user.len() {
        0 => return Err("the user's name is empty"),
        1..=MAX_USER => {}
        _ => return Err("the user's name is longer than 127 bytes"),
    }
    if secret.len() > MAX_PASSWORD {
        return Err("the secret is longer than 65530 bytes");
    }
    if user.contains('\0') {
        return Err("the user's name contains NUL");
    }
    if secret.contains('\0') {
        return Err("the secret contains NUL");
    }
    // Lines that end in CR alone would be one line, of which all but the first user are ignored.
    if line.contains('\r') {
        return Err("a carriage return stands inside the line; lines end in LF or CRLF");
    }
    if secret.starts_with("SCRAM-SHA-256$") && matches!(Secret::parse(&secret), Secret::Plain(_)) {
        return Err("the secret begins like a SCRAM secret but is malformed");
    }
    Ok((user, Secret::parse(&secret)))
}

/// Text up to its closing double quote, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text;
    let mut value = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        value.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                value.push('"');
                rest = more;
            }
            None => return Some((value, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (BTreeMap<String, Secret>, Notes) {
        let mut notes = Notes::default();
        let users = parse(Path::new("users.txt"), text, &mut notes);
        (users, notes)
    }

    #[test]
    fn a_line_is_a_name_and_a_secret_in_quotes() {
        let (users, notes) = read("; comment\n\n  \"joe\"  \"a\"\"b; c\" ignored\n\"a \"\"b\"\"\" \"\"\n");
        assert!(notes.errors.is_empty());
        assert_eq!(users["joe"].reveal(), "a\"b; c");
        assert_eq!(users["a \"b\""].reveal(), "");
    }

    #[test]
    fn every_broken_line_is_named_and_no_secret_is_repeated() {
        let long = "x".repeat(128);
        let text = format!(
            "joe secret\n\"joe\" secret\n\"joe\" \"secret\n\"\" \"secret\"\n\"{long}\" \"secret\"\n\"a\" \"SCRAM-SHA-256$secret\"\n# no\n"
        );
        let (users, notes) = read(&text);
        assert!(users.is_empty());
        let lines: Vec<usize> = notes.errors.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5, 6, 7]);
        assert!(notes.errors.iter().all(|problem| !problem.message.contains("secret\"")));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_precisely() {
        let name = "\"joe\" ";
        for (line, expected) in [
            ("joe".to_string(), "expected the user's name in double quotes"),
            ("\"joe".to_string(), "the closing quote of the user's name is missing"),
            (format!("{name}secret"), "expected the secret in double quotes after the user's name"),
            (format!("{name}\"secret"), "the closing quote of the secret is missing"),
            ("\"jo\0e\" \"secret\"".to_string(), "the user's name contains NUL"),
            (format!("{name}\"sec\0ret\""), "the secret contains NUL"),
            (format!("\"{}\" \"\"", "x".repeat(128)), "the user's name is longer than 127 bytes"),
            (format!("{name}\"{}\"", "x".repeat(65_531)), "the secret is longer than 65530 bytes"),
            (format!("{name}\"a\"\r\"ann\" \"b\""), "a carriage return stands inside the line"),
        ] {
            let (users, notes) = read(&line);
            assert!(users.is_empty() && notes.errors[0].message.starts_with(expected), "{line:?}: {:?}", notes.errors);
        }
    }

    #[test]
    fn lines_may_end_in_crlf_and_hold_long_names_and_secrets() {
        let (name, secret) = ("x".repeat(127), "y".repeat(65_530));
        let (users, notes) = read(&format!("\"joe\" \"pw\"\r\n; comment\r\n\"{name}\" \"{secret}\"\r\n"));
        assert!(notes.errors.is_empty(), "{:?}", notes.errors);
        assert_eq!((users["joe"].reveal(), users[&name].reveal()), ("pw", &*secret));
    }

    #[test]
    fn the_last_line_of_a_user_counts() {
        let (users, notes) = read("\"joe\" \"a\"\n\"joe\" \"b\"\n");
        assert_eq!(users["joe"].reveal(), "b");
        assert_eq!(notes.warnings.len(), 1);
    }
}
