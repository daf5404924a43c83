//! What becomes of a transaction whose server is lost: what the client is told, and that nothing runs by halves.

use protocol::backend::TxStatus;
use protocol::messages;

use crate::harness::{Client, Message, Pooler, Report, Setup, direct, eventually};
use crate::pause::table;

fn start() -> Pooler {
    start_with(|setup| setup)
}

fn start_with(edit: impl FnOnce(Setup) -> Setup) -> Pooler {
    start_on(Setup::new(), edit)
}

fn start_on(setup: Setup, edit: impl FnOnce(Setup) -> Setup) -> Pooler {
    let setup = setup.set("default_pool_size", 2).allow("terminating connection").allow("pooler error");
    edit(setup.allow("server conn crashed").allow("closing because").allow("server")).start()
}

/// Ends the server that a client has, or had last, and waits until it is gone.
fn terminate(pid: &str) {
    direct::ask(&format!("select pg_terminate_backend({pid})"));
    let alive = format!("select count(*) from pg_stat_activity where pid = {pid}");
    eventually("the backend is gone", || direct::value(&alive) == "0");
}

fn pid(client: &mut Client) -> String {
    client.value("select pg_backend_pid()")
}

fn rows_of(table: &str) -> u64 {
    direct::value(&format!("select count(*) from {table}")).parse().expect("a count")
}

#[track_caller]
fn is(report: &Report, code: &str) {
    assert_eq!((report.severity.as_str(), report.code.as_str()), ("ERROR", code), "{report}");
}

fn status(messages: &[Message]) -> TxStatus {
    TxStatus::of(&messages.last().expect("an answer").body).expect("ReadyForQuery")
}

fn tags(messages: &[Message]) -> String {
    messages.iter().map(|message| char::from(message.tag)).collect()
}

#[test]
fn a_lost_block_is_an_error_of_its_own_and_the_session_goes_on() {
    let (pooler, table) = (start(), table());
    let mut client = pooler.client();
    client.rows("begin");
    client.rows(&format!("insert into {table} values (1)"));
    terminate(&pid(&mut client));
    let lost = client.error(&format!("insert into {table} values (2)"));
    is(&lost, "40001");
    assert!(lost.message.starts_with("the transaction was rolled back: the server "), "{lost}");
    is(&client.error("select 1"), "25P02");
    is(&client.error("rollback to s"), "25P02");
    is(&client.error("savepoint s"), "25P02");
    let ended = client.ask("commit");
    assert_eq!((ended[0].text().as_str(), status(&ended)), ("ROLLBACK", TxStatus::Idle));
    client.rows(&format!("insert into {table} values (3)"));
    assert_eq!(rows_of(&table), 1);
}

#[test]
fn whoever_ignores_errors_commits_nothing_of_a_lost_block() {
    let (pooler, table) = (start(), table());
    let insert = format!("insert into {table} values (1)");
    for lost_behind in 0..4 {
        let mut client = pooler.client();
        for (number, sql) in ["begin", &insert, &insert, &insert, "commit"].into_iter().enumerate() {
            let _ = client.try_rows(sql);
            if number == lost_behind {
                let pid = pid(&mut client);
                terminate(&pid);
            }
        }
        assert_eq!(client.value("select 1"), "1");
        assert_eq!(rows_of(&table), 0, "lost behind statement {lost_behind}");
    }
}

#[test]
fn a_commit_behind_a_lost_server_is_an_error_and_a_rollback_is_none() {
    let (pooler, table) = (start(), table());
    let mut client = pooler.client();
    for (end, code) in [("commit", Some("40001")), ("rollback", None)] {
        client.rows("begin");
        client.rows(&format!("insert into {table} values (1)"));
        terminate(&pid(&mut client));
        assert_eq!(client.try_rows(end).err().map(|report| report.code).as_deref(), code, "{end}");
        assert_eq!(client.value("select 1"), "1");
        assert_eq!(rows_of(&table), 0);
    }
}

