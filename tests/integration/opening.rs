//! First packets: what comes before a login, whole or broken, and protocol versions.

use std::time::Duration;

use crate::harness::client::Received;
use crate::harness::{Client, Pooler, Report, Setup};

const SSL: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const GSS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

fn pooler() -> Pooler {
    Setup::new().allow("pooler error").start()
}

/// Sends a first packet, and returns the last words it provoked.
#[track_caller]
fn refused(pooler: &Pooler, packet: &[u8]) -> Report {
    let mut client = Client::connect(&pooler.address());
    client.send(packet);
    let report = client.last_words();
    assert_eq!(report.severity, "FATAL", "{report}");
    report
}

/// A startup packet of protocol 3.0 with this body.
fn startup(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).expect("a small packet");
    [&length.to_be_bytes(), &[0, 3, 0, 0][..], body].concat()
}

#[track_caller]
fn one_byte(client: &mut Client) -> u8 {
    use std::io::Read;
    let mut byte = [0];
    client.stream.read_exact(&mut byte).expect("one byte in answer");
    byte[0]
}

#[test]
fn requests_for_encryption_are_answered_no_and_the_login_goes_on() {
    let pooler = pooler();
    for requests in [&[SSL][..], &[GSS], &[GSS, SSL], &[SSL, GSS]] {
        let mut client = Client::connect(&pooler.address());
        for request in requests {
            client.send(request);
            assert_eq!(one_byte(&mut client), b'N');
        }
        client.send(&pooler.login().startup());
        pooler.login().finish(client).expect("the login goes on").rows("select 1");
    }
}

#[test]
fn bytes_smuggled_behind_a_request_for_encryption_are_refused() {
    let pooler = pooler();
    for request in [SSL, GSS] {
        let mut client = Client::connect(&pooler.address());
        client.send(&[&request, pooler.login().startup().as_slice()].concat());
        let report = client.last_words();
        assert_eq!(
            (report.code.as_str(), report.message.as_str()),
            ("08P01", "received unencrypted data after SSL request")
        );
    }
}

#[test]
fn endless_requests_for_encryption_end() {
    let pooler = pooler();
    let mut client = Client::connect(&pooler.address());
    let mut answered = 0;
    for _ in 0..100 {
        client.send(&SSL);
        if matches!(client.receive(Duration::from_millis(20)), Received::Closed) {
            break;
        }
        answered += 1;
    }
    assert!(answered < 100, "one may ask for ever");
}

#[test]
fn garbage_is_refused() {
    let pooler = pooler();
    let report = refused(&pooler, b"GET / HTTP/1.1\r\nHost: pooler\r\n\r\n");
    assert!(report.message.starts_with("bad packet header: '"), "{report}");
    for packet in [&[0, 0, 0, 0, 0, 0, 0, 0][..], &[0, 0, 0, 7, 0, 3, 0, 0], &[0xff; 64], &[0, 0, 0, 9, 0, 4, 0, 0, 0]]
    {
        assert_eq!(refused(&pooler, packet).code, "08P01", "{packet:?}");
    }
    pooler.client().rows("select 1");
}

#[test]
fn an_oversized_packet_is_refused_before_it_has_arrived() {
    let pooler = pooler();
    let mut packet = startup(b"user\0");
    packet[..4].copy_from_slice(&2_000_000_u32.to_be_bytes());
    let report = refused(&pooler, &packet);
    assert!(["08P01", "54000"].contains(&report.code.as_str()), "{report}");
}

#[test]
fn an_oversized_password_message_is_refused_before_it_has_arrived() {
    let pooler = pooler();
    let mut client = Client::connect(&pooler.address());
    client.send(&pooler.login().startup());
    assert_eq!(client.message().tag, b'R');
    client.send(&[b'p', 0x10, 0, 0, 0, 1, 2, 3]);
    assert_eq!(client.last_words().severity, "FATAL");
}

#[test]
fn a_query_instead_of_a_password_is_refused() {
    let pooler = pooler();
    let mut client = Client::connect(&pooler.address());
    client.send(&pooler.login().startup());
    assert_eq!(client.message().tag, b'R');
    client.send_query("select 1");
    let report = client.last_words();
    assert_eq!((report.severity.as_str(), report.code.as_str()), ("FATAL", "08P01"));
}

