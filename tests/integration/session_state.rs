//! What a client sets in its session follows it from server to server, in transaction mode.

use protocol::messages;

use crate::harness::{Client, Login, Pooler, Setup, direct};
use crate::prepared::{parse, run};

fn two_servers() -> Pooler {
    Setup::new().set("default_pool_size", 2).start()
}

/// What `sql` says on each of the two servers: another client keeps one of them busy.
#[track_caller]
fn everywhere(pooler: &Pooler, client: &mut Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let mut other = pooler.client();
    let pid = "select pg_backend_pid()";
    let mut seen = Vec::new();
    let mut pids = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let (pid, said) = (client.value(pid), client.rows(sql));
        pids.insert(pid.clone());
        seen.push(said);
        let busy = other.rows("begin; select pg_backend_pid()");
        // The other one has taken the server that this client used last, or the next turn finds the same.
        let _ = busy;
        let said = client.rows(sql);
        pids.insert(client.value("select pg_backend_pid()"));
        other.rows("commit");
        seen.push(said);
    }
    assert_eq!(pids.len(), 2, "both servers are seen");
    assert!(seen.iter().all(|said| *said == seen[0]), "{sql}: {seen:?}");
    seen.swap_remove(0)
}

#[track_caller]
fn shows(pooler: &Pooler, client: &mut Client, name: &str, value: &str) {
    let rows = everywhere(pooler, client, &format!("select current_setting('{name}', true)"));
    assert_eq!(rows, [[Some(value.to_owned())]], "{name}");
}

#[test]
fn whatever_is_set_follows_its_client() {
    let pooler = two_servers();
    let mut client = pooler.client();
    for (sql, name, value) in [
        ("set work_mem = '1234kB'", "work_mem", "1234kB"),
        ("set session statement_timeout to 12345", "statement_timeout", "12345ms"),
        ("select set_config('search_path', 'pg_catalog', false)", "search_path", "pg_catalog"),
        ("begin; set lock_timeout = 77; commit", "lock_timeout", "77ms"),
        ("select 1; /* ; */ set seq_page_cost = 2.5", "seq_page_cost", "2.5"),
        (
            "set session characteristics as transaction isolation level serializable",
            "default_transaction_isolation",
            "serializable",
        ),
        ("set My.Own = 'x''y'", "my.own", "x'y"),
        ("select set_config('my.other', 'z', false)", "my.other", "z"),
        ("set time zone interval '-08:00' hour to minute", "TimeZone", "<-08>+08"),
        ("do $$ begin set enable_sort = off; end $$", "enable_sort", "off"),
    ] {
        client.rows(sql);
        shows(&pooler, &mut client, name, value);
    }
    client.rows("reset all");
    for (name, value) in
        [("work_mem", "4MB"), ("search_path", "\"$user\", public"), ("my.own", ""), ("lock_timeout", "0")]
    {
        shows(&pooler, &mut client, name, value);
    }
}

#[test]
fn what_is_local_or_rolled_back_or_fails_is_not_kept() {
    let pooler = two_servers();
    let mut client = pooler.client();
    client.rows("set work_mem = '1MB'");
    for sql in [
        "begin; set local work_mem = '9MB'; commit",
        "begin; set work_mem = '9MB'; rollback",
        "begin; savepoint a; set work_mem = '9MB'; rollback to a; commit",
        "select set_config('work_mem', '9MB', true)",
    ] {
        client.rows(sql);
        shows(&pooler, &mut client, "work_mem", "1MB");
    }
    assert_eq!(client.error("set work_mem = '9MB'; select 1/0").code, "22012");
    assert_eq!(client.error("set work_mem = 'much'").code, "22023");
    assert_eq!(client.error("set no_such_thing = 1").code, "42704");
    shows(&pooler, &mut client, "work_mem", "1MB");
    client.rows("begin; set work_mem = '2MB'; savepoint a; set work_mem = '3MB'; rollback to a; commit");
    shows(&pooler, &mut client, "work_mem", "2MB");
}

#[test]
fn reset_goes_back_to_what_was_given_at_login() {
    let pooler = two_servers();
    let login = pooler.login().with("search_path", "pg_catalog").with("TimeZone", "Asia/Tokyo");
    let mut client = login.with("options", "-c my.own=given").open(&pooler.address());
    let given = [("search_path", "pg_catalog"), ("TimeZone", "Asia/Tokyo"), ("my.own", "given")];
    for reset in ["reset search_path; reset timezone; reset my.own", "reset all", "discard all"] {
        client.rows(
            "set search_path = public; set timezone = 'Europe/Paris'; set my.own = 'changed'; set work_mem = '1MB'",
        );
        shows(&pooler, &mut client, "search_path", "public");
        client.rows(reset);
        given.iter().for_each(|(name, value)| shows(&pooler, &mut client, name, value));
    }
    shows(&pooler, &mut client, "work_mem", "4MB");
}

#[test]
fn a_client_is_told_what_a_reset_has_gone_back_to() {
    let pooler = two_servers();
    let mut client = pooler.login().with("TimeZone", "Asia/Tokyo").open(&pooler.address());
    client.rows("set timezone = 'Europe/Paris'");
    let answer = client.ask("reset timezone");
    let told = answer.iter().rfind(|message| message.tag == b'S').map(|message| message.parameter());
    assert_eq!(told, Some(("TimeZone".into(), "Asia/Tokyo".into())));
}

