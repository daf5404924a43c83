//! Servers with every kind of certificate, under every mode of `server_tls_sslmode`.

use std::sync::Arc;

use config::{Global, SslMode};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustls::{CertificateError, ClientConnection, Error, ServerConnection};

use super::workshop::{Authority, HOST, NEW_KEY, Pair, Refused, VERSIONS, Workshop, handshake};
use crate::tls::ServerTls;

const UNCHECKED: [SslMode; 3] = [SslMode::Allow, SslMode::Prefer, SslMode::Require];

/// Connects to `host`, which shows `pair`, trusting the authorities in `trusted`; returns why it was refused.
fn connect(pair: &Pair, trusted: &str, host: &str, mode: SslMode) -> Result<(), CertificateError> {
    let workshop = Workshop::new();
    let server_tls_ca_file = workshop.file("root.crt", trusted);
    let global = Global { server_tls_sslmode: mode, server_tls_ca_file, ..Global::default() };
    let ours = ServerTls::load(&global).unwrap().unwrap();
    let [tls12, tls13] = VERSIONS.map(|version| {
        let server = ServerConnection::new(Arc::new(pair.server(version))).unwrap();
        let client = ClientConnection::new(ours.config.clone(), ours.name_for(host).unwrap()).unwrap();
        match handshake(client, server) {
            Ok(done) => {
                assert_eq!(done.protocol_version(), Some(version.version));
                Ok(())
            }
            Err(Refused::ByClient(Error::InvalidCertificate(why))) => Err(why),
            Err(other) => panic!("{other:?}"),
        }
    });
    assert_eq!(format!("{tls12:?}"), format!("{tls13:?}"), "both versions of TLS come to the same verdict");
    tls13
}

/// Checks the verdicts of verify-ca and verify-full, and that the other modes do not look.
#[track_caller]
fn judge(pair: &Pair, trusted: &str, host: &str, ca: Result<(), CertificateError>, full: Result<(), CertificateError>) {
    for mode in UNCHECKED {
        assert_eq!(connect(pair, trusted, host, mode), Ok(()), "{mode}");
    }
    assert_eq!(connect(pair, trusted, host, SslMode::VerifyCa), ca, "verify-ca");
    assert_eq!(connect(pair, trusted, host, SslMode::VerifyFull), full, "verify-full");
}

#[track_caller]
fn accepted(pair: &Pair, trusted: &str, host: &str) {
    judge(pair, trusted, host, Ok(()), Ok(()));
}

#[track_caller]
fn refused(pair: &Pair, trusted: &str, why: CertificateError) {
    judge(pair, trusted, HOST, Err(why.clone()), Err(why));
}

#[track_caller]
fn misnamed(pair: &Pair, trusted: &str, host: &str) {
    judge(pair, trusted, host, Ok(()), Err(CertificateError::NotValidForName));
}

#[test]
fn a_certificate_of_the_authority_is_accepted_for_its_names() {
    let root = Authority::root("root");
    accepted(&root.good(), &root.pem(), HOST);
    accepted(&root.good(), &root.pem(), "DB.Example.Com.");
    misnamed(&root.good(), &root.pem(), "other.example.com");
    misnamed(&root.good(), &root.pem(), "irrelevant");
}

#[test]
fn a_certificate_with_only_a_common_name_is_accepted_for_it() {
    let root = Authority::root("root");
    let pair = root.sign(HOST, &[], |_| {});
    accepted(&pair, &root.pem(), HOST);
    misnamed(&pair, &root.pem(), "other.example.com");
}

#[test]
fn a_wildcard_is_accepted_for_one_label() {
    let root = Authority::root("root");
    let pair = root.sign("x", &["*.example.com"], |_| {});
    accepted(&pair, &root.pem(), HOST);
    misnamed(&pair, &root.pem(), "a.db.example.com");
}

#[test]
fn an_address_is_matched_against_addresses() {
    let root = Authority::root("root");
    let pair = root.sign("10.0.0.9", &["10.0.0.1", "fd00::1"], |_| {});
    accepted(&pair, &root.pem(), "10.0.0.1");
    accepted(&pair, &root.pem(), "fd00:0::1%eth0");
    misnamed(&pair, &root.pem(), "10.0.0.2");
    misnamed(&pair, &root.pem(), "10.0.0.9");
}

#[test]
fn an_authority_that_is_not_trusted_is_refused() {
    let (root, other) = (Authority::root("root"), Authority::root("other"));
    refused(&other.good(), &root.pem(), CertificateError::UnknownIssuer);
    refused(&Pair::self_signed(HOST, |_| {}), &root.pem(), CertificateError::UnknownIssuer);
}

