//! What cannot move from server to server keeps the client's server, in transaction mode, for as long as it is there.

use std::collections::BTreeMap;

use crate::harness::{Client, Pooler, Setup, direct, eventually};
use crate::metrics;
use crate::prepared::{parse, run};

const PID: &str = "select pg_backend_pid()";

fn servers(count: i64) -> Setup {
    Setup::new().set("default_pool_size", count).set("max_pinned", count - 1).set("session_listen", "pin")
}

/// What SHOW CLIENTS says that the setup's own role keeps its servers for.
#[track_caller]
fn reasons(pooler: &Pooler) -> Vec<String> {
    let rows = pooler.console().show("CLIENTS");
    let mine = rows.into_iter().filter(|row| row["user"] == pooler.setup.user);
    mine.map(|row: BTreeMap<_, _>| row["pinned"].clone()).filter(|reason| !reason.is_empty()).collect()
}

/// Whether the client keeps its server: somebody else asks for one between its statements, and would get it.
#[track_caller]
fn keeps(pooler: &Pooler, client: &mut Client) -> bool {
    let pid = client.value(PID);
    let mut other = pooler.client();
    let is_taken = other.value(&format!("begin; {PID}")) == pid;
    let after = client.value(PID);
    other.rows("commit");
    assert_eq!(after == pid, !is_taken);
    !is_taken
}

#[test]
fn what_cannot_move_keeps_its_server_until_it_is_gone() {
    let pooler = servers(3).start();
    let cases = [
        ("select pg_advisory_lock(4711)", "select pg_advisory_unlock(4711)", "advisory lock"),
        ("select pg_try_advisory_lock_shared(1, 2)", "select pg_advisory_unlock_all()", "advisory lock"),
        ("begin; select pg_advisory_lock(4712); commit", "discard all", "advisory lock"),
        ("create temp table mine (id int)", "drop table mine", "temporary table"),
        ("select 1 as id into temp mine", "discard temp", "temporary table"),
        ("create function pg_temp.f() returns int language sql as 'select 1'", "discard all", "temporary table"),
        ("declare c cursor with hold for select generate_series(1, 9)", "close c", "cursor WITH HOLD"),
        ("begin; declare d cursor with hold for select 1; commit", "close all", "cursor WITH HOLD"),
        ("listen here", "unlisten here", "LISTEN"),
        ("begin; listen here; listen there; commit", "unlisten *", "LISTEN"),
        ("prepare p as select 42", "deallocate p", "PREPARE"),
        ("prepare q (int) as select $1", "deallocate all", "PREPARE"),
    ];
    for (begins, ends, reason) in cases {
        let mut client = pooler.client();
        client.rows(begins);
        assert!(keeps(&pooler, &mut client), "{begins}");
        assert_eq!(reasons(&pooler), [reason], "{begins}");
        client.rows("select 1; begin; select 2; commit");
        assert!(keeps(&pooler, &mut client), "{begins}");
        client.rows(ends);
        assert!(!keeps(&pooler, &mut client), "{ends}");
        assert!(reasons(&pooler).is_empty(), "{ends}");
    }
}

#[test]
fn what_does_not_outlast_its_transaction_keeps_nothing() {
    let pooler = servers(3).start();
    let mut client = pooler.client();
    for sql in [
        "begin; create temp table mine (id int) on commit drop; commit",
        "begin; create temp table mine (id int); rollback",
        "begin; select pg_advisory_xact_lock(1); commit",
        "begin; declare c cursor for select 1; commit",
        "begin; declare c cursor with hold for select 1; rollback",
        "begin; listen here; rollback",
        "listen here; unlisten here",
        "prepare p as select 1; execute p; deallocate p",
        "select 'create temp table; listen here; pg_advisory_lock(1)'",
    ] {
        client.rows(sql);
        assert!(!keeps(&pooler, &mut client), "{sql}");
    }
    assert_eq!(client.error("create temp table broken (id nothing)").code, "42704");
    assert!(!keeps(&pooler, &mut client));
}

