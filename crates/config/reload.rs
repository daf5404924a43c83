//! What a reload would change.

use std::collections::{BTreeMap, BTreeSet};

use crate::global::GLOBAL;
use crate::scopes::Database;
use crate::{Config, Effect};

/// The difference between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Settings that changed in the file but stay as they are until a restart.
    pub restart: Vec<&'static str>,
    /// Settings that change now.
    pub reload: Vec<&'static str>,
    /// Databases only the next configuration has.
    pub databases_added: Vec<String>,
    /// Databases only this configuration has.
    pub databases_removed: Vec<String>,
    /// Databases both have, with differences.
    pub databases_changed: Vec<DatabaseChange>,
    /// Users that appear, disappear or differ in `[users]`.
    pub users_changed: Vec<String>,
    /// Formations that appear, disappear or differ in `[formations]`.
    pub formations_changed: Vec<String>,
    /// Whether auth_file says something else.
    pub userlist_changed: bool,
    /// Whether auth_hba_file or auth_ident_file says something else.
    pub rules_changed: bool,
}

/// A database whose entry changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseChange {
    /// Its name, `*` for the fallback.
    pub name: String,
    /// Its server connections are no longer what the entry asks for and must be replaced.
    pub dirty: bool,
}

impl Changes {
    /// Whether the two configurations are the same to a running pooler.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Config {
    /// Compares this configuration with the one that is to replace it.
    pub fn diff(&self, next: &Self) -> Changes {
        let mut changes = Changes {
            users_changed: changed(&self.users, &next.users),
            formations_changed: changed(&self.formations, &next.formations),
            userlist_changed: self.userlist != next.userlist,
            rules_changed: self.hba != next.hba || self.ident != next.ident,
            ..Changes::default()
        };
        for row in GLOBAL.iter().filter(|row| !(row.same)(&self.global, &next.global)) {
            match row.rule.effect {
                Effect::Reload => changes.reload.push(row.name),
                Effect::Restart => changes.restart.push(row.name),
            }
        }
        for (name, old) in &self.databases {
            match next.databases.get(name) {
                None => changes.databases_removed.push(name.clone()),
                Some(new) if new == old => {}
                Some(new) => {
                    changes.databases_changed.push(DatabaseChange { name: name.clone(), dirty: dirty(old, new) })
                }
            }
        }
        let added = next.databases.keys().filter(|name| !self.databases.contains_key(*name));
        changes.databases_added = added.cloned().collect();
        changes
    }
}

/// The names that appear, disappear or mean something else.
fn changed<T: PartialEq>(old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) -> Vec<String> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names.into_iter().filter(|name| old.get(*name) != new.get(*name)).cloned().collect()
}

/// PgBouncer's rule: whatever decides where and as whom a server logs in. A new password or
/// encoding is used for the next connection only; any change of `*` replaces its servers.
fn dirty(old: &Database, new: &Database) -> bool {
    let login = |database: &Database| {
        let Database {
            formation,
            role,
            hosts,
            port,
            load_balance_hosts,
            target_session_attrs,
            user,
            connect_query,
            auth_dbname,
            auth_query,
            ..
        } = database.clone();
        (
            database.server_dbname().to_string(),
            (formation, role),
            (hosts, port, load_balance_hosts, target_session_attrs),
            user,
            connect_query,
            auth_dbname,
            auth_query,
        )
    };
    old.name == "*" || login(old) != login(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::from_text(std::path::Path::new("x.toml"), text).unwrap_or_else(|problems| panic!("{problems}")).config
    }

    #[test]
    fn settings_are_told_apart_by_when_they_take_effect() {
        let changes = config("").diff(&config("listen_port = 1\nquery_timeout = 5\n"));
        assert_eq!((changes.restart, changes.reload), (vec!["listen_port"], vec!["query_timeout"]));
        assert!(config("query_timeout = 5").diff(&config("query_timeout = '5s'")).is_empty());
    }

    #[test]
    fn databases_and_users_come_go_and_change() {
        let old = config("[databases.a]\n[databases.b]\n[users.u]\n[users.v]\n");
        let new = config("[databases.b]\npool_size = 5\n[databases.c]\n[users.v]\npool_size = 1\n[users.w]\n");
        let changes = old.diff(&new);
        assert_eq!((changes.databases_added, changes.databases_removed), (vec!["c".into()], vec!["a".into()]));
        assert_eq!(changes.databases_changed, [DatabaseChange { name: "b".into(), dirty: false }]);
        assert_eq!(changes.users_changed, ["u", "v", "w"]);
    }

    #[test]
    fn servers_are_replaced_when_they_would_log_in_elsewhere() {
        let old = config("[databases.a]\n");
        for (line, dirty) in [
            ("host = 'x'", true),
            ("port = 1", true),
            ("user = 'x'", true),
            ("dbname = 'x'", true),
            ("connect_query = 'x'", true),
            ("load_balance_hosts = 'disable'", true),
            ("host = 'x,y'\ntarget_session_attrs = 'read-write'", true),
            ("formation = 'f'\n[formations.f]\nmonitor = 'postgres://u@h'", true),
            ("password = 'x'", false),
            ("timezone = 'x'", false),
            ("pool_mode = 'statement'", false),
        ] {
            let changes = old.diff(&config(&format!("[databases.a]\n{line}\n")));
            assert_eq!(changes.databases_changed, [DatabaseChange { name: "a".into(), dirty }], "{line}");
        }
        let same = old.diff(&config("[databases.a]\ndbname = 'a'\n"));
        assert!(!same.databases_changed[0].dirty, "the default name spelled out");
        let fallback = config("[databases.'*']\n").diff(&config("[databases.'*']\npool_size = 1\n"));
        assert!(fallback.databases_changed[0].dirty);
    }

    #[test]
    fn formations_come_go_and_change() {
        let with = |name: &str, more: &str| format!("[formations.{name}]\nmonitor = 'postgres://u@h'\n{more}\n");
        let old = config(&(with("a", "") + &with("b", "") + &with("c", "")));
        let new = config(&(with("b", "") + &with("c", "password = 'x'") + &with("d", "")));
        assert_eq!(old.diff(&new).formations_changed, ["a", "c", "d"]);
    }

    #[test]
    fn a_changed_auth_file_is_noticed() {
        let mut new = config("");
        new.userlist.insert("joe".into(), crate::Secret::parse("x"));
        assert!(config("").diff(&new).userlist_changed);
    }
}
