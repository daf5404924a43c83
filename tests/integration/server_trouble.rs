//! Servers that are not there, do not answer, talk nonsense or die in mid-sentence.

use std::time::{Duration, Instant};

use lab::Options;
use protocol::backend::TxStatus;
use protocol::messages::{self, Column, Severity};

use crate::harness::fake::{FakeServer, Session, done, welcome};
use crate::harness::{Client, Pooler, Setup, direct, eventually};

/// A pooler before a fake server, without checks before use and with quick retries.
fn before(server: &FakeServer) -> Setup {
    at_port(server.port)
}

fn at_port(port: u16) -> Setup {
    let setup = Setup::new().database_set("app", "port", i64::from(port)).set("server_login_retry", "100ms");
    setup.set("server_check_query", "").set("default_pool_size", 1).allow("server").allow("pooler error")
}

fn row_description(out: &mut Vec<u8>) {
    let column = Column { name: "c", type_oid: 25, type_size: -1, format: 0 };
    messages::row_description(out, [column].into_iter());
}

/// Plays a server in good health that answers each message with `answer`.
fn answering(answer: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static) -> FakeServer {
    FakeServer::start(move |number, session| {
        if session.log_in().is_none() {
            return;
        }
        while let Some((tag, _)) = session.message() {
            match tag {
                b'X' => return,
                _ => session.send(&answer(number)),
            }
        }
    })
}

/// The client hears that nobody knows what came of its statement, and may ask again.
#[track_caller]
fn is_left_in_doubt(client: &mut Client, sql: &str) {
    let report = client.error(sql);
    assert_eq!((report.severity.as_str(), report.code.as_str()), ("ERROR", "08007"), "{report}");
    assert_eq!(client.ask("select 1")[0].text(), "SELECT 7");
}

#[test]
fn a_server_that_dies_in_the_middle_of_a_row_ends_its_client_with_a_word() {
    let server = FakeServer::start(|_, session: &mut Session| {
        if session.log_in().is_none() || session.message().is_none() {
            return;
        }
        let mut answer = Vec::new();
        row_description(&mut answer);
        answer.extend([b'D', 0, 0, 4, 0, 0, 1, 0, 0, 3, 0, b'x', b'x']);
        session.send(&answer);
    });
    let pooler = before(&server).start();
    let mut client = pooler.client();
    client.send_query("select 1");
    let mut raw = Vec::new();
    std::io::Read::read_to_end(&mut client.stream, &mut raw).expect("the connection ends");
    assert!(raw.windows(4).any(|bytes| bytes == b"D\0\0\x04"), "the beginning of the row was passed on");
}

#[test]
fn a_server_that_dies_between_rows_leaves_its_client_in_doubt() {
    let server = FakeServer::start(|number, session: &mut Session| {
        if session.log_in().is_none() || session.message().is_none() {
            return;
        }
        if number > 0 {
            return session.send(&done("SELECT 7"));
        }
        let mut answer = Vec::new();
        row_description(&mut answer);
        messages::data_row(&mut answer, [Some(&b"one"[..])].into_iter());
        session.send(&answer);
    });
    let pooler = before(&server).start();
    is_left_in_doubt(&mut pooler.client(), "select 1");
}

#[test]
fn nonsense_from_a_server_ends_its_client_and_is_never_used_again() {
    for nonsense in [
        b"(HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        vec![b'D', 0, 0, 0, 3],
        vec![b'D', 0xff, 0xff, 0xff, 0xff],
        vec![0; 100],
        welcome(),
        [done("SELECT 0"), done("SELECT 0")].concat(),
    ] {
        let shown = nonsense.escape_ascii().to_string();
        let server = answering(move |number| if number == 0 { nonsense.clone() } else { done("SELECT 7") });
        let pooler = before(&server).start();
        let mut client = pooler.client();
        client.send_query("select 1");
        // Two answers to one query: the first is right, so the client may have been spared.
        let spared = client.receive(Duration::from_secs(5));
        drop(client);
        let mut next = pooler.client();
        let answer = next.ask("select 1");
        assert_eq!(answer[0].text(), "SELECT 7", "after {shown}, {spared:?}");
        assert!(server.connections() >= 2, "the first server was used again after {shown}");
    }
}

#[test]
fn what_a_server_says_unasked_while_idle_reaches_nobody() {
    let (said, heard) = std::sync::mpsc::channel();
    let server = FakeServer::start(move |number, session: &mut Session| {
        if session.log_in().is_none() || session.message().is_none() {
            return;
        }
        session.send(&done(if number == 0 { "SELECT 0" } else { "SELECT 7" }));
        // The first answer has been read as a whole before more comes.
        std::thread::sleep(Duration::from_millis(100));
        let mut unasked = Vec::new();
        messages::data_row(&mut unasked, [Some(&b"secret of another"[..])].into_iter());
        if number == 0 {
            session.send(&unasked);
            said.send(()).expect("the test listens");
        }
        while session.message().is_some() {}
    });
    let pooler = before(&server).start();
    let mut client = pooler.client();
    client.ask("select 1");
    heard.recv_timeout(Duration::from_secs(20)).expect("the server has spoken");
    assert_eq!(client.ask("select 1")[0].text(), "SELECT 7");
}

