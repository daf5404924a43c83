//! Where a pg_auto_failover monitor is, and how to log in there: a URI as libpq reads it.

mod parameters;
mod uri;

use std::fmt::Write;

use crate::raw::Raw;
use crate::secret::{MASK, Secret};
use crate::value::{Value, quote};
use crate::words::{ChannelBinding, SslMode, SslNegotiation};
use crate::{Global, Host};

/// The port of a host without one.
const PORT: u16 = 5432;

/// The database pg_auto_failover makes for its monitor.
const DBNAME: &str = "pg_auto_failover";

/// The word for the system's authorities instead of a file (libpq, `sslrootcert`).
const SYSTEM: &str = "system";

/// A monitor, as its URI says.
#[derive(Clone, Debug, PartialEq)]
pub struct Monitor {
    /// Where to try, in order; never empty in a configuration that was loaded.
    pub hosts: Vec<MonitorHost>,
    /// Who logs in.
    pub user: String,
    /// The password in the URI. See [`crate::Config::monitor_secret`].
    pub password: Option<Secret>,
    /// The monitor's database.
    pub dbname: String,
    /// How much TLS is asked for. `require` with a root certificate is `verify-ca`, as libpq has it.
    pub sslmode: SslMode,
    /// How TLS begins.
    pub sslnegotiation: SslNegotiation,
    /// Whether the SCRAM login is bound to the TLS connection.
    pub channel_binding: ChannelBinding,
    /// File of the authority that signs the monitor's certificate; `system` = the system's, empty = not checked.
    pub sslrootcert: String,
    /// File of the certificate shown to the monitor; empty = none.
    pub sslcert: String,
    /// File of its private key.
    pub sslkey: String,
}

/// One address of a monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorHost {
    /// A name, an address or the directory of a Unix socket.
    pub host: Host,
    /// The port.
    pub port: u16,
}

impl Default for Monitor {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            user: String::new(),
            password: None,
            dbname: DBNAME.to_string(),
            sslmode: SslMode::Prefer,
            sslnegotiation: SslNegotiation::Postgres,
            channel_binding: ChannelBinding::Prefer,
            sslrootcert: String::new(),
            sslcert: String::new(),
            sslkey: String::new(),
        }
    }
}

impl Monitor {
    /// These settings with the `server_tls_*` of this monitor: its TLS is no other server's, except for versions and
    /// ciphers.
    pub fn server_settings(&self, global: &Global) -> Global {
        let authority = if self.sslrootcert == SYSTEM { "" } else { &self.sslrootcert };
        Global {
            server_tls_sslmode: self.sslmode,
            server_tls_sslnegotiation: self.sslnegotiation,
            server_channel_binding: self.channel_binding,
            server_tls_ca_file: authority.to_string(),
            server_tls_cert_file: self.sslcert.clone(),
            server_tls_key_file: self.sslkey.clone(),
            ..global.clone()
        }
    }

    /// The URI; `password` is written as it is.
    fn uri(&self, password: Option<&str>) -> String {
        let mut uri = format!("postgres://{}", uri::encoded(&self.user));
        // Writing to a String cannot fail.
        if let Some(password) = password {
            let _ = write!(uri, ":{password}");
        }
        let hosts: Vec<String> = self.hosts.iter().map(MonitorHost::uri).collect();
        let _ = write!(uri, "@{}/{}", hosts.join(","), uri::encoded(&self.dbname));
        let usual = Self::default();
        let words = [
            ("sslmode", self.sslmode.as_str(), usual.sslmode.as_str()),
            ("sslnegotiation", self.sslnegotiation.as_str(), usual.sslnegotiation.as_str()),
            ("channel_binding", self.channel_binding.as_str(), usual.channel_binding.as_str()),
            ("sslrootcert", &self.sslrootcert, ""),
            ("sslcert", &self.sslcert, ""),
            ("sslkey", &self.sslkey, ""),
        ];
        let mut separator = '?';
        for (key, value, _) in words.iter().filter(|(_, value, usual)| value != usual) {
            let _ = write!(uri, "{separator}{key}={}", uri::encoded(value));
            separator = '&';
        }
        uri
    }
}

impl MonitorHost {
    fn uri(&self) -> String {
        let text = self.host.to_string();
        let host = match text.contains(':') && matches!(self.host, Host::Tcp(_)) {
            true => format!("[{}]", uri::encoded(&text).replace("%3A", ":")),
            false => uri::encoded(&text),
        };
        if self.port == PORT { host } else { format!("{host}:{}", self.port) }
    }
}

impl Value for Monitor {
    const EXPECTED: &'static str = "a URI, postgres://USER@HOST:PORT/pg_auto_failover?sslmode=require";

    fn read(raw: &Raw) -> Result<Self, String> {
        // No message repeats what was found: a password may be anywhere in it.
        let text = raw.text().ok_or_else(|| format!("expected {}", Self::EXPECTED))?;
        uri::parse(text)
    }

    fn text(&self) -> String {
        self.uri(self.password.as_ref().map(|_| MASK))
    }

    fn toml(&self) -> String {
        let password = self.password.as_ref().map(|password| uri::encoded(password.reveal()));
        quote(&self.uri(password.as_deref()))
    }

    fn masked(&self) -> String {
        quote(&self.text())
    }
}

#[cfg(test)]
mod tests;
