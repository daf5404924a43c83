//! The way from a version 1 certificate to its authority.
//!
//! webpki refuses version 1 at the leaf, which is what PostgreSQL's manual makes with `openssl x509 -req`. Such a leaf
//! restricts nothing, so all that is to check are dates, signatures and whether the certificates between it and the
//! authority may sign others. Everything unusual in those is refused.

use rustls::CertificateError;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{
    OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_NAME_CONSTRAINTS,
};

use super::certificate::{check_dates, parse};
use super::roots::{Purpose, Roots, check_purpose};
use super::signature;

/// Intermediate certificates looked at. The peer chooses them, and each costs signature checks.
const MAX_INTERMEDIATES: usize = 6;

/// Refuses a version 1 certificate that no authority vouches for.
///
/// # Errors
/// The first reason found; `UnknownIssuer` if the chain does not reach an authority.
pub fn verify(
    roots: &Roots,
    peer: X509Certificate<'_>,
    intermediates: &[CertificateDer<'_>],
    purpose: Purpose,
    now: UnixTime,
    known: &WebPkiSupportedAlgorithms,
) -> Result<(), CertificateError> {
    // Only version 3 has extensions (RFC 5280 section 4.1.2.1); here they would go unread.
    if !peer.extensions().is_empty() {
        return Err(CertificateError::BadEncoding);
    }
    check_dates(peer.validity(), now)?;
    let mut unused: Vec<_> = intermediates.iter().take(MAX_INTERMEDIATES).flat_map(|der| parse(der).ok()).collect();
    let mut current = peer;
    for below in 0.. {
        if signed_by_authority(roots, &current, now, known)? {
            return Ok(());
        }
        let signs_current = |candidate: &X509Certificate<'_>| {
            candidate.subject().as_raw() == current.issuer().as_raw()
                && signature::of_certificate(&current, candidate.public_key().raw, known).is_ok()
        };
        let Some(found) = unused.iter().position(signs_current) else { break };
        let issuer = unused.swap_remove(found);
        check_issuer(&issuer, below, purpose, now)?;
        current = issuer;
    }
    Err(CertificateError::UnknownIssuer)
}

fn signed_by_authority(
    roots: &Roots,
    certificate: &X509Certificate<'_>,
    now: UnixTime,
    known: &WebPkiSupportedAlgorithms,
) -> Result<bool, CertificateError> {
    let mut verdict = Ok(false);
    for authority in roots.authorities().iter().filter(|root| root.subject == certificate.issuer().as_raw()) {
        if !authority.constrained && signature::of_certificate(certificate, &authority.key, known).is_ok() {
            verdict = check_dates(&authority.validity, now).map(|()| true);
            if verdict.is_ok() {
                break;
            }
        }
    }
    verdict
}

/// Refuses an intermediate certificate that may not sign others (RFC 5280 section 6.1.4), `below` being the number of
/// intermediates between it and the leaf.
fn check_issuer(
    issuer: &X509Certificate<'_>,
    below: u32,
    purpose: Purpose,
    now: UnixTime,
) -> Result<(), CertificateError> {
    let malformed = |_| CertificateError::BadEncoding;
    check_dates(issuer.validity(), now)?;
    check_purpose(issuer, purpose)?;
    let constraints = issuer.basic_constraints().map_err(malformed)?.ok_or(CertificateError::UnknownIssuer)?;
    let usage = issuer.key_usage().map_err(malformed)?;
    let may_sign = constraints.value.ca
        && constraints.value.path_len_constraint.is_none_or(|longest| longest >= below)
        && usage.is_none_or(|usage| usage.value.key_cert_sign());
    if !may_sign {
        return Err(CertificateError::UnknownIssuer);
    }
    let understood = [OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_KEY_USAGE, OID_X509_EXT_EXTENDED_KEY_USAGE];
    let strange = issuer.extensions().iter().any(|extension| {
        extension.oid == OID_X509_EXT_NAME_CONSTRAINTS || extension.critical && !understood.contains(&extension.oid)
    });
    if strange { Err(CertificateError::UnhandledCriticalExtension) } else { Ok(()) }
}
