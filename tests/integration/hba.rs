//! `auth_type = hba`: which rule a client meets, and what each method asks of it.

use crate::harness::certificates::OURS;
use crate::harness::{Address, Login, Pooler, Setup, Tls, direct};

const NO_RULE: &str = "FATAL 28000 no authentication method is found";
const REJECTED: &str = "FATAL 28000 login rejected";
const WRONG: &str = "FATAL 28P01 password authentication failed";
const SASL: &str = "FATAL 28P01 SASL authentication failed";
const CERT: &str = "FATAL 28000 certificate authentication failed";
const PEER: &str = "FATAL 28000 unix socket login rejected";

fn setup(rules: &str) -> Setup {
    let setup = Setup::new().set("auth_type", "hba").file("auth_hba_file", "hba.conf", rules).tls("allow");
    setup.set("auth_failure_delay", 0).allow("pooler error").allow("map=").allow("md5 secrets")
}

/// Rules for the role under test, after one that keeps the console open.
fn pooler(rules: &str) -> Pooler {
    setup(&format!("host pgbouncer admin all trust\n{rules}\n")).start()
}

#[track_caller]
fn comes(login: &Login, address: &Address) -> Result<(), String> {
    login.try_open(address).map(|mut client| drop(client.rows("select 1"))).map_err(|report| report.to_string())
}

fn refused(words: &str) -> Result<(), String> {
    Err(words.into())
}