#[test]
fn a_failed_block_on_a_lost_server_ends_as_it_would_have() {
    let pooler = start();
    let mut client = pooler.client();
    client.rows("begin");
    let pid = pid(&mut client);
    is(&client.error("select 1/0"), "22012");
    terminate(&pid);
    is(&client.error("select 1"), "25P02");
    let ended = client.ask("commit");
    assert_eq!((ended[0].text().as_str(), status(&ended)), ("ROLLBACK", TxStatus::Idle));
}

fn parse(out: &mut Vec<u8>, name: &str, sql: &str) {
    messages::message(out, b'P', |out| {
        messages::cstr(out, name.as_bytes());
        messages::cstr(out, sql.as_bytes());
        out.extend_from_slice(&[0; 2]);
    });
}

/// Bind, Describe of the portal, Execute and Sync.
fn run(out: &mut Vec<u8>, name: &str) {
    messages::message(out, b'B', |out| {
        messages::cstr(out, b"");
        messages::cstr(out, name.as_bytes());
        out.extend_from_slice(&[0; 6]);
    });
    messages::message(out, b'D', |out| out.extend_from_slice(b"P\0"));
    messages::message(out, b'E', |out| out.extend_from_slice(&[0; 5]));
    messages::sync(out);
}

fn answer(client: &mut Client, write: impl FnOnce(&mut Vec<u8>)) -> Vec<Message> {
    let mut out = Vec::new();
    write(&mut out);
    client.send(&out);
    client.until(b'Z')
}

#[test]
fn prepared_statements_outlive_the_server_and_end_the_block_too() {
    let (pooler, table) = (start(), table());
    let mut client = pooler.client();
    for (name, sql) in [("ins", format!("insert into {table} values (1)")), ("end", "commit".into())] {
        let prepared = answer(&mut client, |out| {
            parse(out, name, &sql);
            messages::sync(out);
        });
        assert_eq!(tags(&prepared), "1Z");
    }
    client.rows("begin");
    assert_eq!(tags(&answer(&mut client, |out| run(out, "ins"))), "2nCZ");
    terminate(&pid(&mut client));
    let lost = answer(&mut client, |out| run(out, "ins"));
    assert_eq!((tags(&lost).as_str(), status(&lost)), ("EZ", TxStatus::Failed));
    is(&lost[0].report(), "40001");
    let still = answer(&mut client, |out| {
        parse(out, "", "select 1");
        run(out, "");
    });
    assert_eq!((tags(&still).as_str(), still[0].report().code.as_str()), ("EZ", "25P02"));
    let ended = answer(&mut client, |out| run(out, "end"));
    assert_eq!((tags(&ended).as_str(), ended[2].text().as_str(), status(&ended)), ("2nCZ", "ROLLBACK", TxStatus::Idle));
    assert_eq!(rows_of(&table), 0);
    assert_eq!(tags(&answer(&mut client, |out| run(out, "ins"))), "2nCZ");
    assert_eq!(rows_of(&table), 1);
}

/// Tags, errors, the tag of a command, and where the session stands: up to as many ReadyForQuery as are due.
fn heard(client: &mut Client, request: &[u8], due: usize) -> Vec<String> {
    client.send(request);
    let messages = (0..due).flat_map(|_| client.until(b'Z')).collect::<Vec<_>>();
    let shown = |message: &Message| match message.tag {
        b'E' => format!("{} {}", message.report(), message.report().severity),
        b'C' | b'Z' => message.text(),
        tag => char::from(tag).into(),
    };
    messages.iter().map(shown).collect()
}

