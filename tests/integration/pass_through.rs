//! Logins at servers with what clients have proved, where no password is written down anywhere.

use lab::{Options, Postgres};

use crate::harness::certificates::OURS;
use crate::harness::{Login, Pooler, Setup, Tls, direct};

/// A server that asks everybody but the superuser for SCRAM.
fn strict() -> Postgres {
    let options = Options::default().hba("host all joe samehost scram-sha-256").hba("host all ann samehost md5");
    let postgres = Postgres::start(options).expect("PostgreSQL starts");
    let mut admin = direct::admin(&postgres);
    admin.rows("create role joe login password 'first'");
    admin.rows("set password_encryption = 'md5'");
    admin.rows("create role ann login password 'first'");
    postgres
}

/// A pooler that knows nothing but who may ask for secrets.
fn before(postgres: &Postgres, auth_type: &str) -> Pooler {
    let setup = Setup::on(postgres).set("auth_user", "postgres").set("auth_type", auth_type).tls("prefer");
    let setup = setup.set("server_login_retry", "100ms").set("client_login_timeout", 3).set("auth_failure_delay", 0);
    setup.allow("pooler error").allow("server login failed").start()
}

#[track_caller]
fn works(pooler: &Pooler, login: &Login) {
    let mut client = login.open(&pooler.address());
    pooler.console().run("RECONNECT");
    // On a server connection of today.
    client.rows("select 1");
}

#[test]
fn a_clients_own_keys_open_a_server_that_asks_for_scram() {
    let postgres = strict();
    for auth_type in ["scram-sha-256", "md5", "plain"] {
        let pooler = before(&postgres, auth_type);
        let login = Login::new("joe").password("first");
        works(&pooler, &login);
        works(&pooler, &login.clone().tls(&Tls::new()));
        let wrong = login.password("wrong").try_open(&pooler.address()).expect_err("refused");
        assert_eq!(wrong.code, "28P01");
    }
}

#[test]
fn an_md5_secret_that_was_looked_up_opens_a_server_that_asks_for_md5() {
    let postgres = strict();
    for auth_type in ["md5", "plain", "trust"] {
        works(&before(&postgres, auth_type), &Login::new("ann").password("first"));
    }
}

#[test]
fn a_certificate_opens_a_server_with_the_secret_that_was_looked_up() {
    let postgres = strict();
    let setup = Setup::on(&postgres).set("auth_user", "postgres").set("auth_type", "cert").tls("verify-full");
    let pooler = setup.set("client_login_timeout", 3).allow("pooler error").allow("server login failed").start();
    let login = Login::new("ann").tls(&Tls::showing(&OURS.client("ann")));
    let got = login.try_open(&pooler.address()).map(drop).map_err(|report| report.to_string());
    assert_eq!(got, Ok(()), "as it does where auth_type is trust");
}

#[test]
fn a_changed_password_opens_servers_from_the_next_login_on() {
    let postgres = strict();
    let pooler = before(&postgres, "scram-sha-256");
    let mut old = Login::new("joe").password("first").open(&pooler.address());
    old.rows("select 1");
    direct::admin(&postgres).rows("alter role joe password 'second'");
    let refused = Login::new("joe").password("first").try_open(&pooler.address()).expect_err("it is another one now");
    assert_eq!(refused.to_string(), "FATAL 28P01 SASL authentication failed");
    works(&pooler, &Login::new("joe").password("second"));
    old.rows("select 'who is in stays in'");
}

#[test]
fn without_a_clients_proof_a_stored_verifier_opens_nothing() {
    let postgres = strict();
    let pooler = before(&postgres, "trust");
    let report = Login::new("joe").try_open(&pooler.address()).expect_err("the server asks for what nobody knows");
    assert_eq!(report.to_string(), "FATAL 08006 server login failed: wrong password type");
}
