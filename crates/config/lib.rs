//! pooler.toml or pgbouncer.ini, settled: read, defaulted, inherited, checked.
//!
//! [`Config::load`] is the way in. Both dialects become the same document of keys and values with
//! their places (`ini`, `toml_file`), which `settle` reads through the tables of `global` and
//! `scopes` and `check` then judges as a whole: every problem is found in one go. `userlist`, `hba`
//! and `ident` read the files of users and rules that the settings name. `monitor` reads where a
//! pg_auto_failover monitor is, and `monitor_sql` says what it needs.

mod check;
mod connstr;
mod document;
mod fields;
mod global;
pub mod hba;
mod ident;
mod import;
mod inherit;
mod ini;
mod monitor;
pub mod monitor_sql;
mod print;
mod problem;
mod raw;
mod reload;
mod scopes;
mod secret;
mod settle;
mod show;
mod table;
mod toml_file;
mod userlist;
mod value;
mod words;

#[cfg(test)]
mod shipped_tests;
#[cfg(test)]
mod text_tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use global::{AUTH_QUERY, Global};
pub use hba::Hba;
pub use ident::IdentMaps;
pub use import::{Import, import};
pub use inherit::{AuthLookup, CONSOLE_NAMES, ClientSettings, PoolSettings, SessionState};
pub use monitor::{Monitor, MonitorHost};
pub use print::Secrets;
pub use problem::{Problem, Problems};
pub use reload::{Changes, DatabaseChange};
pub use scopes::{Database, Formation, Host, Peer, User};
pub use secret::Secret;
pub use show::Row;
pub use table::{Available, Effect, Setting};
pub use value::{FileMode, Limit, Timeout};
pub use words::{
    AuthType, ChannelBinding, Hidden, Listening, LoadBalanceHosts, LogFormat, Pinning, PoolMode, Role, Scheduling,
    SslMode, SslNegotiation, TargetSessionAttrs,
};

/// Everything the files say, settled. The default is PgBouncer's: no databases, md5, session mode.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The settings outside every table.
    pub global: Global,
    /// `[databases]`, by the name clients ask for; `*` is the fallback. See [`Config::find_database`].
    pub databases: BTreeMap<String, Database>,
    /// `[users]`, by name.
    pub users: BTreeMap<String, User>,
    /// `[formations]`, by the name databases use. See [`Config::formation_of`].
    pub formations: BTreeMap<String, Formation>,
    /// `[peers]`, by their id.
    pub peers: BTreeMap<u16, Peer>,
    /// What `auth_file` says, by user.
    pub userlist: BTreeMap<String, Secret>,
    /// What `auth_hba_file` says; without rules where none is named.
    pub hba: Hba,
    /// What `auth_ident_file` says.
    pub ident: IdentMaps,
    /// The file this was loaded from; `None` for a configuration made in memory.
    pub path: Option<PathBuf>,
}

/// A configuration that can be used, and what is odd about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is legal but unlikely to be meant, in the order of the files.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads a configuration file and the files of users and rules it names.
    ///
    /// A name ending in `.ini` is read as PgBouncer's dialect, any other as TOML. Relative paths
    /// are relative to the working directory, as PgBouncer's are.
    ///
    /// # Errors
    /// Every problem found, in one go; a file that cannot be read is one of them.
    pub fn load(path: &Path) -> Result<Loaded, Problems> {
        settle::read(path).finish()
    }

    /// As [`Config::load`], with the text of the file already at hand.
    ///
    /// # Errors
    /// Every problem found, in one go.
    pub fn from_text(path: &Path, text: &str) -> Result<Loaded, Problems> {
        settle::read_text(path, text).finish()
    }

    /// Changes one setting as the console's SET does; the value is written as in an ini file.
    ///
    /// Settings that need a restart are accepted without effect, as PgBouncer does.
    ///
    /// # Errors
    /// An unknown key, a value that cannot be read, is not available or contradicts other settings.
    pub fn set(&self, key: &str, value: &str) -> Result<Self, String> {
        settle::set(self, key, value)
    }
}