#[test]
fn a_server_that_ends_while_idle_is_noticed() {
    let server = FakeServer::start(|_, session: &mut Session| {
        if session.log_in().is_some() && session.message().is_some() {
            session.send(&done("SELECT 0"));
        }
    });
    let pooler = before(&server).start();
    let mut client = pooler.client();
    for _ in 0..3 {
        client.ask("select 1");
        let mut console = pooler.console();
        eventually("the server is gone", || console.count(&pooler.setup.user, "sv_idle") == 0);
    }
}

/// A client whose transaction is complete has lost nothing when its server ends right behind the last answer.
#[test]
fn a_server_that_ends_its_session_behind_an_answer_is_replaced_unseen() {
    let server = FakeServer::start(|_, session: &mut Session| {
        if session.log_in().is_some() && session.message().is_some() {
            let mut end = done("SELECT 0");
            let text = "terminating connection due to administrator command";
            messages::report_with_code(&mut end, Severity::Fatal, "57P01", text, "");
            session.send(&end);
        }
    });
    let pooler = before(&server).allow("terminating connection").start();
    let mut client = pooler.client();
    for _ in 0..4 {
        let answer = client.ask("select 1");
        assert_eq!(answer[0].text(), "SELECT 0", "{answer:?}");
    }
}

#[test]
fn a_server_in_a_failed_transaction_at_login_is_not_used() {
    let server = FakeServer::start(|number, session: &mut Session| {
        if session.startup().is_none() {
            return;
        }
        let mut greeting = welcome();
        if number == 0 {
            greeting.truncate(greeting.len() - 6);
            messages::ready_for_query(&mut greeting, TxStatus::Failed);
        }
        session.send(&greeting);
        while session.answer_quietly().is_some() {}
    });
    let pooler = before(&server).start();
    let mut client = pooler.client();
    assert_eq!(client.ask("select 1").last().expect("an answer").body, b"I");
    assert!(server.connections() >= 2);
}

#[test]
fn nonsense_at_login_is_retried_until_the_server_is_itself_again() {
    for nonsense in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"", b"R\0\0\0\x03", b"Z\0\0\0\x05I"] {
        let server = FakeServer::start(move |number, session: &mut Session| {
            if session.startup().is_none() {
                return;
            }
            if number < 2 {
                session.send(nonsense);
                return;
            }
            session.send(&welcome());
            while session.answer_quietly().is_some() {}
        });
        let pooler = before(&server).start();
        pooler.client().ask("select 1");
        assert!(server.connections() >= 3);
    }
}

#[test]
fn a_server_that_never_answers_the_login_is_given_up_after_server_connect_timeout() {
    let server = FakeServer::start(|number, session: &mut Session| {
        if number == 0 {
            session.startup();
            while session.message().is_some() {}
        } else if session.log_in().is_some() {
            while session.answer_quietly().is_some() {}
        }
    });
    let pooler = before(&server).set("server_connect_timeout", "300ms").start();
    let since = Instant::now();
    pooler.client().ask("select 1");
    assert!(since.elapsed() >= Duration::from_millis(250), "the first server was not waited for");
}

#[test]
fn clients_wait_for_a_server_that_is_not_there_and_are_served_when_it_comes() {
    let mut postgres = lab::Postgres::start(Options::default()).expect("PostgreSQL starts");
    let port = postgres.port();
    postgres.stop().expect("PostgreSQL stops");
    let setup = Setup::on(&postgres).set("server_login_retry", "100ms").database_set("app", "port", i64::from(port));
    let pooler = setup.allow("server").allow("connect").start();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pooler.client().value("select 'at last'"));
        eventually("a connection was tried", || pooler.log().contains("connect"));
        postgres.restart().expect("PostgreSQL starts");
        assert_eq!(waiting.join().expect("the client is served"), "at last");
    });
}

#[test]
fn a_login_to_a_server_that_stays_away_ends_with_a_word() {
    let setup = at_port(crate::harness::pooler::port()).set("client_login_timeout", "500ms");
    let pooler = setup.allow("client_login_timeout").allow("connect").start();
    let report = pooler.login().try_open(&pooler.address()).expect_err("nobody is there");
    assert_eq!(report.severity, "FATAL");
    assert_eq!(report.message, "client_login_timeout (server down)");
}

#[test]
fn a_query_after_the_server_has_gone_is_told_why_nobody_serves_it() {
    let mut postgres = direct::start();
    let setup = Setup::on(&postgres).set("server_login_retry", "100ms").set("query_wait_timeout", 3);
    let pooler = setup.allow("server").allow("connect").allow("pooler error").allow("terminating").start();
    let mut client = pooler.client();
    client.rows("select 1");
    postgres.stop().expect("PostgreSQL stops");
    client.send_query("select 1");
    let report = client.last_words();
    assert_eq!(report.severity, "FATAL");
    let known = ["server login has been failing, cached error: ", "query_wait_timeout", "server conn crashed?"];
    assert!(known.iter().any(|words| report.message.starts_with(words)), "{report}");
}

