//! What comes before and inside a TLS handshake with a client: direct TLS, odd orders, broken bytes.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::harness::client::Received;
use crate::harness::{Client, Login, Pooler, Setup, Tls};

const SSL: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const GSS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

fn pooler() -> Pooler {
    Setup::new().tls("prefer").set("auth_failure_delay", 0).allow("pooler error").start()
}

/// The first record of a handshake.
fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    Tls::new().connection().write_tls(&mut bytes).expect("a ClientHello");
    bytes
}

#[track_caller]
fn one_byte(client: &mut Client) -> u8 {
    let mut byte = [0];
    client.stream.read_exact(&mut byte).expect("one byte in answer");
    byte[0]
}

/// A client that has asked for TLS and was granted it.
#[track_caller]
fn granted(pooler: &Pooler) -> Client {
    let mut client = Client::connect(&pooler.address());
    client.send(&SSL);
    assert_eq!(one_byte(&mut client), b'S');
    client
}

/// Waits for the end of a connection: what came before is TLS's own, or nothing.
#[track_caller]
fn closes_without_a_word_in_clear(client: &mut Client) {
    let mut rest = Vec::new();
    match client.stream.raw().read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
    // Records of TLS, and no ErrorResponse.
    assert!(rest.first().is_none_or(|kind| (20..=23).contains(kind)), "{}", rest.escape_ascii());
}

fn still_serves(pooler: &Pooler) {
    pooler.login().tls(&Tls::new()).open(&pooler.address()).rows("select 1");
}

#[test]
fn direct_tls_agrees_on_the_protocol_where_the_client_names_it() {
    let pooler = pooler();
    for (offer, is_direct, agreed) in [
        (&["postgresql"][..], true, Some("postgresql")),
        (&["h2", "postgresql"], true, Some("postgresql")),
        (&[], true, None),
        (&["postgresql"], false, Some("postgresql")),
        (&[], false, None),
    ] {
        let tls = if is_direct { Tls::new().direct() } else { Tls::new() }.alpn(offer);
        let mut client = pooler.login().tls(&tls).open(&pooler.address());
        client.rows("select 1");
        let got = client.stream.tls(|connection| connection.alpn_protocol().map(<[u8]>::to_vec));
        assert_eq!(got.as_deref(), agreed.map(str::as_bytes), "{offer:?}");
    }
}

#[test]
fn a_foreign_protocol_is_refused() {
    let pooler = pooler();
    for tls in [Tls::new().direct(), Tls::new()] {
        let login = pooler.login().tls(&tls.alpn(&["http/1.1"]));
        let report = login.try_open(&pooler.address()).expect_err("refused");
        assert!(report.message.contains("NoApplicationProtocol"), "{report}");
    }
    still_serves(&pooler);
}

#[test]
fn direct_tls_is_refused_where_tls_is_off() {
    let pooler = Setup::new().allow("pooler error").start();
    let login = pooler.login().tls(&Tls::new().direct());
    login.try_open(&pooler.address()).expect_err("refused");
    pooler.client().rows("select 1");
}

#[test]
fn a_request_for_gssapi_is_declined_and_tls_follows() {
    let pooler = pooler();
    let mut client = Client::connect(&pooler.address());
    client.send(&GSS);
    assert_eq!(one_byte(&mut client), b'N');
    client.send(&SSL);
    assert_eq!(one_byte(&mut client), b'S');
    client.stream.start_tls(Tls::new().connection()).expect("a handshake");
    client.send(&pooler.login().startup());
    pooler.login().finish(client).expect("the login goes on").rows("select 1");
}

#[test]
fn a_second_request_instead_of_a_handshake_is_refused() {
    let pooler = pooler();
    for second in [SSL, GSS] {
        let mut client = granted(&pooler);
        client.send(&second);
        closes_without_a_word_in_clear(&mut client);
    }
    still_serves(&pooler);
}

#[test]
fn a_login_in_clear_behind_a_granted_request_is_refused() {
    let pooler = pooler();
    let mut client = granted(&pooler);
    client.send(&pooler.login().startup());
    closes_without_a_word_in_clear(&mut client);
}

#[test]
fn a_request_for_tls_inside_tls_is_refused() {
    let pooler = pooler();
    let login = pooler.login().tls(&Tls::new());
    let mut client = login.connect(&pooler.address()).expect("a handshake");
    client.send(&SSL);
    let report = client.last_words();
    assert_eq!((report.code.as_str(), report.message.as_str()), ("08P01", "encryption was asked for twice"));
}

