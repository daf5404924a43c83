//! What both dialects have in common: keys and values, each with its place.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::problem::{Place, Problem};
use crate::raw::Raw;

/// The largest file that is read: a configuration is written by hand.
const MAX_FILE: u64 = 64 << 20;

/// How many problems are kept: nobody reads more.
const MAX_PROBLEMS: usize = 200;

/// A key and what it was set to.
#[derive(Clone, PartialEq)]
pub(crate) struct Entry {
    pub key: String,
    pub place: Place,
    pub value: Raw,
}

/// A database, user, peer or formation.
#[derive(Clone, PartialEq)]
pub(crate) struct Table {
    pub name: String,
    pub place: Place,
    pub entries: Vec<Entry>,
}

/// A configuration file, with what it includes, taken apart.
#[derive(Default)]
pub(crate) struct Document {
    pub settings: Vec<Entry>,
    pub databases: Vec<Table>,
    pub users: Vec<Table>,
    pub peers: Vec<Table>,
    pub formations: Vec<Table>,
    /// Files that were read besides the first.
    pub includes: Vec<PathBuf>,
    pub notes: Notes,
}

/// What was found wrong so far.
#[derive(Default)]
pub(crate) struct Notes {
    /// What makes the configuration unusable.
    pub errors: Vec<Problem>,
    /// What PgBouncer could do and this version cannot: as bad, except for an import.
    pub unavailable: Vec<Problem>,
    /// What is legal but unlikely to be meant.
    pub warnings: Vec<Problem>,
}

impl Notes {
    pub fn error(&mut self, place: &Place, message: impl Into<String>) {
        keep(&mut self.errors, place, message.into());
    }

    pub fn unavailable(&mut self, place: &Place, message: impl Into<String>) {
        keep(&mut self.unavailable, place, message.into());
    }

    pub fn warn(&mut self, place: &Place, message: impl Into<String>) {
        keep(&mut self.warnings, place, message.into());
    }
}

fn keep(problems: &mut Vec<Problem>, place: &Place, message: String) {
    if problems.len() < MAX_PROBLEMS {
        problems.push(place.problem(message));
    }
}

/// The text of the file that a setting names; `None` if it names none, or one that cannot be read.
///
/// `named_at` is where it is named: that is where a file that is not there is reported.
pub(crate) fn named_text(what: &str, path: &Path, named_at: &Place, notes: &mut Notes) -> Option<String> {
    if path.as_os_str().is_empty() {
        return None;
    }
    match text_of(path) {
        Ok(text) => return Some(text),
        Err(problem) if problem.line == 1 => {
            notes.error(named_at, format!("{what}: {} {}", path.display(), problem.message));
        }
        Err(problem) => notes.errors.push(problem),
    }
    None
}

/// The text of a file.
///
/// # Errors
/// Why it cannot be read, and where: a file that is not UTF-8 is named with the line.
pub(crate) fn text_of(path: &Path) -> Result<String, Problem> {
    let top = Place::top(path);
    let failed = |error: std::io::Error| top.problem(format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(top.problem(format!("is larger than {} MiB", MAX_FILE >> 20)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        top.at(line, 1).problem("is not UTF-8")
    })
}
