//! Certificates and rules that change under load: taken up whole, or not at all.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::certificates::{OURS, Pair, SHOWN};
use crate::harness::load::{Load, transaction_into};
use crate::harness::pooler::await_log;
use crate::harness::{Login, Pooler, Setup, Tls, eventually, tls};
use crate::pause::table;

fn setup(period: &str) -> Setup {
    let setup = Setup::new().tls("require").set("tls_file_check_period", period);
    setup.set("max_client_conn", 200).set("default_pool_size", 5)
}

fn encrypted(pooler: &Pooler) -> Login {
    pooler.login().tls(&Tls::new())
}

fn fresh() -> Pair {
    OURS.server(&["localhost", "127.0.0.1"])
}

/// Puts key and certificate in place as tools do that write a new file and rename it.
fn install(pooler: &Pooler, pair: &Pair) {
    pooler.replace("shown.key", &pair.key_pem);
    pooler.replace("shown.crt", &pair.certificate_pem);
}

fn shows(pooler: &Pooler, pair: &Pair) -> bool {
    tls::shown(&encrypted(pooler).open(&pooler.address()).stream) == pair.certificate
}

fn count(text: &str, words: &str) -> usize {
    text.matches(words).count()
}

/// Sixteen clients at work, and others that come and go, while `rotate` changes what it likes.
fn under_load(pooler: &Pooler, rotate: impl FnOnce(&Load)) {
    let table = table();
    let load = Load::start(16, &pooler.address(), &encrypted(pooler), transaction_into(&table));
    let (stop, logins) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // With SCRAM-SHA-256-PLUS: certificate and login must be of one mind.
                    encrypted(pooler).open(&pooler.address()).bye();
                    logins.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        load.advance(50);
        rotate(&load);
        load.advance(50);
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(load.finish().errors, []);
    assert!(logins.load(Ordering::Relaxed) > 10, "too few logins to tell");
}

#[test]
fn a_certificate_is_taken_up_by_reload_and_nobody_notices() {
    let pooler = setup("0s").start();
    under_load(&pooler, |load| {
        for _ in 0..5 {
            let next = fresh();
            install(&pooler, &next);
            assert!(!shows(&pooler, &next), "not before the RELOAD");
            pooler.console().run("RELOAD");
            assert!(shows(&pooler, &next));
            load.advance(20);
        }
    });
}

#[test]
fn a_certificate_is_taken_up_by_itself_and_nobody_notices() {
    // Between the two files it may look, and complain.
    let pooler = setup("30ms").allow("cannot be used").start();
    under_load(&pooler, |load| {
        for _ in 0..5 {
            let next = fresh();
            install(&pooler, &next);
            eventually("the new certificate is shown", || shows(&pooler, &next));
            load.advance(20);
        }
    });
}

#[test]
fn a_file_that_cannot_be_used_keeps_the_old_one_and_is_told_of_once() {
    let next = fresh();
    let half = &next.certificate_pem[..next.certificate_pem.len() / 2];
    for (file, content) in [
        ("shown.crt", half),
        ("shown.crt", ""),
        ("shown.crt", next.certificate_pem.as_str()),
        ("shown.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        ("ca.crt", "nothing of the kind\n"),
    ] {
        let pooler = setup("20ms").allow("cannot be used, the old ones stay").start();
        pooler.write(file, content);
        await_log(&pooler, "TLS files have changed and cannot be used, the old ones stay");
        // Time for many more looks.
        thread::sleep(Duration::from_millis(300));
        let log = pooler.log();
        let complaints: Vec<&str> = log.lines().filter(|line| line.contains("cannot be used")).collect();
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].contains(file), "which file? {}", complaints[0]);
        assert!(!complaints[0].contains("AAAA"), "nothing of a key is told");
        assert!(shows(&pooler, &SHOWN), "{file}");
        pooler.write("ca.crt", &OURS.pem());
        install(&pooler, &next);
        eventually("the whole file is taken up", || shows(&pooler, &next));
        eventually("it is said", || pooler.log().contains("TLS files have changed and were read again"));
    }
}

