//! A configuration as TOML that loads back to an equal one.

use std::fmt::Write;

use crate::Config;
use crate::global::GLOBAL;
use crate::scopes::{DATABASE, FORMATION, PEER, USER};
use crate::table::Key;
use crate::value::toml_key;

/// Whether passwords are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// As they are: the text loads back to an equal configuration.
    Shown,
    /// As `********`, for eyes and logs.
    Hidden,
}

impl Config {
    /// Every setting with its value, then databases, users, formations and peers with what is set there.
    ///
    /// `auth_file`, `auth_hba_file` and `auth_ident_file` are named, not repeated.
    pub fn to_toml(&self, secrets: Secrets) -> String {
        let mut out = String::new();
        for row in GLOBAL {
            line(&mut out, row, &self.global, secrets);
        }
        self.print_tables(&mut out, secrets);
        out
    }

    /// Databases, users, formations and peers.
    pub(crate) fn print_tables(&self, out: &mut String, secrets: Secrets) {
        for (name, database) in &self.databases {
            table(out, "databases", &toml_key(name), DATABASE, database, secrets);
        }
        for (name, user) in &self.users {
            table(out, "users", &toml_key(name), USER, user, secrets);
        }
        for (name, formation) in &self.formations {
            table(out, "formations", &toml_key(name), FORMATION, formation, secrets);
        }
        for (id, peer) in &self.peers {
            table(out, "peers", &id.to_string(), PEER, peer, secrets);
        }
    }
}

fn table<T>(out: &mut String, kind: &str, name: &str, rows: &[Key<T>], owner: &T, secrets: Secrets) {
    let _ = writeln!(out, "\n[{kind}.{name}]");
    for row in rows {
        line(out, row, owner, secrets);
    }
}

/// `key = value`, or nothing if the key is not set.
pub(crate) fn line<T>(out: &mut String, row: &Key<T>, owner: &T, secrets: Secrets) {
    let value = match secrets {
        Secrets::Shown => (row.toml)(owner),
        Secrets::Hidden => (row.masked)(owner),
    };
    if let Some(value) = value {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{} = {value}", row.name);
    }
}
