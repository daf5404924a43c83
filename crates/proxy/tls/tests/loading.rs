//! Settings and files that cannot be used, and what is said about them.

use std::os::unix::fs::PermissionsExt;

use config::{Global, SslMode};

use super::workshop::{Authority, NEW_KEY, Pair, Workshop};
use crate::tls::{ClientTls, ServerTls};

fn wanted(workshop: &Workshop, pair: &Pair) -> Global {
    Global {
        client_tls_sslmode: SslMode::Require,
        client_tls_cert_file: workshop.file("own.crt", &pair.chain),
        client_tls_key_file: workshop.file("own.key", &pair.key),
        ..Global::default()
    }
}

#[track_caller]
fn complains(global: &Global, setting: &str, file: &str, reason: &str) {
    let error = ClientTls::load(global).unwrap_err();
    assert_eq!(error.setting, setting);
    assert_eq!(error.file.as_ref().and_then(|path| path.file_name()).unwrap_or_default(), file);
    assert!(error.reason.contains(reason), "{}", error.reason);
}

#[test]
fn nothing_is_loaded_where_tls_is_disabled() {
    let global = Global { server_tls_sslmode: SslMode::Disable, ..Global::default() };
    assert!(ClientTls::load(&global).unwrap().is_none());
    assert!(ServerTls::load(&global).unwrap().is_none());
}

#[test]
fn a_key_and_a_certificate_are_needed_for_clients() {
    let global = Global { client_tls_sslmode: SslMode::Allow, ..Global::default() };
    complains(&global, "client_tls_key_file", "", "is needed by client_tls_sslmode = allow");
}

#[test]
fn a_key_for_servers_needs_its_certificate() {
    let key = Global { server_tls_key_file: "x".into(), ..Global::default() };
    assert_eq!(ServerTls::load(&key).unwrap_err().setting, "server_tls_cert_file");
    let certificate = Global { server_tls_cert_file: "x".into(), ..Global::default() };
    assert_eq!(ServerTls::load(&certificate).unwrap_err().setting, "server_tls_key_file");
}

#[test]
fn missing_and_empty_files_are_named() {
    let (workshop, good) = (Workshop::new(), Authority::root("root").good());
    let missing = Global { client_tls_cert_file: "/nowhere/own.crt".into(), ..wanted(&workshop, &good) };
    complains(&missing, "client_tls_cert_file", "own.crt", "No such file");
    let empty = wanted(&workshop, &Pair { chain: String::new(), ..good.clone() });
    complains(&empty, "client_tls_cert_file", "own.crt", "holds no certificate");
    let swapped = wanted(&workshop, &Pair { key: good.chain.clone(), ..good });
    complains(&swapped, "client_tls_key_file", "own.key", "holds no complete private key");
}

#[test]
fn half_written_files_are_refused() {
    let (workshop, good) = (Workshop::new(), Authority::root("root").good());
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let certificate = wanted(&workshop, &Pair { chain: half(&good.chain), ..good.clone() });
    complains(&certificate, "client_tls_cert_file", "own.crt", "is not complete PEM");
    let key = wanted(&workshop, &Pair { key: half(&good.key), ..good });
    complains(&key, "client_tls_key_file", "own.key", "holds no complete private key");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (workshop, root) = (Workshop::new(), Authority::root("root"));
    let mixed = wanted(&workshop, &Pair { key: root.good().key, ..root.good() });
    complains(&mixed, "client_tls_key_file", "own.key", "is not the key of the certificate in");
    let mixed = wanted(&workshop, &Pair { key: root.good().key, ..workshop.version_1(&root, 30) });
    complains(&mixed, "client_tls_key_file", "own.key", "is not the key of the certificate in");
}

