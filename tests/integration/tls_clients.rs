//! TLS towards clients: who must use it, what it carries, and what SCRAM makes of it.

use std::io::Write;
use std::thread;

use protocol::messages;

use crate::harness::certificates::{FOREIGN, OURS, SHOWN};
use crate::harness::{Binding, Login, Pooler, Setup, Tls, direct, eventually, tls};
use crate::hostile::resident_megabytes;

fn setup() -> Setup {
    Setup::new().tls("prefer").set("auth_failure_delay", 0).allow("pooler error")
}

fn pooler() -> Pooler {
    setup().start()
}

fn encrypted(pooler: &Pooler) -> Login {
    pooler.login().tls(&Tls::new())
}

/// What becomes of a login, in a word.
fn outcome(pooler: &Pooler, login: &Login) -> String {
    match login.try_open(&pooler.address()) {
        Ok(mut client) => {
            client.rows("select 1");
            "in".into()
        }
        Err(report) if report.message.starts_with("SSLRequest was answered") => "no TLS".into(),
        // An alert has told why; it may be noticed in the handshake or behind it.
        Err(report) if report.code.is_empty() => "alert".into(),
        Err(report) => report.to_string(),
    }
}

#[test]
fn each_mode_lets_in_whom_it_says() {
    const REFUSED: &str = "FATAL 28000 SSL required";
    #[rustfmt::skip]
    let table = [
        // mode         plain     TLS       right certificate   foreign certificate
        ("disable",     "in",     "no TLS", "no TLS",           "no TLS"),
        ("allow",       "in",     "in",     "in",               "alert"),
        ("prefer",      "in",     "in",     "in",               "alert"),
        ("require",     REFUSED,  "in",     "in",               "alert"),
        ("verify-ca",   REFUSED,  "alert",  "in",               "alert"),
        ("verify-full", REFUSED,  "alert",  "in",               "alert"),
    ];
    let (right, foreign) = (Tls::showing(&OURS.client("whoever")), Tls::showing(&FOREIGN.client("whoever")));
    for (mode, plain, bare, certified, stranger) in table {
        let pooler = setup().tls(mode).start();
        let login = pooler.login();
        assert_eq!(outcome(&pooler, &login), plain, "{mode} in clear");
        assert_eq!(outcome(&pooler, &login.clone().tls(&Tls::new())), bare, "{mode} without a certificate");
        assert_eq!(outcome(&pooler, &login.clone().tls(&right)), certified, "{mode} with a certificate");
        assert_eq!(outcome(&pooler, &login.clone().tls(&foreign)), stranger, "{mode} with a foreign certificate");
        let mut local = login.open(&pooler.socket());
        local.rows("select 'the Unix socket needs no TLS'");
        assert!(login.tls(&Tls::new()).try_open(&pooler.socket()).is_err(), "{mode}: it has none either");
    }
}

#[test]
fn auth_type_cert_takes_the_certificates_name_for_proof_and_nothing_else() {
    let setup = setup().tls("verify-full").set("auth_type", "cert");
    let role = setup.user.clone();
    let console = Tls::showing(&OURS.client("admin"));
    let pooler = setup.allow("does not exist").start();
    let login = pooler.login().password("wrong");
    let cert = "FATAL 28000 certificate authentication failed";
    for (certificate, expected) in [
        (OURS.client(&role), "in"),
        (OURS.client(&role.to_uppercase()), "in"),
        (OURS.server(&[&role]), "alert"),
        (OURS.client("somebody-else"), cert),
        (OURS.client(""), cert),
    ] {
        assert_eq!(outcome(&pooler, &login.clone().tls(&Tls::showing(&certificate))), expected);
    }
    let console = Login::new("admin").database("pgbouncer").password("wrong").tls(&console);
    console.open(&pooler.address()).ask("SHOW VERSION");
    assert_eq!(outcome(&pooler, &console.database("app")), "FATAL 28000 role \"admin\" does not exist");
}