#[test]
fn a_client_that_keeps_its_server_works_as_with_a_server_of_its_own() {
    let pooler = servers(3).start();
    let mut client = pooler.client();
    client.rows("create temp table mine (id int); insert into mine values (1), (2)");
    client.rows("declare c cursor with hold for select id from mine order by id");
    client.rows("prepare p (int) as select id from mine where id > $1");
    client.rows("set work_mem = '1MB'");
    assert_eq!(client.value("fetch from c"), "1");
    assert_eq!(client.value("execute p (1)"), "2");
    assert_eq!(client.value("fetch from c"), "2");
    assert_eq!(reasons(&pooler), ["temporary table, cursor WITH HOLD, PREPARE"]);
    let mut bytes = Vec::new();
    parse(&mut bytes, "s", "select count(*) from mine");
    run(&mut bytes, "s");
    client.send(&bytes);
    assert_eq!(client.answer().expect("it runs"), [[Some("2".to_owned())]]);
    client.rows("drop table mine cascade; close c; reset work_mem");
    assert_eq!(reasons(&pooler), ["PREPARE"]);
    assert_eq!(client.value("show work_mem"), "4MB");
    client.rows("deallocate p");
    assert!(!keeps(&pooler, &mut client));
}

#[test]
fn notifications_reach_whoever_listens_also_in_transaction_mode() {
    let pooler = servers(3).start();
    let (mut listener, mut sender) = (pooler.client(), pooler.client());
    let channel = direct::unique("channel");
    let heard = listener.ask(&format!("listen {channel}; notify {channel}, 'at once'"));
    assert_eq!(heard.iter().filter(|message| message.tag == b'A').count(), 1, "{heard:?}");
    for word in ["one", "two"] {
        sender.rows(&format!("notify {channel}, '{word}'"));
        let notification = listener.message();
        assert_eq!((notification.tag, &notification.body[4..]), (b'A', format!("{channel}\0{word}\0").as_bytes()));
    }
    listener.rows(&format!("unlisten {channel}"));
    assert!(!keeps(&pooler, &mut listener));
}

#[test]
fn who_leaves_leaves_nothing_of_what_was_kept() {
    let pooler = servers(2).start();
    for way in ["goodbye", "silence", "work"] {
        let mut client = pooler.client();
        let pid = client.value(PID);
        client.rows("select pg_advisory_lock(4713); create temp table mine (id int); listen here");
        client.rows("declare c cursor with hold for select 1; prepare p as select 1; set work_mem = '1MB'");
        match way {
            "goodbye" => client.bye(),
            "silence" => drop(client),
            _ => {
                client.send_query("select pg_sleep(0.1)");
                drop(client);
            }
        }
        eventually("nobody keeps a server", || reasons(&pooler).is_empty());
        let mut next = pooler.client();
        eventually("the lock is free", || next.value("select pg_try_advisory_xact_lock(4713)") == "t");
        let mut clients = [pooler.client(), pooler.client()];
        for client in &mut clients {
            let pid_now = client.value(&format!("begin; {PID}"));
            let left = "select (select count(*) from pg_cursors), (select count(*) from pg_listening_channels()), \
                        (select count(*) from pg_prepared_statements where from_sql), to_regclass('mine') is null, \
                        current_setting('work_mem')";
            let clean = ["0", "0", "0", "t", "4MB"].map(|value| Some(value.to_owned()));
            assert_eq!(client.rows(left), [clean], "{way}, {pid} {pid_now}");
        }
        clients.iter_mut().for_each(|client| drop(client.rows("commit")));
    }
}

