//! TLS towards servers: each mode before a real server, and servers that play tricks.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use protocol::messages::{self, Severity};
use protocol::startup::CANCEL_CODE;

use crate::harness::certificates::{FOREIGN, OURS, Pair};
use crate::harness::fake::{FakeServer, Session, done, welcome};
use crate::harness::tls::server_config;
use crate::harness::{Pooler, Setup, Tls, direct, eventually};

const REFUSED: &str = "FATAL 08006 server does not support SSL, but it was required (server_tls_sslmode)";
const UNBOUND: &str = "FATAL 08006 server login failed: channel binding is required, but the server did not do it \
    (server_channel_binding)";

fn quick(setup: Setup) -> Setup {
    let setup = setup.set("server_login_retry", "100ms").set("client_login_timeout", 2);
    setup.allow("pooler error").allow("server login failed")
}

/// Before PostgreSQL with TLS, whose authority is believed.
fn secure(mode: &str) -> Setup {
    let authority = direct::secure().authority().expect("the server has certificates");
    quick(Setup::secure()).set("server_tls_sslmode", mode).file("server_tls_ca_file", "ca.crt", read(&authority.ca))
}

fn read(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).expect("the lab's files can be read")
}

/// Before a server that plays its part.
fn before(server: &FakeServer, mode: &str) -> Setup {
    let setup = quick(Setup::new()).database_set("app", "port", i64::from(server.port));
    setup.set("server_tls_sslmode", mode).file("server_tls_ca_file", "ca.crt", OURS.pem())
}

/// Whether the server's end of a client's server connection is encrypted, or why there is none.
fn encrypted(pooler: &Pooler) -> Result<bool, String> {
    let mut client = pooler.login().try_open(&pooler.address()).map_err(|report| report.to_string())?;
    Ok(client.value("select ssl from pg_stat_ssl where pid = pg_backend_pid()") == "t")
}

/// A server in good health that speaks TLS only, with this certificate.
fn tls_server(pair: &Pair, alpn: &[&str], is_direct: bool) -> FakeServer {
    let config = server_config(pair, alpn);
    FakeServer::start(move |_, session: &mut Session| {
        let begun = if is_direct { session.start_tls(&config) } else { session.accept_tls(&config) };
        if begun.and_then(|()| session.log_in()).is_some() {
            while session.answer_quietly().is_some() {}
        }
    })
}

#[track_caller]
fn comes(pooler: &Pooler) -> Result<(), String> {
    let mut client = pooler.login().try_open(&pooler.address()).map_err(|report| report.to_string())?;
    client.ask("select 1");
    Ok(())
}

#[test]
fn each_mode_reaches_the_servers_it_says() {
    #[rustfmt::skip]
    let table = [
        // mode         a server with TLS   one without
        ("disable",     false,              Ok(false)),
        ("allow",       true,               Ok(false)),
        ("prefer",      true,               Ok(false)),
        ("require",     true,               Err(REFUSED)),
        ("verify-ca",   true,               Err(REFUSED)),
        ("verify-full", true,               Err(REFUSED)),
    ];
    for (mode, with, without) in table {
        let pooler = secure(mode).start();
        assert_eq!(encrypted(&pooler), Ok(with), "{mode}");
        let words = pooler.console().show("SERVERS")[0]["tls"].clone();
        assert_eq!(words.starts_with("TLSv1.3/"), with, "{mode}: {words}");
        let setup = quick(Setup::new()).set("server_tls_sslmode", mode);
        let plain = setup.file("server_tls_ca_file", "ca.crt", OURS.pem()).start();
        assert_eq!(encrypted(&plain), without.map_err(str::to_owned), "{mode}");
    }
}

#[test]
fn an_authority_that_is_not_ours_is_refused_by_those_who_ask() {
    let unknown = Err("FATAL 08006 TLS: invalid peer certificate: UnknownIssuer (server 127.0.0.1)".to_owned());
    for (mode, expected) in [
        ("allow", Ok(true)),
        ("prefer", Ok(true)),
        ("require", Ok(true)),
        ("verify-ca", unknown.clone()),
        ("verify-full", unknown),
    ] {
        let pooler = secure(mode).file("server_tls_ca_file", "ca.crt", FOREIGN.pem()).start();
        assert_eq!(encrypted(&pooler), expected, "{mode}");
    }
}

