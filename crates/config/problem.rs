//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One thing wrong (or worth a warning), with the place an editor can jump to.
///
/// Displayed as `file:line:col: message`. Lines and columns count from 1; a
/// problem of the file as a whole stands at 1:1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file as it was named on the command line, in `%include` or in `auth_file`.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub col: usize,
    /// What is wrong, in one sentence; names the setting.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        write!(f, "{file}:{}:{}: {}", self.line, self.col, self.message)
    }
}

/// Everything that keeps a configuration from being used, in the order of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, problem) in self.0.iter().enumerate() {
            if nth > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Problems {
    /// What was made, if nothing is wrong with it; else the problems in the order of the files.
    pub(crate) fn or<T>(mut problems: Vec<Problem>, made: T) -> Result<T, Self> {
        problems.sort();
        if problems.is_empty() { Ok(made) } else { Err(Self(problems)) }
    }
}

/// A position in a file, cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub file: Arc<Path>,
    pub line: usize,
    pub col: usize,
}

impl Place {
    /// The file as a whole.
    pub fn top(file: &Path) -> Self {
        Self { file: file.into(), line: 1, col: 1 }
    }

    /// Another position in the same file.
    pub fn at(&self, line: usize, col: usize) -> Self {
        Self { file: self.file.clone(), line, col }
    }

    /// A problem at this place.
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        // What a file contains must not break the line, or steer the terminal.
        let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
        let message = message.into().chars().map(shown).collect();
        Problem { file: self.file.to_path_buf(), line: self.line, col: self.col, message }
    }
}