#[test]
fn an_encrypted_key_is_refused_and_called_so() {
    let workshop = Workshop::new();
    workshop.openssl(&format!("{NEW_KEY} -x509 -subj /CN=x -keyout s.key -out s.crt"));
    for form in ["", "-traditional"] {
        workshop.openssl(&format!("pkey -in s.key -aes128 -passout pass:secret {form} -out locked.key"));
        let pair = Pair { chain: workshop.text("s.crt"), key: workshop.text("locked.key") };
        complains(&wanted(&workshop, &pair), "client_tls_key_file", "own.key", "the private key is encrypted");
    }
}

#[test]
fn a_short_rsa_key_is_refused_with_its_length() {
    let workshop = Workshop::new();
    workshop.openssl("req -nodes -newkey rsa:1024 -x509 -subj /CN=x -keyout s.key -out s.crt");
    let pair = Pair { chain: workshop.text("s.crt"), key: workshop.text("s.key") };
    let reason = "has an RSA key of 1024 bits; at least 2048 are needed";
    complains(&wanted(&workshop, &pair), "client_tls_cert_file", "own.crt", reason);
}

#[test]
fn a_key_that_others_can_read_is_a_warning() {
    let (workshop, good) = (Workshop::new(), Authority::root("root").good());
    let global = wanted(&workshop, &good);
    assert_eq!(ClientTls::load(&global).unwrap().unwrap().warnings, Vec::<String>::new());
    std::fs::set_permissions(workshop.path("own.key"), PermissionsExt::from_mode(0o604)).unwrap();
    let warnings = ClientTls::load(&global).unwrap().unwrap().warnings.clone();
    assert!(warnings[0].starts_with("client_tls_key_file: the private key "), "{warnings:?}");
}

#[test]
fn an_authority_file_must_be_readable_as_a_whole() {
    let (workshop, root) = (Workshop::new(), Authority::root("root"));
    let broken = root.pem() + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let global = Global { client_tls_ca_file: workshop.file("ca.crt", &broken), ..wanted(&workshop, &root.good()) };
    complains(&global, "client_tls_ca_file", "ca.crt", "holds a certificate that cannot be used");
}

#[test]
fn the_suites_of_a_version_that_is_not_wanted_do_not_matter() {
    let (workshop, good) = (Workshop::new(), Authority::root("root").good());
    let global = Global { client_tls_ciphers: "AES256-SHA".into(), ..wanted(&workshop, &good) };
    complains(&global, "client_tls_ciphers", "", "leaves nothing to use");
    assert!(ClientTls::load(&Global { client_tls_protocols: "tlsv1.3".into(), ..global }).is_ok());
    let global = Global { client_tls13_ciphers: "TLS_SHA256_SHA256".into(), ..wanted(&workshop, &good) };
    complains(&global, "client_tls13_ciphers", "", "leaves nothing to use");
    assert!(ClientTls::load(&Global { client_tls_protocols: "tlsv1.2".into(), ..global }).is_ok());
}

#[test]
fn every_file_that_was_read_is_watched() {
    let (workshop, root) = (Workshop::new(), Authority::root("root"));
    let good = root.good();
    let global = Global { client_tls_ca_file: workshop.file("ca.crt", &root.pem()), ..wanted(&workshop, &good) };
    for file in ["own.crt", "own.key", "ca.crt"] {
        let loaded = ClientTls::load(&global).unwrap().unwrap();
        assert!(!loaded.files.changed());
        let text = workshop.text(file);
        workshop.file(file, &(text + "\n"));
        assert!(loaded.files.changed(), "{file}");
    }
}

#[test]
fn servers_are_checked_by_the_systems_authorities_if_no_others_are_named() {
    let global = Global { server_tls_sslmode: SslMode::VerifyFull, ..Global::default() };
    let loaded = ServerTls::load(&global).unwrap().unwrap();
    assert_eq!(loaded.files.paths().count(), 1);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let loaded = ServerTls::load(&Global { server_tls_sslmode: SslMode::VerifyCa, ..global }).unwrap().unwrap();
    assert!(loaded.warnings[0].starts_with("server_tls_ca_file is not set"), "{:?}", loaded.warnings);
}