#[test]
fn another_hosts_certificate_is_refused_by_verify_full_only() {
    let other = tls_server(&OURS.server(&["elsewhere.example.com"]), &[], false);
    assert_eq!(comes(&before(&other, "verify-ca").start()), Ok(()));
    let words = comes(&before(&other, "verify-full").start()).expect_err("refused");
    assert_eq!(words, "FATAL 08006 TLS: invalid peer certificate: NotValidForName (server 127.0.0.1)");
    let right = tls_server(&OURS.server(&["127.0.0.1"]), &[], false);
    assert_eq!(comes(&before(&right, "verify-full").start()), Ok(()));
}

#[test]
fn a_client_certificate_opens_a_server_that_asks_for_one() {
    let authority = direct::secure().authority().expect("the server has certificates");
    let setup = || secure("verify-full").database_set("app", "user", "app_cert");
    let with = setup().file("server_tls_cert_file", "client.crt", read(&authority.client_cert));
    let with = with.file("server_tls_key_file", "client.key", read(&authority.client_key)).start();
    assert_eq!(with.client().value("select current_user"), "app_cert");
    let foreign = FOREIGN.client("app_cert");
    let stranger = setup().file("server_tls_cert_file", "client.crt", foreign.certificate_pem);
    let stranger = stranger.file("server_tls_key_file", "client.key", foreign.key_pem).start();
    assert!(encrypted(&stranger).is_err(), "a stranger's certificate");
    let words = encrypted(&setup().start()).expect_err("no certificate");
    assert_eq!(words, "FATAL 28000 connection requires a valid client certificate");
}

#[test]
fn channel_binding_is_demanded_of_those_who_can_and_of_all_where_it_is_required() {
    #[rustfmt::skip]
    let table = [
        // role         disable  prefer  require
        ("app_scram",   [Ok(()), Ok(()), Ok(())]),
        ("app_md5",     [Ok(()), Ok(()), Err(UNBOUND)]),
        ("app_plain",   [Ok(()), Ok(()), Err(UNBOUND)]),
        ("app",         [Ok(()), Ok(()), Err(UNBOUND)]),
    ];
    for (role, expected) in table {
        for (binding, expected) in ["disable", "prefer", "require"].iter().zip(expected) {
            let setup = secure("verify-full").set("server_channel_binding", *binding);
            let setup = setup.database_set("app", "user", role).database_set("app", "password", lab::PASSWORD);
            let got = encrypted(&setup.start()).map(|encrypted| assert!(encrypted));
            assert_eq!(got, expected.map_err(str::to_owned), "{role} / {binding}");
        }
    }
}

#[test]
fn scram_without_plus_is_refused_where_channel_binding_is_required() {
    let config = server_config(&OURS.server(&["127.0.0.1"]), &[]);
    let server = FakeServer::start(move |_, session: &mut Session| {
        if session.accept_tls(&config).and_then(|()| session.startup()).is_some() {
            session.send(b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0");
            session.message();
        }
    });
    let setup = before(&server, "verify-full").set("server_channel_binding", "require");
    assert_eq!(comes(&setup.start()), Err(UNBOUND.into()));
}

#[test]
fn direct_tls_needs_the_servers_word_that_it_is_postgresql() {
    let pair = OURS.server(&["127.0.0.1"]);
    let direct = |server: &FakeServer| before(server, "verify-full").set("server_tls_sslnegotiation", "direct");
    assert_eq!(comes(&direct(&tls_server(&pair, &["postgresql"], true)).start()), Ok(()));
    let words = comes(&direct(&tls_server(&pair, &[], true)).start()).expect_err("refused");
    let expected = "FATAL 08006 server did not agree on ALPN postgresql (server_tls_sslnegotiation = direct)";
    assert_eq!(words, expected);
    comes(&direct(&tls_server(&pair, &["http/1.1"], true)).start()).expect_err("refused");
}

/// What a server may answer to an SSLRequest, and what a client is told of it.
#[test]
fn answers_to_an_ssl_request_that_are_none_are_refused() {
    let mut error = Vec::new();
    messages::report_with_code(&mut error, Severity::Fatal, "0A000", "unsupported frontend protocol", "");
    let invalid = "FATAL 08006 received invalid response to SSL negotiation";
    let table: Vec<(Vec<u8>, &str)> = vec![
        ([b"S", welcome().as_slice()].concat(), "FATAL 08006 received unencrypted data after SSL response"),
        (b"S\0".to_vec(), "FATAL 08006 received unencrypted data after SSL response"),
        (error, invalid),
        (b"N\0".to_vec(), invalid),
        (b"X".to_vec(), invalid),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), invalid),
        (b"".to_vec(), "FATAL 57P03 client_login_timeout (server down)"),
    ];
    for (answer, expected) in table {
        for mode in ["prefer", "verify-full"] {
            let sent = answer.clone();
            let server = FakeServer::start(move |_, session: &mut Session| {
                session.opening();
                session.send(&sent);
                if !sent.is_empty() {
                    session.opening();
                }
            });
            let setup = before(&server, mode).set("client_login_timeout", "700ms");
            assert_eq!(comes(&setup.start()), Err(expected.into()), "{mode}: {}", answer.escape_ascii());
        }
    }
}