#[test]
fn what_is_shown_is_the_certificate_of_the_settings() {
    let pooler = pooler();
    let client = encrypted(&pooler).open(&pooler.address());
    assert_eq!(tls::shown(&client.stream), SHOWN.certificate);
}

#[test]
fn channel_binding_is_used_and_cannot_be_talked_away() {
    let pooler = pooler();
    let sasl = "FATAL 28P01 SASL authentication failed";
    for (binding, expected) in [
        (Binding::Used, "in"),
        (Binding::Forced, "in"),
        (Binding::Unsupported, "in"),
        // Somebody in the middle has taken -PLUS out of the offer.
        (Binding::Denied, sasl),
        (Binding::Wrong, sasl),
    ] {
        let login = encrypted(&pooler).binding(binding);
        assert_eq!(outcome(&pooler, &login), expected, "{binding:?}");
        assert_eq!(outcome(&pooler, &login.password("wrong")), sasl, "{binding:?}");
    }
}

#[test]
fn older_clients_speak_tls_1_2_unless_that_is_forbidden() {
    let login = |pooler: &Pooler| pooler.login().tls(&Tls::old());
    let pooler = pooler();
    for binding in [Binding::Used, Binding::Forced] {
        assert_eq!(outcome(&pooler, &login(&pooler).binding(binding)), "in");
    }
    let _held = login(&pooler).open(&pooler.address());
    let clients = pooler.console().show("CLIENTS");
    assert!(clients.iter().any(|row| row["tls"].starts_with("TLSv1.2/")), "{clients:?}");
    let newest = setup().set("client_tls_protocols", "tlsv1.3").start();
    assert_eq!(outcome(&newest, &login(&newest)), "alert");
    assert_eq!(outcome(&newest, &encrypted(&newest)), "in");
}

#[test]
fn a_cancel_over_tls_reaches_its_query() {
    let pooler = pooler();
    for login in [encrypted(&pooler), pooler.login().tls(&Tls::new().direct())] {
        let mut client = login.open(&pooler.address());
        client.send_query("select pg_sleep(34)");
        let running = "select count(*) from pg_stat_activity where state = 'active' and query = 'select pg_sleep(34)'";
        eventually("the query runs", || direct::value(running) != "0");
        client.cancel();
        assert_eq!(client.answer().expect_err("canceled").code, "57014");
        client.rows("select 'the session goes on'");
    }
}

#[test]
fn a_big_result_reaches_a_slow_reader_whole_and_costs_no_memory() {
    let pooler = pooler();
    let mut slow = encrypted(&pooler).open(&pooler.address());
    slow.send_query("select n, repeat('x', 100000) from generate_series(1, 600) n");
    slow.until(b'T');
    let mut quick = encrypted(&pooler).open(&pooler.address());
    (0..50).for_each(|_| drop(quick.rows("select 1")));
    let memory = resident_megabytes(&pooler);
    assert!(memory < 50, "{memory} MB for a client that does not read 60 MB");
    let rows: Vec<_> = slow.until(b'Z').into_iter().filter(|message| message.tag == b'D').collect();
    assert_eq!(rows.len(), 600);
    for (number, row) in rows.iter().enumerate() {
        let values = row.values();
        assert_eq!(values[0], Some((number + 1).to_string()));
        assert!(values[1].as_ref().is_some_and(|text| text.len() == 100_000 && text.bytes().all(|byte| byte == b'x')));
    }
}