#[test]
fn too_many_who_keep_a_server_are_refused_beforehand() {
    let pooler = servers(3).allow("max_pinned").start();
    let mut keepers = [pooler.client(), pooler.client()];
    keepers.iter_mut().for_each(|client| drop(client.rows("create temp table mine (id int)")));
    let mut client = pooler.client();
    for sql in ["create temp table mine (id int)", "select pg_advisory_lock(1)", "select 1; listen here"] {
        let report = client.error(sql);
        assert_eq!((report.severity.as_str(), report.code.as_str()), ("ERROR", "53400"), "{sql}");
        assert_eq!(report.message, "too many clients keep a server connection (max_pinned)");
    }
    client.rows("begin; select 1");
    assert_eq!(client.error("listen here").code, "53400");
    assert_eq!(client.error("select 1").code, "25P02");
    client.rows("rollback");
    for (name, sql) in
        [("", "select pg_advisory_lock(1)"), ("named", "select pg_advisory_lock(2)"), ("", "listen here")]
    {
        let mut bytes = Vec::new();
        parse(&mut bytes, name, sql);
        run(&mut bytes, name);
        client.send(&bytes);
        assert_eq!(client.answer().expect_err("too many").code, "53400", "{sql}");
    }
    for name in ["", "parsed"] {
        let mut bytes = Vec::new();
        parse(&mut bytes, name, "listen here");
        protocol::messages::sync(&mut bytes);
        client.send(&bytes);
        client.until(b'Z');
        bytes.clear();
        run(&mut bytes, name);
        client.send(&bytes);
        assert_eq!(client.answer().expect_err("too many").code, "53400");
    }
    keepers[0].rows("create temp table another (id int); listen here");
    keepers[0].rows("discard all");
    client.rows("create temp table mine (id int)");
    assert!(keeps(&pooler, &mut client));
    assert_eq!(keepers[0].error("listen here").code, "53400");
}

#[test]
fn a_database_may_refuse_or_warn_of_what_keeps_a_server() {
    let setup = servers(3).database_set("app", "session_listen", "refuse").set("session_temporary_tables", "refuse");
    let setup = setup.database_set("app", "session_temporary_tables", "warn").set("session_prepare", "refuse");
    let setup = setup.allow("not available in this database").allow("is kept for this client");
    let mut bytes = Vec::new();
    parse(&mut bytes, "", "listen here");
    run(&mut bytes, "");
    let untracked = setup.clone().set("max_prepared_statements", 0).start();
    let mut client = untracked.client();
    client.send(&bytes);
    assert_eq!(client.answer().expect_err("refused").code, "0A000");
    assert_eq!(client.value("select 1"), "1");
    let pooler = setup.start();
    let mut client = pooler.client();
    for (sql, message) in [
        ("listen here", "LISTEN is not available in this database (session_listen)"),
        ("begin; prepare p as select 1; commit", "PREPARE is not available in this database (session_prepare)"),
    ] {
        let report = client.error(sql);
        assert_eq!((report.severity.as_str(), report.code.as_str()), ("ERROR", "0A000"));
        assert_eq!(report.message, message);
    }
    client.send(&bytes);
    let answer = client.until(b'Z');
    assert_eq!(answer[0].report().message, "LISTEN is not available in this database (session_listen)");
    let long = format!("listen here /* {} */", "x".repeat(20_000));
    assert_eq!(client.error(&long).code, "0A000");
    assert!(!keeps(&pooler, &mut client));
    client.rows("notify here; unlisten here; deallocate all");
    let warned = client.ask("create temp table mine (id int)");
    let warning = warned.iter().find(|message| message.tag == b'N').expect("a warning").report();
    assert_eq!((warning.severity.as_str(), warning.code.as_str()), ("WARNING", "01000"));
    assert!(keeps(&pooler, &mut client));
}

#[test]
fn a_client_that_keeps_a_server_and_says_nothing_is_sent_away() {
    let pooler = servers(2).set("pinned_idle_timeout", "300ms").allow("pinned_idle_timeout").start();
    let (mut client, mut other) = (pooler.client(), pooler.client());
    client.rows("select pg_advisory_lock(4714)");
    other.rows("select 1");
    let report = client.last_words();
    assert_eq!((report.severity.as_str(), report.code.as_str()), ("FATAL", "57P05"));
    assert_eq!(report.message, "pinned_idle_timeout");
    eventually("the lock is free", || other.value("select pg_try_advisory_xact_lock(4714)") == "t");
}

