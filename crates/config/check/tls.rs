//! Whether the settings of TLS fit together. Files, ciphers and versions are judged by who uses them.

use super::Check;
use crate::{ChannelBinding, Global, SslMode, SslNegotiation};

/// Whether the other side's certificate is asked for and checked.
pub(super) fn verifies(mode: SslMode) -> bool {
    match mode {
        SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::Require => false,
        SslMode::VerifyCa | SslMode::VerifyFull => true,
    }
}

impl Check<'_> {
    pub(super) fn tls(&mut self) {
        let global = &self.config.global;
        self.client_tls(global);
        self.server_tls(global);
    }

    fn client_tls(&mut self, global: &Global) {
        let mode = global.client_tls_sslmode;
        let files = [
            ("client_tls_key_file", &global.client_tls_key_file, mode != SslMode::Disable),
            ("client_tls_cert_file", &global.client_tls_cert_file, mode != SslMode::Disable),
            ("client_tls_ca_file", &global.client_tls_ca_file, verifies(mode)),
        ];
        for (key, file, needed) in files {
            if needed && file.is_empty() {
                self.error("", "client_tls_sslmode", format!("client_tls_sslmode: {mode} needs {key}"));
            }
        }
    }

    fn server_tls(&mut self, global: &Global) {
        let mode = global.server_tls_sslmode;
        match (global.server_tls_cert_file.is_empty(), global.server_tls_key_file.is_empty()) {
            (false, true) => self.alone("server_tls_cert_file", "server_tls_key_file"),
            (true, false) => self.alone("server_tls_key_file", "server_tls_cert_file"),
            (true, true) | (false, false) => {}
        }
        // libpq's rule: without SSLRequest there is no way back to plain text.
        let weak = matches!(mode, SslMode::Disable | SslMode::Allow | SslMode::Prefer);
        if global.server_tls_sslnegotiation == SslNegotiation::Direct && weak {
            let message =
                "server_tls_sslnegotiation: direct needs server_tls_sslmode require, verify-ca or verify-full";
            self.error("", "server_tls_sslnegotiation", message.into());
        }
        if global.server_channel_binding == ChannelBinding::Require && mode == SslMode::Disable {
            let message = "server_channel_binding: require needs TLS, but server_tls_sslmode is disable";
            self.error("", "server_channel_binding", message.into());
        }
    }

    fn alone(&mut self, key: &str, other: &str) {
        self.error("", key, format!("{key}: needs {other}, too"));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::Config;

    const SERVER: &str = "client_tls_key_file = 'k'\nclient_tls_cert_file = 'c'\n";

    #[test]
    fn modes_name_the_files_they_lack() {
        for (text, expected) in [
            (
                "client_tls_sslmode = 'allow'".to_string(),
                "x.toml:1:1: client_tls_sslmode: allow needs client_tls_key_file",
            ),
            (
                "client_tls_key_file = 'k'\nclient_tls_sslmode = 'require'".into(),
                "x.toml:2:1: client_tls_sslmode: require needs client_tls_cert_file",
            ),
            (format!("{SERVER}client_tls_sslmode = 'verify-ca'"), "verify-ca needs client_tls_ca_file"),
            (format!("{SERVER}client_tls_sslmode = 'verify-full'"), "verify-full needs client_tls_ca_file"),
            ("server_tls_cert_file = 'c'".into(), "server_tls_cert_file: needs server_tls_key_file"),
            ("server_tls_key_file = 'k'".into(), "server_tls_key_file: needs server_tls_cert_file"),
            (
                "server_tls_sslnegotiation = 'direct'".into(),
                "server_tls_sslnegotiation: direct needs server_tls_sslmode",
            ),
            (
                "server_channel_binding = 'require'\nserver_tls_sslmode = 'disable'".into(),
                "x.toml:1:1: server_channel_binding: require",
            ),
        ] {
            let problems = Config::from_text(Path::new("x.toml"), &text).expect_err(&text).to_string();
            assert!(problems.contains(expected), "{text}:\n{problems}");
        }
    }

    #[test]
    fn whole_sets_are_accepted_without_a_word() {
        for text in [
            format!("{SERVER}client_tls_sslmode = 'require'"),
            format!("{SERVER}client_tls_sslmode = 'verify-full'\nclient_tls_ca_file = 'a'"),
            SERVER.to_string(),
            "server_tls_sslmode = 'verify-full'".into(),
            "server_tls_sslmode = 'verify-full'\nserver_tls_sslnegotiation = 'direct'".into(),
            "server_channel_binding = 'require'\nserver_tls_ca_file = 'a'".into(),
            "server_tls_cert_file = 'c'\nserver_tls_key_file = 'k'".into(),
            "client_tls_ecdhcurve = 'none'\nclient_tls_ciphers = 'fast'\nserver_tls_protocols = 'all'".into(),
        ] {
            let loaded =
                Config::from_text(Path::new("x.toml"), &text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(!loaded.warnings.iter().any(|warning| warning.message.contains("tls")), "{:?}", loaded.warnings);
        }
    }
}
