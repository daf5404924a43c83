//! The authorities that are trusted, and the verdict on a certificate chain.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::{CertificateError, DistinguishedName, Error, OtherError};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};
use x509_parser::certificate::{Validity, X509Certificate};

use super::certificate::{check_dates, is_version_1, parse, read};
use super::error::TlsError;
use super::files::Files;
use super::names::Names;
use super::old;
use super::wanted::Setting;

/// Where distributions keep the authorities they trust, the first that exists counts.
const SYSTEM_STORES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What a peer's certificate is for (RFC 5280 section 4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It is the TLS server.
    Server,
    /// It is the TLS client.
    Client,
}

/// Trusted certificates.
#[derive(Debug)]
pub struct Roots {
    /// Every one of them: a peer may show exactly this one.
    certificates: Vec<CertificateDer<'static>>,
    /// Those that may sign others, as webpki wants them.
    anchors: Vec<TrustAnchor<'static>>,
    /// The same, in the same order.
    authorities: Vec<Authority>,
}

/// What [`TrustAnchor`] does not keep, or keeps without its header.
#[derive(Debug)]
pub struct Authority {
    pub subject: Vec<u8>,
    pub key: Vec<u8>,
    pub validity: Validity,
    /// It may sign only for certain names.
    pub constrained: bool,
}

impl Roots {
    /// Reads the file a setting names, or the system's store if it names none.
    ///
    /// # Errors
    /// Neither can be read, or a certificate of the named file cannot be understood.
    pub fn load(setting: &Setting, files: &mut Files) -> Result<Self, TlsError> {
        let named = if setting.is_empty() { system_store(setting)? } else { setting.clone() };
        let mut roots = Self { certificates: Vec::new(), anchors: Vec::new(), authorities: Vec::new() };
        for certificate in read(&named, files)? {
            match roots.add(certificate) {
                Err(error) if !setting.is_empty() => {
                    return Err(setting.wrong_file(format!("holds a certificate that cannot be used: {error}")));
                }
                // One odd authority among a distribution's hundred and fifty harms nobody.
                _ => {}
            }
        }
        Ok(roots)
    }

    fn add(&mut self, der: CertificateDer<'static>) -> Result<(), CertificateError> {
        let certificate = parse(&der)?;
        // Version 1 cannot say whether it is an authority: it is one if it signed itself. A certificate of version 3
        // that does not say so stands only for itself. Both as in OpenSSL.
        let self_issued = certificate.subject().as_raw() == certificate.issuer().as_raw();
        if certificate.is_ca() || is_version_1(&certificate) && self_issued {
            let anchor = anchor_from_trusted_cert(&der).map_err(|_| CertificateError::BadEncoding)?;
            self.authorities.push(Authority {
                subject: certificate.subject().as_raw().to_vec(),
                key: certificate.public_key().raw.to_vec(),
                validity: certificate.validity().clone(),
                constrained: anchor.name_constraints.is_some(),
            });
            self.anchors.push(anchor.to_owned());
        }
        drop(certificate);
        self.certificates.push(der);
        Ok(())
    }

    /// The names of the authorities, as a hint for clients with several certificates.
    pub fn subjects(&self) -> Vec<DistinguishedName> {
        self.authorities.iter().map(|authority| authority.subject.clone().into()).collect()
    }

    /// Those that may sign others.
    pub fn authorities(&self) -> &[Authority] {
        &self.authorities
    }

    /// Refuses a certificate that none of the authorities vouches for now, whatever its name.
    ///
    /// # Errors
    /// What TLS tells the peer by an alert, and the log in words.
    pub fn verify(
        &self,
        peer: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        purpose: Purpose,
        now: UnixTime,
        known: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        let certificate = parse(peer)?;
        if self.certificates.iter().any(|root| root == peer) {
            check_dates(certificate.validity(), now)?;
            return Ok(check_purpose(&certificate, purpose)?);
        }
        if is_version_1(&certificate) {
            return Ok(old::verify(self, certificate, intermediates, purpose, now, known)?);
        }
        let usage = match purpose {
            Purpose::Server => KeyUsage::server_auth(),
            Purpose::Client => KeyUsage::client_auth(),
        };
        let by_common_name = Names::of(peer)?.host_by_common_name();
        let check_path = |path: &VerifiedPath<'_>| {
            // webpki holds name constraints against alternative names only (RFC 5280 section 4.2.1.10).
            if by_common_name && is_constrained(path) {
                return Err(webpki::Error::NameConstraintViolation);
            }
            self.check_anchor(path.anchor(), now)
        };
        EndEntityCert::try_from(peer)
            .and_then(|peer| {
                let anchors = &self.anchors;
                peer.verify_for_usage(known.all, anchors, intermediates, now, usage, None, Some(&check_path)).map(drop)
            })
            .map_err(refusal)
    }

    /// webpki takes an anchor for good whatever its dates; OpenSSL does not.
    fn check_anchor(&self, used: &TrustAnchor<'_>, now: UnixTime) -> Result<(), webpki::Error> {
        let mut found = self.anchors.iter().zip(&self.authorities).filter(|(anchor, _)| *anchor == used);
        let in_time = found.any(|(_, authority)| check_dates(&authority.validity, now).is_ok());
        if in_time { Ok(()) } else { Err(webpki::Error::InvalidCertValidity) }
    }
}

/// Whether an authority on the way may sign only for certain names.
fn is_constrained(path: &VerifiedPath<'_>) -> bool {
    let is_free = |der| parse(&der).is_ok_and(|authority| matches!(authority.name_constraints(), Ok(None)));
    path.anchor().name_constraints.is_some() || !path.intermediate_certificates().all(|found| is_free(found.der()))
}

/// Refuses a certificate whose extended key usage names only other purposes.
pub fn check_purpose(certificate: &X509Certificate<'_>, purpose: Purpose) -> Result<(), CertificateError> {
    let usage = certificate.extended_key_usage().map_err(|_| CertificateError::BadEncoding)?;
    let allowed = usage.is_none_or(|usage| match purpose {
        Purpose::Server => usage.value.any || usage.value.server_auth,
        Purpose::Client => usage.value.any || usage.value.client_auth,
    });
    if allowed { Ok(()) } else { Err(CertificateError::InvalidPurpose) }
}

fn system_store(setting: &Setting) -> Result<Setting, TlsError> {
    if let Ok(file) = std::env::var("SSL_CERT_FILE") {
        return Ok(Setting::new(setting.name, &file));
    }
    let found = SYSTEM_STORES.into_iter().find(|path| Path::new(path).is_file());
    found
        .map(|path| Setting::new(setting.name, path))
        .ok_or_else(|| setting.wrong("is not set, and this system has no certificate authorities of its own"))
}

/// webpki's verdict in rustls' words, which choose the alert.
fn refusal(error: webpki::Error) -> Error {
    use webpki::Error as E;
    let refusal = match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertNotValidYet { .. } => CertificateError::NotValidYet,
        E::CertExpired { .. } | E::InvalidCertValidity => CertificateError::Expired,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        E::UnsupportedCriticalExtension => CertificateError::UnhandledCriticalExtension,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    refusal.into()
}
