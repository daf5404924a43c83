//! A test authority: a root, a server's certificate and a client's, as files that libpq, PostgreSQL and a pooler read.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::{Account, LabError};

/// The role that the client certificate speaks for: its common name.
pub const CERTIFIED_ROLE: &str = "app_cert";

/// Paths of PEM files. Keys are ECDSA P-256, readable by the lab's [`Account`] (and root) alone.
#[derive(Debug, Clone)]
pub struct Authority {
    /// The root certificate, for `sslrootcert` and `ssl_ca_file`.
    pub ca: PathBuf,
    /// A certificate for `localhost` and 127.0.0.1: PostgreSQL's, and good for a pooler before it.
    pub server_cert: PathBuf,
    /// The key of `server_cert`.
    pub server_key: PathBuf,
    /// A certificate whose common name is the role `app_cert`.
    pub client_cert: PathBuf,
    /// The key of `client_cert`.
    pub client_key: PathBuf,
}

impl Authority {
    /// Makes a new root, which nobody trusts yet, and writes everything into `directory`, which must exist.
    pub fn make(directory: &Path, account: &Account) -> Result<Authority, LabError> {
        let root_key = KeyPair::generate()?;
        let mut root = CertificateParams::default();
        // OpenSSL takes two roots of one name for one, and then speaks of a bad signature, not of a stranger.
        let unique: String = root_key.public_key_raw().iter().rev().take(8).map(|byte| format!("{byte:02x}")).collect();
        root.distinguished_name.push(DnType::CommonName, format!("lab root {unique}"));
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = CertifiedIssuer::self_signed(root, root_key)?;
        let mut server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        server.distinguished_name.push(DnType::CommonName, "localhost");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::CommonName, CERTIFIED_ROLE);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];

        let save = |name: &str, content: String| save(&directory.join(name), &content, account);
        let signed = |name: &str, mut params: CertificateParams| {
            let key = KeyPair::generate()?;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            let certificate = params.signed_by(&key, &root)?;
            let key = save(&format!("{name}.key"), key.serialize_pem())?;
            Ok::<_, LabError>((save(&format!("{name}.crt"), certificate.pem())?, key))
        };
        let (server_cert, server_key) = signed("server", server)?;
        let (client_cert, client_key) = signed("client", client)?;
        Ok(Authority { ca: save("ca.crt", root.pem())?, server_cert, server_key, client_cert, client_key })
    }
}

/// PostgreSQL and libpq refuse a private key that others may read.
fn save(path: &Path, content: &str, account: &Account) -> Result<PathBuf, LabError> {
    let failed = |source| LabError::io(format!("write {}", path.display()))(source);
    fs::write(path, content).map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    account.give(path)?;
    Ok(path.to_owned())
}