#[test]
fn bytes_in_clear_behind_a_request_for_tls_are_refused() {
    let pooler = pooler();
    for smuggled in [pooler.login().startup(), b"Q\0\0\0\x0dselect 1\0".to_vec(), hello(), vec![0]] {
        let mut client = Client::connect(&pooler.address());
        client.send(&[&SSL, smuggled.as_slice()].concat());
        let report = client.last_words();
        let got = (report.code.as_str(), report.message.as_str());
        assert_eq!(got, ("08P01", "received unencrypted data after SSL request"));
    }
    still_serves(&pooler);
}

#[test]
fn bytes_in_clear_behind_the_handshake_end_the_connection() {
    let pooler = pooler();
    let mut client = pooler.login().tls(&Tls::new()).connect(&pooler.address()).expect("a handshake");
    client.stream.raw().write_all(&pooler.login().startup()).expect("bytes can be sent");
    closes_without_a_word_in_clear(&mut client);
    let mut client = pooler.login().tls(&Tls::new()).open(&pooler.address());
    client.rows("begin");
    client.stream.raw().write_all(b"Q\0\0\0\x0dselect 1\0").expect("bytes can be sent");
    assert!(matches!(client.receive(Duration::from_secs(20)), Received::Closed));
    still_serves(&pooler);
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    let pooler = pooler();
    for is_direct in [false, true] {
        let mut client = if is_direct { Client::connect(&pooler.address()) } else { granted(&pooler) };
        let mut connection = Tls::new().connection();
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).expect("a ClientHello");
        for byte in bytes {
            client.stream.raw().write_all(&[byte]).expect("a byte can be sent");
        }
        client.stream.start_tls(connection).expect("the handshake goes on");
        client.send(&pooler.login().startup());
        pooler.login().finish(client).expect("the login goes on").rows("select 1");
    }
}

#[test]
fn garbage_instead_of_a_handshake_ends_the_connection_and_nothing_else() {
    let pooler = pooler();
    let mut torn = hello();
    torn.truncate(torn.len() / 2);
    let mut bent = hello();
    bent[5] = 99;
    let mut endless = hello();
    endless[3..5].copy_from_slice(&[0xff, 0xff]);
    let mut old = hello();
    old[1] = 9;
    let noise: Vec<u8> = (0..4000_u32).map(|number| (number * 7919 % 251) as u8).collect();
    let behind_type = [&[0x16, 3, 1, 2, 0][..], &noise].concat();
    let application_data = [0x17, 3, 3, 0, 5, 1, 2, 3, 4, 5].to_vec();
    for garbage in [torn, bent, endless, old, behind_type, noise, application_data, vec![0x16; 6], vec![0x80, 0x2e, 1]]
    {
        for is_direct in [false, true] {
            let mut client = if is_direct { Client::connect(&pooler.address()) } else { granted(&pooler) };
            client.send(&garbage);
            client.stream.half_close().expect("we can close our side");
            let mut rest = Vec::new();
            let _ = client.stream.read_to_end(&mut rest);
        }
    }
    still_serves(&pooler);
}

#[test]
fn a_handshake_that_stops_half_way_ends_at_client_login_timeout() {
    let setup = Setup::new().tls("prefer").set("client_login_timeout", "300ms").allow("client_login_timeout");
    let pooler = setup.start();
    let since = Instant::now();
    let mut silent = granted(&pooler);
    let mut half = granted(&pooler);
    half.send(&hello()[..50]);
    let mut direct = Client::connect(&pooler.address());
    direct.send(&hello()[..7]);
    let mut unfinished = granted(&pooler);
    unfinished.send(&hello());
    let mut mute = pooler.login().tls(&Tls::new()).connect(&pooler.address()).expect("a handshake");
    for client in [&mut half, &mut direct, &mut unfinished] {
        closes_without_a_word_in_clear(client);
    }
    silent.until_closed();
    assert_eq!(mute.last_words().message, "client_login_timeout");
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    still_serves(&pooler);
}

#[test]
fn records_cut_off_anywhere_leave_nothing_behind() {
    let pooler = pooler();
    let login: Login = pooler.login().tls(&Tls::new());
    for keep in [1, 4, 5, 6, 20] {
        let mut client = login.open(&pooler.address());
        client.rows("begin");
        // The beginning of a record that claims to be long.
        let record = [&[0x17, 3, 3, 0x10, 0][..], &[7; 60]].concat();
        client.stream.raw().write_all(&record[..keep]).expect("bytes can be sent");
        drop(client);
    }
    still_serves(&pooler);
}