#[test]
fn copies_go_both_ways_without_losing_a_byte() {
    let pooler = pooler();
    let table = direct::unique("copied");
    direct::ask(&format!("create unlogged table {table} (n int, words text); grant all on {table} to app"));
    let mut client = encrypted(&pooler).open(&pooler.address());
    client.send_query(&format!("copy {table} from stdin"));
    client.until(b'G');
    // Messages that end anywhere in the records.
    for first in (0..60_000).step_by(1000) {
        let mut data = Vec::new();
        for number in first..first + 1000 {
            let row = format!("{number}\t{}\n", "y".repeat(number % 97));
            messages::message(&mut data, b'd', |out| out.extend_from_slice(row.as_bytes()));
        }
        client.send(&data);
    }
    client.send(&[b'c', 0, 0, 0, 4]);
    assert_eq!(client.until(b'Z')[0].text(), "COPY 60000");
    client.send_query(&format!("copy (select * from {table} order by n) to stdout"));
    let rows = client.until(b'Z').into_iter().filter(|message| message.tag == b'd');
    let mut count = 0;
    for (number, row) in rows.enumerate() {
        assert_eq!(row.body, format!("{number}\t{}\n", "y".repeat(number % 97)).as_bytes());
        count += 1;
    }
    assert_eq!(count, 60_000);
}

#[test]
fn a_pipeline_whose_answers_fill_every_buffer_does_not_deadlock_under_tls() {
    let pooler = pooler();
    let mut client = encrypted(&pooler).open(&pooler.address());
    let mut batch = Vec::new();
    messages::extended_query(&mut batch, b"select repeat('a', 20000), $1::text", &[&[b'b'; 20_000]]);
    let mut writer = client.stream.try_clone().expect("a second handle");
    thread::scope(|scope| {
        scope.spawn(move || (0..300).for_each(|_| writer.write_all(&batch).expect("the pooler reads")));
        (0..300).for_each(|_| assert!(client.answer().is_ok()));
    });
}

#[test]
fn many_small_messages_in_one_record_are_all_answered() {
    let pooler = pooler();
    let mut client = encrypted(&pooler).open(&pooler.address());
    let mut record = Vec::new();
    for number in 0..300 {
        messages::query(&mut record, format!("select {number}").as_bytes());
    }
    assert!(record.len() < 16_384, "one record");
    client.send(&record);
    for number in 0..300 {
        assert_eq!(client.answer(), Ok(vec![vec![Some(number.to_string())]]));
    }
    // What stays inside TLS must not be waited for at the socket: a transaction over two messages of one record.
    for _ in 0..20 {
        let mut record = Vec::new();
        ["begin", "select 1", "commit"].iter().for_each(|sql| messages::query(&mut record, sql.as_bytes()));
        client.send(&record);
        (0..3).for_each(|_| assert!(client.answer().is_ok()));
    }
}

#[test]
fn tiny_records_are_put_together() {
    let pooler = pooler();
    let login = pooler.login().tls(&Tls::new().fragments(40));
    let mut client = login.open(&pooler.address());
    let text = "z".repeat(5000);
    assert_eq!(client.value(&format!("select '{text}'")), text);
}

#[test]
fn a_client_that_vanishes_without_close_notify_leaves_nothing_behind() {
    let pooler = setup().set("default_pool_size", 1).start();
    for sql in ["select 1", "begin", "select repeat('x', 100000) from generate_series(1, 100)"] {
        let mut client = encrypted(&pooler).open(&pooler.address());
        client.send_query(sql);
        client.message();
        drop(client);
        encrypted(&pooler).open(&pooler.address()).rows("select 1");
    }
    let idle = encrypted(&pooler).open(&pooler.address());
    idle.stream.half_close().expect("we can close our side");
    let mut idle = idle;
    assert_eq!(idle.until_closed(), []);
}

#[test]
fn a_pooler_that_lets_its_clients_go_says_so_under_tls() {
    let mut pooler = setup().allow("admin forced disconnect").allow("FATAL").start();
    let mut client = encrypted(&pooler).open(&pooler.address());
    client.rows("select 1");
    pooler.console().run("KILL app");
    assert_eq!(client.last_words().code, "57P01");
    pooler.console().run("RESUME app");
    encrypted(&pooler).open(&pooler.address()).rows("select 1");
    assert!(pooler.is_running());
}
