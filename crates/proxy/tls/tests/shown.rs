//! Certificates of our own: every kind PostgreSQL can show, the pooler can show.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;

use config::{Global, SslMode};
use rcgen::date_time_ymd;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection, StreamOwned};

use super::workshop::{Authority, HOST, Pair, VERSIONS, Workshop, handshake, trusting_client, word};
use crate::tls::{ClientTls, ServerTls, TlsError, describe};

fn load(workshop: &Workshop, pair: &Pair, protocols: &str) -> Result<Arc<ClientTls>, TlsError> {
    let global = Global {
        client_tls_sslmode: SslMode::Require,
        client_tls_cert_file: workshop.file("shown.crt", &pair.chain),
        client_tls_key_file: workshop.file("shown.key", &pair.key),
        client_tls_protocols: protocols.to_owned(),
        ..Global::default()
    };
    ClientTls::load(&global).map(Option::unwrap)
}

#[track_caller]
fn can_be_shown(pair: &Pair) {
    for version in VERSIONS {
        let ours = load(&Workshop::new(), pair, word(version)).unwrap();
        let client = trusting_client(version);
        let client = ClientConnection::new(Arc::new(client), ServerName::try_from(HOST).unwrap()).unwrap();
        let done = handshake(client, ServerConnection::new(ours.config.clone()).unwrap()).unwrap();
        assert_eq!(done.protocol_version(), Some(version.version));
    }
}

#[test]
fn every_version_and_name_can_be_shown() {
    let root = Authority::root("root");
    can_be_shown(&root.good());
    can_be_shown(&root.sign(HOST, &[], |_| {}));
    can_be_shown(&root.intermediate("one", |_| {}).good());
    can_be_shown(&Pair::self_signed(HOST, |_| {}));
    can_be_shown(&Workshop::new().version_1(&root, 30));
    can_be_shown(&root.sign("old", &[], |params| params.not_after = date_time_ymd(2020, 1, 1)));
}

#[test]
fn every_kind_and_form_of_key_can_be_shown() {
    let workshop = Workshop::new();
    let kinds = ["rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-256", "ec -pkeyopt ec_paramgen_curve:P-521", "ed25519"];
    for kind in kinds {
        workshop.openssl(&format!("req -nodes -newkey {kind} -x509 -subj /CN={HOST} -keyout s.key -out s.crt"));
        can_be_shown(&Pair { chain: workshop.text("s.crt"), key: workshop.text("s.key") });
        if kind != "ed25519" {
            workshop.openssl("pkey -in s.key -traditional -out old.key");
            assert!(workshop.text("old.key").contains(if kind == "rsa:2048" { "BEGIN RSA" } else { "BEGIN EC" }));
            can_be_shown(&Pair { chain: workshop.text("s.crt"), key: workshop.text("old.key") });
        }
    }
}

#[test]
fn the_subject_and_the_end_of_our_certificate_are_known() {
    let pair = Authority::root("root").sign("pooler", &[HOST], |params| {
        params.not_after = date_time_ymd(2033, 5, 18);
    });
    let workshop = Workshop::new();
    let expiry = load(&workshop, &pair, "secure").unwrap().expiry.clone();
    assert_eq!((expiry.setting, expiry.subject.as_str()), ("client_tls_cert_file", "CN=pooler"));
    assert_eq!((expiry.not_after, expiry.file), (1_999_987_200, workshop.path("shown.crt")));
}

#[test]
fn a_certificate_for_servers_is_shown_to_those_who_ask() {
    let (workshop, root) = (Workshop::new(), Authority::root("root"));
    let (own, pooler) = (root.good(), Workshop::new().version_1(&root, 30));
    let global = Global {
        client_tls_sslmode: SslMode::VerifyFull,
        client_tls_cert_file: workshop.file("own.crt", &own.chain),
        client_tls_key_file: workshop.file("own.key", &own.key),
        client_tls_ca_file: workshop.file("root.crt", &root.pem()),
        server_tls_sslmode: SslMode::VerifyFull,
        server_tls_ca_file: workshop.file("root.crt", &root.pem()),
        server_tls_cert_file: workshop.file("pooler.crt", &pooler.chain),
        server_tls_key_file: workshop.file("pooler.key", &pooler.key),
        ..Global::default()
    };
    let (server, client) = (ClientTls::load(&global).unwrap().unwrap(), ServerTls::load(&global).unwrap().unwrap());
    assert_eq!(client.expiry.as_ref().unwrap().setting, "server_tls_cert_file");
    let connection = ClientConnection::new(client.config.clone(), client.name_for(HOST).unwrap()).unwrap();
    let done = handshake(connection, ServerConnection::new(server.config.clone()).unwrap()).unwrap();
    assert_eq!(done.peer_certificates().unwrap()[0], pooler.certificate());
    assert_eq!(done.alpn_protocol(), Some(crate::tls::ALPN));
    assert_eq!(describe(&done).unwrap(), "TLSv1.3/TLS_AES_256_GCM_SHA384/ECDH=X25519");
}

#[test]
fn openssl_accepts_us_and_is_accepted_with_certificates_of_version_1() {
    let (workshop, root) = (Workshop::new(), Authority::root("root"));
    let own = workshop.version_1(&root, 30);
    let global = Global {
        client_tls_sslmode: SslMode::VerifyFull,
        client_tls_cert_file: workshop.path("v1.crt").to_str().unwrap().to_owned(),
        client_tls_key_file: workshop.path("v1.key").to_str().unwrap().to_owned(),
        client_tls_ca_file: workshop.file("root.crt", &root.pem()),
        ..Global::default()
    };
    let ours = ClientTls::load(&global).unwrap().unwrap();
    for version in ["tls1_2", "tls1_3"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = format!(
            "s_client -{version} -connect {} -CAfile root.crt -verify_return_error -verify_hostname {HOST} \
             -cert v1.crt -key v1.key -quiet",
            listener.local_addr().unwrap()
        );
        std::thread::scope(|scope| {
            let heard = scope.spawn(|| workshop.openssl(&peer));
            let connection = ServerConnection::new(ours.config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, listener.accept().unwrap().0);
            stream.write_all(b"welcome").unwrap();
            assert_eq!(stream.conn.peer_certificates().unwrap()[0], own.certificate());
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            drop(stream);
            assert_eq!(heard.join().unwrap(), b"welcome");
        });
    }
}
