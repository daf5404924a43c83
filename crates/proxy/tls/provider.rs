//! Versions, suites and curves of one side, as rustls takes them.

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::{TLS12, TLS13};

use super::error::TlsError;
use super::wanted::Wanted;
use super::{ciphers, groups, protocols};

/// The cryptography to use, and the versions of TLS to use it in.
pub struct Choice {
    pub provider: Arc<CryptoProvider>,
    pub versions: Vec<&'static SupportedProtocolVersion>,
}

impl Choice {
    /// Reads the lists of one side. The suites of a version that is not wanted do not matter.
    ///
    /// # Errors
    /// A list leaves nothing.
    pub fn of(wanted: &Wanted, warnings: &mut Vec<String>) -> Result<Self, TlsError> {
        let versions = protocols::versions(&wanted.protocols, warnings)?;
        let mut cipher_suites = Vec::new();
        if versions.contains(&&TLS13) {
            cipher_suites.extend(ciphers::tls13(&wanted.tls13_ciphers, warnings)?);
        }
        if versions.contains(&&TLS12) {
            cipher_suites.extend(ciphers::tls12(&wanted.ciphers, warnings)?);
        }
        let kx_groups = groups::groups(&wanted.curves, warnings)?;
        let provider = CryptoProvider { cipher_suites, kx_groups, ..aws_lc_rs::default_provider() };
        Ok(Self { provider: Arc::new(provider), versions })
    }
}
