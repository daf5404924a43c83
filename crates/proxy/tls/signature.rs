//! Signatures by a bare public key, which work for certificates of any version.
//!
//! rustls' helpers take a certificate and refuse version 1. The algorithms are the provider's either way.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved};
use webpki::RawPublicKeyEntity;
use x509_parser::asn1_rs::{Any, FromDer};
use x509_parser::certificate::X509Certificate;

use super::certificate::parse;

/// Verifies the signature of a TLS 1.2 handshake (RFC 5246 section 7.4.3 and 7.4.8).
pub fn of_tls12_handshake(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    known: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let certificate = parse(certificate)?;
    let known = known.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
    let (_, algorithms) = known.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    verify(certificate.public_key().raw, algorithms.iter().copied(), message, signed.signature())?;
    Ok(HandshakeSignatureValid::assertion())
}

/// Verifies the signature of a TLS 1.3 handshake (RFC 8446 section 4.4.3).
pub fn of_tls13_handshake(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    known: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let certificate = parse(certificate)?;
    let key = SubjectPublicKeyInfoDer::from(certificate.public_key().raw);
    verify_tls13_signature_with_raw_key(message, &key, signed, known)
}

/// Verifies that the key `signer` (a SubjectPublicKeyInfo) signed a certificate.
pub fn of_certificate(
    certificate: &X509Certificate<'_>,
    signer: &[u8],
    known: &WebPkiSupportedAlgorithms,
) -> Result<(), CertificateError> {
    // RFC 5280 section 4.1.1.2: the signed copy of the algorithm must say the same.
    if certificate.tbs_certificate.signature != certificate.signature_algorithm {
        return Err(CertificateError::BadEncoding);
    }
    let named = algorithm(certificate).ok_or(CertificateError::BadEncoding)?;
    let fitting = known.all.iter().copied().filter(|known| known.signature_alg_id().as_ref() == named);
    verify(signer, fitting, certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
}

/// The content of the AlgorithmIdentifier that follows the signed part, as the provider's algorithms name themselves.
fn algorithm<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    let (_, whole) = Any::from_der(certificate.as_raw()).ok()?;
    let rest = whole.data.get(certificate.tbs_certificate.as_ref().len()..)?;
    let (_, identifier) = Any::from_der(rest).ok()?;
    Some(identifier.data)
}

/// Tries the algorithms until one fits the kind of key; that one decides.
fn verify<'a>(
    signer: &[u8],
    algorithms: impl Iterator<Item = &'a dyn SignatureVerificationAlgorithm>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), CertificateError> {
    let key = SubjectPublicKeyInfoDer::from(signer);
    let key = RawPublicKeyEntity::try_from(&key).map_err(|_| CertificateError::BadEncoding)?;
    for algorithm in algorithms {
        match key.verify_signature(algorithm, message, signature) {
            Ok(()) => return Ok(()),
            Err(webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)) => {}
            Err(_) => return Err(CertificateError::BadSignature),
        }
    }
    Err(CertificateError::BadSignature)
}
