//! A certificate of our own with its private key.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::public_key::PublicKey;

use super::certificate::{parse, read};
use super::error::TlsError;
use super::expiry::Expiry;
use super::files::{Files, too_open};
use super::wanted::Setting;

/// The shortest RSA key the provider signs with.
const MIN_RSA_BITS: usize = 2048;

/// What we show, and until when it is good.
#[derive(Debug)]
pub struct Identity {
    pub certified: Arc<CertifiedKey>,
    pub expiry: Expiry,
}

impl Identity {
    /// Reads a certificate, with the intermediates that follow it in its file, and its key.
    ///
    /// # Errors
    /// A file cannot be read or understood, the key is encrypted or too short, or the two do not belong together.
    pub fn load(
        certificate: &Setting,
        key: &Setting,
        provider: &CryptoProvider,
        files: &mut Files,
        warnings: &mut Vec<String>,
    ) -> Result<Self, TlsError> {
        let chain = read(certificate, files)?;
        let leaf = parse(&chain[0]).map_err(|error| certificate.wrong_file(error.to_string()))?;
        check_length(certificate, &leaf)?;
        let signing = provider
            .key_provider
            .load_private_key(private_key(key, &files.read(key)?)?)
            .map_err(|_| key.wrong_file("holds a private key that is broken or of an unknown kind"))?;
        // Not CertifiedKey::keys_match, which refuses certificates of version 1.
        if signing.public_key().is_none_or(|public| public.as_ref() != leaf.public_key().raw) {
            return Err(key.wrong_file(format!("is not the key of the certificate in {}", certificate.text)));
        }
        warnings.extend(too_open(Path::new(&key.text)).map(|warning| format!("{}: {warning}", key.name)));
        let expiry = Expiry {
            setting: certificate.name,
            file: Path::new(&certificate.text).into(),
            subject: leaf.subject().to_string(),
            not_after: leaf.validity().not_after.timestamp(),
        };
        drop(leaf);
        Ok(Self { certified: Arc::new(CertifiedKey::new(chain, signing)), expiry })
    }

    /// The certificate itself, without intermediates.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certified.cert[0]
    }
}

fn private_key(setting: &Setting, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    // The parser's own words may quote the file.
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        let encrypted = pem.windows(9).any(|word| word == b"ENCRYPTED");
        setting.wrong_file(match encrypted {
            true => "the private key is encrypted, and nobody is here to type its passphrase; see \"openssl pkey\"",
            false => "holds no complete private key in PEM form (PKCS#8, PKCS#1 or SEC1)",
        })
    })
}

fn check_length(setting: &Setting, leaf: &X509Certificate<'_>) -> Result<(), TlsError> {
    match leaf.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() < MIN_RSA_BITS => {
            let bits = key.key_size();
            Err(setting.wrong_file(format!("has an RSA key of {bits} bits; at least {MIN_RSA_BITS} are needed")))
        }
        _ => Ok(()),
    }
}