#[test]
fn a_lost_block_answers_as_a_failed_one_of_postgresql_does() {
    let pooler = start();
    let queries = ["", ";", "select 1", "savepoint s", "release s", "commit prepared 'x'", "begin"];
    let queries = queries.into_iter().chain(["select 1; commit", "lock pg_class", "prepare x as select 1"]);
    let ends = ["commit", "END work;", " rollback /* x */ ;", "abort and no chain", "prepare transaction 'x'"];
    let mut requests: Vec<(Vec<u8>, usize)> = Vec::new();
    for sql in queries.chain(ends) {
        let (mut simple, mut extended) = (Vec::new(), Vec::new());
        messages::query(&mut simple, sql.as_bytes());
        requests.push((simple, 1));
        // Of several statements the parser would speak first, and there is none here.
        if !sql.contains("; ") {
            parse(&mut extended, "", sql);
            run(&mut extended, "");
            requests.push((extended, 1));
        }
    }
    let mut pipeline = Vec::new();
    for sql in ["select 1", "", "rollback"] {
        parse(&mut pipeline, "named", sql);
        messages::message(&mut pipeline, b'D', |out| out.extend_from_slice(b"Snamed\0"));
        run(&mut pipeline, "named");
        messages::message(&mut pipeline, b'C', |out| out.extend_from_slice(b"Snamed\0"));
        messages::sync(&mut pipeline);
    }
    requests.push((pipeline, 6));
    let (mut direct, mut client) = (direct::connect(direct::shared(), "app"), pooler.client());
    for (request, due) in requests {
        direct.rows("begin");
        direct.error("select 1/0");
        client.rows("begin");
        terminate(&pid(&mut client));
        is(&client.error("select 1"), "40001");
        let expected = heard(&mut direct, &request, due);
        assert_eq!(heard(&mut client, &request, due), expected, "{}", request.escape_ascii());
        direct.rows("rollback");
        client.rows("rollback");
    }
}

#[test]
fn what_a_lost_block_has_set_is_as_before() {
    let pooler = start();
    let mut client = pooler.client();
    client.rows("set timezone to 'Asia/Tokyo'");
    client.rows("begin");
    client.rows("set timezone to 'Europe/Paris'");
    terminate(&pid(&mut client));
    let lost = client.ask("select 1");
    assert_eq!(tags(&lost), "SEZ");
    assert_eq!(lost[0].parameter(), ("TimeZone".into(), "Asia/Tokyo".into()));
    client.rows("rollback");
    assert_eq!(client.value("show timezone"), "Asia/Tokyo");
}

#[test]
fn a_statement_that_was_terminated_before_it_gave_anything_runs_again_unseen() {
    let (pooler, table) = (start(), table());
    let (mut client, mut locker) = (pooler.client(), direct::admin(direct::shared()));
    let mut written = 0;
    for how in ["simple", "extended", "named"] {
        locker.rows(&format!("begin; lock table {table}"));
        let insert = format!("insert into {table} values (1)");
        match how {
            "simple" => client.send_query(&insert),
            _ => {
                let (mut out, name) = (Vec::new(), if how == "named" { "again" } else { "" });
                parse(&mut out, name, &insert);
                run(&mut out, name);
                client.send(&out);
            }
        }
        let waiting =
            format!("select pid from pg_stat_activity where wait_event_type = 'Lock' and query like '%{table}%'");
        eventually("it waits for the lock", || direct::ask(&waiting).len() == 1);
        terminate(&direct::value(&waiting));
        locker.rows("commit");
        let answer = client.until(b'Z');
        written += 1;
        assert!(answer.iter().all(|message| message.tag != b'E'), "{how}: {answer:?}");
        assert_eq!((rows_of(&table), status(&answer)), (written, TxStatus::Idle), "{how}");
    }
}

#[test]
fn a_copy_that_is_lost_is_an_error_and_the_rest_of_it_is_ignored() {
    let (pooler, table) = (start(), table());
    let mut client = pooler.client();
    client.rows("begin");
    let pid = pid(&mut client);
    client.send_query(&format!("copy {table} from stdin"));
    client.until(b'G');
    terminate(&pid);
    client.send(b"d\0\0\0\x061\nc\0\0\0\x04");
    let lost = client.until(b'Z');
    is(&lost[0].report(), "40001");
    assert_eq!(status(&lost), TxStatus::Failed);
    client.rows("rollback");
    assert_eq!(client.value("select 1"), "1");
    assert_eq!(rows_of(&table), 0);
}