#[test]
fn an_authority_of_the_same_name_with_another_key_is_refused() {
    let (root, impostor) = (Authority::root("root"), Authority::root("root"));
    for pair in [impostor.good(), Workshop::new().version_1(&impostor, 30)] {
        let verdict = connect(&pair, &root.pem(), HOST, SslMode::VerifyCa);
        assert!(
            matches!(verdict, Err(CertificateError::BadSignature | CertificateError::UnknownIssuer)),
            "{verdict:?}"
        );
    }
}

#[test]
fn dates_are_checked_in_the_verifying_modes() {
    let root = Authority::root("root");
    let expired = root.sign("x", &[HOST], |params| params.not_after = date_time_ymd(2020, 1, 1));
    refused(&expired, &root.pem(), CertificateError::Expired);
    let early = root.sign("x", &[HOST], |params| params.not_before = date_time_ymd(2090, 1, 1));
    refused(&early, &root.pem(), CertificateError::NotValidYet);
}

#[test]
fn an_authority_that_has_expired_vouches_for_nobody() {
    let root = Authority::root_with("root", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let verdict = connect(&root.good(), &root.pem(), HOST, SslMode::VerifyCa);
    assert_eq!(verdict, Err(CertificateError::Expired));
    refused(&Workshop::new().version_1(&root, 30), &root.pem(), CertificateError::Expired);
}

#[test]
fn intermediates_are_sent_by_the_server() {
    let root = Authority::root("root");
    let pair = root.intermediate("one", |_| {}).intermediate("two", |_| {}).good();
    accepted(&pair, &root.pem(), HOST);
    let alone =
        Pair { chain: pair.chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap().into(), ..pair };
    refused(&alone, &root.pem(), CertificateError::UnknownIssuer);
}

#[test]
fn a_self_signed_certificate_is_accepted_if_it_is_a_root_itself() {
    let authority = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for pair in [Pair::self_signed(HOST, authority), Pair::self_signed(HOST, |_| {})] {
        accepted(&pair, &pair.chain, HOST);
        misnamed(&pair, &pair.chain, "other.example.com");
    }
    let expired = Pair::self_signed(HOST, |params| params.not_after = date_time_ymd(2020, 1, 1));
    refused(&expired, &expired.chain, CertificateError::Expired);
    let twin = Pair::self_signed(HOST, authority);
    let verdict = connect(&twin, &Pair::self_signed(HOST, authority).chain, HOST, SslMode::VerifyCa);
    assert!(verdict.is_err(), "the same name is not the same certificate");
}

#[test]
fn the_certificate_of_postgresqls_manual_is_accepted_as_its_own_root() {
    let workshop = Workshop::new();
    workshop.openssl(&format!("{NEW_KEY} -new -x509 -days 365 -text -subj /CN={HOST} -keyout s.key -out s.crt"));
    let pair = Pair { chain: workshop.text("s.crt"), key: workshop.text("s.key") };
    accepted(&pair, &pair.chain, HOST);
}

#[test]
fn a_root_that_is_no_authority_vouches_only_for_itself() {
    let root = Authority::root_with("root", |params| params.is_ca = IsCa::NoCa);
    refused(&root.good(), &root.pem(), CertificateError::UnknownIssuer);
}

#[test]
fn a_version_1_certificate_among_the_roots_vouches_only_for_itself() {
    let (workshop, root) = (Workshop::new(), Authority::root("root"));
    let leaf = workshop.version_1(&root, 30);
    accepted(&leaf, &leaf.chain, HOST);
    workshop.file("leaf.crt", &leaf.chain);
    workshop.file("leaf.key", &leaf.key);
    workshop.openssl(&format!("{NEW_KEY} -new -subj /CN={HOST} -keyout s.key -out s.csr"));
    workshop.openssl("x509 -req -in s.csr -CA leaf.crt -CAkey leaf.key -CAcreateserial -out s.crt");
    let forged = Pair { chain: workshop.text("s.crt") + &leaf.chain, key: workshop.text("s.key") };
    refused(&forged, &leaf.chain, CertificateError::UnknownIssuer);
    refused(&forged, &root.pem(), CertificateError::UnknownIssuer);
}

#[test]
fn an_intermediate_must_have_signed_the_version_1_certificate_below_it() {
    let (root, other) = (Authority::root("root"), Authority::root("other"));
    let (real, fake) = (root.intermediate("one", |_| {}), other.intermediate("one", |_| {}));
    let forged = Workshop::new().version_1(&fake, 30);
    let leaf = forged.chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    let forged = Pair { chain: leaf.to_owned() + &real.pem(), ..forged };
    refused(&forged, &root.pem(), CertificateError::UnknownIssuer);
}

#[test]
fn a_certificate_that_says_version_1_and_has_extensions_is_refused() {
    let (workshop, root) = (Workshop::new(), Authority::root("root"));
    let good = root.good();
    let mut der = good.certificate().to_vec();
    let version = der.windows(5).position(|bytes| bytes == [0xa0, 3, 2, 1, 2]).unwrap();
    der[version + 4] = 0;
    std::fs::write(workshop.path("s.der"), der).unwrap();
    workshop.openssl("x509 -inform der -in s.der -out s.crt");
    let pair = Pair { chain: workshop.text("s.crt"), ..good };
    refused(&pair, &root.pem(), CertificateError::BadEncoding);
}

#[test]
fn a_version_1_root_vouches_for_others() {
    let workshop = Workshop::new();
    workshop.openssl(&format!("{NEW_KEY} -new -subj /CN=root -keyout ca.key -out ca.csr"));
    workshop.openssl("x509 -req -in ca.csr -signkey ca.key -out ca.crt");
    workshop.openssl(&format!("{NEW_KEY} -new -subj /CN={HOST} -keyout s.key -out s.csr"));
    workshop.file("san", &format!("subjectAltName=DNS:{HOST}"));
    for extensions in ["", "-extfile san"] {
        workshop
            .openssl(&format!("x509 -req -in s.csr -CA ca.crt -CAkey ca.key -CAcreateserial {extensions} -out s.crt"));
        let pair = Pair { chain: workshop.text("s.crt"), key: workshop.text("s.key") };
        accepted(&pair, &workshop.text("ca.crt"), HOST);
    }
}

#[test]
fn a_version_1_certificate_of_the_authority_is_accepted() {
    let (root, other) = (Authority::root("root"), Authority::root("other"));
    let pair = Workshop::new().version_1(&root, 30);
    accepted(&pair, &root.pem(), HOST);
    misnamed(&pair, &root.pem(), "other.example.com");
    refused(&pair, &other.pem(), CertificateError::UnknownIssuer);
    refused(&Workshop::new().version_1(&root, -1), &root.pem(), CertificateError::Expired);
}

#[test]
fn a_version_1_certificate_below_intermediates_is_accepted() {
    let root = Authority::root("root");
    let two = root.intermediate("one", |_| {}).intermediate("two", |_| {});
    let pair = Workshop::new().version_1(&two, 30);
    accepted(&pair, &root.pem(), HOST);
    accepted(&pair, &(Authority::root("other").pem() + &root.pem()), HOST);
}

#[test]
fn a_common_name_does_not_get_around_name_constraints() {
    let permitted_subtrees = vec![GeneralSubtree::DnsName("other.org".into())];
    let constraints = NameConstraints { permitted_subtrees, excluded_subtrees: vec![] };
    let constrain = |params: &mut CertificateParams| params.name_constraints = Some(constraints.clone());
    let verify = |pair: &Pair, root: &Authority| connect(pair, &root.pem(), HOST, SslMode::VerifyCa);

    let root = Authority::root("root");
    let narrow = root.intermediate("narrow", constrain);
    assert!(matches!(verify(&narrow.good(), &root), Err(CertificateError::Other(_))));
    assert!(matches!(verify(&narrow.sign(HOST, &[], |_| {}), &root), Err(CertificateError::Other(_))));
    assert_eq!(verify(&narrow.sign("alice", &[], |_| {}), &root), Ok(()), "a user is no host");
    assert_eq!(verify(&narrow.sign("x", &["db.other.org"], |_| {}), &root), Ok(()));

    let narrow = Authority::root_with("root", constrain);
    assert!(matches!(verify(&narrow.sign(HOST, &[], |_| {}), &narrow), Err(CertificateError::Other(_))));
    let version_1 = Workshop::new().version_1(&narrow, 30);
    assert_eq!(verify(&version_1, &narrow), Err(CertificateError::UnknownIssuer));
}

#[test]
fn a_version_1_certificate_below_one_that_may_not_sign_is_refused() {
    type Change = fn(&mut CertificateParams);
    let root = Authority::root("root");
    let cases: [(Change, CertificateError); 7] = [
        (|params| params.is_ca = IsCa::NoCa, CertificateError::UnknownIssuer),
        (|params| params.is_ca = IsCa::ExplicitNoCa, CertificateError::UnknownIssuer),
        (|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature], CertificateError::UnknownIssuer),
        (
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            CertificateError::InvalidPurpose,
        ),
        (|params| params.not_after = date_time_ymd(2020, 1, 1), CertificateError::Expired),
        (
            |params| {
                let mut strange = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                strange.set_criticality(true);
                params.custom_extensions = vec![strange];
            },
            CertificateError::UnhandledCriticalExtension,
        ),
        (
            |params| {
                let permitted_subtrees = vec![GeneralSubtree::DnsName("other.org".into())];
                let constraints = NameConstraints { permitted_subtrees, excluded_subtrees: vec![] };
                params.name_constraints = Some(constraints);
            },
            CertificateError::UnhandledCriticalExtension,
        ),
    ];
    for (change, why) in cases {
        let pair = Workshop::new().version_1(&root.intermediate("one", change), 30);
        refused(&pair, &root.pem(), why);
    }
    let short = root.intermediate("one", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    accepted(&Workshop::new().version_1(&short, 30), &root.pem(), HOST);
    let pair = Workshop::new().version_1(&short.intermediate("two", |_| {}), 30);
    refused(&pair, &root.pem(), CertificateError::UnknownIssuer);
}

#[test]
fn a_certificate_for_clients_only_is_refused() {
    let clients_only = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let root = Authority::root("root");
    refused(&root.sign("x", &[HOST], clients_only), &root.pem(), CertificateError::InvalidPurpose);
    let own = Pair::self_signed(HOST, clients_only);
    refused(&own, &own.chain, CertificateError::InvalidPurpose);
}

#[test]
fn every_kind_of_key_can_sign_a_handshake() {
    let workshop = Workshop::new();
    for kind in ["rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-384", "ec -pkeyopt ec_paramgen_curve:P-521", "ed25519"] {
        workshop.openssl(&format!("req -nodes -newkey {kind} -x509 -subj /CN={HOST} -keyout s.key -out s.crt"));
        let pair = Pair { chain: workshop.text("s.crt"), key: workshop.text("s.key") };
        accepted(&pair, &pair.chain, HOST);
    }
}

#[test]
fn a_version_1_certificate_may_be_signed_with_rsa_pss() {
    let workshop = Workshop::new();
    workshop.openssl("req -nodes -newkey rsa:2048 -x509 -subj /CN=root -keyout ca.key -out ca.crt");
    workshop.openssl(&format!("{NEW_KEY} -new -subj /CN={HOST} -keyout s.key -out s.csr"));
    for padding in ["", "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -sha256"] {
        workshop.openssl(&format!("x509 -req -in s.csr -CA ca.crt -CAkey ca.key -CAcreateserial {padding} -out s.crt"));
        let pair = Pair { chain: workshop.text("s.crt"), key: workshop.text("s.key") };
        accepted(&pair, &workshop.text("ca.crt"), HOST);
    }
}

#[test]
fn a_server_without_the_key_of_its_certificate_is_refused_in_every_mode() {
    let root = Authority::root("root");
    let workshop = Workshop::new();
    let global = Global { server_tls_sslmode: SslMode::Prefer, ..Global::default() };
    let ours = ServerTls::load(&global).unwrap().unwrap();
    for shown in [root.good(), workshop.version_1(&root, 30)] {
        let stolen = Pair { chain: shown.chain, key: root.good().key };
        for version in VERSIONS {
            let server = ServerConnection::new(Arc::new(stolen.server(version))).unwrap();
            let client = ClientConnection::new(ours.config.clone(), ours.name_for(HOST).unwrap()).unwrap();
            let refused = handshake(client, server);
            let expected = Error::InvalidCertificate(CertificateError::BadSignature);
            assert!(matches!(&refused, Err(Refused::ByClient(error)) if *error == expected), "{refused:?}");
        }
    }
}

#[test]
fn a_host_that_is_no_name_is_only_refused_where_it_matters() {
    let named = |mode| {
        let workshop = Workshop::new();
        let server_tls_ca_file = workshop.file("root.crt", &Authority::root("root").pem());
        let global = Global { server_tls_sslmode: mode, server_tls_ca_file, ..Global::default() };
        ServerTls::load(&global).unwrap().unwrap().name_for("not a name")
    };
    assert!(named(SslMode::Require).is_ok());
    let error = named(SslMode::VerifyFull).unwrap_err().to_string();
    assert_eq!(error, "server_tls_sslmode: verify-full cannot check the host \"not a name\"");
}
