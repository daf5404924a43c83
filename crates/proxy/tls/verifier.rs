//! The verifiers that rustls calls in each handshake.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::names::Names;
use super::roots::{Purpose, Roots};
use super::signature;

/// What is asked of a server's certificate (`server_tls_sslmode`).
#[derive(Debug)]
pub enum Check {
    /// Only that the server has its key: allow, prefer, require.
    Nothing,
    /// That an authority vouches for it: verify-ca.
    Authority(Roots),
    /// That an authority vouches for its having that name: verify-full.
    Name(Roots),
}

/// Judges servers.
#[derive(Debug)]
pub struct ServerVerifier {
    pub check: Check,
    pub known: WebPkiSupportedAlgorithms,
}

/// Judges clients that show a certificate.
#[derive(Debug)]
pub struct ClientVerifier {
    roots: Roots,
    hints: Vec<DistinguishedName>,
    mandatory: bool,
    known: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    /// Trusts `roots`; refuses clients without a certificate if it is `mandatory`.
    pub fn new(roots: Roots, mandatory: bool, known: WebPkiSupportedAlgorithms) -> Self {
        Self { hints: roots.subjects(), roots, mandatory, known }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let roots = match &self.check {
            Check::Nothing => return Ok(ServerCertVerified::assertion()),
            Check::Authority(roots) | Check::Name(roots) => roots,
        };
        roots.verify(server, intermediates, Purpose::Server, now, &self.known)?;
        if matches!(self.check, Check::Name(_)) && !Names::of(server)?.matches_host(&name.to_str()) {
            return Err(CertificateError::NotValidForName.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        server: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature::of_tls12_handshake(message, server, signed, &self.known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        server: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature::of_tls13_handshake(message, server, signed, &self.known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known.supported_schemes()
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        client: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.roots.verify(client, intermediates, Purpose::Client, now, &self.known)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        client: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature::of_tls12_handshake(message, client, signed, &self.known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        client: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signature::of_tls13_handshake(message, client, signed, &self.known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known.supported_schemes()
    }
}
