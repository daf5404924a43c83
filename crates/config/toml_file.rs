//! The TOML dialect: settings at the top level, then `[databases.NAME]`, `[users.NAME]`, `[peers.ID]`,
//! `[formations.NAME]`.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::document::{Document, Entry, Notes, Table};
use crate::problem::Place;
use crate::raw::Raw;

/// Takes the text of a file apart. Where the syntax is broken only that is reported: what the
/// parser guessed beyond it would cause complaints nobody can follow.
pub(crate) fn parse(path: &Path, text: &str) -> Document {
    let source = Source::new(path, text);
    let mut document = Document::default();
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let place = source.place(error.span().unwrap_or_default());
        document.notes.error(&place, syntax(error.message()));
    }
    if !errors.is_empty() {
        return document;
    }
    for (key, value) in root.get_ref() {
        let place = source.place(key.span());
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("databases", DeValue::Table(tables)) => {
                document.databases = source.tables(tables, "databases", &mut document.notes)
            }
            ("users", DeValue::Table(tables)) => document.users = source.tables(tables, "users", &mut document.notes),
            ("peers", DeValue::Table(tables)) => document.peers = source.tables(tables, "peers", &mut document.notes),
            ("formations", DeValue::Table(tables)) => {
                document.formations = source.tables(tables, "formations", &mut document.notes)
            }
            ("pgbouncer", DeValue::Table(_)) => {
                document.notes.error(
                    &place,
                    "[pgbouncer]: its settings stand at the top level of a TOML file, before the first table",
                );
            }
            (name, DeValue::Table(_)) => {
                let known = "[databases.NAME], [users.NAME], [peers.ID] or [formations.NAME]";
                document.notes.error(&place, format!("unknown table [{name}]; expected {known}"));
            }
            (name, value) => document.settings.push(Entry { key: name.to_string(), place, value: raw(value) }),
        }
    }
    document
}

/// The parser's message on one line. Who comes from an ini file leaves out the quotes, which the
/// parser takes for a malformed boolean or number.
fn syntax(message: &str) -> String {
    let message = message.replace('\n', ", ");
    let malformed = ["invalid boolean", "invalid float", "invalid integer", "invalid datetime"];
    if malformed.iter().any(|start| message.starts_with(start)) {
        format!("{message}; text needs quotes")
    } else {
        message
    }
}

/// The text of a file with the start of each line, to turn offsets into places.
struct Source<'a> {
    text: &'a str,
    top: Place,
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    fn new(path: &Path, text: &'a str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, top: Place::top(path), lines: std::iter::once(0).chain(after_breaks).collect() }
    }

    fn place(&self, span: Range<usize>) -> Place {
        let line = self.lines.partition_point(|start| *start <= span.start).max(1);
        let before = self.text.get(self.lines[line - 1]..span.start).unwrap_or_default();
        self.top.at(line, before.chars().count() + 1)
    }

    fn tables(&self, tables: &DeTable<'_>, kind: &str, notes: &mut Notes) -> Vec<Table> {
        let mut found = Vec::new();
        for (name, value) in tables {
            let place = self.place(name.span());
            match value.get_ref() {
                DeValue::Table(entries) => {
                    let entries =
                        entries.iter().map(|(key, value)| self.entry(key.span(), key.get_ref(), value)).collect();
                    found.push(Table { name: name.get_ref().to_string(), place, entries });
                }
                value => {
                    let (name, found) = (name.get_ref(), raw(value).not("a table"));
                    notes.error(&place, format!("{kind}.{name}: {found}"));
                }
            }
        }
        found
    }

    fn entry(&self, span: Range<usize>, key: &str, value: &Spanned<DeValue<'_>>) -> Entry {
        Entry { key: key.to_string(), place: self.place(span), value: raw(value.get_ref()) }
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("a number that is too large"), Raw::Integer),
        DeValue::Float(number) => number.as_str().parse().map_or(Raw::Other("a malformed number"), Raw::Float),
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Array(items) => {
            let texts: Option<Vec<String>> =
                items.iter().map(|item| item.get_ref().as_str().map(str::to_string)).collect();
            texts.map_or(Raw::Other("a list with something other than text"), Raw::List)
        }
        DeValue::Table(_) => Raw::Other("a table"),
    }
}
