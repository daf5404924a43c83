//! Why TLS cannot be set up as wished.

use std::fmt;
use std::path::PathBuf;

/// A setting that cannot be obeyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct TlsError {
    /// The setting at fault.
    pub setting: &'static str,
    /// The file it names, if the fault is in there.
    pub file: Option<PathBuf>,
    /// What is wrong, in words for whoever wrote the setting. Never holds anything from a key.
    pub reason: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}: {}: {}", self.setting, file.display(), self.reason),
            None => write!(f, "{}: {}", self.setting, self.reason),
        }
    }
}