#[test]
fn role_and_session_authorization_follow_their_client() {
    let (one, two) = (direct::unique("role"), direct::unique("role"));
    for name in [&one, &two] {
        direct::ask(&direct::make_role(name));
    }
    let setup = Setup::new().set("default_pool_size", 2).database_set("app", "user", "postgres");
    let pooler = setup.start();
    let who = "select session_user, current_user, current_setting('log_statement')";
    let is = |session: &str, current: &str, log: &str| [[session, current, log].map(|name| Some(name.to_owned()))];
    let mut client = pooler.client();
    client.rows("set log_statement = 'ddl'");
    client.rows(&format!("set session authorization {one}"));
    assert_eq!(everywhere(&pooler, &mut client, who), is(&one, &one, "ddl"));
    client.rows("set role app");
    assert_eq!(everywhere(&pooler, &mut client, who), is(&one, "app", "ddl"));
    let mut other = pooler.client();
    other.rows(&format!("set role {two}"));
    assert_eq!(everywhere(&pooler, &mut other, who), is("postgres", &two, "none"));
    assert_eq!(everywhere(&pooler, &mut pooler.client(), who), is("postgres", "postgres", "none"));
    client.rows("reset session authorization");
    assert_eq!(everywhere(&pooler, &mut client, who), is("postgres", "postgres", "ddl"));
}

#[test]
fn settings_that_hinder_their_session_hinder_nobody_else() {
    let pooler = two_servers();
    let mut client = pooler.client();
    client.rows("set statement_timeout = 1");
    client.rows("set session characteristics as transaction isolation level serializable, read only, deferrable");
    for _ in 0..5 {
        assert_eq!(pooler.client().value("select count(*) from generate_series(1, 200000)"), "200000");
    }
    // A transaction like this one waits for others that write; the pooler's own questions must not.
    let mut writer = direct::connect(direct::shared(), "app");
    writer.rows("begin isolation level serializable; insert into sink values (1)");
    client.rows("reset statement_timeout");
    client.rows("set work_mem = '1MB'");
    assert_eq!(pooler.client().value("show work_mem"), "4MB");
    writer.rows("rollback");
    shows(&pooler, &mut client, "default_transaction_deferrable", "on");
    client.rows("set statement_timeout = 300");
    assert_eq!(client.error("select pg_sleep(2)").code, "57014");
}

#[test]
fn statements_are_prepared_under_the_settings_of_their_client() {
    let pooler = Setup::new().set("default_pool_size", 1).start();
    let (one, two) = (direct::unique("schema"), direct::unique("schema"));
    for name in [&one, &two] {
        let role = &pooler.setup.user;
        direct::ask(&format!(
            "create schema {name}; create view {name}.v as select '{name}'::text; grant usage on schema {name} to {role}; \
             grant select on {name}.v to {role}"
        ));
    }
    let mut clients = [pooler.client(), pooler.login().with("search_path", &two).open(&pooler.address())];
    clients[0].rows(&format!("set search_path = {one}"));
    for client in &mut clients {
        let mut bytes = Vec::new();
        parse(&mut bytes, "s", "select * from v");
        messages::sync(&mut bytes);
        client.send(&bytes);
        client.until(b'Z');
    }
    for _ in 0..2 {
        for (client, expected) in clients.iter_mut().zip([&one, &two]) {
            let mut bytes = Vec::new();
            run(&mut bytes, "s");
            client.send(&bytes);
            assert_eq!(client.answer().expect("it runs"), [[Some(expected.clone())]]);
        }
    }
}

#[test]
fn a_text_longer_than_any_buffer_is_read_to_its_end() {
    let pooler = two_servers();
    let mut client = pooler.client();
    let long = "x".repeat(300_000);
    client.rows(&format!("select length('{long}; set work_mem = 1'), 1 /* {long} */; set work_mem = '1MB'"));
    shows(&pooler, &mut client, "work_mem", "1MB");
    client.rows(&format!("select length('{long}'), set_config('work_mem', '2MB', false)"));
    shows(&pooler, &mut client, "work_mem", "2MB");
}

#[test]
fn a_client_that_leaves_at_once_leaves_nothing() {
    let pooler = Setup::new().set("default_pool_size", 1).start();
    for _ in 0..5 {
        let mut client = pooler.client();
        client.send_query("set work_mem = '1MB'; select pg_sleep(0.05)");
        drop(client);
        assert_eq!(pooler.client().value("show work_mem"), "4MB");
    }
}

/// The look-up cleans a server that a client has had, which must not be believed to have the client's settings still.
#[test]
fn settings_survive_a_look_up_on_their_server() {
    let [asker, other] = ["asker", "other"].map(direct::unique);
    for role in [&asker, &other] {
        direct::ask(&direct::make_role(role));
    }
    let query = format!("select $1::text, '{}'::text", lab::PASSWORD);
    let setup = Setup::new().set("default_pool_size", 1).set("auth_user", asker.as_str());
    let pooler = setup.set("auth_query", query.as_str()).secret(&asker, lab::PASSWORD).start();
    let mut client = Login::new(&asker).with("work_mem", "1MB").open(&pooler.address());
    for _ in 0..2 {
        assert_eq!(client.value("show work_mem"), "1MB");
        Login::new(&other).open(&pooler.address()).rows("select 1");
    }
}
