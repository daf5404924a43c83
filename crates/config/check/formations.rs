//! Whether what is said about formations, and about the nodes of a database, fits together.

use super::Check;
use crate::settle::did_you_mean;
use crate::{Database, Role, TargetSessionAttrs};

/// Characters that nobody tries one by one: what it seals can be heard by anybody who may connect to the monitor.
const SECRET_LEN: usize = 16;

impl Check<'_> {
    pub(super) fn formations(&mut self) {
        let config = self.config;
        let secret = config.global.control_secret.reveal();
        if !secret.is_empty() && secret.len() < SECRET_LEN {
            let message = format!(
                "control_secret: whoever listens at the monitor can guess a short one; take {SECRET_LEN} characters or more"
            );
            self.warn("", "control_secret", message);
        }
        for (name, formation) in &config.formations {
            let table = format!("formations.{name}");
            if formation.monitor.hosts.is_empty() {
                self.error(&table, "monitor", format!("{table}: monitor is missing"));
            }
            if formation.password.is_some() && formation.monitor.password.is_some() {
                self.error(&table, "password", format!("{table}: password: is in monitor, too"));
            }
            if formation.formation.is_empty() {
                self.error(&table, "formation", format!("{table}: formation is empty"));
            }
            if !config.databases.values().any(|database| database.formation.as_ref() == Some(name)) {
                self.warn(&table, "", format!("{table}: no database uses it"));
            }
        }
        for (name, database) in &config.databases {
            self.nodes(&format!("databases.{name}"), database);
        }
    }

    /// The servers of a database are the nodes of a formation, or hosts.
    fn nodes(&mut self, table: &str, database: &Database) {
        let writable = database.target_session_attrs == TargetSessionAttrs::ReadWrite;
        match &database.formation {
            Some(formation) => {
                self.followed(table, formation, database);
                self.waits(table, database);
            }
            None => {
                for key in ["role", "max_lag"].into_iter().filter(|key| self.places.has(table, key)) {
                    self.error(table, key, format!("{table}: {key} needs formation"));
                }
                if writable && database.hosts.is_empty() {
                    let message = format!("{table}: target_session_attrs read-write needs host, a list of the nodes");
                    self.error(table, "target_session_attrs", message);
                } else if writable {
                    self.waits(table, database);
                }
            }
        }
    }

    fn followed(&mut self, table: &str, formation: &str, database: &Database) {
        let known = &self.config.formations;
        if !known.contains_key(formation) {
            let hint = did_you_mean(formation, known.keys().map(String::as_str));
            self.error(table, "formation", format!("{table}: there is no formation {formation:?}{hint}"));
        }
        for key in ["host", "port", "target_session_attrs"].into_iter().filter(|key| self.places.has(table, key)) {
            let message = format!("{table}: {key} cannot be combined with formation, whose monitor knows the nodes");
            self.error(table, key, message);
        }
        let choice = if database.role == Role::Primary { ["max_lag", "load_balance_hosts"].as_slice() } else { &[] };
        for key in choice.iter().filter(|key| self.places.has(table, key)) {
            self.error(table, key, format!("{table}: {key} needs role standby: there is one primary"));
        }
    }

    /// Whoever is disconnected first does not see a failover end.
    fn waits(&mut self, table: &str, database: &Database) {
        let settings = self.config.pool_settings(database, database.user.as_deref().unwrap_or_default());
        let hold = self.config.global.failover_wait_timeout;
        if let Some(wait) = settings.query_wait_timeout.filter(|wait| *wait <= hold) {
            let (wait, hold) = (wait.as_secs_f64(), hold.as_secs_f64());
            let message = format!(
                "{table}: query_wait_timeout ({wait} s) disconnects clients before failover_wait_timeout ({hold} s) is over"
            );
            self.warn(table, "query_wait_timeout", message);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{Config, Loaded, Problems};

    const MAIN: &str = "\n[formations.main]\nmonitor = 'postgres://u@h'\n";

    fn load(text: &str) -> Result<Loaded, Problems> {
        Config::from_text(Path::new("x.toml"), text)
    }

    #[test]
    fn a_database_has_a_formation_or_hosts() {
        for (keys, expected) in [
            ("formation = 'mian'", "x.toml:2:1: databases.a: there is no formation \"mian\"; did you mean \"main\"?"),
            ("formation = 'other'", "there is no formation \"other\""),
            ("formation = 'main'\nhost = 'x'", "x.toml:3:1: databases.a: host cannot be combined with formation"),
            ("formation = 'main'\nhost = '/run'", "host cannot be combined with formation"),
            ("port = 5432\nformation = 'main'", "x.toml:2:1: databases.a: port cannot be combined with formation"),
            ("formation = 'main'\ntarget_session_attrs = 'any'", "target_session_attrs cannot be combined"),
            ("formation = 'main'\nmax_lag = 5", "x.toml:3:1: databases.a: max_lag needs role standby"),
            ("formation = 'main'\nload_balance_hosts = 'disable'", "load_balance_hosts needs role standby"),
            ("role = 'primary'", "x.toml:2:1: databases.a: role needs formation"),
            ("max_lag = 5", "max_lag needs formation"),
            (
                "target_session_attrs = 'read-write'",
                "x.toml:2:1: databases.a: target_session_attrs read-write needs host",
            ),
            ("host = 'a'\ntarget_session_attrs = 'primary'", "expected one of any, read-write"),
            ("hostaddr = '::1'", "unknown key \"hostaddr\" in databases.a"),
        ] {
            let problems = load(&format!("[databases.a]\n{keys}{MAIN}")).expect_err(keys).to_string();
            assert!(problems.contains(expected) && !problems.contains('\n'), "{keys}:\n{problems}");
        }
    }

    #[test]
    fn a_formation_has_a_monitor_and_one_password() {
        for (keys, expected) in [
            ("", "x.toml:1:13: formations.f: monitor is missing"),
            ("monitor = 'postgres://u@h'\ngruop = 1", "unknown key \"gruop\" in formations.f; did you mean \"group\"?"),
            ("monitor = 'postgres://u@h'\ngroup = -1", "group: expected a whole number"),
            ("monitor = 'postgres://u@h'\nformation = ''", "x.toml:3:1: formations.f: formation is empty"),
            ("monitor = 'postgres://u:x@h'\npassword = 'y'", "x.toml:3:1: formations.f: password: is in monitor, too"),
            ("monitor = 'postgres://h'", "x.toml:2:1: monitor: the user is missing"),
        ] {
            let problems = load(&format!("[formations.f]\n{keys}")).expect_err(keys).to_string();
            assert!(problems.contains(expected) && !problems.contains('\n'), "{keys}:\n{problems}");
        }
    }

    #[test]
    fn what_is_of_no_use_is_a_warning() {
        let warnings = |text: &str| {
            let loaded = load(text).unwrap_or_else(|problems| panic!("{problems}"));
            loaded.warnings.iter().map(|warning| format!("{warning}\n")).collect::<String>()
        };
        assert!(warnings(MAIN).contains("x.toml:2:13: formations.main: no database uses it"));
        let used = format!("[databases.a]\nformation = 'main'{MAIN}");
        assert!(!warnings(&used).contains("formations.main") && !warnings(&used).contains("query_wait_timeout"));
        let secret = |secret: &str| warnings(&format!("control_secret = '{secret}'\n{used}"));
        assert!(secret("hush").contains("x.toml:1:1: control_secret: whoever listens"));
        assert!(!secret("0123456789abcdef").contains("control_secret"));
        let short = used.replace("formation =", "query_wait_timeout = 60\nformation =");
        assert!(warnings(&short).contains("x.toml:2:1: databases.a: query_wait_timeout (60 s) disconnects clients"));
    }

    #[test]
    fn a_list_of_hosts_and_standbys_of_a_formation_are_accepted() {
        let text = format!(
            "[databases.a]\nhost = 'x,y'\ntarget_session_attrs = 'read-write'\n[databases.b]\nformation = 'main'\n\
             role = 'standby'\nmax_lag = 0\nload_balance_hosts = 'round-robin'\n[databases.c]\nformation = 'main'{MAIN}"
        );
        let config = load(&format!("unix_socket_dir = ''\nlisten_addr = '*'\n{text}")).expect("it is right").config;
        let [a, b, c] = ["a", "b", "c"].map(|name| &config.databases[name]);
        assert_eq!((b.max_lag, c.max_lag), (None, Some(16 << 20)));
        assert_eq!(config.hosts(b), []);
        assert_eq!(config.formation_of(b), Some(&config.formations["main"]));
        assert_eq!(config.formation_of(a), None);
    }
}
