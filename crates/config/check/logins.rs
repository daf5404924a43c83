//! Whether somebody can log in, and only as the settings say.

use super::Check;
use super::tls::verifies;
use crate::inherit::CONSOLE_NAMES;
use crate::problem::Place;
use crate::{AuthType, Global, Hba, Secret, SslMode};

impl Check<'_> {
    pub(super) fn logins(&mut self) {
        self.lookups();
        let config = self.config;
        let global = &config.global;
        match global.auth_type {
            AuthType::Any => self.forced_users(),
            AuthType::Trust | AuthType::Plain | AuthType::Md5 => self.somebody(),
            AuthType::ScramSha256 => {
                self.somebody();
                self.md5_secrets();
            }
            AuthType::Cert if !verifies(global.client_tls_sslmode) => {
                let message = "auth_type cert needs client_tls_sslmode verify-full or verify-ca";
                self.error("", "auth_type", message.into());
            }
            AuthType::Cert => {}
            AuthType::Hba => self.rules(global, &config.hba),
        }
        if global.auth_type != AuthType::Hba && !global.auth_hba_file.is_empty() {
            let message = format!("auth_hba_file: is not used, because auth_type is {}", global.auth_type);
            self.warn("", "auth_hba_file", message);
        }
    }

    fn somebody(&mut self) {
        let global = &self.config.global;
        let looked_up =
            !global.auth_user.is_empty() || self.config.databases.values().any(|database| database.auth_user.is_some());
        if global.auth_file.is_empty() && self.config.users.is_empty() && !looked_up {
            let message = format!("auth_type {} knows no user: auth_file is not set", global.auth_type);
            self.warn("", "auth_type", message);
        }
    }

    fn md5_secrets(&mut self) {
        let count = self.config.userlist.values().filter(|secret| matches!(secret, Secret::Md5(_))).count();
        if count > 0 {
            let message =
                format!("auth_type scram-sha-256: {count} users of auth_file have md5 secrets and cannot log in");
            self.warn("", "auth_type", message);
        }
    }

    fn forced_users(&mut self) {
        for (name, database) in &self.config.databases {
            if database.user.is_none() {
                let table = format!("databases.{name}");
                self.warn(&table, "user", format!("{table}: auth_type any needs user, or every login fails"));
            }
        }
    }

    fn lookups(&mut self) {
        let config = self.config;
        let global = &config.global;
        self.lookup("", Some(&global.auth_query), Some(&global.auth_dbname));
        for (name, database) in &config.databases {
            let (query, dbname) = (database.auth_query.as_deref(), database.auth_dbname.as_deref());
            self.lookup(&format!("databases.{name}"), query, dbname);
        }
    }

    fn lookup(&mut self, table: &str, query: Option<&str>, dbname: Option<&str>) {
        let scope = if table.is_empty() { String::new() } else { format!("{table}: ") };
        if query.is_some_and(|query| !has_parameter(query)) {
            self.error(table, "auth_query", format!("{scope}auth_query: must contain $1, the name of the user"));
        }
        let Some(dbname) = dbname.filter(|name| !name.is_empty()) else { return };
        if CONSOLE_NAMES.contains(&dbname) {
            self.error(table, "auth_dbname", format!("{scope}auth_dbname: {dbname} is the console"));
        } else if self.config.find_database(dbname).is_none() {
            self.warn(table, "auth_dbname", format!("{scope}auth_dbname: there is no database {dbname}"));
        }
    }

    fn rules(&mut self, global: &Global, hba: &Hba) {
        if global.auth_hba_file.is_empty() {
            return self.error("", "auth_type", "auth_type hba needs auth_hba_file".into());
        }
        if hba.rules().is_empty() {
            self.warn("", "auth_hba_file", "auth_hba_file: has no rules: nobody can log in".into());
        }
        for rule in hba.rules() {
            let place = Place::top(&rule.file).at(rule.line, 1);
            if rule.needs_tls() && global.client_tls_sslmode == SslMode::Disable {
                self.notes.warn(&place, "this rule never matches, because client_tls_sslmode is disable");
            } else if rule.client_cert.is_some() && global.client_tls_ca_file.is_empty() {
                self.notes.error(&place, "this rule checks client certificates, which needs client_tls_ca_file");
            }
            if let Some(map) = rule.map.as_deref().filter(|map| !self.config.ident.has(map)) {
                self.notes
                    .warn(&place, format!("map={map}: auth_ident_file has no such map, so this rule lets nobody in"));
            }
        }
    }
}