#[test]
fn malformed_startup_packets_are_refused_in_pgbouncers_words() {
    let pooler = pooler();
    let long = [b"user\0".as_slice(), &[b'u'; 128], b"\0\0"].concat();
    for (body, message) in [
        (&b"user\0app\0"[..], "invalid startup packet layout: expected terminator as last byte"),
        (b"user\0app\0database\0app", "invalid startup packet layout: expected terminator as last byte"),
        (b"database\0app\0\0", "no username supplied"),
        (b"user\0\0\0", "no username supplied"),
        (b"\0", "no username supplied"),
        (&long, "username too long"),
    ] {
        assert_eq!(refused(&pooler, &startup(body)).message, message, "{}", body.escape_ascii());
    }
    assert_eq!(refused(&pooler, &[0, 0, 0, 9, 0, 2, 0, 0, 0]).message, "old V2 protocol not supported");
}

#[test]
fn a_truncated_packet_is_nobodys_harm() {
    let pooler = pooler();
    let whole = pooler.login().startup();
    for length in [0, 1, 4, 7, 8, whole.len() - 1] {
        let mut client = Client::connect(&pooler.address());
        client.send(&whole[..length]);
        client.stream.half_close().expect("we can close our side");
        client.until_closed();
    }
    pooler.client().rows("select 1");
}

#[test]
fn a_login_one_byte_at_a_time_succeeds() {
    let pooler = pooler();
    let mut client = Client::connect(&pooler.address());
    for byte in pooler.login().startup() {
        client.send(&[byte]);
    }
    pooler.login().finish(client).expect("slow, but right").rows("select 1");
}

#[test]
fn without_a_database_the_users_name_is_asked_for() {
    let pooler = Setup::new().set("auth_type", "trust").allow("no such database").start();
    let body = format!("user\0{}\0\0", pooler.setup.user);
    let report = refused_after_login(&pooler, &startup(body.as_bytes()));
    assert_eq!(report.message, format!("no such database: {}", pooler.setup.user));
}

#[track_caller]
fn refused_after_login(pooler: &Pooler, packet: &[u8]) -> Report {
    let mut client = Client::connect(&pooler.address());
    client.send(packet);
    let messages = client.until_closed();
    messages.iter().find(|message| message.tag == b'E').expect("an error").report()
}

#[test]
fn protocol_3_2_has_a_longer_key_that_works() {
    let pooler = pooler();
    let mut client = pooler.login().minor(2).open(&pooler.address());
    let (_, key) = client.key_data();
    assert!(key.len() > 4, "a key of {} bytes", key.len());
    client.send_query("select pg_sleep(35)");
    let running = "select count(*) from pg_stat_activity where query = 'select pg_sleep(35)' and state = 'active' and pid <> pg_backend_pid()";
    crate::harness::eventually("the query runs", || crate::harness::direct::value(running) == "1");
    client.cancel();
    assert_eq!(client.answer().expect_err("canceled").code, "57014");
    let old = pooler.client();
    assert_eq!(old.key_data().1.len(), 4);
    assert!(old.greeting.iter().all(|message| message.tag != b'v'), "nothing to negotiate");
}

#[test]
fn newer_minor_versions_are_negotiated_down() {
    let pooler = pooler();
    let mut client = pooler.login().minor(9).open(&pooler.address());
    let negotiation = &client.greeting[0];
    assert_eq!((negotiation.tag, negotiation.body.as_slice()), (b'v', &[0, 3, 0, 2, 0, 0, 0, 0][..]));
    client.rows("select 1");
}

#[test]
fn unknown_protocol_options_are_listed_and_never_an_error() {
    let pooler = pooler();
    let login = pooler.login().with("_pq_.one", "1").with("_pq_.two", "2");
    let mut client = login.open(&pooler.address());
    let negotiation = &client.greeting[0];
    assert_eq!(negotiation.tag, b'v');
    assert_eq!(&negotiation.body[4..], b"\0\0\0\x02_pq_.one\0_pq_.two\0");
    client.rows("select 1");
}

#[test]
fn a_replication_login_is_refused_politely() {
    let pooler = pooler();
    let report = pooler.login().with("replication", "database").try_open(&pooler.address()).expect_err("not available");
    assert_eq!(report.severity, "FATAL");
}

#[test]
fn a_cancel_request_of_an_odd_size_is_refused_quietly() {
    let pooler = pooler();
    for packet in [&[0, 0, 0, 12, 4, 210, 22, 46, 0, 0, 0, 1][..], &[0, 0, 0, 15, 4, 210, 22, 46, 0, 0, 0, 1, 1, 2, 3]]
    {
        let mut client = Client::connect(&pooler.address());
        client.send(packet);
        client.until_closed();
    }
    pooler.client().rows("select 1");
}
