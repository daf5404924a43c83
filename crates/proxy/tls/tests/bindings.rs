//! `tls-server-end-point` beside what OpenSSL computes.

use super::workshop::{HOST, NEW_KEY, Pair, Workshop};
use crate::tls::end_point;

/// Makes a self-signed certificate and compares our hash with OpenSSL's.
#[track_caller]
fn agrees(request: &str, hash: &str) {
    let workshop = Workshop::new();
    workshop.openssl(&format!("{request} -x509 -subj /CN={HOST} -keyout s.key -out s.crt"));
    let pair = Pair { chain: workshop.text("s.crt"), key: String::new() };
    workshop.openssl("x509 -in s.crt -outform der -out s.der");
    let expected = workshop.openssl(&format!("dgst -{hash} -binary s.der"));
    assert_eq!(end_point(&pair.certificate()), Some(expected), "{request}");
}

#[test]
fn the_hash_is_that_of_the_signature() {
    for hash in ["sha224", "sha256", "sha384", "sha512"] {
        agrees(&format!("{NEW_KEY} -{hash}"), hash);
        agrees(&format!("req -nodes -newkey rsa:2048 -{hash}"), hash);
    }
}

#[test]
fn weak_hashes_are_replaced_by_sha_256() {
    for hash in ["sha1", "md5"] {
        agrees(&format!("req -nodes -newkey rsa:2048 -{hash}"), "sha256");
    }
    agrees(&format!("{NEW_KEY} -sha1"), "sha256");
}

#[test]
fn rsa_pss_names_its_hash_in_parameters() {
    let pss = "req -nodes -newkey rsa:2048 -sigopt rsa_padding_mode:pss";
    for (hash, expected) in [("sha1", "sha256"), ("sha256", "sha256"), ("sha384", "sha384"), ("sha512", "sha512")] {
        agrees(&format!("{pss} -{hash}"), expected);
    }
}

#[test]
fn ed25519_has_no_binding() {
    let workshop = Workshop::new();
    workshop.openssl("req -nodes -newkey ed25519 -x509 -subj /CN=x -keyout s.key -out s.crt");
    assert_eq!(end_point(&Pair { chain: workshop.text("s.crt"), key: String::new() }.certificate()), None);
}
