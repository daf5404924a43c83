//! Certificates of every kind, and handshakes with them. The odd kinds are made by the command line of OpenSSL.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use config::{Global, SslMode};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, Connection, Error, ServerConfig, SupportedProtocolVersion};
use tempfile::TempDir;

use crate::tls::ServerTls;

pub const HOST: &str = "db.example.com";
pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// A directory for files.
pub struct Workshop(TempDir);

/// A certificate, followed by its intermediates, and its key, in PEM form.
#[derive(Clone)]
pub struct Pair {
    pub chain: String,
    pub key: String,
}

/// Who can sign.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The certificates between this one and the root, itself included.
    below_root: String,
}

impl Workshop {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Writes a file that nobody else can read, and returns its path, as settings want it.
    pub fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o600)).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Runs openssl in the directory.
    pub fn openssl(&self, arguments: &str) -> Vec<u8> {
        openssl(self.0.path(), arguments)
    }

    /// A version 1 certificate for CN=[`HOST`], as PostgreSQL's manual makes them.
    pub fn version_1(&self, authority: &Authority, days: i32) -> Pair {
        self.file("ca.crt", &authority.issuer.pem());
        self.file("ca.key", &authority.issuer.key().serialize_pem());
        self.openssl(&format!("{NEW_KEY} -new -subj /CN={HOST} -keyout v1.key -out v1.csr"));
        self.openssl(&format!(
            "x509 -req -in v1.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days {days} -out v1.crt"
        ));
        let text = String::from_utf8(self.openssl("x509 -in v1.crt -noout -text")).unwrap();
        assert!(text.contains("Version: 1 "), "this openssl makes no version 1 certificates: {text}");
        Pair { chain: self.text("v1.crt") + &authority.below_root, key: self.text("v1.key") }
    }
}

/// The beginning of `openssl req` with a new ECDSA key.
pub const NEW_KEY: &str = "req -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256";

fn openssl(directory: &Path, arguments: &str) -> Vec<u8> {
    let done = Command::new("openssl").args(arguments.split_whitespace()).current_dir(directory).output().unwrap();
    assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

impl Authority {
    pub fn root(name: &str) -> Self {
        Self::root_with(name, |_| {})
    }

    /// A self-signed authority, with changes.
    pub fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let params = authority_params(name, change);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, below_root: String::new() }
    }

    /// An authority signed by this one, with changes.
    pub fn intermediate(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let params = authority_params(name, change);
        let issuer = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.issuer).unwrap();
        let below_root = issuer.pem() + &self.below_root;
        Self { issuer, below_root }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate of an end: named `common_name`, with these alternative names, with changes.
    pub fn sign(&self, common_name: &str, sans: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = end_params(common_name, sans, change).signed_by(&key, &self.issuer).unwrap();
        Pair { chain: certificate.pem() + &self.below_root, key: key.serialize_pem() }
    }

    /// The usual certificate for [`HOST`].
    pub fn good(&self) -> Pair {
        self.sign("irrelevant", &[HOST], |_| {})
    }
}

impl Pair {
    /// A certificate that nobody else signed.
    pub fn self_signed(common_name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = end_params(common_name, &[], change).self_signed(&key).unwrap();
        Self { chain: certificate.pem(), key: key.serialize_pem() }
    }

    pub fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.chain.as_bytes()).unwrap()
    }

    fn certified(&self) -> Arc<SingleCertAndKey> {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let key = default_provider().key_provider.load_private_key(key).unwrap();
        Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)))
    }

    /// A peer that serves TLS with this certificate, and asks for none.
    pub fn server(&self, version: &'static SupportedProtocolVersion) -> ServerConfig {
        ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(self.certified())
    }

    /// A peer that is a TLS client with this certificate, and trusts everybody.
    pub fn client(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        let mut client = trusting_client(version);
        client.client_auth_cert_resolver = self.certified();
        client
    }
}

fn authority_params(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    end_params(name, &[], |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(params);
    })
}

fn end_params(name: &str, sans: &[&str], change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let sans: Vec<String> = sans.iter().map(|san| (*san).to_owned()).collect();
    let mut params = CertificateParams::new(sans).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    change(&mut params);
    params
}

/// A TLS client that trusts everybody and has no certificate: the pooler's own, towards servers.
pub fn trusting_client(version: &'static SupportedProtocolVersion) -> ClientConfig {
    let global = Global {
        server_tls_sslmode: SslMode::Require,
        server_tls_protocols: word(version).to_owned(),
        ..Global::default()
    };
    (*ServerTls::load(&global).unwrap().unwrap().config).clone()
}

/// A version's word in the settings.
pub fn word(version: &'static SupportedProtocolVersion) -> &'static str {
    if *version == rustls::version::TLS12 { "tlsv1.2" } else { "tlsv1.3" }
}

/// Who refused the other.
#[derive(Debug)]
pub enum Refused {
    ByClient(Error),
    ByServer(Error),
}

/// Runs a handshake to its end, and a few bytes each way after it.
pub fn handshake(client: impl Into<Connection>, server: impl Into<Connection>) -> Result<Connection, Refused> {
    let (mut client, mut server) = (client.into(), server.into());
    loop {
        let there = pass(&mut client, &mut server).map_err(Refused::ByServer)?;
        let back = pass(&mut server, &mut client).map_err(Refused::ByClient)?;
        if there + back == 0 {
            break;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking(), "neither done nor refused");
    Ok(server)
}

/// Moves what one has to say to the other.
fn pass(from: &mut Connection, to: &mut Connection) -> Result<usize, Error> {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut unread = wire.as_slice();
    while !unread.is_empty() {
        to.read_tls(&mut unread).unwrap();
        to.process_new_packets()?;
    }
    Ok(wire.len())
}
