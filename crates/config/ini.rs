//! PgBouncer's ini dialect, which is no other program's.
//!
//! Comments only where `;` or `#` is the first thing on a line; values run to the end of the line
//! and know no quotes; keys are bare or in single quotes; `%include FILE` anywhere.

use std::path::Path;

use crate::connstr;
use crate::document::{Document, Entry, Table, text_of};
use crate::problem::Place;
use crate::raw::Raw;

/// How deep files may include each other, PgBouncer's bound.
const MAX_DEPTH: usize = 10;

/// How many files are read in all: a file that includes itself twice grows exponentially.
const MAX_FILES: usize = 100;

#[derive(Clone, Copy, PartialEq)]
enum Section {
    Settings,
    Databases,
    Users,
    Peers,
    Formations,
    /// Its name was reported; its keys are skipped.
    Unknown,
}

struct Parser {
    document: Document,
    section: Option<Section>,
    files: usize,
    settings_seen: bool,
}

/// Takes the text of a file apart, reading the files it includes.
pub(crate) fn parse(path: &Path, text: &str) -> Document {
    let mut parser = Parser { document: Document::default(), section: None, files: 1, settings_seen: false };
    parser.file(path, text, 0);
    if !parser.settings_seen {
        parser.document.notes.error(&Place::top(path), "the section [pgbouncer] is missing");
    }
    parser.document
}

impl Parser {
    fn file(&mut self, path: &Path, text: &str, depth: usize) {
        let top = Place::top(path);
        for (nth, line) in text.lines().enumerate() {
            self.line(&top.at(nth + 1, 1), line, depth);
        }
    }

    fn line(&mut self, start: &Place, line: &str, depth: usize) {
        let (mut rest, mut col) = (line, start.col);
        loop {
            let text = rest.trim_ascii_start();
            let place = start.at(start.line, col + chars_before(rest, text));
            if text.is_empty() || text.starts_with([';', '#']) {
                return;
            }
            let Some(header) = text.strip_prefix('[') else {
                return self.content(place, text.trim_ascii_end(), depth);
            };
            let Some((name, after)) = header.split_once(']') else {
                return self.document.notes.error(&place, "the section's closing bracket is missing");
            };
            self.header(&place, name);
            // A header does not end the line: PgBouncer reads on as if a new one began.
            col = place.col + chars_before(text, after);
            rest = after;
        }
    }

    fn content(&mut self, place: Place, text: &str, depth: usize) {
        match text.strip_prefix("%include").filter(|rest| rest.starts_with([' ', '\t'])) {
            Some(file) => self.include(&place, file.trim_ascii(), depth + 1),
            None => self.key(place, text),
        }
    }

    fn header(&mut self, place: &Place, name: &str) {
        self.section = Some(match name {
            "pgbouncer" => {
                self.settings_seen = true;
                Section::Settings
            }
            "databases" => Section::Databases,
            "users" => Section::Users,
            "peers" => Section::Peers,
            "formations" => Section::Formations,
            _ => {
                let known = "[pgbouncer], [databases], [users], [peers] or [formations]";
                self.document.notes.error(place, format!("unknown section [{name}]; expected {known}"));
                Section::Unknown
            }
        });
    }

    fn include(&mut self, place: &Place, file: &str, depth: usize) {
        self.files += 1;
        if depth > MAX_DEPTH {
            let message = format!("%include {file}: files include each other more than {MAX_DEPTH} deep");
            return self.document.notes.error(place, message);
        }
        if self.files > MAX_FILES {
            return self.document.notes.error(place, format!("%include {file}: more than {MAX_FILES} files"));
        }
        let path = Path::new(file);
        match text_of(path) {
            Ok(text) => {
                self.document.includes.push(path.to_path_buf());
                self.file(path, &text, depth);
            }
            Err(problem) => self.document.notes.error(place, format!("%include {file}: {}", problem.message)),
        }
    }

    fn key(&mut self, place: Place, text: &str) {
        let (key, rest) = match key_of(text) {
            Ok(found) => found,
            Err(message) => return self.document.notes.error(&place, message),
        };
        let Some(value) = rest.trim_ascii_start().strip_prefix('=').map(str::trim_ascii_start) else {
            return self.document.notes.error(&place, format!("{key}: expected \"=\" and a value"));
        };
        let Some(section) = self.section else {
            return self.document.notes.error(&place, format!("{key}: stands before the first section"));
        };
        let value_place = place.at(place.line, place.col + chars_before(text, value));
        let tables = match section {
            Section::Settings => return self.setting(key, place, value),
            Section::Unknown => return,
            Section::Databases => &mut self.document.databases,
            Section::Users => &mut self.document.users,
            Section::Peers => &mut self.document.peers,
            Section::Formations => &mut self.document.formations,
        };
        let entries = connstr::parse(value, &value_place, &mut self.document.notes);
        tables.push(Table { name: key, place, entries });
    }

    fn setting(&mut self, key: String, place: Place, value: &str) {
        if value.contains(" ;") || value.contains(" #") {
            let message =
                format!("{key}: what looks like a comment is part of the value; comments need a line of their own");
            self.document.notes.warn(&place, message);
        }
        self.document.settings.push(Entry { key, place, value: Raw::Ini(value.to_string()) });
    }
}

/// How many characters of `line` stand before `end`, with which it ends.
fn chars_before(line: &str, end: &str) -> usize {
    line[..line.len() - end.len()].chars().count()
}

fn key_of(text: &str) -> Result<(String, &str), String> {
    if let Some(quoted) = text.strip_prefix('\'') {
        return connstr::unquote(quoted).ok_or_else(|| "the closing quote of the key is missing".to_string());
    }
    if text.starts_with('"') {
        return Err("keys are quoted with single quotes, as in 'my db' = ...".into());
    }
    let bare = |c: char| c.is_ascii_alphanumeric() || "_.-*".contains(c);
    let end = text.find(|c| !bare(c)).unwrap_or(text.len());
    match &text[..end] {
        "" => Err("expected a key, a section or %include".into()),
        key => Ok((key.to_string(), &text[end..])),
    }
}

#[cfg(test)]
#[path = "ini_tests.rs"]
mod tests;
