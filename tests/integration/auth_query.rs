//! Users who are looked up on a server: how often it is asked, what is kept, and what goes wrong.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use protocol::messages;

use crate::harness::pooler::await_log;
use crate::harness::{Login, Pooler, Setup, direct, eventually, until};

const SASL: &str = "FATAL 28P01 SASL authentication failed";
const CONFIG: &str = "FATAL F0000 bouncer config error";

/// A look-up that counts its calls, and a user who can be found.
struct Lookup {
    /// The role that asks; it may do nothing else.
    asker: String,
    function: String,
    user: String,
}

impl Lookup {
    fn new() -> Lookup {
        let [asker, function, user] = ["asker", "find", "found"].map(direct::unique);
        direct::ask(&direct::make_role(&user));
        direct::ask(&format!("alter role {user} password 'secret'; create role {asker} login"));
        direct::ask(&format!("create sequence {function}_calls"));
        let lookup = Lookup { asker, function, user };
        lookup.answers("select rolname, rolpassword from pg_authid where rolname = $1 and rolcanlogin");
        lookup
    }

    /// What it answers from now on.
    fn answers(&self, sql: &str) {
        let Lookup { asker, function, .. } = self;
        direct::ask(&format!(
            "create or replace function {function}(text) returns table (who name, secret text) \
             language plpgsql security definer as $body$ begin \
             perform nextval('public.{function}_calls'); return query {sql}; end $body$; \
             grant execute on function {function} to {asker}"
        ));
    }

    fn query(&self) -> String {
        format!("select * from public.{}($1)", self.function)
    }

    fn setup(&self) -> Setup {
        let setup = Setup::new().set("auth_user", self.asker.as_str()).set("auth_query", self.query().as_str());
        setup.set("auth_failure_delay", 0).allow("pooler error")
    }

    fn calls(&self) -> u64 {
        let calls = format!("select case when is_called then last_value else 0 end from {}_calls", self.function);
        direct::value(&calls).parse().expect("a number")
    }
}

/// Logs in and leaves.
#[track_caller]
fn comes(pooler: &Pooler, user: &str, password: &str) -> Result<(), String> {
    let login = Login::new(user).password(password);
    login.try_open(&pooler.address()).map(drop).map_err(|report| report.to_string())
}

fn refused(words: &str) -> Result<(), String> {
    Err(words.into())
}

#[test]
fn those_who_ask_the_same_at_once_are_answered_together() {
    let lookup = Lookup::new();
    lookup.answers("select rolname, rolpassword from pg_authid, pg_sleep(0.7) where rolname = $1");
    let pooler = lookup.setup().start();
    let barrier = Barrier::new(30);
    thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| {
                barrier.wait();
                assert_eq!(comes(&pooler, &lookup.user, "secret"), Ok(()));
            });
        }
    });
    let calls = lookup.calls();
    assert!((1..=3).contains(&calls), "{calls} calls for 30 logins at once");
}

#[test]
fn an_answer_is_believed_for_auth_query_ttl() {
    let lookup = Lookup::new();
    let pooler = lookup.setup().start();
    (0..3).for_each(|_| assert_eq!(comes(&pooler, &lookup.user, "secret"), Ok(())));
    assert_eq!(lookup.calls(), 3, "0 asks at each login");
    let pooler = lookup.setup().set("auth_query_ttl", 60).start();
    (0..5).for_each(|_| assert_eq!(comes(&pooler, &lookup.user, "secret"), Ok(())));
    assert_eq!(lookup.calls(), 4);
    pooler.console().run("RELOAD");
    assert_eq!(comes(&pooler, &lookup.user, "secret"), Ok(()));
    assert_eq!(lookup.calls(), 5, "RELOAD forgets");
    let pooler = lookup.setup().set("auth_query_ttl", "100ms").start();
    eventually("the answer is too old", || {
        assert_eq!(comes(&pooler, &lookup.user, "secret"), Ok(()));
        lookup.calls() >= 7
    });
}

#[test]
fn that_there_is_no_such_user_is_believed_for_auth_query_negative_ttl() {
    let lookup = Lookup::new();
    let newcomer = direct::unique("newcomer");
    let pooler = lookup.setup().set("auth_query_ttl", 60).start();
    (0..3).for_each(|_| assert_eq!(comes(&pooler, &newcomer, "secret"), refused(SASL)));
    assert_eq!(lookup.calls(), 3, "0 asks at each login");
    let keeper = lookup.setup().set("auth_query_negative_ttl", 60).start();
    assert_eq!(comes(&keeper, &newcomer, "secret"), refused(SASL));
    direct::ask(&direct::make_role(&newcomer));
    direct::ask(&format!("alter role {newcomer} password 'secret'"));
    assert_eq!(comes(&pooler, &newcomer, "secret"), Ok(()));
    keeper.console().run("RELOAD");
    assert_eq!(comes(&keeper, &newcomer, "secret"), Ok(()));
}

