//! Clients with every kind of certificate, under every mode of `client_tls_sslmode`.

use std::sync::Arc;

use config::{Global, SslMode};
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConnection, Error, HandshakeKind, PeerIncompatible, ServerConnection};

use super::workshop::{Authority, HOST, Pair, Refused, VERSIONS, Workshop, handshake, trusting_client};
use crate::tls::{ClientTls, Names};

const OPTIONAL: [SslMode; 3] = [SslMode::Allow, SslMode::Prefer, SslMode::Require];
const MANDATORY: [SslMode; 2] = [SslMode::VerifyCa, SslMode::VerifyFull];

fn load(mode: SslMode, trusted: Option<&str>) -> Arc<ClientTls> {
    let workshop = Workshop::new();
    let own = Authority::root("own").good();
    let global = Global {
        client_tls_sslmode: mode,
        client_tls_cert_file: workshop.file("own.crt", &own.chain),
        client_tls_key_file: workshop.file("own.key", &own.key),
        client_tls_ca_file: trusted.map(|pem| workshop.file("root.crt", pem)).unwrap_or_default(),
        ..Global::default()
    };
    ClientTls::load(&global).unwrap().unwrap()
}

/// Lets a client in, and says what certificate it showed.
fn enter(ours: &ClientTls, client: Option<&Pair>) -> Result<Option<Names>, Error> {
    let [tls12, tls13] = VERSIONS.map(|version| {
        let client = client.map_or_else(|| trusting_client(version), |pair| pair.client(version));
        let client = ClientConnection::new(Arc::new(client), ServerName::try_from(HOST).unwrap()).unwrap();
        match handshake(client, ServerConnection::new(ours.config.clone()).unwrap()) {
            Ok(done) => Ok(done.peer_certificates().map(|shown| Names::of(&shown[0]).unwrap())),
            Err(Refused::ByServer(error)) => Err(error),
            Err(other) => panic!("{other:?}"),
        }
    });
    assert_eq!(tls12, tls13, "both versions of TLS come to the same verdict");
    tls13
}

fn refused(why: CertificateError) -> Result<Option<Names>, Error> {
    Err(Error::InvalidCertificate(why))
}

#[test]
fn a_client_without_a_certificate_gets_in_unless_one_is_mandatory() {
    let root = Authority::root("root");
    for mode in OPTIONAL {
        assert_eq!(enter(&load(mode, Some(&root.pem())), None), Ok(None), "{mode}");
        assert_eq!(enter(&load(mode, None), None), Ok(None), "{mode}");
    }
    for mode in MANDATORY {
        let refused = enter(&load(mode, Some(&root.pem())), None);
        assert_eq!(refused, Err(Error::NoCertificatesPresented), "{mode}");
    }
}

#[test]
fn a_good_certificate_tells_its_names() {
    let root = Authority::root("root");
    let alice = root.sign("alice", &[], |_| {});
    for mode in [OPTIONAL.as_slice(), &MANDATORY].concat() {
        let names = enter(&load(mode, Some(&root.pem())), Some(&alice)).unwrap().unwrap();
        assert_eq!(names.common_name(), Some("alice"));
        assert!(names.matches_host("Alice") && !names.matches_host("bob"));
    }
}

#[test]
fn alternative_names_are_told_too() {
    let names = Names::of(&Authority::root("root").sign("alice", &["bob", "10.0.0.1"], |_| {}).certificate()).unwrap();
    assert_eq!(names.common_name(), Some("alice"));
    assert!(names.matches_host("bob") && names.matches_host("10.0.0.1") && !names.matches_host("alice"));
}

#[test]
fn an_alternative_name_that_cannot_be_read_still_sets_the_common_name_aside() {
    let unreadable = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 3, 0x82, 1, 0xff]);
    let pair = Authority::root("root").sign("alice", &[], |params| params.custom_extensions = vec![unreadable]);
    assert!(!Names::of(&pair.certificate()).unwrap().matches_host("alice"));
}

#[test]
fn without_an_authority_no_certificate_is_asked_for() {
    let alice = Authority::root("root").sign("alice", &[], |_| {});
    for mode in OPTIONAL {
        assert_eq!(enter(&load(mode, None), Some(&alice)), Ok(None), "{mode}");
    }
}

