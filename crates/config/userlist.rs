//! auth_file: PgBouncer's list of users and their secrets, one `"user" "secret"` a line.

use std::collections::BTreeMap;
use std::path::Path;

use crate::document::{Notes, text_of};
use crate::problem::Place;
use crate::secret::Secret;

/// PgBouncer's bound on user names, in bytes.
const MAX_USER: usize = 127;

/// PgBouncer's bound on passwords, in bytes.
const MAX_PASSWORD: usize = 65_530;

/// Reads `auth_file`; `named_at` is where the configuration names it.
pub(crate) fn read(path: &Path, named_at: &Place, notes: &mut Notes) -> BTreeMap<String, Secret> {
    match text_of(path) {
        Ok(text) => parse(path, &text, notes),
        Err(problem) if problem.line == 1 => {
            notes.error(named_at, format!("auth_file: {} {}", path.display(), problem.message));
            BTreeMap::new()
        }
        Err(problem) => {
            notes.errors.push(problem);
            BTreeMap::new()
        }
    }
}

/// Takes the text apart. `;` begins a comment line; `""` stands for one quote; what follows the
/// secret is ignored.
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
    let (user, rest) = quoted(line).ok_or("expected the user's name in double quotes")?;
    let (secret, _) = quoted(rest.trim_start()).ok_or("expected the secret in double quotes after the user's name")?;
    match user.len() {
        0 => return Err("the user's name is empty"),
        1..=MAX_USER => {}
        _ => return Err("the user's name is longer than 127 bytes"),
    }
    if secret.len() > MAX_PASSWORD {
        return Err("the secret is longer than 65530 bytes");
    }
    if user.contains('\0') || secret.contains('\0') {
        return Err("a name or secret must not contain NUL");
    }
    if secret.starts_with("SCRAM-SHA-256$") && matches!(Secret::parse(&secret), Secret::Plain(_)) {
        return Err("the secret begins like a SCRAM secret but is malformed");
    }
    Ok((user, Secret::parse(&secret)))
}

/// Text in double quotes and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
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
    fn the_last_line_of_a_user_counts() {
        let (users, notes) = read("\"joe\" \"a\"\n\"joe\" \"b\"\n");
        assert_eq!(users["joe"].reveal(), "b");
        assert_eq!(notes.warnings.len(), 1);
    }
}