#[test]
fn a_pipeline_is_answered_to_its_end() {
    let (pooler, table) = (start(), table());
    let mut client = pooler.client();
    client.rows("begin");
    let pid = pid(&mut client);
    let insert = format!("insert into {table} values (1)");
    let mut out = Vec::new();
    for sql in [&insert, "select pg_sleep(60)", &insert] {
        parse(&mut out, "", sql);
        run(&mut out, "");
    }
    messages::query(&mut out, insert.as_bytes());
    client.send(&out);
    assert_eq!(status(&client.until(b'Z')), TxStatus::InBlock);
    let asleep = format!("select count(*) from pg_stat_activity where pid = {pid} and wait_event = 'PgSleep'");
    eventually("it sleeps", || direct::value(&asleep) == "1");
    terminate(&pid);
    for code in ["40001", "25P02", "25P02"] {
        let answer = client.until(b'Z');
        let error = answer.iter().find(|message| message.tag == b'E').expect("an error");
        assert_eq!((error.report().code.as_str(), status(&answer)), (code, TxStatus::Failed));
    }
    client.rows("rollback");
    assert_eq!(rows_of(&table), 0);
}

#[test]
fn a_block_that_no_server_has_seen_has_failed_all_the_same() {
    let (pooler, table) = (start_with(|setup| setup.set("default_pool_size", 1)), table());
    let (mut holder, mut client) = (pooler.client(), pooler.client());
    holder.rows("begin");
    client.send_query("begin");
    let mut console = pooler.console();
    eventually("it waits", || console.count(&pooler.setup.user, "cl_waiting") == 1);
    client.cancel();
    assert_eq!(client.answer().expect_err("it was canceled").code, "57014");
    holder.rows("commit");
    is(&client.error(&format!("insert into {table} values (1)")), "25P02");
    assert_eq!(client.ask("commit")[0].text(), "ROLLBACK");
    assert_eq!((client.value("select 1").as_str(), rows_of(&table)), ("1", 0));
}

/// The postmaster ends all sessions then: they are warned (57P02), and cut off.
#[test]
fn a_crash_ends_every_block_and_no_session() {
    let postgres = direct::start();
    let pooler = start_on(Setup::on(&postgres), |setup| setup.set("server_login_retry", "100ms"));
    let mut clients = [pooler.client(), pooler.client()];
    clients.iter_mut().for_each(|client| drop(client.rows("begin")));
    let victim = pid(&mut clients[0]).parse().expect("a pid");
    postgres.kill_9_backend(victim).expect("a backend of ours");
    for client in &mut clients {
        is(&client.error("select 1"), "40001");
        assert_eq!(client.ask("commit")[0].text(), "ROLLBACK");
        assert_eq!(client.value("select 1"), "1");
    }
}

/// More than a buffer holds is not kept: it is judged by what was noted of it as it passed.
#[test]
fn a_statement_too_long_to_be_kept_is_told_of_too() {
    let (pooler, table) = (start(), table());
    let mut client = pooler.client();
    for (begin, code, left_in) in [("begin", "40001", TxStatus::Failed), ("", "08007", TxStatus::Idle)] {
        client.ask(begin);
        client.send_query(&format!("select pg_sleep(60), '{table}', '{}'", "x".repeat(100_000)));
        let asleep =
            format!("select pid from pg_stat_activity where wait_event = 'PgSleep' and query like '%{table}%'");
        eventually("it sleeps", || direct::ask(&asleep).len() == 1);
        terminate(&direct::value(&asleep));
        let lost = client.until(b'Z');
        let error = lost.iter().find(|message| message.tag == b'E').expect("an error");
        assert_eq!((error.report().code.as_str(), status(&lost)), (code, left_in), "{lost:?}");
        client.rows("rollback");
        assert_eq!(client.value("select 1"), "1");
    }
}

#[test]
fn in_session_mode_the_session_ends_with_its_server() {
    let pooler = start_with(|setup| setup.set("pool_mode", "session"));
    let mut client = pooler.client();
    client.rows("begin");
    terminate(&pid(&mut client));
    let report = client.last_words();
    assert_eq!((report.severity.as_str(), report.code.as_str()), ("FATAL", "57P01"), "{report}");
}
