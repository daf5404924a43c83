//! The channel binding `tls-server-end-point` (RFC 5929 section 4.1).

use aws_lc_rs::digest::{self, Algorithm, SHA224, SHA256, SHA384, SHA512};
use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::Oid;
use x509_parser::certificate::X509Certificate;
use x509_parser::signature_algorithm::SignatureAlgorithm;

use super::certificate::parse;

/// The hash of a server's certificate that SCRAM-SHA-256-PLUS binds a login to.
///
/// None if the certificate's signature uses no hash of its own, as Ed25519, or one this cannot compute: then no
/// binding is defined, and `-PLUS` must not be offered.
pub fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let algorithm = hash(&parse(certificate).ok()?)?;
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

/// The hash of the certificate's signature; MD5 and SHA-1 are replaced by SHA-256.
fn hash(certificate: &X509Certificate<'_>) -> Option<&'static Algorithm> {
    match SignatureAlgorithm::try_from(&certificate.signature_algorithm) {
        Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) => hash_named(parameters.hash_algorithm_oid()),
        _ => hash_of_signature(&certificate.signature_algorithm.algorithm),
    }
}

fn hash_named(hash: &Oid<'_>) -> Option<&'static Algorithm> {
    match hash.to_id_string().as_str() {
        "1.3.14.3.2.26" | "1.2.840.113549.2.5" => Some(&SHA256), // SHA-1, MD5
        "2.16.840.1.101.3.4.2.4" => Some(&SHA224),
        "2.16.840.1.101.3.4.2.1" => Some(&SHA256),
        "2.16.840.1.101.3.4.2.2" => Some(&SHA384),
        "2.16.840.1.101.3.4.2.3" => Some(&SHA512),
        _ => None,
    }
}

fn hash_of_signature(signature: &Oid<'_>) -> Option<&'static Algorithm> {
    match signature.to_id_string().as_str() {
        // RSA (RFC 8017 appendix C): MD5, SHA-1, SHA-256, SHA-384, SHA-512, SHA-224.
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.113549.1.1.11" => Some(&SHA256),
        "1.2.840.113549.1.1.12" => Some(&SHA384),
        "1.2.840.113549.1.1.13" => Some(&SHA512),
        "1.2.840.113549.1.1.14" => Some(&SHA224),
        // ECDSA (RFC 5758 section 3.2, RFC 3279 section 2.2.3): SHA-1, SHA-224, SHA-256, SHA-384, SHA-512.
        "1.2.840.10045.4.1" | "1.2.840.10045.4.3.2" => Some(&SHA256),
        "1.2.840.10045.4.3.1" => Some(&SHA224),
        "1.2.840.10045.4.3.3" => Some(&SHA384),
        "1.2.840.10045.4.3.4" => Some(&SHA512),
        _ => None,
    }
}