/// Whether `$1`, and not `$10`, occurs in a query.
fn has_parameter(query: &str) -> bool {
    query.split("$1").skip(1).any(|after| !after.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{Config, Loaded, Problems};

    const HBA: &str = "auth_type = 'hba'\n";
    const TLS: &str = "client_tls_key_file = 'k'\nclient_tls_cert_file = 'c'\n";

    fn load(text: &str) -> Result<Loaded, Problems> {
        Config::from_text(Path::new("x.toml"), text)
    }

    /// With these lines in auth_hba_file, and these in the configuration.
    fn with_rules(rules: &str, text: &str) -> Result<Loaded, Problems> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hba.conf");
        std::fs::write(&path, rules).unwrap();
        load(&format!("auth_hba_file = '{}'\n{text}", path.display()))
    }

    fn warnings(loaded: &Loaded) -> String {
        loaded.warnings.iter().map(|warning| format!("{warning}\n")).collect()
    }

    #[test]
    fn what_nobody_could_log_in_with_is_an_error() {
        for (text, expected) in [
            ("auth_type = 'cert'", "x.toml:1:1: auth_type cert needs client_tls_sslmode verify-full or verify-ca"),
            ("auth_type = 'hba'", "x.toml:1:1: auth_type hba needs auth_hba_file"),
            ("auth_query = 'select 1, $10'", "x.toml:1:1: auth_query: must contain $1"),
            ("[databases.a]\nauth_query = 'x'", "x.toml:2:1: databases.a: auth_query: must contain $1"),
            ("auth_dbname = 'pooler'", "x.toml:1:1: auth_dbname: pooler is the console"),
            ("[databases.a]\nauth_dbname = 'pgbouncer'", "x.toml:2:1: databases.a: auth_dbname: pgbouncer is the"),
        ] {
            let problems = load(text).expect_err(text).to_string();
            assert!(problems.starts_with(expected), "{text}:\n{problems}");
        }
        let cert = format!("auth_type = 'cert'\nclient_tls_sslmode = 'verify-full'\nclient_tls_ca_file = 'a'\n{TLS}");
        assert!(load(&cert).is_ok());
    }

    #[test]
    fn what_somebody_may_not_expect_is_a_warning() {
        for (text, expected) in [
            ("", "auth_file is not set"),
            ("auth_type = 'any'\n[databases.a]", "auth_type any needs user"),
            ("auth_user = 'a'\nauth_dbname = 'b'", "auth_dbname: there is no database b"),
        ] {
            let loaded = load(text).unwrap_or_else(|problems| panic!("{problems}"));
            assert!(warnings(&loaded).contains(expected), "{text}: {}", warnings(&loaded));
        }
        for text in ["auth_user = 'a'", "[databases.a]\nauth_user = 'a'\nauth_dbname = 'a'"] {
            let loaded = load(text).unwrap_or_else(|problems| panic!("{problems}"));
            assert!(!warnings(&loaded).contains("auth_"), "{text}: {}", warnings(&loaded));
        }
    }

    #[test]
    fn rules_are_judged_against_the_settings() {
        let rules = "local all all peer map=m\nhostssl all all all md5 clientcert=verify-ca\n";
        let loaded = with_rules(rules, HBA).unwrap();
        assert_eq!(loaded.config.hba.rules().len(), 2);
        let warned = warnings(&loaded);
        assert!(warned.contains("hba.conf:1:1: map=m: auth_ident_file has no such map"), "{warned}");
        assert!(warned.contains("hba.conf:2:1: this rule never matches"), "{warned}");
        let tls = format!("{HBA}{TLS}client_tls_sslmode = 'prefer'\n");
        let problems = with_rules(rules, &tls).unwrap_err().to_string();
        assert!(
            problems.ends_with("hba.conf:2:1: this rule checks client certificates, which needs client_tls_ca_file")
        );
        assert!(with_rules(rules, &format!("{tls}client_tls_ca_file = 'a'\n")).is_ok());
        assert!(warnings(&with_rules("# none\n", HBA).unwrap()).contains("has no rules: nobody can log in"));
    }

    #[test]
    fn rules_without_auth_type_hba_are_read_and_said_to_be_unused() {
        let unused = with_rules("local all all trust\n", "").unwrap();
        assert!(warnings(&unused).contains("auth_hba_file: is not used, because auth_type is md5"));
        assert_eq!(unused.config.hba.rules().len(), 1, "SET may turn them on");
        let problems = with_rules("local all all\n", "").unwrap_err().to_string();
        assert!(problems.ends_with("hba.conf:1:1: the line ends before the method"));
    }
}
