//! Whatever a client leaves behind, the next one on that very server finds what it would find on a new connection.

use protocol::messages;

use crate::harness::{Address, Client, Login, Pooler, Setup, direct, eventually};
use crate::leak_hunt::SEEN;
use crate::prepared::{parse, run};

const PID: &str = "select pg_backend_pid()";

/// One server, which belongs to the superuser, who may set most.
fn one_server() -> Setup {
    Setup::new().set("default_pool_size", 1).database_set("app", "user", "postgres")
}

/// Everything that `pg_settings` tells of a session, and what it keeps to itself.
#[track_caller]
fn seen(client: &mut Client) -> (String, Vec<Vec<Option<String>>>) {
    // A language's own parameters are there since it was first used.
    let settings =
        "select name, setting from pg_settings where name not like 'transaction_%' and name not like 'plpgsql.%'";
    (client.value(SEEN), client.rows(settings))
}

#[track_caller]
fn finds_nothing(pooler: &Pooler, pid: &str, left: &str) {
    let mut next = pooler.client();
    let mut fresh = Login::new("postgres").open(&Address::local(direct::shared().port()));
    eventually("the server is free", || next.value(PID) == pid);
    let ((state, mut settings), (expected, usual)) = (seen(&mut next), seen(&mut fresh));
    assert_eq!(state, expected, "{left}");
    settings.retain(|row| !usual.contains(row));
    assert!(settings.is_empty(), "{left}: {settings:?}");
    assert_eq!(
        next.value("select 'a\\b' || (0.1::float8 + 0.2) || '2026-02-01'::date"),
        "a\\b0.300000000000000042026-02-01"
    );
}

#[test]
fn nothing_that_is_set_meets_the_next_client() {
    let pooler = one_server().start();
    let pid = pooler.client().value(PID);
    for left in [
        "set work_mem = '1MB'",
        "set statement_timeout = 1",
        "set search_path = pg_temp, nowhere",
        "set timezone = 'Asia/Tokyo'; set datestyle = German; set intervalstyle = iso_8601",
        "set client_encoding = 'LATIN1'",
        "set standard_conforming_strings = off; set extra_float_digits = -3; set bytea_output = escape",
        "set default_transaction_read_only = on; set default_transaction_isolation = serializable",
        "set session characteristics as transaction isolation level serializable, read only, deferrable",
        "set row_security = off; set session_replication_role = replica; set lc_messages = 'C'",
        "set log_statement = 'all'; set log_min_messages = debug1; set zero_damaged_pages = on",
        "set enable_seqscan = off; set plan_cache_mode = force_generic_plan; set temp_buffers = 100",
        "set app.x = 'secret'; select set_config('app.y', 'secret', false)",
        "do $$ begin set app.x = 'secret'; perform set_config('app.y', 'secret', false); end $$",
        "begin; set app.x = 'secret'; savepoint a; set app.y = 'secret'; rollback to a; commit",
        "set role app",
        "set session authorization app; set role app",
        "select set_config('role', 'app', false)",
        "discard all",
    ] {
        let mut client = pooler.client();
        client.rows(left);
        finds_nothing(&pooler, &pid, left);
    }
    let mut client = pooler.client();
    let mut bytes = Vec::new();
    parse(&mut bytes, "sets", "select set_config($1, $2, false)");
    messages::message(&mut bytes, b'B', |out| {
        out.extend_from_slice(b"\0sets\0\0\0\0\x02\0\0\0\x05app.x\0\0\0\x06secret\0\0");
    });
    messages::message(&mut bytes, b'E', |out| out.extend_from_slice(&[0; 5]));
    messages::sync(&mut bytes);
    client.send(&bytes);
    client.answer().expect("it is set");
    finds_nothing(&pooler, &pid, "a parameter whose name is not in the text");
    client.rows("set role app");
    let name =
        "set_config".bytes().fold(String::new(), |name, byte| name + &char::from(byte).to_uppercase().to_string());
    client.rows(&format!("select /* */ pg_catalog . {name} ('app.x', 'secret', false)"));
    finds_nothing(&pooler, &pid, "a strange way to write it");
}

#[test]
fn nothing_that_kept_the_server_meets_the_next_client() {
    let pooler = one_server().start();
    for left in [
        "create temp table mine (id int); create function pg_temp.f() returns int language sql as 'select 1'",
        "declare held cursor with hold for select 1; set work_mem = '1MB'",
        "select pg_advisory_lock(77), pg_advisory_lock_shared(78)",
        "listen here; set app.x = 'secret'",
        "prepare p as select 1",
        "prepare p as select set_config('app.x', 'secret', false); execute p",
        "do $$ begin execute 'listen here'; execute 'create temp table mine (id int)'; end $$",
        "begin; listen here; create temp table mine (id int); declare held cursor for select 1",
    ] {
        for is_polite in [true, false] {
            let mut client = pooler.client();
            let pid = client.value(PID);
            client.rows(left);
            if is_polite {
                client.bye()
            } else {
                drop(client)
            }
            finds_nothing(&pooler, &pid, left);
        }
    }
    let mut client = pooler.client();
    client.rows("prepare p as select set_config('app.x', 'secret', false)");
    client.rows("execute p");
    let pid = client.value(PID);
    client.rows("deallocate p");
    finds_nothing(&pooler, &pid, "what a prepared statement has set");
}

#[test]
fn nothing_that_was_prepared_meets_the_next_client() {
    let pooler = one_server().start();
    let mut client = pooler.client();
    for name in ["", "named"] {
        let mut bytes = Vec::new();
        parse(&mut bytes, name, "select 'a secret'");
        messages::sync(&mut bytes);
        client.send(&bytes);
        client.until(b'Z');
        let (mut next, mut bytes) = (pooler.client(), Vec::new());
        run(&mut bytes, name);
        next.send(&bytes);
        assert_eq!(next.answer().expect_err("unknown").code, "26000");
    }
}

/// A reset undoes `connect_query` as well: it is run again.
#[test]
fn what_the_operator_has_set_on_each_server_stays_set() {
    let setup = one_server().database_set("app", "connect_query", "set work_mem = '3MB'; set app.x = 'operator'");
    let pooler = setup.start();
    let mut client = pooler.client();
    let shown = "select current_setting('work_mem') || ' ' || current_setting('app.x')";
    for left in ["set statement_timeout = 9999", "set work_mem = '1MB'", "reset all", "discard all", "listen here"] {
        let mut client = pooler.client();
        client.rows(left);
        client.bye();
        assert_eq!(pooler.client().value(shown), "3MB operator", "{left}");
    }
    client.rows("set app.x = 'mine'");
    assert_eq!(pooler.client().value(shown), "3MB operator");
    assert_eq!(client.value(shown), "3MB mine");
}
