//! What the pooler shows to its clients, and asks of them.

use std::sync::Arc;

use config::{Global, SslMode};
use rustls::ServerConfig;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage};
use rustls::sign::SingleCertAndKey;

use super::ALPN;
use super::end_point::end_point;
use super::error::TlsError;
use super::expiry::Expiry;
use super::files::Files;
use super::identity::Identity;
use super::provider::Choice;
use super::roots::Roots;
use super::verifier::ClientVerifier;
use super::wanted::Wanted;

/// TLS towards clients, as of one moment. Take `config` and `end_point` of a connection from the same value.
#[derive(Debug)]
pub struct ClientTls {
    /// For `rustls::ServerConnection`.
    pub config: Arc<ServerConfig>,
    /// The channel binding `tls-server-end-point` of the certificate; see [`end_point`].
    pub end_point: Option<Vec<u8>>,
    /// Which certificate is shown, and until when it is valid.
    pub expiry: Expiry,
    /// The files all this came from.
    pub files: Files,
    /// What is odd about the settings, to be logged once.
    pub warnings: Vec<String>,
}

impl ClientTls {
    /// Reads the files that `client_tls_*` name; none for `client_tls_sslmode = disable`.
    ///
    /// # Errors
    /// A setting or file cannot be used.
    pub fn load(global: &Global) -> Result<Option<Arc<Self>>, TlsError> {
        let wanted = Wanted::of_clients(global);
        match wanted.mode {
            SslMode::Disable => Ok(None),
            _ => Self::make(&wanted).map(|made| Some(Arc::new(made))),
        }
    }

    fn make(wanted: &Wanted) -> Result<Self, TlsError> {
        for setting in [&wanted.key_file, &wanted.cert_file] {
            if setting.is_empty() {
                return Err(setting.wrong(format!("is needed by client_tls_sslmode = {}", wanted.mode)));
            }
        }
        let (mut files, mut warnings) = (Files::default(), Vec::new());
        let Choice { provider, versions } = Choice::of(wanted, &mut warnings)?;
        let identity = Identity::load(&wanted.cert_file, &wanted.key_file, &provider, &mut files, &mut warnings)?;
        let verifier = verifier(wanted, provider.signature_verification_algorithms, &mut files, &mut warnings)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| wanted.protocols.wrong(error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.ignore_client_order = true;
        // A resumed handshake is no cheaper than a full one with an ECDSA key, and no driver resumes by default.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let end_point = end_point(identity.certificate());
        Ok(Self { config: Arc::new(config), end_point, expiry: identity.expiry, files, warnings })
    }
}

/// A certificate that a client shows is always verified; verify-ca and verify-full insist on one.
fn verifier(
    wanted: &Wanted,
    known: WebPkiSupportedAlgorithms,
    files: &mut Files,
    warnings: &mut Vec<String>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mandatory = matches!(wanted.mode, SslMode::VerifyCa | SslMode::VerifyFull);
    if wanted.ca_file.is_empty() {
        if !mandatory {
            return Ok(Arc::new(NoClientAuth));
        }
        let name = wanted.ca_file.name;
        warnings.push(format!("{name} is not set: a certificate of any public authority lets clients in"));
    }
    let roots = Roots::load(&wanted.ca_file, files)?;
    Ok(Arc::new(ClientVerifier::new(roots, mandatory, known)))
}