#[test]
fn errors_of_the_servers_login_reach_the_waiting_client() {
    let server = FakeServer::start(|_, session: &mut Session| {
        session.startup();
        let mut error = Vec::new();
        messages::report_with_code(&mut error, Severity::Fatal, "28000", "sorry, no entry in pg_hba.conf", "");
        session.send(&error);
    });
    let pooler = before(&server).allow("sorry").start();
    let report = pooler.login().try_open(&pooler.address()).expect_err("the server refuses");
    assert_eq!((report.code.as_str(), report.message.as_str()), ("28000", "sorry, no entry in pg_hba.conf"));
}

#[test]
fn clients_keep_waiting_while_the_server_is_starting_up() {
    let server = FakeServer::start(|number, session: &mut Session| {
        if session.startup().is_none() {
            return;
        }
        if number < 4 {
            let mut error = Vec::new();
            messages::report_with_code(&mut error, Severity::Fatal, "57P03", "the database system is starting up", "");
            session.send(&error);
            return;
        }
        session.send(&welcome());
        while session.answer_quietly().is_some() {}
    });
    let pooler: Pooler = before(&server).allow("starting up").start();
    pooler.client().ask("select 1");
}

/// Plays servers of which the first answers with this FATAL error.
fn ending_with(code: &'static str) -> FakeServer {
    FakeServer::start(move |number, session| {
        if session.log_in().is_none() || session.message().is_none() {
            return;
        }
        let mut answer = done("SELECT 7");
        if number == 0 {
            answer.clear();
            messages::report_with_code(&mut answer, Severity::Fatal, code, "terminating connection", "");
        }
        session.send(&answer);
    })
}

#[test]
fn a_terminated_statement_that_may_have_left_something_is_in_doubt() {
    let server = ending_with("57P01");
    let pooler = before(&server).start();
    is_left_in_doubt(&mut pooler.client(), "vacuum");
}

#[test]
fn a_terminated_statement_of_the_plain_kind_is_sent_again() {
    let server = ending_with("57P01");
    let pooler = before(&server).start();
    assert_eq!(pooler.client().ask("insert into t values (1)")[0].text(), "SELECT 7");
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_statement_is_sent_again_once() {
    let server = FakeServer::start(|number, session: &mut Session| {
        if session.log_in().is_none() || session.message().is_none() {
            return;
        }
        let mut answer = done("SELECT 7");
        if number < 2 {
            answer.clear();
            messages::report_with_code(&mut answer, Severity::Fatal, "57P01", "terminating connection", "");
        }
        session.send(&answer);
    });
    let pooler = before(&server).start();
    let mut client = pooler.client();
    let report = client.error("select 1");
    assert_eq!((report.severity.as_str(), report.code.as_str()), ("ERROR", "40001"), "{report}");
    assert_eq!(client.ask("select 1")[0].text(), "SELECT 7");
}

#[test]
fn an_end_that_concerns_this_session_alone_is_passed_on_as_it_is() {
    let server = ending_with("25P03");
    let pooler = before(&server).start();
    let mut client = pooler.client();
    client.send_query("select 1");
    assert_eq!(client.last_words().code, "25P03");
    pooler.client().ask("select 1");
}

/// A commit that waits for its standby is told off by a notice, and may or may not be there on the next primary.
#[test]
fn a_notice_before_the_end_leaves_the_commit_in_doubt() {
    let server = FakeServer::start(|number, session: &mut Session| {
        if session.log_in().is_none() {
            return;
        }
        while let Some((_, body)) = session.message() {
            let mut answer = done("SELECT 7");
            if number == 0 && body.starts_with(b"begin") {
                answer.clear();
                messages::command_complete(&mut answer, "BEGIN");
                messages::ready_for_query(&mut answer, TxStatus::InBlock);
            } else if number == 0 {
                answer.clear();
                messages::report_with_code(&mut answer, Severity::Notice, "57P01", "canceling the wait", "");
                return session.send(&answer);
            }
            session.send(&answer);
        }
    });
    let pooler = before(&server).start();
    let mut client = pooler.client();
    client.ask("begin");
    is_left_in_doubt(&mut client, "commit");
}

#[test]
fn a_reset_connection_is_a_lost_server() {
    let server = FakeServer::start(|number, session: &mut Session| {
        if session.log_in().is_none() || session.message().is_none() {
            return;
        }
        if number > 0 {
            session.send(&done("SELECT 7"));
            while session.answer_quietly().is_some() {}
        }
    });
    let pooler = before(&server).start();
    is_left_in_doubt(&mut pooler.client(), "select 1");
}
