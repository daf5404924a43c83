//! Every password method with every kind of secret, from `auth_file` and by `auth_query`, with TLS and without.

use std::sync::LazyLock;

use crate::harness::{Login, Pooler, Setup, Tls, direct};

/// SQLSTATE and message of a FATAL error.
type Outcome = Result<(), (&'static str, &'static str)>;

const IN: Outcome = Ok(());
const WRONG: Outcome = Err(("28P01", "password authentication failed"));
const SASL: Outcome = Err(("28P01", "SASL authentication failed"));
const EMPTY: Outcome = Err(("28P01", "empty password returned by client"));
const TRUST: Outcome = Err(("28000", "\"trust\" authentication failed"));

/// What becomes of logins; None where there is no such user.
struct Row {
    auth_type: &'static str,
    user: &'static str,
    password: &'static str,
    by_file: Option<Outcome>,
    by_query: Option<Outcome>,
}

const fn row(
    auth_type: &'static str,
    user: &'static str,
    password: &'static str,
    by_file: Option<Outcome>,
    by_query: Option<Outcome>,
) -> Row {
    Row { auth_type, user, password, by_file, by_query }
}

/// Users are named after their secrets: `empty` has an empty password, `none` has no secret, `expired` is past its
/// VALID UNTIL, `nologin` may not log in, and `stranger` does not exist.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    //   auth_type        user        password   auth_file     auth_query
    row("any",           "t_plain",    "wrong",  Some(IN),     Some(IN)),
    row("any",           "t_none",     "",       Some(IN),     Some(IN)),
    row("any",           "t_stranger", "wrong",  Some(IN),     Some(IN)),

    row("trust",         "t_plain",    "wrong",  Some(IN),     Some(IN)),
    row("trust",         "t_md5",      "wrong",  Some(IN),     Some(IN)),
    row("trust",         "t_scram",    "wrong",  Some(IN),     Some(IN)),
    row("trust",         "t_empty",    "",       Some(IN),     None),
    row("trust",         "t_none",     "",       Some(IN),     Some(IN)),
    row("trust",         "t_expired",  "",       None,         Some(IN)),
    row("trust",         "t_nologin",  "secret", None,         Some(TRUST)),
    row("trust",         "t_stranger", "secret", Some(TRUST),  Some(TRUST)),

    row("plain",         "t_plain",    "secret", Some(IN),     Some(IN)),
    row("plain",         "t_plain",    "wrong",  Some(WRONG),  Some(WRONG)),
    row("plain",         "t_plain",    "",       Some(EMPTY),  Some(EMPTY)),
    row("plain",         "t_md5",      "secret", Some(IN),     Some(IN)),
    row("plain",         "t_md5",      "wrong",  Some(WRONG),  Some(WRONG)),
    row("plain",         "t_md5",      "",       Some(EMPTY),  Some(EMPTY)),
    row("plain",         "t_scram",    "secret", Some(IN),     Some(IN)),
    row("plain",         "t_scram",    "wrong",  Some(WRONG),  Some(WRONG)),
    row("plain",         "t_scram",    "",       Some(EMPTY),  Some(EMPTY)),
    row("plain",         "t_empty",    "",       Some(EMPTY),  None),
    row("plain",         "t_empty",    "secret", Some(WRONG),  None),
    row("plain",         "t_none",     "secret", Some(WRONG),  Some(WRONG)),
    row("plain",         "t_none",     "",       Some(EMPTY),  Some(EMPTY)),
    row("plain",         "t_expired",  "secret", None,         Some(WRONG)),
    row("plain",         "t_nologin",  "secret", None,         Some(WRONG)),
    row("plain",         "t_stranger", "secret", Some(WRONG),  Some(WRONG)),
    row("plain",         "t_stranger", "",       Some(EMPTY),  Some(EMPTY)),

    row("md5",           "t_plain",    "secret", Some(IN),     Some(IN)),
    row("md5",           "t_plain",    "wrong",  Some(WRONG),  Some(WRONG)),
    row("md5",           "t_plain",    "",       Some(WRONG),  Some(WRONG)),
    row("md5",           "t_md5",      "secret", Some(IN),     Some(IN)),
    row("md5",           "t_md5",      "wrong",  Some(WRONG),  Some(WRONG)),
    row("md5",           "t_md5",      "",       Some(WRONG),  Some(WRONG)),
    row("md5",           "t_scram",    "secret", Some(IN),     Some(IN)),
    row("md5",           "t_scram",    "wrong",  Some(SASL),   Some(SASL)),
    row("md5",           "t_scram",    "",       Some(SASL),   Some(SASL)),
    row("md5",           "t_empty",    "",       Some(WRONG),  None),
    row("md5",           "t_none",     "secret", Some(WRONG),  Some(WRONG)),
    row("md5",           "t_none",     "",       Some(WRONG),  Some(WRONG)),
    row("md5",           "t_expired",  "secret", None,         Some(WRONG)),
    row("md5",           "t_nologin",  "secret", None,         Some(WRONG)),
    row("md5",           "t_stranger", "secret", Some(WRONG),  Some(WRONG)),
    row("md5",           "t_stranger", "",       Some(WRONG),  Some(WRONG)),

    row("scram-sha-256", "t_plain",    "secret", Some(IN),     Some(IN)),
    row("scram-sha-256", "t_plain",    "wrong",  Some(SASL),   Some(SASL)),
    row("scram-sha-256", "t_plain",    "",       Some(SASL),   Some(SASL)),
    row("scram-sha-256", "t_md5",      "secret", Some(SASL),   Some(SASL)),
    row("scram-sha-256", "t_md5",      "",       Some(SASL),   Some(SASL)),
    row("scram-sha-256", "t_scram",    "secret", Some(IN),     Some(IN)),
    row("scram-sha-256", "t_scram",    "wrong",  Some(SASL),   Some(SASL)),
    row("scram-sha-256", "t_scram",    "",       Some(SASL),   Some(SASL)),
    row("scram-sha-256", "t_empty",    "",       Some(SASL),   None),
    row("scram-sha-256", "t_none",     "secret", Some(SASL),   Some(SASL)),
    row("scram-sha-256", "t_none",     "",       Some(SASL),   Some(SASL)),
    row("scram-sha-256", "t_expired",  "secret", None,         Some(SASL)),
    row("scram-sha-256", "t_nologin",  "secret", None,         Some(SASL)),
    row("scram-sha-256", "t_stranger", "secret", Some(SASL),   Some(SASL)),
    row("scram-sha-256", "t_stranger", "",       Some(SASL),   Some(SASL)),
];

