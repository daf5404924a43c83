//! The configuration of a test's pooler: sensible for tests unless the test says otherwise.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use lab::{PASSWORD, Postgres};

use super::certificates::{OURS, SHOWN};
use super::{Login, Pooler, Tls, direct};

type Table = BTreeMap<String, String>;

/// What the configuration file and the users file will say, and what the log may.
///
/// Every setup has a role of its own on the server, so that its server connections can be told from those of other
/// tests.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The role that only this setup uses.
    pub user: String,
    /// PostgreSQL's port and the directory of its socket.
    pub server: (u16, String),
    pub(super) allowed: Vec<String>,
    /// How the administrator logs in to the console.
    pub(super) operator: Login,
    settings: Table,
    databases: BTreeMap<String, Table>,
    users: BTreeMap<String, Table>,
    userlist: BTreeMap<String, String>,
    /// Settings that name a file: its name in the pooler's directory, and its content.
    files: BTreeMap<String, (String, String)>,
}

/// A value as TOML writes it.
pub struct Toml(String);

impl From<&str> for Toml {
    fn from(text: &str) -> Toml {
        // A literal string cannot contain a quote.
        if text.contains('\'') { Toml(format!("{text:?}")) } else { Toml(format!("'{text}'")) }
    }
}

impl From<i64> for Toml {
    fn from(number: i64) -> Toml {
        Toml(number.to_string())
    }
}

impl From<bool> for Toml {
    fn from(truth: bool) -> Toml {
        Toml(truth.to_string())
    }
}

impl Setup {
    /// Before the server that all tests share: transaction mode, SCRAM, database `app`, console user `admin`.
    pub fn new() -> Setup {
        let user = direct::unique("role");
        direct::ask(&direct::make_role(&user));
        Setup::before(direct::shared(), &user)
    }

    /// Before the server that all tests share and that has TLS.
    pub fn secure() -> Setup {
        let user = direct::unique("role");
        direct::admin(direct::secure()).rows(&direct::make_role(&user));
        Setup::before(direct::secure(), &user)
    }

    /// Before a server of the test's own.
    pub fn on(postgres: &Postgres) -> Setup {
        Setup::before(postgres, "app")
    }

    fn before(postgres: &Postgres, user: &str) -> Setup {
        let socket_dir = postgres.socket_dir().to_str().expect("a path in UTF-8").to_owned();
        Setup::at((postgres.port(), socket_dir), user)
    }

    /// Before whatever has this port and socket directory.
    pub fn at(server: (u16, String), user: &str) -> Setup {
        let empty = Setup {
            user: user.to_owned(),
            server,
            allowed: Vec::new(),
            operator: Login::new("admin"),
            settings: Table::new(),
            databases: BTreeMap::new(),
            users: BTreeMap::new(),
            userlist: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        let setup = empty
            .set("listen_addr", "127.0.0.1")
            .set("auth_type", "scram-sha-256")
            .set("pool_mode", "transaction")
            .set("admin_users", "admin")
            .set("stats_users", "stats")
            .database("app");
        [user, "admin", "stats"].iter().fold(setup, |setup, name| setup.secret(name, PASSWORD))
    }

    /// A global setting.
    pub fn set(mut self, key: &str, value: impl Into<Toml>) -> Setup {
        self.settings.insert(key.into(), value.into().0);
        self
    }

    /// A global setting that names a file, and what is in there.
    pub fn file(mut self, key: &str, name: &str, content: impl Into<String>) -> Setup {
        self.files.insert(key.into(), (name.into(), content.into()));
        self
    }

    /// TLS towards clients, with the certificate that all tests show, and the authority they trust.
    pub fn tls(mut self, mode: &str) -> Setup {
        let login = Login::new("admin");
        let may_do_without = ["disable", "allow", "prefer"].contains(&mode);
        self.operator = if may_do_without { login } else { login.tls(&Tls::showing(&OURS.client("admin"))) };
        self.set("client_tls_sslmode", mode)
            .file("client_tls_cert_file", "shown.crt", SHOWN.certificate_pem.as_str())
            .file("client_tls_key_file", "shown.key", SHOWN.key_pem.as_str())
            .file("client_tls_ca_file", "ca.crt", OURS.pem())
    }

    /// A database on the test's server, of that name unless it is `*`.
    pub fn database(mut self, name: &str) -> Setup {
        let table = self.databases.entry(name.into()).or_default();
        table.insert("host".into(), "'127.0.0.1'".into());
        table.insert("port".into(), self.server.0.to_string());
        self
    }

    /// A setting of a database.
    pub fn database_set(mut self, name: &str, key: &str, value: impl Into<Toml>) -> Setup {
        self.databases.entry(name.into()).or_default().insert(key.into(), value.into().0);
        self
    }

    /// Without that database.
    pub fn without_database(mut self, name: &str) -> Setup {
        self.databases.remove(name);
        self
    }

    /// A setting of a user.
    pub fn user_set(mut self, name: &str, key: &str, value: impl Into<Toml>) -> Setup {
        self.users.entry(name.into()).or_default().insert(key.into(), value.into().0);
        self
    }

    /// A line of the users file.
    pub fn secret(mut self, name: &str, secret: &str) -> Setup {
        self.userlist.insert(name.into(), secret.into());
        self
    }

    /// A warning or error that this test provokes: part of its log line.
    pub fn allow(mut self, words: &str) -> Setup {
        self.allowed.push(words.into());
        self
    }

    /// Starts a pooler with this.
    #[track_caller]
    pub fn start(self) -> Pooler {
        Pooler::start(self)
    }

    /// The files that settings name, by name and content.
    pub(super) fn files(&self) -> impl Iterator<Item = &(String, String)> {
        self.files.values()
    }

    /// The users file.
    pub(super) fn userlist(&self) -> String {
        self.userlist.iter().fold(String::new(), |mut text, (name, secret)| {
            writeln!(text, "\"{name}\" \"{secret}\"").expect("text can grow");
            text
        })
    }

    /// The configuration file, for a pooler that lives in `directory`.
    pub(super) fn toml(&self, directory: &Path, port: u16, user: Option<&str>) -> String {
        let mut settings = self.settings.clone();
        let mut usual = |key: &str, value: String| {
            settings.entry(key.into()).or_insert(value);
        };
        usual("listen_port", port.to_string());
        usual("unix_socket_dir", format!("'{}'", directory.display()));
        usual("auth_file", format!("'{}'", directory.join("userlist.txt").display()));
        if let Some(user) = user {
            usual("user", format!("'{user}'"));
        }
        for (key, (name, _)) in &self.files {
            usual(key, format!("'{}'", directory.join(name).display()));
        }
        let mut text = String::new();
        write_table(&mut text, &settings);
        for (kind, tables) in [("databases", &self.databases), ("users", &self.users)] {
            for (name, table) in tables {
                writeln!(text, "[{kind}.'{name}']").expect("text can grow");
                write_table(&mut text, table);
            }
        }
        text
    }
}

fn write_table(text: &mut String, table: &Table) {
    for (key, value) in table {
        writeln!(text, "{key} = {value}").expect("text can grow");
    }
}
