//! Whether the settings fit together.

mod formations;
mod logins;
mod tls;

use crate::document::Notes;
use crate::inherit::{CONSOLE_NAMES, MAX_NAME, PoolSettings};
use crate::settle::Places;
use crate::{Config, Database, Host};

/// Judges a configuration whose values are each fine by themselves.
pub(crate) fn check(config: &Config, places: &Places, notes: &mut Notes) {
    let mut check = Check { config, places, notes };
    check.listeners();
    check.buffers();
    check.everywhere();
    check.databases();
    check.formations();
    check.tls();
    check.logins();
}

struct Check<'a> {
    config: &'a Config,
    places: &'a Places,
    notes: &'a mut Notes,
}

impl Check<'_> {
    fn error(&mut self, table: &str, key: &str, message: String) {
        self.notes.error(&self.places.of(table, key), message);
    }

    fn warn(&mut self, table: &str, key: &str, message: String) {
        self.notes.warn(&self.places.of(table, key), message);
    }

    fn listeners(&mut self) {
        let global = &self.config.global;
        if global.listen_addr.is_empty() && global.unix_socket_dir.is_empty() {
            self.error(
                "",
                "listen_addr",
                "listen_addr and unix_socket_dir are both empty: nobody could connect".into(),
            );
        }
        let metrics = &global.metrics_listen_addr;
        let taken = global.listen_addr.iter().any(|addr| addr == "*" || metrics == "*" || addr == metrics);
        if !metrics.is_empty() && taken && global.metrics_listen_port == global.listen_port && global.listen_port != 0 {
            self.error("", "metrics_listen_port", "metrics_listen_port: is the same as listen_port".into());
        }
    }

    fn buffers(&mut self) {
        let global = &self.config.global;
        if global.pkt_buf > global.max_packet_size {
            self.error("", "pkt_buf", "pkt_buf: is larger than max_packet_size".into());
        }
        if global.reserve_pool_size > 0 && global.reserve_pool_timeout.is_none() {
            self.warn(
                "",
                "reserve_pool_size",
                "reserve_pool_size: is never used, because reserve_pool_timeout is 0".into(),
            );
        }
    }

    /// The global settings, and each user's against them.
    fn everywhere(&mut self) {
        let anywhere = Database::default();
        let global = self.config.pool_settings(&anywhere, "");
        self.pool("", &global);
        for (name, user) in &self.config.users {
            let table = format!("users.{name}");
            let settings = self.config.pool_settings(&anywhere, name);
            if settings.pool_size != global.pool_size || settings.reserve_pool_size != global.reserve_pool_size {
                self.room(&table, &settings);
            }
            if user.query_wait_timeout.is_some() {
                self.pause(&table, &settings);
            }
        }
    }

    fn databases(&mut self) {
        if self.config.databases.is_empty() {
            self.warn("", "databases", "there are no databases: only the console can be reached".into());
        }
        for (name, database) in &self.config.databases {
            let table = format!("databases.{name}");
            self.name(&table, name);
            let settings = self.config.pool_settings(database, database.user.as_deref().unwrap_or_default());
            let sized = database.pool_size.is_some()
                || database.min_pool_size.is_some()
                || database.reserve_pool_size.is_some();
            if sized {
                self.room(&table, &settings);
            }
            if database.query_wait_timeout.is_some() {
                self.pause(&table, &settings);
            }
            if settings.max_db_connections.is_some_and(|most| most < settings.min_pool_size) {
                let message = format!("{table}: max_db_connections is below min_pool_size, which can never be reached");
                self.warn(&table, "max_db_connections", message);
            }
            if self.config.hosts(database) == [Host::Unix("".into())] {
                self.error(&table, "host", format!("{table}: needs a host, because unix_socket_dir is empty"));
            }
            if database.password.is_some() && database.user.is_none() {
                self.warn(&table, "password", format!("{table}: password is not used without user"));
            }
        }
    }

    fn name(&mut self, table: &str, name: &str) {
        if CONSOLE_NAMES.contains(&name) {
            self.error(table, "", format!("{table}: the name is reserved for the console"));
        }
        if name.is_empty() || name.len() > MAX_NAME {
            self.error(table, "", format!("{table}: a name has 1 to {MAX_NAME} bytes"));
        }
    }

    fn pool(&mut self, table: &str, settings: &PoolSettings) {
        self.room(table, settings);
        self.pause(table, settings);
    }

    /// A pool must have room for its minimum.
    fn room(&mut self, table: &str, settings: &PoolSettings) {
        let most = settings.pool_size.map(|size| size.saturating_add(settings.reserve_pool_size));
        if let Some(most) = most.filter(|most| settings.min_pool_size > *most) {
            let scope = if table.is_empty() { String::new() } else { format!("{table}: ") };
            let minimum = settings.min_pool_size;
            let message = format!("{scope}min_pool_size {minimum} is more than pool size and reserve together, {most}");
            self.error(table, "min_pool_size", message);
        }
    }

    /// A pause that outlasts its waiting clients would disconnect them all.
    fn pause(&mut self, table: &str, settings: &PoolSettings) {
        let failover = (!self.config.formations.is_empty()).then(|| self.config.failover_pause());
        if let (Some(pause), Some(wait)) = (self.config.global.pause_expiry.or(failover), settings.query_wait_timeout)
            && pause >= wait
        {
            let scope = if table.is_empty() { String::new() } else { format!("{table}: ") };
            let (pause, wait) = (pause.as_secs_f64(), wait.as_secs_f64());
            let message = format!("{scope}pause_expiry ({pause} s) must be below query_wait_timeout ({wait} s)");
            let said = table.is_empty() && self.places.has("", "pause_expiry");
            let key = if said { "pause_expiry" } else { "query_wait_timeout" };
            self.error(table, key, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{Config, Loaded, Problems};

    fn load(text: &str) -> Result<Loaded, Problems> {
        Config::from_text(Path::new("x.toml"), text)
    }

    #[test]
    fn impossible_combinations_are_errors_at_the_key_that_causes_them() {
        for (text, expected) in [
            ("listen_addr = ''\nunix_socket_dir = ''", "x.toml:1:1: listen_addr and unix_socket_dir are both empty"),
            ("min_pool_size = 21", "x.toml:1:1: min_pool_size 21 is more than pool size and reserve together, 20"),
            ("min_pool_size = 20\n[databases.a]\npool_size = 5", "x.toml:2:12: databases.a: min_pool_size 20"),
            ("min_pool_size = 9\n[users.a]\npool_size = 5", "x.toml:2:8: users.a: min_pool_size 9"),
            ("pause_expiry = 120", "x.toml:1:1: pause_expiry (120 s) must be below query_wait_timeout (120 s)"),
            (
                "pause_expiry = 60\n[databases.a]\nquery_wait_timeout = 30",
                "x.toml:3:1: databases.a: pause_expiry (60 s)",
            ),
            (
                "query_wait_timeout = 20\n[formations.f]\nmonitor = 'postgres://u@h'",
                "x.toml:1:1: pause_expiry (25 s) must be below query_wait_timeout (20 s)",
            ),
            ("[databases.pgbouncer]", "x.toml:1:12: databases.pgbouncer: the name is reserved"),
            ("[databases.pooler]", "reserved for the console"),
            ("[databases.a]\n[databases.'']", "a name has 1 to 63 bytes"),
            ("unix_socket_dir = ''\nlisten_addr = '*'\n[databases.a]", "databases.a: needs a host"),
            ("listen_addr = '*'\nmetrics_listen_addr = '::1'\nmetrics_listen_port = 6432", "the same as listen_port"),
            ("pkt_buf = 8192\nmax_packet_size = 4096", "pkt_buf: is larger"),
            ("max_login_packet_size = 1023", "must be from 1024"),
            ("max_client_conn = 0", "must be from 1"),
            ("max_opening_servers = 0", "must be from 1"),
        ] {
            let problems = load(text).expect_err(text).to_string();
            assert!(problems.contains(expected), "{text}:\n{problems}");
        }
    }

    #[test]
    fn possible_combinations_are_not() {
        for text in [
            "min_pool_size = 30\nreserve_pool_size = 10",
            "min_pool_size = 3000\ndefault_pool_size = 0",
            "pause_expiry = 3600\nquery_wait_timeout = 0",
            "pause_expiry = 119.9",
            "listen_addr = ''",
        ] {
            assert!(load(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_unlikely_to_be_meant_is_a_warning() {
        for (text, expected) in [
            ("", "there are no databases"),
            ("reserve_pool_size = 5\nreserve_pool_timeout = 0", "is never used"),
            ("[databases.a]\npassword = 'x'", "not used without user"),
            ("[databases.a]\nmax_db_connections = 5\nmin_pool_size = 10", "can never be reached"),
        ] {
            let warnings = load(text).unwrap_or_else(|problems| panic!("{problems}")).warnings;
            assert!(warnings.iter().any(|warning| warning.message.contains(expected)), "{text}: {warnings:?}");
        }
    }
}