#[test]
fn a_failed_proof_has_the_server_asked_again() {
    let lookup = Lookup::new();
    let pooler = lookup.setup().set("auth_query_ttl", 600).start();
    assert_eq!(comes(&pooler, &lookup.user, "secret"), Ok(()));
    direct::ask(&format!("alter role {} password 'another'", lookup.user));
    assert_eq!(comes(&pooler, &lookup.user, "another"), refused(SASL), "the old one is still believed");
    assert_eq!(comes(&pooler, &lookup.user, "another"), Ok(()));
    assert_eq!(comes(&pooler, &lookup.user, "secret"), refused(SASL));
    assert_eq!(comes(&pooler, &lookup.user, "another"), Ok(()));
}

#[test]
fn answers_that_do_not_do_are_a_config_error_that_is_logged_and_not_kept() {
    let lookup = Lookup::new();
    let query = lookup.query();
    for (query, logged) in [
        (format!("select who from public.{}($1)", lookup.function), "expected 2 columns, found 1"),
        (format!("select *, 1 from public.{}($1)", lookup.function), "expected 2 columns, found 3"),
        (format!("{query} union all select 'x', 'y'"), "expected one row, found 2"),
        ("select 1/0, $1".into(), "division by zero"),
        ("select no_such_column, $1".into(), "column \"no_such_column\" does not exist"),
        (
            "select rolname, rolpassword from pg_authid where rolname = $1".into(),
            "permission denied for table pg_authid",
        ),
    ] {
        let setup = lookup.setup().set("auth_query", query.as_str()).set("auth_query_ttl", 600);
        let mut pooler = setup.allow("error in auth_query").start();
        assert_eq!(comes(&pooler, &lookup.user, "secret"), refused(CONFIG), "{query}");
        await_log(&pooler, &format!("error in auth_query: {logged}"));
        pooler.rewrite(|setup| setup.set("auth_query", lookup.query().as_str()));
        pooler.console().run("RELOAD");
        assert_eq!(comes(&pooler, &lookup.user, "secret"), Ok(()), "{query}");
    }
    lookup.answers("select $1::name, 'a'::text from generate_series(1, 2)");
    let pooler = lookup.setup().set("auth_query_ttl", 600).allow("error in auth_query").start();
    assert_eq!(comes(&pooler, &lookup.user, "a"), refused(CONFIG));
    lookup.answers("select $1::name, 'a'::text");
    assert_eq!(comes(&pooler, &lookup.user, "a"), Ok(()), "an answer that does not do is not kept");
}

#[test]
fn null_for_a_name_is_nobody_and_null_for_a_secret_is_none() {
    let lookup = Lookup::new();
    for answer in ["null::name, 'secret'::text", "$1::name, null::text", "null::name, null::text"] {
        lookup.answers(&format!("select {answer}"));
        let pooler = lookup.setup().start();
        assert_eq!(comes(&pooler, &lookup.user, "secret"), refused(SASL), "{answer}");
        assert_eq!(comes(&pooler, &lookup.user, ""), refused(SASL), "{answer}");
    }
}

#[test]
fn databases_may_look_up_in_their_own_way() {
    let (first, second) = (Lookup::new(), Lookup::new());
    let setup = first.setup().database("second").database_set("second", "dbname", "app");
    let setup = setup.database_set("second", "auth_user", second.asker.as_str());
    let setup = setup.database_set("second", "auth_query", second.query().as_str());
    // The function exists in `app` alone.
    let setup = setup.database("third").database_set("third", "dbname", "other");
    let setup = setup.database_set("third", "auth_dbname", "app").database("fourth");
    let pooler = setup.database_set("fourth", "dbname", "other").allow("error in auth_query").start();
    let open = |database: &str, user: &str| Login::new(user).database(database).try_open(&pooler.address()).map(drop);
    assert!(open("app", &first.user).is_ok());
    assert_eq!((first.calls(), second.calls()), (1, 0));
    assert!(open("second", &first.user).is_ok());
    assert_eq!((first.calls(), second.calls()), (1, 1));
    assert!(open("third", &first.user).is_ok());
    assert_eq!((first.calls(), second.calls()), (2, 1));
    assert_eq!(open("fourth", &first.user).expect_err("there is no such function").to_string(), CONFIG);
}

#[test]
fn a_disabled_database_is_not_asked() {
    let lookup = Lookup::new();
    let setup = lookup.setup().database("lookups").database_set("lookups", "dbname", "app");
    let pooler = setup.set("auth_dbname", "lookups").allow("error in auth_query").start();
    assert_eq!(comes(&pooler, &lookup.user, "secret"), Ok(()));
    pooler.console().run("DISABLE lookups");
    let words = "FATAL 57P03 authentication database \"lookups\" is disabled";
    assert_eq!(comes(&pooler, &lookup.user, "secret"), refused(words));
    assert_eq!(comes(&pooler, &pooler.setup.user, "secret"), Ok(()), "who is in auth_file needs no look-up");
    pooler.console().run("ENABLE lookups");
    assert_eq!(comes(&pooler, &lookup.user, "secret"), Ok(()));
}

