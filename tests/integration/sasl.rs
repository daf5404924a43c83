//! SCRAM dialogues that are broken in every way: one answer to all, and nobody else is disturbed.

use std::num::NonZeroU32;

use protocol::messages;
use protocol::scram::{self, ChannelBinding, Keys};

use crate::harness::login::nonce;
use crate::harness::{Client, Login, Pooler, Setup};

fn pooler() -> Pooler {
    let setup = Setup::new().set("auth_failure_delay", 0).set("client_login_timeout", 5);
    setup.allow("pooler error").start()
}

/// A client that was asked for SCRAM.
#[track_caller]
pub fn asked(pooler: &Pooler, login: &Login) -> Client {
    let mut client = Client::connect(&pooler.address());
    client.send(&login.startup());
    assert_eq!(client.message().body, b"\0\0\0\x0aSCRAM-SHA-256\0\0");
    client
}

/// A SASLInitialResponse as it comes.
fn initial(mechanism: &str, length: i32, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    messages::message(&mut out, b'p', |out| {
        messages::cstr(out, mechanism.as_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(data);
    });
    out
}

fn first(data: &str) -> Vec<u8> {
    initial("SCRAM-SHA-256", data.len() as i32, data.as_bytes())
}

/// Goes on to the point where the proof is due: the client, and the right last message.
#[track_caller]
pub fn proving(pooler: &Pooler, login: &Login, password: &str) -> (Client, String) {
    let mut client = asked(pooler, login);
    let scram = scram::Client::new([&b"SCRAM-SHA-256"[..]], ChannelBinding::None, nonce()).expect("a mechanism");
    let (first, next) = scram.client_first();
    let mut out = Vec::new();
    messages::sasl_initial_response(&mut out, "SCRAM-SHA-256", &first);
    client.send(&out);
    let challenge = client.message();
    assert_eq!(challenge.body[..4], [0, 0, 0, 11], "{challenge:?}");
    let rounds = NonZeroU32::new(1_000_000).expect("not zero");
    let challenge = next.server_first(&challenge.body[4..], rounds).expect("a good challenge");
    let keys = Keys::derive(password.as_bytes(), challenge.salt(), challenge.iterations());
    let (last, _) = challenge.answer(&keys).expect("keys that fit");
    (client, String::from_utf8(last).expect("SCRAM is text"))
}

pub fn response(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    messages::sasl_response(&mut out, data);
    out
}

#[track_caller]
pub fn fails(client: &mut Client, what: &str) {
    let messages = client.until_closed();
    let words: Vec<String> = messages.iter().map(|message| message.report().to_string()).collect();
    assert_eq!(words, ["FATAL 28P01 SASL authentication failed"], "{what}");
}

/// Runs the test with a client at work beside it.
fn beside_others(pooler: &Pooler, test: impl Fn(&mut dyn FnMut())) {
    let mut other = pooler.client();
    other.rows("begin");
    test(&mut || drop(other.rows("select 1")));
    other.rows("commit");
    pooler.client().rows("select 1");
    assert!(!pooler.log().contains("panicked"));
}

#[test]
fn a_bad_first_message_is_refused() {
    let pooler = pooler();
    let long = format!("n,,n=,r={}", "a".repeat(10_000));
    let cases = [
        vec![b'p', 0, 0, 0, 4],
        [&b"p\0\0\0\x11SCRAM-SHA-256"[..]].concat(),
        [&b"p\0\0\0\x12SCRAM-SHA-256\0"[..]].concat(),
        [&b"p\0\0\0\x14SCRAM-SHA-256\0\0\0"[..]].concat(),
        initial("", 0, b""),
        initial("SCRAM-SHA-1", 14, b"n,,n=,r=abcdef"),
        initial("scram-sha-256", 14, b"n,,n=,r=abcdef"),
        initial("SCRAM-SHA-256-PLUS", 14, b"n,,n=,r=abcdef"),
        initial("SCRAM-SHA-256", -1, b""),
        initial("SCRAM-SHA-256", -1, b"n,,n=,r=abcdef"),
        initial("SCRAM-SHA-256", 0, b"n,,n=,r=abcdef"),
        initial("SCRAM-SHA-256", 13, b"n,,n=,r=abcdef"),
        initial("SCRAM-SHA-256", 15, b"n,,n=,r=abcdef"),
        initial("SCRAM-SHA-256", i32::MAX, b"n,,n=,r=abcdef"),
        initial("SCRAM-SHA-256", i32::MIN, b"n,,n=,r=abcdef"),
        first(""),
        first("n"),
        first("n,,"),
        first("n,,n="),
        first("n,,n=,r="),
        first("n,,r=abcdef"),
        first("n,,m=must,n=,r=abcdef"),
        first("x,,n=,r=abcdef"),
        first("p=tls-unique,,n=,r=abcdef"),
        first("p=tls-server-end-point,,n=,r=abcdef"),
        first("n,b=what,n=,r=abcdef"),
        first("n,,n=,r=abc\u{7f}def"),
        first("n,,n=,r=abc def\0"),
        first("\0\0\0\0"),
        initial("SCRAM-SHA-256", 4, &[0xff; 4]),
        first(&long[..1000].replace("aaa", "\u{e4}")),
    ];
    beside_others(&pooler, |work| {
        for case in &cases {
            for user in [pooler.setup.user.as_str(), "stranger"] {
                let mut client = asked(&pooler, &Login::new(user));
                client.send(case);
                fails(&mut client, &case.escape_ascii().to_string());
            }
            work();
        }
    });
}

#[test]
fn a_bad_last_message_is_refused() {
    let pooler = pooler();
    type Spoil = fn(&str) -> String;
    let cases: &[(&str, Spoil)] = &[
        ("nothing", |_| String::new()),
        ("zeros", |_| "\0\0\0\0".into()),
        ("no nonce", |last| format!("c=biws,p={}", last.split_once(",p=").expect("a proof").1)),
        ("no channel binding", |last| last["c=biws,".len()..].into()),
        ("no proof", |last| last.split_once(",p=").expect("a proof").0.into()),
        ("an empty proof", |last| format!("{},p=", last.split_once(",p=").expect("a proof").0)),
        ("another nonce", |last| last.replacen("r=", "r=x", 1)),
        ("half of the nonce", |last| {
            let (front, proof) = last.split_once(",p=").expect("a proof");
            format!("{},p={proof}", &front[..front.len() - 10])
        }),
        ("more than the nonce", |last| last.replacen(",p=", "x,p=", 1)),
        ("an empty nonce", |last| format!("c=biws,r=,p={}", last.split_once(",p=").expect("a proof").1)),
        ("another binding", |last| last.replacen("c=biws", "c=eSws", 1)),
        ("a binding that is no base64", |last| last.replacen("c=biws", "c=!!!!", 1)),
        ("a proof that is no base64", |last| format!("{}*", &last[..last.len() - 1])),
        ("a proof without padding", |last| last.trim_end_matches('=').into()),
        ("a short proof", |last| format!("{},p=AAAA", last.split_once(",p=").expect("a proof").0)),
        ("a long proof", |last| last.replacen("p=", "p=AAAA", 1)),
        ("something behind the proof", |last| format!("{last},x=y")),
        ("something before the nonce", |last| last.replacen(",r=", ",m=must,r=", 1)),
        ("another order", |last| {
            let (front, proof) = last.split_once(",p=").expect("a proof");
            format!("p={proof},{front}")
        }),
        ("a zero at the end", |last| format!("{last}\0")),
        ("a long one", |last| format!("{last}{}", "A".repeat(12_000))),
    ];
    beside_others(&pooler, |work| {
        for (what, spoil) in cases {
            for user in [pooler.setup.user.as_str(), "stranger"] {
                let (mut client, last) = proving(&pooler, &Login::new(user), "secret");
                client.send(&response(spoil(&last).as_bytes()));
                fails(&mut client, what);
            }
            work();
        }
        let (mut client, last) = proving(&pooler, &pooler.login(), "secret");
        client.send(&response(last.as_bytes()));
        assert_eq!(client.message().body[..4], [0, 0, 0, 12], "and unspoiled it is right");
    });
}

#[test]
fn messages_of_another_kind_inside_the_dialogue_are_refused_at_once() {
    let pooler = pooler();
    let startup = pooler.login().startup();
    let (mut query, mut terminate) = (Vec::new(), Vec::new());
    messages::query(&mut query, b"select 1");
    messages::terminate(&mut terminate);
    for bytes in [startup, query, terminate, vec![0; 100], vec![b'p', 0, 0, 0, 3], vec![b'p', 0xff, 0xff, 0xff, 0xff]] {
        for mut client in [asked(&pooler, &pooler.login()), proving(&pooler, &pooler.login(), "secret").0] {
            client.send(&bytes);
            let report = client.last_words();
            assert_eq!(report.severity, "FATAL");
            assert_eq!(report.code, "08P01", "{report} after {}", bytes.escape_ascii());
        }
    }
    pooler.client().rows("select 1");
}

#[test]
fn a_last_message_before_the_first_is_refused() {
    let pooler = pooler();
    let (_, last) = proving(&pooler, &pooler.login(), "secret");
    let mut client = asked(&pooler, &pooler.login());
    client.send(&response(last.as_bytes()));
    fails(&mut client, "a proof without a challenge");
    let (mut client, _) = proving(&pooler, &pooler.login(), "secret");
    client.send(&first("n,,n=,r=abcdef"));
    fails(&mut client, "a first message twice");
}

#[test]
fn a_proof_of_another_dialogue_is_refused() {
    let pooler = pooler();
    let (_, last) = proving(&pooler, &pooler.login(), "secret");
    let (mut client, _) = proving(&pooler, &pooler.login(), "secret");
    client.send(&response(last.as_bytes()));
    fails(&mut client, "a proof heard elsewhere");
}