#[test]
fn each_method_asks_what_it_is_named_after() {
    for (method, unproved) in [
        ("trust", Ok(())),
        ("reject", refused(REJECTED)),
        ("password", refused(WRONG)),
        ("md5", refused(WRONG)),
        ("scram-sha-256", refused(SASL)),
    ] {
        let pooler = pooler(&format!("host all all 127.0.0.1/32 {method}"));
        let proved = if method == "reject" { refused(REJECTED) } else { Ok(()) };
        for login in [pooler.login(), pooler.login().tls(&Tls::new())] {
            assert_eq!(comes(&login, &pooler.address()), proved, "{method}");
            assert_eq!(comes(&login.password("wrong"), &pooler.address()), unproved, "{method}");
        }
        assert_eq!(comes(&pooler.login(), &pooler.socket()), refused(NO_RULE), "host is not local");
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    // Rules, and what they make of the right password and of a wrong one.
    let role = direct::unique("first");
    direct::ask(&direct::make_role(&role));
    for (rules, right, wrong) in [
        ("host all all all trust\nhost all all all reject", Ok(()), Ok(())),
        ("host all all all reject\nhost all all all trust", refused(REJECTED), refused(REJECTED)),
        ("host all other all trust\nhost all all all md5", Ok(()), refused(WRONG)),
        ("host other all all trust\nhost all all all md5", Ok(()), refused(WRONG)),
        ("host all all 10.0.0.0/8 trust\nhost all all 127.0.0.0/8 md5", Ok(()), refused(WRONG)),
        ("host all all 127.0.0.1 255.255.255.255 md5\nhost all all all trust", Ok(()), refused(WRONG)),
        ("host all all ::1/128 trust\nhost all all 0.0.0.0/0 md5", Ok(()), refused(WRONG)),
        ("host app ROLE all md5\nhost all all all trust", Ok(()), refused(WRONG)),
        ("host \"all\" all all trust\nhost app \"ROLE\" all md5", Ok(()), refused(WRONG)),
        ("local all all trust\nhost sameuser all all trust", refused(NO_RULE), refused(NO_RULE)),
        ("host app other,ROLE all trust", Ok(()), Ok(())),
        ("# nothing\n", refused(NO_RULE), refused(NO_RULE)),
    ] {
        let rules = format!("host pgbouncer admin all trust\n{}", rules.replace("ROLE", &role));
        let pooler = setup(&rules).secret(&role, lab::PASSWORD).start();
        let login = Login::new(&role);
        assert_eq!(comes(&login, &pooler.address()), right, "{rules}");
        assert_eq!(comes(&login.password("wrong"), &pooler.address()), wrong, "{rules}");
    }
}

#[test]
fn rules_tell_encrypted_connections_from_others() {
    let pooler = pooler("hostssl all all all trust\nhostnossl app all all reject");
    assert_eq!(comes(&pooler.login().password("wrong").tls(&Tls::new()), &pooler.address()), Ok(()));
    assert_eq!(comes(&pooler.login(), &pooler.address()), refused(REJECTED));
}

#[test]
fn sameuser_is_the_database_of_the_users_own_name() {
    let rules = "host sameuser all all trust\nhost all all all reject\n";
    let setup = setup(&format!("host pgbouncer all all trust\n{rules}"));
    let own = setup.user.clone();
    let pooler = setup.database(&own).database_set(&own, "dbname", "app").start();
    assert_eq!(comes(&pooler.login().database(&own), &pooler.address()), Ok(()));
    assert_eq!(comes(&pooler.login(), &pooler.address()), refused(REJECTED));
}

#[test]
fn membership_in_a_group_is_looked_up_with_auth_user() {
    let (group, inner) = (direct::unique("group"), direct::unique("inner"));
    direct::ask(&format!("create role {group}; create role {inner} in role {group}"));
    let rules = format!("host pgbouncer admin all trust\nhost all +{group} all trust\nhost all all all reject\n");
    let setup = setup(&rules).set("auth_user", "postgres");
    let member = setup.user.clone();
    let stranger = direct::unique("stranger");
    direct::ask(&direct::make_role(&stranger));
    direct::ask(&format!("grant {inner} to {member}"));
    let pooler = setup.start();
    assert_eq!(comes(&Login::new(&member), &pooler.address()), Ok(()), "by way of another group");
    assert_eq!(comes(&Login::new(&stranger), &pooler.address()), refused(REJECTED));
    assert_eq!(comes(&Login::new("nobody_at_all"), &pooler.address()), refused(REJECTED));
    direct::ask(&format!("revoke {inner} from {member}"));
    assert_eq!(comes(&Login::new(&member), &pooler.address()), refused(REJECTED), "nothing is kept with a ttl of 0");
}

#[test]
fn a_group_that_nobody_can_look_up_keeps_out_instead_of_being_skipped() {
    let rules = "host pgbouncer admin all trust\nhost all +wheel all reject\nhost all all all trust\n";
    let pooler = setup(rules).allow("names a group").start();
    assert_eq!(comes(&pooler.login(), &pooler.address()), refused("FATAL F0000 bouncer config error"));
}

#[test]
fn cert_asks_for_a_certificate_of_the_users_common_name() {
    let pooler = pooler("hostssl all all all cert");
    let role = pooler.setup.user.clone();
    let (right, other) = (OURS.client(&role), OURS.client("somebody_else"));
    let capital = OURS.client(&role.to_uppercase());
    let login = pooler.login().password("wrong");
    assert_eq!(comes(&login.clone().tls(&Tls::showing(&right)), &pooler.address()), Ok(()));
    assert_eq!(comes(&login.clone().tls(&Tls::showing(&other)), &pooler.address()), refused(CERT));
    assert_eq!(comes(&login.clone().tls(&Tls::showing(&capital)), &pooler.address()), refused(CERT));
    assert_eq!(comes(&login.clone().tls(&Tls::new()), &pooler.address()), refused(CERT));
    assert_eq!(comes(&login, &pooler.address()), refused(NO_RULE), "without TLS the rule is not met");
}

#[test]
fn a_map_says_which_certificates_may_be_whom() {
    let rules = "host pgbouncer admin all trust\nhostssl all all all cert map=people\n";
    let setup = setup(rules);
    let role = setup.user.clone();
    let maps = format!("people \"Ann Example\" {role}\npeople root admin\nothers bob {role}\n");
    let pooler = setup.file("auth_ident_file", "ident.conf", maps).start();
    for (name, expected) in
        [("Ann Example", Ok(())), ("root", refused(CERT)), ("bob", refused(CERT)), (&role, refused(CERT))]
    {
        let login = pooler.login().tls(&Tls::showing(&OURS.client(name)));
        assert_eq!(comes(&login, &pooler.address()), expected, "{name}");
    }
}

#[test]
fn clientcert_asks_for_a_certificate_besides_the_password() {
    for (option, stranger) in [("verify-ca", Ok(())), ("verify-full", refused(CERT))] {
        let pooler = pooler(&format!("hostssl all all all scram-sha-256 clientcert={option}"));
        let (own, other) = (OURS.client(&pooler.setup.user), OURS.client("somebody_else"));
        let login = pooler.login();
        assert_eq!(comes(&login.clone().tls(&Tls::showing(&own)), &pooler.address()), Ok(()), "{option}");
        assert_eq!(comes(&login.clone().tls(&Tls::showing(&other)), &pooler.address()), stranger, "{option}");
        assert_eq!(comes(&login.clone().tls(&Tls::new()), &pooler.address()), refused(CERT), "{option}");
        let wrong = login.password("wrong").tls(&Tls::showing(&own));
        assert_eq!(comes(&wrong, &pooler.address()), refused(SASL), "{option}");
    }
}

#[test]
fn peer_asks_the_system_who_is_at_the_other_end_of_the_unix_socket() {
    let me = me();
    let maps = format!("m {me} mapped\nm somebody_else unmapped\n");
    let rules = format!("host pgbouncer admin all trust\nlocal all {me} peer\nlocal all all peer map=m\n");
    let setup = setup(&rules).file("auth_ident_file", "ident.conf", maps);
    let role = setup.user.clone();
    let pooler = setup.database_set("app", "user", role.as_str()).start();
    assert_eq!(comes(&Login::new(&me), &pooler.socket()), Ok(()));
    assert_eq!(comes(&Login::new("mapped"), &pooler.socket()), Ok(()));
    assert_eq!(comes(&Login::new("unmapped"), &pooler.socket()), refused(PEER));
    assert_eq!(comes(&Login::new("somebody_else"), &pooler.socket()), refused(PEER));
}

/// The name of the account these tests run under.
fn me() -> String {
    let output = std::process::Command::new("id").arg("-un").output().expect("id(1) runs");
    String::from_utf8(output.stdout).expect("a name in UTF-8").trim().to_owned()
}
