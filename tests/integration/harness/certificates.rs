//! Certificates of a test's own: an authority, and what it signs for servers and clients.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::direct;

/// A root that signs certificates.
#[derive(Debug)]
pub struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Debug)]
pub struct Pair {
    pub certificate: CertificateDer<'static>,
    pub certificate_pem: String,
    pub key_pem: String,
    key: PrivateKeyDer<'static>,
}

/// The authority that the poolers of all tests trust, unless a test says otherwise.
pub static OURS: LazyLock<Authority> = LazyLock::new(Authority::new);
/// One that nobody trusts.
pub static FOREIGN: LazyLock<Authority> = LazyLock::new(Authority::new);
/// What poolers show to clients.
pub static SHOWN: LazyLock<Pair> = LazyLock::new(|| OURS.server(&["localhost", "127.0.0.1"]));

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, direct::unique("root"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        Authority { root: CertifiedIssuer::self_signed(params, key).expect("a root") }
    }

    pub fn pem(&self) -> String {
        self.root.pem()
    }

    /// For a server of these names and addresses.
    pub fn server(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.sign(CertificateParams::new(names).expect("names"), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// For a client whose common name is this.
    pub fn client(&self, common_name: &str) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// For a server, and not for long.
    pub fn expiring(&self, left: Duration) -> Pair {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.not_after = (SystemTime::now() + left).into();
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn sign(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Pair {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.root).expect("a certificate");
        Pair {
            certificate: signed.der().clone(),
            certificate_pem: signed.pem(),
            key_pem: key.serialize_pem(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }
}

impl Pair {
    /// The chain and the key, as rustls takes them.
    pub fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (vec![self.certificate.clone()], self.key.clone_key())
    }
}