#[test]
fn the_metrics_page_tells_what_servers_are_kept_for() {
    let port = crate::harness::pooler::port();
    let setup = servers(3).set("metrics_listen_addr", "127.0.0.1").set("metrics_listen_port", i64::from(port));
    let pooler = setup.start();
    let (mut client, user) = (pooler.client(), pooler.setup.user.clone());
    let counts = |reason: &str, count: u32| {
        let (_, page) = metrics::get(&crate::harness::Address::local(port), "/metrics");
        let line = format!("pooler_pinned_clients{{database=\"app\",user=\"{user}\",reason=\"{reason}\"}} {count}.0");
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    };
    client.rows("listen here; select pg_advisory_lock(4715)");
    client.value(PID);
    counts("LISTEN", 1);
    counts("advisory lock", 1);
    client.rows("unlisten *");
    client.value(PID);
    counts("LISTEN", 0);
    counts("advisory lock", 1);
}

#[test]
fn a_server_that_is_lost_takes_along_what_it_was_kept_for() {
    let pooler = servers(2).allow("terminating").allow("crashed").start();
    let mut client = pooler.client();
    client.rows("create temp table mine (id int)");
    let pid = client.value(PID);
    direct::ask(&format!("select pg_terminate_backend({pid})"));
    let report = client.last_words();
    assert_eq!((report.severity.as_str(), report.code.as_str()), ("FATAL", "57P01"));
    pooler.client().rows("create temp table mine (id int)");
}

#[test]
fn a_pause_waits_for_those_who_keep_a_server() {
    let pooler = servers(2).start();
    let mut client = pooler.client();
    client.rows("listen here");
    client.value(PID);
    let mut console = pooler.console();
    console.client.send_query("PAUSE app");
    eventually("the pause holds", || pooler.console().show("DATABASES").iter().any(|row| row["paused"] == "1"));
    assert_eq!(client.value("select 1"), "1");
    client.rows("unlisten *");
    let answer = console.client.until(b'Z');
    assert!(answer.iter().any(|message| message.tag == b'C' && message.text() == "PAUSE"), "{answer:?}");
    pooler.console().run("RESUME app");
    client.rows("select 1");
}

#[test]
fn a_reset_goes_back_to_the_login_also_on_a_server_that_is_kept() {
    let pooler = servers(2).database_set("app", "user", "postgres").start();
    let login = pooler.login().with("statement_timeout", "99s").with("TimeZone", "Asia/Tokyo");
    let mut client = login.open(&pooler.address());
    client.rows("listen here; set session authorization app; set timezone = 'UTC'");
    client.rows("reset all");
    let shown = client.rows("select session_user, current_setting('statement_timeout'), current_setting('timezone')");
    assert_eq!(shown, [["app", "99s", "Asia/Tokyo"].map(|value| Some(value.to_owned()))]);
}

/// An answer that leaves a name on the server kept that server from ever being asked again.
#[test]
fn a_name_that_is_left_on_a_kept_server_hinders_nothing() {
    let pooler = servers(2).start();
    let mut client = pooler.login().with("statement_timeout", "99s").open(&pooler.address());
    client.rows("listen here; set statement_timeout = '1s'");
    for _ in 0..2 {
        let mut bytes = Vec::new();
        parse(&mut bytes, "s", "select 1");
        protocol::messages::sync(&mut bytes);
        client.send(&bytes);
        client.until(b'Z');
    }
    client.rows("reset statement_timeout");
    assert_eq!(client.value("show statement_timeout"), "99s");
    assert!(keeps(&pooler, &mut client));
    client.rows("unlisten *");
    assert!(!keeps(&pooler, &mut client));
}
