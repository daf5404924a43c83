//! Holding back those who guess, limits on those who have not logged in, and what operators see of logins.

use std::time::{Duration, Instant};

use crate::harness::certificates::{OURS, SHOWN};
use crate::harness::pooler::await_log;
use crate::harness::stream::Address;
use crate::harness::{Client, Pooler, Setup, Tls, eventually, until};
use crate::metrics::get;

/// How long the answer to a login takes.
fn answer(pooler: &Pooler, address: &Address, password: &str) -> Duration {
    let since = Instant::now();
    let outcome = pooler.login().password(password).try_open(address);
    assert_eq!(outcome.is_ok(), password == "secret");
    since.elapsed()
}

#[test]
fn failures_are_answered_later_and_later_and_right_passwords_never() {
    let setup = Setup::new().set("auth_type", "md5").set("auth_failure_delay", "800ms").allow("pooler error");
    let pooler = setup.start();
    for held_back in [0, 0, 0, 100, 200, 400, 800, 800] {
        let took = answer(&pooler, &pooler.address(), "wrong");
        assert!(took >= Duration::from_millis(held_back), "{took:?} instead of {held_back} ms");
        let took = answer(&pooler, &pooler.address(), "secret");
        assert!(took < Duration::from_millis(700), "a right password was held back for {took:?}");
    }
    let took = answer(&pooler, &pooler.socket(), "wrong");
    assert!(took < Duration::from_millis(700), "a Unix socket has no address: {took:?}");
}

#[test]
fn failures_are_not_held_back_where_that_is_switched_off() {
    let pooler = Setup::new().set("auth_type", "md5").set("auth_failure_delay", 0).allow("pooler error").start();
    let since = Instant::now();
    for _ in 0..30 {
        answer(&pooler, &pooler.address(), "wrong");
    }
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

#[test]
fn those_who_are_held_back_keep_nobody_else_waiting() {
    let setup = Setup::new().set("auth_type", "md5").set("auth_failure_delay", 2).set("login_threads", 1);
    let pooler = setup.allow("pooler error").start();
    std::thread::scope(|scope| {
        let guesser = |_| drop(scope.spawn(|| answer(&pooler, &pooler.address(), "wrong")));
        (0..30).for_each(guesser);
        let mut console = pooler.console();
        eventually("many are held back", || {
            let rows = console.show("WORKERS");
            rows.iter().any(|row| row["type"] == "front-door" && row["clients"].parse::<u32>().is_ok_and(|n| n >= 20))
        });
        let took = answer(&pooler, &pooler.address(), "secret");
        assert!(took < Duration::from_secs(1), "{took:?}");
    });
}

/// A client stays at the front door until its first words, but not for ever: silent ones go to a worker.
#[test]
fn clients_come_to_a_worker_with_their_first_words_or_when_they_are_silent() {
    let pooler = Setup::new().start();
    let mut console = pooler.console();
    let mut workers = || -> u64 {
        let rows = console.show("WORKERS");
        let clients = rows.iter().filter(|row| row["type"] == "worker").map(|row| row["clients"].parse::<u64>());
        clients.map(Result::unwrap).sum()
    };
    let mut silent = pooler.client();
    eventually("the silent client is with a worker", || workers() == 1);
    assert_eq!(silent.value("select 1"), "1");

    let mut talker = pooler.client();
    assert_eq!(talker.value("select 2"), "2");
    assert_eq!(workers(), 2);
}

#[test]
fn who_leaves_at_once_is_counted_and_forgotten() {
    let pooler = Setup::new().set("max_client_conn", 3).start();
    for _ in 0..10 {
        pooler.client().bye();
        drop(pooler.client());
        eventually("both have left", || pooler.console().show("CLIENTS").iter().all(|row| row["database"] != "app"));
    }
    await_log(&pooler, "closing because: client close request");
    await_log(&pooler, "closing because: client unexpected eof");
}

#[test]
fn one_address_can_take_only_its_share_of_the_front_door() {
    let setup = Setup::new().set("max_unauthenticated_conn_per_address", 3).allow("pooler error");
    let pooler = setup.set("tcp_defer_accept", 0).start();
    let mut console = pooler.console();
    let mut silent: Vec<_> = (0..3).map(|_| Client::connect(&pooler.address())).collect();
    let refused = || {
        let mut client = Client::connect(&pooler.address());
        client.send(&pooler.login().startup());
        let first = client.message();
        (first.tag == b'E').then(|| first.report().to_string())
    };
    eventually("the fourth is one too many", || refused().is_some());
    let words = "FATAL 53300 too many connections from this address are logging in \
        (max_unauthenticated_conn_per_address)";
    assert_eq!(refused().as_deref(), Some(words));
    pooler.login().open(&pooler.socket()).rows("select 'others still can'");
    assert_eq!(console.run("RELOAD"), "RELOAD", "who has logged in does not count");
    silent.pop();
    eventually("one has left", || refused().is_none());
    pooler.client().rows("select 1");
}

#[test]
fn operators_see_logins_handshakes_and_failures() {
    let port = crate::harness::pooler::port();
    let setup = Setup::new().tls("prefer").set("metrics_listen_addr", "127.0.0.1").set("auth_failure_delay", 0);
    let pooler = setup.set("metrics_listen_port", i64::from(port)).allow("pooler error").start();
    let encrypted = pooler.login().tls(&Tls::new());
    encrypted.open(&pooler.address()).rows("select 1");
    (0..2).for_each(|_| drop(encrypted.clone().password("wrong").try_open(&pooler.address())));
    let rows = pooler.console().show("WORKERS");
    let door: Vec<_> = rows.iter().filter(|row| row["type"] == "front-door").collect();
    let sum = |column: &str| door.iter().map(|row| row[column].parse::<u64>().expect("a number")).sum::<u64>();
    assert_eq!(sum("handshakes"), 3, "{door:?}");
    assert!(sum("logins") >= 1, "{door:?}");
    assert!(rows.iter().any(|row| row["type"] != "front-door"), "and the workers");

    // Those who were refused may still be on their way out.
    let empty = "pooler_front_door_logins_in_flight{thread=\"0\"} 0";
    let page = until("the front door is empty", || {
        let (_, page) = get(&Address::local(port), "/metrics");
        page.lines().any(|line| line.starts_with(empty)).then_some(page)
    });
    let value = |name: &str| {
        let line = page.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_else(|| panic!("{name}:\n{page}"))
    };
    assert_eq!(value("pooler_tls_handshakes_total"), 3.0);
    assert_eq!(value("pooler_auth_failures_total{reason=\"sasl\"}"), 2.0);
    for name in ["pooler_front_door_logins_queued", "pooler_front_door_busy_ratio", "pooler_front_door_at_ceiling"] {
        value(name);
    }
    assert!(value("pooler_certificate_expiry_timestamp_seconds{setting=\"client_tls_cert_file\"") > 1.7e9);
    assert!(!page.contains(&SHOWN.key_pem[30..60]));
}

#[test]
fn a_certificate_that_expires_soon_is_warned_of() {
    let soon = OURS.expiring(Duration::from_secs(3 * 86_400));
    let setup = Setup::new().tls("prefer").file("client_tls_cert_file", "soon.crt", soon.certificate_pem.as_str());
    let pooler = setup.file("client_tls_key_file", "soon.key", soon.key_pem).allow("expires").start();
    eventually("it is warned of", || pooler.log().contains("client_tls_cert_file") && pooler.log().contains("expires"));
    pooler.login().tls(&Tls::new()).open(&pooler.address()).rows("select 1");
}
