//! Who gets in, by which proof, on both sides of the pooler.

use protocol::md5::Md5Secret;

use crate::harness::{Login, Pooler, Report, Setup, direct, eventually};

/// A pooler for the lab's role that the server lets in by `method`.
fn before(role: &str, auth_type: &str, secret: &str) -> Pooler {
    let setup = Setup::new().set("auth_type", auth_type).secret(role, secret).set("auth_failure_delay", 0);
    setup.allow("authentication failed").allow("pooler error").start()
}

/// `md5` and the digest of password and role, as pg_authid keeps it.
fn md5_of(role: &str) -> String {
    direct::value(&format!("select 'md5' || md5('{}{role}')", lab::PASSWORD))
}

fn scram_of(role: &str) -> String {
    direct::value(&format!("select rolpassword from pg_authid where rolname = '{role}'"))
}

#[track_caller]
fn works(pooler: &Pooler, role: &str) {
    assert_eq!(Login::new(role).open(&pooler.address()).value("select current_user"), role);
}

#[track_caller]
fn refused(pooler: &Pooler, login: &Login) -> Report {
    login.try_open(&pooler.address()).expect_err("the login must fail")
}

#[track_caller]
fn wrong_password_fails(pooler: &Pooler, role: &str, message: &str) {
    let report = refused(pooler, &Login::new(role).password("wrong"));
    let got = (report.severity.as_str(), report.code.as_str(), report.message.as_str());
    assert_eq!(got, ("FATAL", "28P01", message));
}

#[test]
fn every_kind_of_client_login_reaches_every_kind_of_server_login() {
    for role in ["app", "app_scram", "app_md5", "app_plain"] {
        for auth_type in ["trust", "plain", "md5", "scram-sha-256"] {
            works(&before(role, auth_type, lab::PASSWORD), role);
        }
    }
}

#[test]
fn a_scram_secret_logs_in_here_and_passes_through_to_a_server_that_demands_scram() {
    let pooler = before("app_scram", "scram-sha-256", &scram_of("app_scram"));
    works(&pooler, "app_scram");
    pooler.console().run("RECONNECT");
    works(&pooler, "app_scram");
    wrong_password_fails(&pooler, "app_scram", "SASL authentication failed");
}

#[test]
fn a_scram_secret_makes_md5_logins_use_scram() {
    let pooler = before("app_scram", "md5", &scram_of("app_scram"));
    works(&pooler, "app_scram");
    wrong_password_fails(&pooler, "app_scram", "SASL authentication failed");
}

#[test]
fn an_md5_secret_logs_in_here_and_at_a_server_that_demands_md5() {
    let pooler = before("app_md5", "md5", &md5_of("app_md5"));
    works(&pooler, "app_md5");
    wrong_password_fails(&pooler, "app_md5", "password authentication failed");
}

#[test]
fn a_plain_login_is_checked_against_every_kind_of_secret() {
    for (role, secret) in [("app", lab::PASSWORD.to_owned()), ("app", md5_of("app")), ("app", scram_of("app_scram"))] {
        let pooler = before(role, "plain", &secret);
        works(&pooler, role);
        wrong_password_fails(&pooler, role, "password authentication failed");
    }
}

#[test]
fn an_md5_secret_cannot_do_scram() {
    let pooler = before("app_md5", "scram-sha-256", &md5_of("app_md5")).also("md5 secrets");
    assert_eq!(refused(&pooler, &Login::new("app_md5")).code, "28P01");
}

#[test]
fn a_wrong_password_is_refused_in_pgbouncers_words() {
    for (auth_type, message) in [
        ("plain", "password authentication failed"),
        ("md5", "password authentication failed"),
        ("scram-sha-256", "SASL authentication failed"),
    ] {
        wrong_password_fails(&before("app", auth_type, lab::PASSWORD), "app", message);
    }
}

