//! How servers are checked, and what is shown to them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use config::{Global, SslMode};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;

use super::ALPN;
use super::error::TlsError;
use super::expiry::Expiry;
use super::files::Files;
use super::identity::Identity;
use super::provider::Choice;
use super::roots::Roots;
use super::verifier::{Check, ServerVerifier};
use super::wanted::Wanted;

/// TLS towards servers, as of one moment.
#[derive(Debug)]
pub struct ServerTls {
    /// For `rustls::ClientConnection`.
    pub config: Arc<ClientConfig>,
    /// `server_tls_sslmode`, never `disable`.
    pub mode: SslMode,
    /// Which certificate servers are shown if they ask, and until when it is valid.
    pub expiry: Option<Expiry>,
    /// The files all this came from.
    pub files: Files,
    /// What is odd about the settings, to be logged once.
    pub warnings: Vec<String>,
}

impl ServerTls {
    /// Reads the files that `server_tls_*` name; none for `server_tls_sslmode = disable`.
    ///
    /// # Errors
    /// A setting or file cannot be used.
    pub fn load(global: &Global) -> Result<Option<Arc<Self>>, TlsError> {
        let wanted = Wanted::of_servers(global);
        match wanted.mode {
            SslMode::Disable => Ok(None),
            _ => Self::make(&wanted).map(|made| Some(Arc::new(made))),
        }
    }

    fn make(wanted: &Wanted) -> Result<Self, TlsError> {
        let (mut files, mut warnings) = (Files::default(), Vec::new());
        let Choice { provider, versions } = Choice::of(wanted, &mut warnings)?;
        let identity = match (wanted.cert_file.is_empty(), wanted.key_file.is_empty()) {
            (true, true) => None,
            (true, false) => return Err(wanted.cert_file.wrong("is needed with server_tls_key_file")),
            (false, true) => return Err(wanted.key_file.wrong("is needed with server_tls_cert_file")),
            _ => Some(Identity::load(&wanted.cert_file, &wanted.key_file, &provider, &mut files, &mut warnings)?),
        };
        let known = provider.signature_verification_algorithms;
        let verifier = ServerVerifier { check: check(wanted, &mut files, &mut warnings)?, known };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| wanted.protocols.wrong(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &identity {
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified.clone())))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        let expiry = identity.map(|identity| identity.expiry);
        Ok(Self { config: Arc::new(config), mode: wanted.mode, expiry, files, warnings })
    }

    /// What to call a server in the handshake: its host as configured, a name or an IP address.
    ///
    /// Names go into SNI (RFC 6066 section 3) and are compared with the certificate by verify-full.
    ///
    /// # Errors
    /// verify-full, and no certificate could be for this host.
    pub fn name_for(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        // The zone of fe80::1%eth0 is this machine's own business.
        let (address, _zone) = host.split_once('%').unwrap_or((host, ""));
        if let Ok(address) = address.parse::<IpAddr>() {
            return Ok(address.into());
        }
        match ServerName::try_from(host.strip_suffix('.').unwrap_or(host).to_owned()) {
            Ok(name) => Ok(name),
            // Not sent, and not compared.
            Err(_) if self.mode != SslMode::VerifyFull => Ok(IpAddr::from(Ipv4Addr::UNSPECIFIED).into()),
            Err(_) => {
                let reason = format!("verify-full cannot check the host \"{}\"", host.escape_debug());
                Err(TlsError { setting: "server_tls_sslmode", file: None, reason })
            }
        }
    }
}

fn check(wanted: &Wanted, files: &mut Files, warnings: &mut Vec<String>) -> Result<Check, TlsError> {
    match wanted.mode {
        SslMode::VerifyFull => Ok(Check::Name(Roots::load(&wanted.ca_file, files)?)),
        SslMode::VerifyCa => {
            if wanted.ca_file.is_empty() {
                let name = wanted.ca_file.name;
                warnings.push(format!("{name} is not set: verify-ca trusts every host that a public authority knows"));
            }
            Ok(Check::Authority(Roots::load(&wanted.ca_file, files)?))
        }
        SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::Require => Ok(Check::Nothing),
    }
}
