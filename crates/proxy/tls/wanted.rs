//! What the settings ask of TLS, in one shape for both sides.

use std::path::Path;

use config::{Global, SslMode};

use super::error::TlsError;

/// One setting, with the name that errors call it by.
#[derive(Clone, Debug)]
pub struct Setting {
    pub name: &'static str,
    pub text: String,
}

/// The settings of one side.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub mode: SslMode,
    pub key_file: Setting,
    pub cert_file: Setting,
    pub ca_file: Setting,
    pub protocols: Setting,
    pub ciphers: Setting,
    pub tls13_ciphers: Setting,
    pub curves: Setting,
}

impl Wanted {
    /// What `client_tls_*` say: the pooler is the TLS server.
    pub fn of_clients(global: &Global) -> Self {
        Self {
            mode: global.client_tls_sslmode,
            key_file: Setting::new("client_tls_key_file", &global.client_tls_key_file),
            cert_file: Setting::new("client_tls_cert_file", &global.client_tls_cert_file),
            ca_file: Setting::new("client_tls_ca_file", &global.client_tls_ca_file),
            protocols: Setting::new("client_tls_protocols", &global.client_tls_protocols),
            ciphers: Setting::new("client_tls_ciphers", &global.client_tls_ciphers),
            tls13_ciphers: Setting::new("client_tls13_ciphers", &global.client_tls13_ciphers),
            curves: Setting::new("client_tls_ecdhcurve", &global.client_tls_ecdhcurve),
        }
    }

    /// What `server_tls_*` say: the pooler is the TLS client.
    pub fn of_servers(global: &Global) -> Self {
        Self {
            mode: global.server_tls_sslmode,
            key_file: Setting::new("server_tls_key_file", &global.server_tls_key_file),
            cert_file: Setting::new("server_tls_cert_file", &global.server_tls_cert_file),
            ca_file: Setting::new("server_tls_ca_file", &global.server_tls_ca_file),
            protocols: Setting::new("server_tls_protocols", &global.server_tls_protocols),
            ciphers: Setting::new("server_tls_ciphers", &global.server_tls_ciphers),
            tls13_ciphers: Setting::new("server_tls13_ciphers", &global.server_tls13_ciphers),
            curves: Setting::new("the curves for servers", "auto"),
        }
    }
}

impl Setting {
    pub fn new(name: &'static str, text: &str) -> Self {
        Self { name, text: text.trim().to_owned() }
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// An error in what the setting says.
    pub fn wrong(&self, reason: impl Into<String>) -> TlsError {
        TlsError { setting: self.name, file: None, reason: reason.into() }
    }

    /// An error in the file that the setting names.
    pub fn wrong_file(&self, reason: impl Into<String>) -> TlsError {
        TlsError { setting: self.name, file: Some(Path::new(&self.text).into()), reason: reason.into() }
    }

    /// The words of a list; OpenSSL takes any of these separators.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.text.split([':', ',', ';', ' ', '\t']).filter(|word| !word.is_empty())
    }

    /// What was chosen from a list. Words that choose nothing are only warned of, unless they are all there is.
    pub fn settle<T>(
        &self,
        chosen: Vec<T>,
        useless: &[&str],
        available: &str,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<T>, TlsError> {
        if chosen.is_empty() {
            return Err(self.wrong(format!("\"{}\" leaves nothing to use; available are {available}", self.text)));
        }
        if !useless.is_empty() {
            let useless = useless.join(", ");
            warnings.push(format!("{}: ignoring {useless}; available are {available}", self.name));
        }
        Ok(chosen)
    }
}