#[test]
fn a_removed_file_is_told_of_once_and_missed_by_nobody() {
    let pooler = setup("20ms").allow("cannot be used, the old ones stay").start();
    std::fs::remove_file(pooler.path("shown.crt")).expect("it is there");
    await_log(&pooler, "cannot be used, the old ones stay");
    thread::sleep(Duration::from_millis(200));
    assert_eq!(count(&pooler.log(), "cannot be used"), 1);
    assert!(shows(&pooler, &SHOWN));
}

#[test]
fn clients_that_are_in_keep_their_tls_when_it_is_turned_off_for_others() {
    let mut pooler = setup("0s").start();
    let mut client = encrypted(&pooler).open(&pooler.address());
    client.rows("select 1");
    let mut console = pooler.console();
    pooler.rewrite(|setup| setup.tls("disable"));
    console.run("RELOAD");
    client.rows("select 1");
    pooler.client().rows("select 1");
    let refused = encrypted(&pooler).try_open(&pooler.address()).expect_err("no TLS");
    assert_eq!(refused.message, "SSLRequest was answered 'N'");
}

#[test]
fn a_reload_with_a_broken_file_is_refused_with_its_name_line_and_reason_and_changes_nothing() {
    let rules = "host all all all scram-sha-256\n";
    let setup = Setup::new().tls("prefer").set("auth_type", "hba").file("auth_hba_file", "hba.conf", rules);
    let setup = setup
        .set("auth_failure_delay", 0)
        .set("tls_file_check_period", "0s")
        .allow("RELOAD failed")
        .allow(".conf:")
        .allow("userlist.txt");
    let mut pooler = setup.allow("shown").allow("pooler error").allow("no authentication").start();
    let good = std::fs::read_to_string(pooler.path("userlist.txt")).expect("it is there");
    let (key, certificate) = (SHOWN.key_pem.as_str(), SHOWN.certificate_pem.as_str());
    for (file, broken, whole, logged) in [
        ("hba.conf", "host all all all trust\nhost all all 127.0.0.1/33 md5\n", rules, "hba.conf:2:14: "),
        ("hba.conf", "host all all all trust\n\nhost all all all gss\n", rules, "hba.conf:3:18: the method gss"),
        ("hba.conf", "host all all all trust\nhost all all\n", rules, "hba.conf:2:1: the line ends before"),
        ("userlist.txt", "\"admin\" \"secret\"\n\"joe\" secret\n", &good, "userlist.txt:2:1: expected the secret"),
        ("shown.crt", "rubbish", certificate, "shown.crt: "),
        ("shown.key", "rubbish", key, "shown.key: "),
        ("shown.key", &fresh().key_pem, key, "shown."),
    ] {
        let mut console = pooler.console();
        let before = console.show("CONFIG");
        pooler.rewrite(|setup| setup.set("default_pool_size", 7));
        pooler.write(file, broken);
        let report = console.error("RELOAD");
        assert_eq!((report.severity.as_str(), report.code.as_str()), ("ERROR", "F0000"), "{broken}");
        let log = pooler.log();
        let told = log.lines().rev().take(3).any(|line| line.contains(logged));
        assert!(told, "{broken}: no {logged} at the end of\n{log}");
        assert!(!log.contains("\"joe\" secret"), "no secret is repeated");
        assert_eq!(console.show("CONFIG"), before, "{broken}");
        for login in [pooler.login(), encrypted(&pooler)] {
            login.open(&pooler.address()).rows("select 1");
            let wrong = login.password("wrong").try_open(&pooler.address()).expect_err("the old rules are in force");
            assert_eq!(wrong.code, "28P01", "{broken}");
        }
        assert!(shows(&pooler, &SHOWN), "{broken}");
        pooler.write(file, whole);
        pooler.rewrite(|setup| setup.set("default_pool_size", 20));
        console.run("RELOAD");
    }
}