const ROLES: &str = "
    set password_encryption = 'scram-sha-256';
    create role t_plain login in role app;
    create role t_empty login in role app;
    create role t_none login in role app;
    create role t_scram login in role app password 'secret';
    create role t_expired login in role app password 'secret' valid until '2020-01-01';
    create role t_nologin in role app password 'secret';
    set password_encryption = 'md5';
    create role t_md5 login in role app password 'secret';
    reset password_encryption;";

/// What the shipped auth_query finds, but for one user whose password is found in clear.
const QUERY: &str = "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END FROM pg_authid \
    WHERE rolname=$1 AND rolcanlogin AND rolname <> 't_plain' \
    UNION ALL SELECT 't_plain', 'secret' WHERE $1 = 't_plain'";

static MADE: LazyLock<()> = LazyLock::new(|| drop(direct::ask(ROLES)));

fn setup(auth_type: &str) -> Setup {
    LazyLock::force(&MADE);
    let setup = Setup::new().set("auth_type", auth_type).tls("allow").set("auth_failure_delay", 0);
    let role = setup.user.clone();
    let setup = if auth_type == "any" { setup.database_set("app", "user", role.as_str()) } else { setup };
    setup.allow("pooler error").allow("md5 secrets").allow("md5 cannot")
}

fn by_file(auth_type: &str) -> Pooler {
    let stored = |role| direct::value(&format!("select rolpassword from pg_authid where rolname = '{role}'"));
    let setup = setup(auth_type).secret("t_plain", "secret").secret("t_empty", "");
    let setup = setup.secret("t_md5", &stored("t_md5")).secret("t_scram", &stored("t_scram"));
    setup.user_set("t_none", "pool_mode", "transaction").start()
}

fn by_query(auth_type: &str) -> Pooler {
    setup(auth_type).set("auth_user", "postgres").set("auth_query", QUERY).start()
}

#[track_caller]
fn check(auth_type: &str) {
    let (by_file, by_query) = (by_file(auth_type), by_query(auth_type));
    for row in TABLE.iter().filter(|row| row.auth_type == auth_type) {
        let login = Login::new(row.user).password(row.password);
        for (source, pooler, expected) in
            [("auth_file", &by_file, &row.by_file), ("auth_query", &by_query, &row.by_query)]
        {
            let Some(expected) = expected else { continue };
            for (way, login) in [("in clear", login.clone()), ("over TLS", login.clone().tls(&Tls::new()))] {
                let got = login.try_open(&pooler.address()).map(|mut client| drop(client.rows("select 1")));
                let expected = expected.map_err(|(code, message)| format!("FATAL {code} {message}"));
                let got = got.map_err(|report| report.to_string());
                assert_eq!(got, expected, "{} / {} by {source} {way}", row.user, row.password);
            }
        }
    }
}

#[test]
fn any_lets_everybody_in() {
    check("any");
}

#[test]
fn trust_lets_in_who_is_known() {
    check("trust");
}

#[test]
fn plain_asks_for_the_password() {
    check("plain");
}

#[test]
fn md5_asks_for_the_digest_or_for_scram_where_that_is_all_there_is() {
    check("md5");
}

#[test]
fn scram_asks_for_scram() {
    check("scram-sha-256");
}

#[test]
fn over_tls_scram_is_bound_to_the_channel_and_the_console_says_which() {
    let pooler = by_file("scram-sha-256");
    let mut client = Login::new("t_scram").tls(&Tls::new()).open(&pooler.address());
    client.rows("select 1");
    let mut console = Login::new("admin").database("pgbouncer").tls(&Tls::new()).open(&pooler.address());
    console.rows("SHOW VERSION");
    let mut shown = pooler.console();
    let tls: Vec<String> = shown.show("CLIENTS").into_iter().map(|row| row["tls"].clone()).collect();
    assert_eq!(tls.iter().filter(|words| words.starts_with("TLSv1.3/")).count(), 2, "{tls:?}");
}

#[test]
fn console_logins_are_judged_as_others_with_tls_and_without() {
    let pooler = by_file("scram-sha-256").also("not allowed");
    for tls in [None, Some(Tls::new())] {
        let login = |user: &str, password: &str| {
            let login = Login::new(user).database("pgbouncer").password(password);
            tls.iter()
                .fold(login, Login::tls)
                .try_open(&pooler.address())
                .map(drop)
                .map_err(|report| report.to_string())
        };
        assert_eq!(login("admin", "secret"), Ok(()));
        assert_eq!(login("stats", "secret"), Ok(()));
        assert_eq!(login("admin", "wrong"), Err("FATAL 28P01 SASL authentication failed".into()));
        assert_eq!(login("admin", ""), Err("FATAL 28P01 SASL authentication failed".into()));
        assert_eq!(login("t_stranger", "secret"), Err("FATAL 28P01 SASL authentication failed".into()));
        assert_eq!(login("t_plain", "secret"), Err("FATAL 28000 not allowed".into()));
    }
}