#[test]
fn an_unknown_user_is_refused_like_a_wrong_password() {
    for (auth_type, message) in [
        ("plain", "password authentication failed"),
        ("md5", "password authentication failed"),
        ("scram-sha-256", "SASL authentication failed"),
    ] {
        let report = refused(&before("app", auth_type, lab::PASSWORD), &Login::new("stranger"));
        assert_eq!((report.code.as_str(), report.message.as_str()), ("28P01", message));
    }
    let report = refused(&before("app", "trust", lab::PASSWORD), &Login::new("stranger"));
    assert_eq!((report.code.as_str(), report.message.as_str()), ("28000", "\"trust\" authentication failed"));
}

#[test]
fn any_lets_everybody_in_as_the_forced_user() {
    let setup = Setup::new();
    let user = setup.user.clone();
    let pooler = setup.set("auth_type", "any").database_set("app", "user", user.as_str()).start();
    let mut client = Login::new("whoever").open(&pooler.address());
    assert_eq!(client.value("select current_user"), user);
}

#[test]
fn an_empty_password_is_refused() {
    let pooler = before("app", "plain", lab::PASSWORD).also("empty password");
    let report = refused(&pooler, &Login::new("app").password(""));
    assert_eq!((report.code.as_str(), report.message.as_str()), ("28P01", "empty password returned by client"));
}

#[test]
fn an_unknown_database_is_told_only_to_those_who_may_log_in() {
    let pooler = before("app", "scram-sha-256", lab::PASSWORD).also("no such database");
    let nowhere = pooler.login().database("nowhere");
    let report = refused(&pooler, &nowhere);
    let got = (report.severity.as_str(), report.code.as_str(), report.message.as_str());
    assert_eq!(got, ("FATAL", "3D000", "no such database: nowhere"));
    assert_eq!(refused(&pooler, &nowhere.password("wrong")).code, "28P01");
}

#[test]
fn a_database_that_the_server_does_not_have_is_the_servers_own_error() {
    let setup = Setup::new().database_set("app", "dbname", "missing").set("server_login_retry", "100ms");
    let pooler = setup.allow("missing").allow("pooler error").start();
    let report = refused(&pooler, &pooler.login());
    assert_eq!((report.severity.as_str(), report.code.as_str()), ("FATAL", "3D000"));
    assert_eq!(report.message, "database \"missing\" does not exist");
}

#[test]
fn a_password_that_the_server_refuses_is_the_servers_own_error() {
    let setup = Setup::new().database_set("app", "user", "app_scram").database_set("app", "password", "wrong");
    let pooler = setup.set("server_login_retry", "100ms").allow("authentication failed").allow("pooler error").start();
    assert_eq!(refused(&pooler, &pooler.login()).code, "28P01");
}

#[test]
fn a_forced_user_logs_in_with_its_own_password() {
    let setup = Setup::new().database_set("app", "user", "app_scram").database_set("app", "password", lab::PASSWORD);
    let pooler = setup.start();
    assert_eq!(pooler.client().value("select current_user"), "app_scram");
}

#[test]
fn a_wrong_password_does_not_end_those_who_are_in() {
    let pooler = before("app", "scram-sha-256", lab::PASSWORD);
    let mut client = Login::new("app").open(&pooler.address());
    for _ in 0..20 {
        refused(&pooler, &Login::new("app").password("wrong"));
    }
    client.rows("select 1");
}

#[test]
fn logins_at_the_same_time_all_succeed() {
    let pooler = Setup::new().set("max_client_conn", 200).start();
    std::thread::scope(|scope| {
        for _ in 0..60 {
            scope.spawn(|| pooler.client().rows("select 1"));
        }
    });
    let mut console = pooler.console();
    eventually("all have left", || console.show("CLIENTS").iter().all(|row| row["database"] == "pgbouncer"));
}

#[test]
fn the_lab_and_the_library_agree_on_md5() {
    let secret = Md5Secret::parse(&md5_of("app_md5")).expect("a secret of PostgreSQL's");
    assert!(secret.check_password(lab::PASSWORD.as_bytes(), b"app_md5"));
}
