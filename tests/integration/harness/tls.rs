//! TLS of a test's client, which believes everything: it judges by what it is shown.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use protocol::messages;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS12;
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};

use super::certificates::Pair;
use super::stream::Stream;

/// How a client uses TLS.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    is_direct: bool,
}

impl Tls {
    /// After an SSLRequest, with ALPN `postgresql`, without a certificate: as libpq.
    pub fn new() -> Tls {
        Tls::make(None, ALL_VERSIONS)
    }

    /// The same, showing a certificate.
    pub fn showing(pair: &Pair) -> Tls {
        Tls::make(Some(pair), ALL_VERSIONS)
    }

    fn make(pair: Option<&Pair>, versions: &[&'static SupportedProtocolVersion]) -> Tls {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate));
        let mut config = match pair.map(Pair::parts) {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).expect("a usable certificate"),
        };
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Tls { config: Arc::new(config), is_direct: false }
    }

    /// Without an SSLRequest.
    pub fn direct(mut self) -> Tls {
        self.is_direct = true;
        self
    }

    /// Offers these protocols instead of `postgresql`.
    pub fn alpn(mut self, protocols: &[&str]) -> Tls {
        Arc::make_mut(&mut self.config).alpn_protocols =
            protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Speaks TLS 1.2 only.
    pub fn old() -> Tls {
        Tls::make(None, &[&TLS12])
    }

    /// Limits the sizes of records, in bytes with their headers.
    pub fn fragments(mut self, size: usize) -> Tls {
        Arc::make_mut(&mut self.config).max_fragment_size = Some(size);
        self
    }

    /// The state of a handshake that has not begun.
    pub fn connection(&self) -> ClientConnection {
        ClientConnection::new(self.config.clone(), ServerName::try_from("localhost").expect("a name"))
            .expect("a client")
    }

    /// Takes a connection that has said nothing into TLS.
    pub fn begin(&self, stream: &mut Stream) -> io::Result<()> {
        if !self.is_direct {
            let mut request = Vec::new();
            messages::ssl_request(&mut request);
            io::Write::write_all(stream, &request)?;
            let mut answer = [0];
            stream.read_exact(&mut answer)?;
            if answer != *b"S" {
                return Err(io::Error::other(format!("SSLRequest was answered {:?}", char::from(answer[0]))));
            }
        }
        stream.start_tls(self.connection())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("is_direct", &self.is_direct).finish_non_exhaustive()
    }
}

/// The channel binding of the certificate the other side has shown; all of the tests' are signed with SHA-256.
pub fn end_point(stream: &Stream) -> Vec<u8> {
    digest(&SHA256, shown(stream).as_ref()).as_ref().to_vec()
}

/// The certificate the other side has shown.
pub fn shown(stream: &Stream) -> CertificateDer<'static> {
    stream.tls(|connection| connection.peer_certificates().expect("a certificate")[0].clone().into_owned())
}

/// For a fake server that shows this certificate.
pub fn server_config(pair: &Pair, alpn: &[&str]) -> Arc<ServerConfig> {
    let (chain, key) = pair.parts();
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a usable certificate");
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &default_provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &default_provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