#[test]
fn a_bad_certificate_is_refused_even_where_none_is_needed() {
    let (root, other) = (Authority::root("root"), Authority::root("other"));
    let expired = root.sign("alice", &[], |params| params.not_after = date_time_ymd(2020, 1, 1));
    let early = root.sign("alice", &[], |params| params.not_before = date_time_ymd(2090, 1, 1));
    let for_servers =
        root.sign("alice", &[], |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    for mode in [SslMode::Allow, SslMode::Require, SslMode::VerifyFull] {
        let ours = load(mode, Some(&root.pem()));
        let stranger = other.sign("alice", &[], |_| {});
        assert_eq!(enter(&ours, Some(&stranger)), refused(CertificateError::UnknownIssuer), "{mode}");
        let own = Pair::self_signed("alice", |_| {});
        assert_eq!(enter(&ours, Some(&own)), refused(CertificateError::UnknownIssuer), "{mode}");
        assert_eq!(enter(&ours, Some(&expired)), refused(CertificateError::Expired), "{mode}");
        assert_eq!(enter(&ours, Some(&early)), refused(CertificateError::NotValidYet), "{mode}");
        assert_eq!(enter(&ours, Some(&for_servers)), refused(CertificateError::InvalidPurpose), "{mode}");
        let stolen = Pair { key: other.good().key, ..root.sign("alice", &[], |_| {}) };
        assert_eq!(enter(&ours, Some(&stolen)), refused(CertificateError::BadSignature), "{mode}");
    }
}

#[test]
fn version_1_and_self_signed_clients_and_intermediates_get_in() {
    let root = Authority::root("root");
    let ours = load(SslMode::VerifyFull, Some(&root.pem()));
    let version_1 = Workshop::new().version_1(&root, 30);
    assert_eq!(enter(&ours, Some(&version_1)).unwrap().unwrap().common_name(), Some(HOST));
    let stolen = Pair { key: root.good().key, ..version_1 };
    assert_eq!(enter(&ours, Some(&stolen)), refused(CertificateError::BadSignature));

    let below = root.intermediate("one", |_| {}).sign("alice", &[], |_| {});
    assert_eq!(enter(&ours, Some(&below)).unwrap().unwrap().common_name(), Some("alice"));

    let own = Pair::self_signed("alice", |_| {});
    let ours = load(SslMode::VerifyFull, Some(&own.chain));
    assert_eq!(enter(&ours, Some(&own)).unwrap().unwrap().common_name(), Some("alice"));
}

#[test]
fn without_an_authority_mandatory_certificates_are_checked_by_the_systems() {
    let ours = load(SslMode::VerifyFull, None);
    assert!(ours.warnings[0].starts_with("client_tls_ca_file is not set"), "{:?}", ours.warnings);
    let alice = Authority::root("root").sign("alice", &[], |_| {});
    assert_eq!(enter(&ours, Some(&alice)), refused(CertificateError::UnknownIssuer));
}

#[test]
fn alpn_is_optional_but_must_not_be_foreign() {
    let ours = load(SslMode::Allow, None);
    let shake = |protocols: &[&[u8]]| {
        let mut client = trusting_client(&rustls::version::TLS13);
        client.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let client = ClientConnection::new(Arc::new(client), ServerName::try_from(HOST).unwrap()).unwrap();
        let done = handshake(client, ServerConnection::new(ours.config.clone()).unwrap());
        done.map(|server| server.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(shake(&[]).unwrap(), None);
    assert_eq!(shake(&[b"h2", crate::tls::ALPN]).unwrap().as_deref(), Some(b"postgresql".as_slice()));
    assert!(matches!(shake(&[b"h2"]), Err(Refused::ByServer(Error::NoApplicationProtocol))));
}

#[test]
fn no_session_is_kept_for_resumption() {
    let ours = load(SslMode::Require, None);
    for version in VERSIONS {
        let mut client = trusting_client(version);
        client.resumption = Resumption::in_memory_sessions(8);
        let client = Arc::new(client);
        for _ in 0..2 {
            let client = ClientConnection::new(client.clone(), ServerName::try_from(HOST).unwrap()).unwrap();
            let done = handshake(client, ServerConnection::new(ours.config.clone()).unwrap()).unwrap();
            assert_eq!(done.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}

#[test]
fn a_client_of_another_version_of_tls_is_refused() {
    let workshop = Workshop::new();
    let own = Authority::root("own").good();
    let global = Global {
        client_tls_sslmode: SslMode::Require,
        client_tls_cert_file: workshop.file("own.crt", &own.chain),
        client_tls_key_file: workshop.file("own.key", &own.key),
        client_tls_protocols: "tlsv1.3".to_owned(),
        ..Global::default()
    };
    let ours = ClientTls::load(&global).unwrap().unwrap();
    let client = trusting_client(&rustls::version::TLS12);
    let client = ClientConnection::new(Arc::new(client), ServerName::try_from(HOST).unwrap()).unwrap();
    let refused = handshake(client, ServerConnection::new(ours.config.clone()).unwrap());
    let expected = PeerIncompatible::Tls12NotOfferedOrEnabled;
    assert!(
        matches!(&refused, Err(Refused::ByServer(Error::PeerIncompatible(why))) if *why == expected),
        "{refused:?}"
    );
}