#[test]
fn a_database_to_ask_in_that_does_not_exist_is_a_config_error() {
    let lookup = Lookup::new();
    let pooler = lookup.setup().set("auth_dbname", "nowhere").allow("nowhere").start();
    assert_eq!(comes(&pooler, &lookup.user, "secret"), refused(CONFIG));
    await_log(&pooler, "there is no database \"nowhere\" to ask in");
}

#[test]
fn an_unknown_database_is_not_asked_and_not_betrayed() {
    let lookup = Lookup::new();
    let pooler = lookup.setup().start();
    let report = Login::new(&lookup.user).database("nowhere").try_open(&pooler.address()).expect_err("refused");
    assert_eq!(report.to_string(), SASL);
    assert_eq!(lookup.calls(), 0);
}

#[test]
fn a_lookup_that_is_abandoned_by_its_client_leaves_nothing_behind() {
    let lookup = Lookup::new();
    lookup.answers("select rolname, rolpassword from pg_authid, pg_sleep(0.3) where rolname = $1");
    let pooler = lookup.setup().set("client_login_timeout", "100ms").allow("client_login_timeout").start();
    let report = Login::new(&lookup.user).try_open(&pooler.address()).expect_err("too slow");
    assert_eq!(report.to_string(), "FATAL 57014 client_login_timeout");
    let idle = until("the answer has come", || {
        pooler.console().show("POOLS").into_iter().find(|row| row["user"] == lookup.asker && row["sv_active"] == "0")
    });
    assert_eq!(idle["sv_login"], "0");
}

#[test]
fn a_client_who_is_auth_user_keeps_its_session_over_lookups() {
    let lookup = Lookup::new();
    let setup = lookup.setup().set("default_pool_size", 1).secret(&lookup.asker, "secret");
    let pooler = setup.start();
    let mut client = Login::new(&lookup.asker).with("application_name", "mine").open(&pooler.address());
    client.rows("set datestyle = 'German'");
    let mut parse = Vec::new();
    messages::message(&mut parse, b'P', |out| out.extend_from_slice(b"mine\0select 'prepared'\0\0\0"));
    messages::sync(&mut parse);
    client.send(&parse);
    assert_eq!(client.answer(), Ok(vec![]));
    let mut execute = Vec::new();
    messages::message(&mut execute, b'B', |out| out.extend_from_slice(b"\0mine\0\0\0\0\0\0\0"));
    messages::message(&mut execute, b'E', |out| out.extend_from_slice(b"\0\0\0\0\0"));
    messages::sync(&mut execute);
    for _ in 0..3 {
        assert_eq!(comes(&pooler, &lookup.user, "secret"), Ok(()));
        assert_eq!(client.value("show application_name"), "mine");
        assert_eq!(client.value("show datestyle"), "German, DMY");
        client.send(&execute);
        assert_eq!(client.answer(), Ok(vec![vec![Some("prepared".into())]]));
    }
    let [asker, user] = [&lookup.asker, &lookup.user].map(|name| pooler.console().pool(name));
    assert_eq!((asker["sv_idle"].as_str(), user["sv_active"].as_str()), ("1", "0"), "one server was used by both");
}

mod while_the_server_is_down {
    use super::*;

    /// A pooler that knows `joe`, and not `ann`, by look-up from before its server went down.
    fn pooler(stale: &str) -> (Pooler, lab::Postgres) {
        let mut postgres = direct::start();
        for user in ["joe", "ann"] {
            direct::admin(&postgres).rows(&format!("create role {user} login password 'secret'"));
        }
        let setup = Setup::on(&postgres).set("auth_user", "postgres").set("auth_query_ttl", "100ms");
        let setup = setup.set("auth_query_stale_ttl", stale).set("client_login_timeout", "1500ms");
        let setup = setup.set("server_login_retry", "100ms").set("auth_failure_delay", 0).allow("server");
        let pooler = setup.allow("pooler error").allow("auth_query").allow("connect").start();
        assert_eq!(comes(&pooler, "joe", "secret"), Ok(()));
        postgres.stop().expect("PostgreSQL stops");
        thread::sleep(Duration::from_millis(150));
        (pooler, postgres)
    }

    #[test]
    fn what_was_found_before_is_used() {
        let (pooler, mut postgres) = pooler("1min");
        (0..2).for_each(|_| assert_eq!(comes(&pooler, "joe", "secret"), Ok(())));
        comes(&pooler, "ann", "secret").expect_err("nobody has asked for this one before");
        postgres.restart().expect("PostgreSQL starts");
        eventually("others can be asked for again", || comes(&pooler, "ann", "secret").is_ok());
    }

    #[test]
    fn a_wrong_password_does_not_lock_the_right_one_out() {
        let (pooler, _postgres) = pooler("1min");
        assert_eq!(comes(&pooler, "joe", "wrong"), refused(SASL));
        assert_eq!(comes(&pooler, "joe", "secret"), Ok(()), "anybody could shut others out");
    }

    #[test]
    fn it_is_not_used_beyond_its_time() {
        let (pooler, _postgres) = pooler("1ms");
        comes(&pooler, "joe", "secret").expect_err("too old");
    }
}