#[test]
fn a_server_that_goes_on_in_clear_after_promising_tls_is_refused() {
    for mode in ["prefer", "require"] {
        let server = FakeServer::start(|_, session: &mut Session| {
            session.opening();
            session.send(b"S");
            // As much of the ClientHello as a message's header is long.
            session.bytes(5);
            session.send(&welcome());
            session.opening();
        });
        let words = comes(&before(&server, mode).start()).expect_err("refused");
        assert!(words.starts_with("FATAL 08006 TLS: "), "{words}");
        assert!(server.connections() < 50, "it was tried without end");
    }
}

#[test]
fn a_cancel_goes_the_way_its_query_went() {
    let pooler = secure("verify-full").set("server_channel_binding", "disable").start();
    let mut client = pooler.client();
    client.send_query("select pg_sleep(35)");
    let mut admin = direct::admin(direct::secure());
    let running = "select count(*) from pg_stat_activity where state = 'active' and query = 'select pg_sleep(35)'";
    eventually("the query runs", || admin.value(running) != "0");
    client.cancel();
    assert_eq!(client.answer().expect_err("canceled").code, "57014");
    client.rows("select 1");
}

#[test]
fn a_cancel_is_not_sent_in_clear_to_a_server_under_tls() {
    let (tell, hear) = channel();
    let (tell, config) = (Mutex::new(tell), server_config(&OURS.server(&["127.0.0.1"]), &[]));
    let server = FakeServer::start(move |_, session: &mut Session| {
        let Some(()) = session.accept_tls(&config) else { return };
        let Some(first) = session.opening() else { return };
        if first[..4] == CANCEL_CODE.to_be_bytes() {
            return tell.lock().expect("nobody panics").send(first).expect("the test listens");
        }
        session.send(&welcome());
        session.message();
        std::thread::sleep(std::time::Duration::from_millis(300));
        session.send(&done("SELECT 0"));
        while session.answer_quietly().is_some() {}
    });
    let pooler = before(&server, "verify-full").start();
    let mut client = pooler.client();
    client.send_query("select pg_sleep(36)");
    eventually("a server is at work", || pooler.console().count(&pooler.setup.user, "sv_active") == 1);
    client.cancel();
    let request = hear.recv_timeout(crate::harness::wait::LIMIT).expect("a cancel under TLS");
    assert_eq!(request[4..], [0, 0, 0x12, 0x67, 1, 2, 3, 4], "the key that the server gave");
    client.until(b'Z');
}

#[test]
fn much_goes_both_ways_over_tls_on_both_sides() {
    let pooler = secure("verify-full").tls("prefer").file("client_tls_ca_file", "clients.crt", OURS.pem()).start();
    let mut client = pooler.login().tls(&Tls::new()).open(&pooler.address());
    let text = "w".repeat(3_000_000);
    assert_eq!(client.value(&format!("select '{text}'")), text);
    let rows = client.rows("select repeat('v', 50000) from generate_series(1, 400)");
    assert!(rows.len() == 400 && rows.iter().flatten().all(|value| value.as_ref().is_some_and(|v| v.len() == 50_000)));
    let mut others: Vec<_> = (0..20).map(|_| pooler.login().tls(&Tls::new()).open(&pooler.address())).collect();
    for round in 0..20 {
        others.iter_mut().for_each(|other| other.send_query(&format!("select {round}")));
        others.iter_mut().for_each(|other| assert_eq!(other.answer(), Ok(vec![vec![Some(round.to_string())]])));
    }
}

#[test]
fn other_tls_settings_take_effect_at_reload_for_new_servers() {
    let mut pooler = secure("prefer").start();
    assert_eq!(encrypted(&pooler), Ok(true));
    pooler.rewrite(|setup| setup.set("server_tls_sslmode", "disable"));
    pooler.console().run("RELOAD");
    assert_eq!(encrypted(&pooler), Ok(false));
    pooler.rewrite(|setup| setup.set("server_tls_sslmode", "verify-full"));
    pooler.console().run("RELOAD");
    assert_eq!(encrypted(&pooler), Ok(true));
}
