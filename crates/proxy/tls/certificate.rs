//! Reading certificates: from PEM files, and one at a time for the fields that rustls does not tell.

use rustls::CertificateError;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::{Validity, X509Certificate};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use super::error::TlsError;
use super::files::Files;
use super::wanted::Setting;

/// The certificates of a file, at least one.
pub fn read(setting: &Setting, files: &mut Files) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = files.read(setting)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|error| setting.wrong_file(format!("is not complete PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(setting.wrong_file("holds no certificate in PEM form"));
    }
    Ok(certificates)
}

/// The fields of a certificate of any version.
pub fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateError::BadEncoding),
    }
}

/// Whether it is X.509 version 1, as `openssl x509 -req` makes them without `-extfile`: it has no extensions.
pub fn is_version_1(certificate: &X509Certificate<'_>) -> bool {
    certificate.version() == X509Version::V1
}

/// Refuses a certificate outside its dates.
pub fn check_dates(validity: &Validity, now: UnixTime) -> Result<(), CertificateError> {
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if seconds < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet);
    }
    if seconds > validity.not_after.timestamp() {
        return Err(CertificateError::Expired);
    }
    Ok(())
}
