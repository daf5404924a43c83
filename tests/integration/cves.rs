//! What has been PgBouncer's undoing, tried here. Each test opens with the story of the bug.

use std::time::{Duration, Instant};

use protocol::messages;

use crate::harness::certificates::OURS;
use crate::harness::fake::{FakeServer, Session, welcome};
use crate::harness::{Client, Login, Pooler, Report, Setup, Tls, direct};
use crate::hostile::resident_megabytes;
use crate::sasl;

const SASL: &str = "FATAL 28P01 SASL authentication failed";

fn setup() -> Setup {
    let setup = Setup::new().set("auth_failure_delay", 0).set("client_login_timeout", 3);
    setup.allow("pooler error").allow("server login failed")
}

fn before(server: &FakeServer) -> Setup {
    setup().database_set("app", "port", i64::from(server.port)).set("server_login_retry", "100ms")
}

#[track_caller]
fn refused(pooler: &Pooler, login: &Login) -> Report {
    login.try_open(&pooler.address()).expect_err("refused")
}

/// A server that begins SCRAM and goes on as `challenge` says, which is given the client's nonce.
fn scram_server(challenge: impl Fn(&str) -> String + Send + Sync + 'static) -> FakeServer {
    FakeServer::start(move |_, session: &mut Session| {
        if session.startup().is_none() {
            return;
        }
        session.send(b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0");
        let Some((_, body)) = session.message() else { return };
        let text = String::from_utf8_lossy(&body).into_owned();
        let nonce = text.split_once("r=").expect("a nonce").1;
        for (code, data) in [(11_u32, challenge(nonce)), (12, "v=AAAA".into())] {
            let mut out = Vec::new();
            messages::message(&mut out, b'R', |out| {
                out.extend_from_slice(&code.to_be_bytes());
                out.extend_from_slice(data.as_bytes());
            });
            session.send(&out);
            if session.message().is_none() {
                return;
            }
        }
    })
}

/// Lengths inside a SASL message were added up in 32 bits: one close to the limit passed the check, and the read
/// behind it crashed the process before anybody had logged in.
#[test]
fn cve_2026_6664_lengths_in_sasl_messages_do_not_wrap_around() {
    let pooler = setup().start();
    for length in [u32::MAX, u32::MAX - 1, u32::MAX - 13, 0x8000_0000, 0x7fff_ffff, 0x7fff_fff0, 14, 12] {
        let mut client = sasl::asked(&pooler, &pooler.login());
        let mut bytes = Vec::new();
        messages::message(&mut bytes, b'p', |out| {
            out.extend_from_slice(b"SCRAM-SHA-256\0");
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(b"n,,n=,r=abcde");
        });
        client.send(&bytes);
        sasl::fails(&mut client, &format!("{length:#x}"));
    }
    pooler.client().rows("select 1");
}

/// The answer to a server's challenge was put together in a buffer of fixed size without a look at what had fitted: a
/// server with a long nonce wrote over the stack.
#[test]
fn cve_2026_6665_a_server_may_send_a_nonce_of_any_length() {
    for length in [1_000, 30_000, 60_000, 200_000] {
        let server = scram_server(move |nonce| format!("r={nonce}{},s=c2FsdHNhbHRzYWx0,i=4096", "n".repeat(length)));
        // What is too long for any login is a broken server, and waited for.
        let mut pooler = before(&server).set("client_login_timeout", "700ms").start();
        let report = refused(&pooler, &pooler.login());
        assert_eq!(report.severity, "FATAL", "{length}: {report}");
        assert!(pooler.is_running());
    }
}

/// The SQLSTATE of a server's error was compared without asking whether there was one.
#[test]
fn cve_2026_6666_a_servers_error_may_lack_its_sqlstate() {
    let errors: [&[u8]; 4] = [b"SFATAL\0Mbare\0\0", b"Mbare\0\0", b"\0", b"C\0Mbare\0\0"];
    for at_login in [true, false] {
        for error in errors {
            let server = FakeServer::start(move |number, session: &mut Session| {
                let mut bytes = Vec::new();
                messages::message(&mut bytes, b'E', |out| out.extend_from_slice(error));
                let healthy = if at_login { welcome() } else { [welcome(), bytes.clone()].concat() };
                if session.startup().is_none() {
                    return;
                }
                session.send(if at_login && number == 0 { &bytes } else { &healthy });
                while session.answer_quietly().is_some() {
                    session.send(&bytes);
                }
            });
            let mut pooler = before(&server).allow("ERROR").allow("unasked").start();
            if let Err(report) = pooler.login().try_open(&pooler.address()) {
                assert_eq!((report.severity.as_str(), report.code.len()), ("FATAL", 5), "{report:?}");
            }
            assert!(pooler.is_running(), "{}", error.escape_ascii());
            pooler.console().run("RELOAD");
        }
    }
}

/// Whoever could look at the console could also throw clients out: one command forgot to ask who was asking.
#[test]
fn cve_2026_6667_those_who_may_only_look_can_change_nothing() {
    let pooler = setup().start();
    let mut victim = pooler.client();
    victim.rows("begin");
    let id = pooler.console().show("CLIENTS").into_iter().find(|row| row["database"] == "app").expect("a client");
    let mut stats = crate::harness::Console::open(&pooler.address(), "stats");
    for command in [
        format!("KILL_CLIENT {}", id["id"]),
        "KILL_CLIENT 1".into(),
        "KILL app".into(),
        "KILL".into(),
        "PAUSE".into(),
        "RESUME".into(),
        "DISABLE app".into(),
        "ENABLE app".into(),
        "RECONNECT".into(),
        "RELOAD".into(),
        "SET default_pool_size = 1".into(),
        "SHUTDOWN".into(),
        "WAIT_CLOSE".into(),
    ] {
        assert_eq!(stats.error(&command).message, "admin access needed", "{command}");
    }
    victim.rows("commit");
    assert_eq!(stats.show("CLIENTS").len(), pooler.console().show("CLIENTS").len() - 1);
}

/// A packet that announced more than two gigabytes doubled a buffer's size until the number wrapped to zero and the
/// growing never ended: one stranger stopped the service. It happened twice, in two kinds of buffer (CVE-2026-6668 and
/// CVE-2026-107348).
#[test]
fn cve_2026_6668_and_107348_huge_announcements_are_refused_or_streamed() {
    let setup = setup().allow("invalid message length").allow("server").set("client_login_timeout", 20);
    let pooler = setup.start();
    let mut other = pooler.client();
    for length in [0x7fff_ffff_u32, 0x8000_0000, 0x8000_0001, 0xffff_fff0, u32::MAX] {
        // Before anything, inside the proof, and after the login.
        let mut first = Client::connect(&pooler.address());
        first.send(&[&length.to_be_bytes(), [0x41; 60_000].as_slice()].concat());
        let mut proof = sasl::asked(&pooler, &pooler.login());
        proof.send(&[&b"p"[..], &length.to_be_bytes(), &[0x41; 60_000]].concat());
        for client in [&mut first, &mut proof] {
            assert!(["08P01", "54000"].contains(&client.last_words().code.as_str()), "{length:#x}");
        }
        for tag in [b'Q', b'P', b'd', b'p', b'X'] {
            let mut client = pooler.client();
            client.send(&[&[tag], length.to_be_bytes().as_slice(), &[0x41; 3_000_000]].concat());
            client.stream.half_close().expect("we can close our side");
            client.until_closed();
        }
        other.rows("select 'others are served'");
    }
    let memory = resident_megabytes(&pooler);
    assert!(memory < 150, "{memory} MB");
    let report = pooler.console().error("SET max_packet_size = 2147483649");
    assert_eq!(report.code, "22023", "{report}");
}

/// The number of hashing rounds that a server asks for was not limited: a hostile server of one database kept the only
/// thread busy for hours, and with it all other databases.
#[test]
fn cve_2026_6669_a_server_cannot_ask_for_endless_work() {
    for iterations in [1_000_001_u64, 100_000_000, u64::from(u32::MAX), u64::MAX] {
        let server = scram_server(move |nonce| format!("r={nonce}abc,s=c2FsdHNhbHRzYWx0,i={iterations}"));
        let pooler = before(&server).database("good").database_set("good", "dbname", "app").start();
        let since = Instant::now();
        let report = refused(&pooler, &pooler.login());
        assert!(report.message.starts_with("server login failed: "), "{report}");
        pooler.login().database("good").open(&pooler.address()).rows("select 1");
        assert!(since.elapsed() < Duration::from_secs(3), "{:?} for {iterations} rounds", since.elapsed());
    }
}

/// A last SCRAM message without a nonce had its missing nonce compared, and the process ended; also for users who do
/// not exist, because they are led through the same dialogue.
#[test]
fn cve_2026_19888_a_proof_may_lack_its_nonce() {
    let pooler = setup().start();
    for user in [pooler.setup.user.as_str(), "stranger"] {
        let (mut client, last) = sasl::proving(&pooler, &Login::new(user), "secret");
        let proof = last.split_once(",p=").expect("a proof").1;
        client.send(&sasl::response(format!("c=biws,p={proof}").as_bytes()));
        sasl::fails(&mut client, user);
    }
    pooler.client().rows("select 1");
}

/// The loop over startup `options` did not move on from an option with an empty name, while some parameters were to be
/// ignored: one packet kept the only thread busy for ever.
#[test]
fn cve_2026_107349_an_option_without_a_name_does_not_hang() {
    let pooler = setup().set("ignore_startup_parameters", "extra_float_digits").start();
    for options in ["-c=", "-c =", "-c =1", "--=", "--=x", "-c", "-c ", "--", "-", "=", " = ", "-c=-c=", "\\", "-c\\ ="]
    {
        let since = Instant::now();
        if let Err(report) = pooler.login().with("options", options).try_open(&pooler.address()) {
            assert!(report.message.contains("options"), "{options:?}: {report}");
        }
        assert!(since.elapsed() < Duration::from_secs(2), "{options:?}: {:?}", since.elapsed());
    }
    pooler.client().rows("select 1");
}

/// Behind a login to a database that does not exist, a second StartupMessage was obeyed in the middle of SCRAM: the
/// proof of one user then let in another, the administrator included.
#[test]
fn cve_2026_107350_nobody_changes_who_he_is_in_the_middle_of_a_proof() {
    let pooler = setup().set("client_login_timeout", 1).start();
    for database in ["nowhere", "app", "pgbouncer"] {
        let own = pooler.login().database(database);
        let admin = Login::new("admin").database("pgbouncer").startup();
        for (in_one_packet, before_first) in [(true, false), (false, false), (true, true), (false, true)] {
            let (mut client, last) = if before_first {
                (sasl::asked(&pooler, &own), String::new())
            } else {
                sasl::proving(&pooler, &own, "secret")
            };
            if in_one_packet {
                client.send(&[admin.as_slice(), &sasl::response(last.as_bytes())].concat());
            } else {
                client.send(&admin);
                client.send(&sasl::response(last.as_bytes()));
            }
            let messages = client.until_closed();
            assert!(messages.iter().all(|message| message.tag == b'E'), "{messages:?}");
        }
    }
}

/// A StartupMessage could set `search_path` for the very query that looks up secrets: with a table of his own making
/// under the same name, anybody was whoever he liked. The way in by way of auth_user's own sessions is tried, too.
#[test]
fn cve_2025_12819_clients_cannot_aim_the_look_up_elsewhere() {
    let [asker, victim, secrets, evil] = ["asker", "victim", "secrets", "evil"].map(direct::unique);
    for role in [&asker, &victim] {
        direct::ask(&direct::make_role(role));
    }
    direct::ask(&format!(
        "create table {secrets} (who name, secret text); insert into {secrets} values ('{victim}', 'right'); \
         create schema {evil}; create table {evil}.{secrets} (who name, secret text); \
         insert into {evil}.{secrets} values ('{victim}', 'forged'); \
         grant usage on schema {evil} to public; grant select on {secrets}, {evil}.{secrets} to public"
    ));
    for mode in ["transaction", "session"] {
        let query = format!("select who, secret from {secrets} where who = $1");
        let setup = setup().set("auth_user", asker.as_str()).set("auth_query", query.as_str()).set("pool_mode", mode);
        let setup = setup.set("default_pool_size", 1).set("track_extra_parameters", "IntervalStyle, search_path");
        let pooler = setup.secret(&asker, "secret").set("server_reset_query", "").allow("auth_query").start();
        let forged = Login::new(&victim).password("forged");
        let right = Login::new(&victim).password("right");
        let path = format!("-c search_path={evil}");
        for login in [forged.clone(), forged.clone().with("search_path", &evil), forged.clone().with("options", &path)]
        {
            assert_eq!(refused(&pooler, &login).to_string(), SASL, "{mode}");
        }
        for left_behind in [
            format!("set search_path = {evil}"),
            format!("create temp table {secrets} as select * from {evil}.{secrets}"),
            "set role app".into(),
            "set session characteristics as transaction read only".into(),
            "prepare x as select 1; listen x; select pg_advisory_lock(1); set statement_timeout = 100".into(),
        ] {
            let mut client = Login::new(&asker).open(&pooler.address());
            client.rows(&left_behind);
            // Some of it keeps the only server for as long as the client is there.
            if mode == "session" || left_behind.contains("temp") || left_behind.contains("listen") {
                client.bye();
            }
            assert_eq!(refused(&pooler, &forged).to_string(), SASL, "{mode} {left_behind}");
            right.open(&pooler.address()).rows("select 1");
        }
    }
}

/// The shipped look-up took no notice of VALID UNTIL, and let users in with passwords that had expired.
#[test]
fn cve_2025_2291_an_expired_password_is_no_password() {
    let user = direct::unique("expiring");
    direct::ask(&direct::make_role(&user));
    direct::ask(&format!("alter role {user} password 'secret' valid until 'infinity'"));
    let login = Login::new(&user);
    for auth_type in ["scram-sha-256", "md5", "plain"] {
        let pooler = setup().set("auth_user", "postgres").set("auth_type", auth_type).start();
        direct::ask(&format!("alter role {user} valid until 'tomorrow'"));
        login.open(&pooler.address()).rows("select 1");
        direct::ask(&format!("alter role {user} valid until 'yesterday'"));
        assert_eq!(refused(&pooler, &login).code, "28P01", "{auth_type}");
    }
}

/// Bytes that came in clear behind the request for TLS were kept, and taken for the client's own once its certificate
/// had let it in: who sat on the line could run a query as somebody else.
#[test]
fn cve_2021_3935_what_came_in_clear_is_not_run_after_the_certificates_login() {
    let setup = setup().tls("verify-full").set("auth_type", "cert");
    let (table, role) = (crate::pause::table(), setup.user.clone());
    let pooler = setup.start();
    let mut injected = Vec::new();
    messages::query(&mut injected, format!("insert into {table} values (1)").as_bytes());
    let certified = Tls::showing(&OURS.client(&role));
    for smuggled in [[pooler.login().startup(), injected.clone()].concat(), injected.clone()] {
        let mut client = Client::connect(&pooler.address());
        let mut request = Vec::new();
        messages::ssl_request(&mut request);
        client.send(&[request, smuggled].concat());
        // The victim's handshake follows, as it would behind a man in the middle.
        let mut bytes = Vec::new();
        certified.connection().write_tls(&mut bytes).expect("a ClientHello");
        client.send(&bytes);
        assert_eq!(client.last_words().message, "received unencrypted data after SSL request");
    }
    let mut honest = pooler.login().tls(&certified).open(&pooler.address());
    assert_eq!(honest.value(&format!("select count(*) from {table}")), "0");
}
