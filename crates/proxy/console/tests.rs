//! Whole console sessions, over a pair of sockets.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use config::Config;
use protocol::Header;
use protocol::fields::Fields;

use super::*;
use crate::control;
use crate::control::tests::{client, services};
use crate::socket::Socket;

/// An operator's end of a console.
struct Operator {
    stream: UnixStream,
    handle: Arc<ClientHandle>,
}

/// One message: its tag and its body.
type Message = (char, Vec<u8>);

fn connect(services: &Arc<Services>, access: Access) -> Operator {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let handle = client(services, "pgbouncer");
    let wire = Wire::new(Socket::new(ours.into()).unwrap(), 1 << 14);
    tokio::spawn(serve(services.clone(), wire, handle.clone(), access));
    Operator { stream: theirs, handle }
}

impl Operator {
    /// Sends, on a thread that may block.
    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Messages up to one with this tag, or up to the end of the connection.
    async fn receive(&self, last: char) -> Vec<Message> {
        let mut stream = self.stream.try_clone().unwrap();
        let reading = tokio::task::spawn_blocking(move || {
            let mut messages = Vec::new();
            let mut head = [0; Header::SIZE];
            while stream.read_exact(&mut head).is_ok() {
                let header = Header::peek(&head).unwrap().unwrap();
                let mut body = vec![0; header.body_len()];
                stream.read_exact(&mut body).unwrap();
                messages.push((char::from(header.tag), body));
                if char::from(header.tag) == last {
                    break;
                }
            }
            messages
        });
        reading.await.unwrap()
    }

    async fn query(&mut self, text: &str) -> Vec<Message> {
        let mut out = Vec::new();
        messages::query(&mut out, text.as_bytes());
        self.send(&out);
        self.receive('Z').await
    }
}

fn tags(messages: &[Message]) -> String {
    messages.iter().map(|(tag, _)| *tag).collect()
}

/// SQLSTATE and words of the error among these messages.
fn error(messages: &[Message]) -> String {
    let (_, body) = messages.iter().find(|(tag, _)| *tag == 'E').expect("there is an error");
    let fields = Fields::parse(body);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{} {} {}", text(fields.severity), text(fields.sqlstate), text(fields.message))
}

async fn admin(services: &Arc<Services>) -> Operator {
    let operator = connect(services, Access::Admin);
    operator.receive('Z').await;
    operator
}

#[tokio::test]
async fn the_greeting_is_pgbouncers() {
    let operator = connect(&services(Config::default()), Access::Admin);
    let greeting = operator.receive('Z').await;
    assert_eq!(tags(&greeting), "RSSSSSSSKZ");
    assert!(greeting[1].1.ends_with(b"/bouncer\0"), "{:?}", greeting[1]);
}

#[tokio::test]
async fn every_table_can_be_shown() {
    let services = services(Config::default());
    let mut operator = admin(&services).await;
    for show in show::Show::ALL {
        let answer = operator.query(&format!("SHOW {};", show.word())).await;
        let shape = tags(&answer).replace('D', "");
        let expected = match show {
            show::Show::Help => "NCZ",
            show::Show::Fds => "EZ",
            _ => "TCZ",
        };
        assert_eq!(shape, expected, "{show:?}");
    }
    let clients = operator.query("show clients").await;
    assert_eq!(tags(&clients), "TDCZ", "the operator sees himself");
}

#[tokio::test]
async fn an_error_does_not_end_the_session() {
    let services = services(Config::default());
    let mut operator = admin(&services).await;
    let answer = operator.query("SELECT 1").await;
    assert_eq!(
        (tags(&answer), error(&answer)),
        ("EZ".into(), "ERROR 42601 invalid command 'SELECT 1', use SHOW HELP;".into())
    );
    assert_eq!(error(&operator.query("PAUSE nowhere").await), "ERROR 3D000 no such database: nowhere");
    assert_eq!(error(&operator.query("RESUME").await), "ERROR 55000 pooler is not paused/suspended");
    assert_eq!(error(&operator.query("SUSPEND").await), "ERROR 0A000 SUSPEND is not available in this version");
    let reload = error(&operator.query("RELOAD").await);
    assert_eq!(reload, "ERROR F0000 RELOAD failed, see logs for additional details");
    assert_eq!(tags(&operator.query("SHOW timezone").await), "TDCZ");
    assert_eq!(tags(&operator.query("SET timezone = 'UTC'").await), "NCZ");
}

#[tokio::test]
async fn who_may_look_may_do_no_more() {
    let services = services(Config::default());
    let mut operator = connect(&services, Access::Stats);
    operator.receive('Z').await;
    assert_eq!(tags(&operator.query("SHOW STATE").await), "TDDDCZ");
    assert_eq!(error(&operator.query("PAUSE").await), "ERROR 42501 admin access needed");
    assert!(services.state.paused(None).is_none());
}

/// Parse, Bind with a result format, Describe of the portal, Execute of some rows, Sync.
fn batch(text: &str, format: u8, most: u8) -> Vec<u8> {
    let mut out = Vec::new();
    messages::message(&mut out, b'P', |out| out.extend_from_slice(format!("s\0{text}\0\0\0").as_bytes()));
    messages::message(&mut out, b'B', |out| out.extend_from_slice(&[0, b's', 0, 0, 0, 0, 0, 0, 1, 0, format]));
    messages::message(&mut out, b'D', |out| out.extend_from_slice(b"P\0"));
    messages::message(&mut out, b'E', |out| out.extend_from_slice(&[0, 0, 0, 0, most]));
    messages::message(&mut out, b'C', |out| out.extend_from_slice(b"Ss\0"));
    messages::sync(&mut out);
    out
}

#[tokio::test]
async fn drivers_that_know_only_the_extended_protocol_are_served() {
    let services = services(Config::default());
    let mut operator = admin(&services).await;
    operator.send(&batch("show lists", 1, 0));
    let answer = operator.receive('Z').await;
    assert_eq!(tags(&answer), format!("12T{}C3Z", "D".repeat(14)));
    assert_eq!(answer[3].1, b"\0\x02\0\0\0\x09databases\0\0\0\x04\0\0\0\x01", "int4 in binary: the console's own");
    operator.send(&batch("show lists", 0, 3));
    assert_eq!(tags(&operator.receive('Z').await), "12TDDDs3Z");
    operator.send(&batch("set timezone = x", 0, 0));
    assert_eq!(tags(&operator.receive('Z').await), "12nNC3Z");
}

#[tokio::test]
async fn after_an_error_a_batch_is_skipped_up_to_its_sync() {
    let services = services(Config::default());
    let mut operator = admin(&services).await;
    operator.send(&batch("nonsense", 0, 0));
    let answer = operator.receive('Z').await;
    assert_eq!(tags(&answer), "EZ");
    operator.send(&batch("show state", 0, 0));
    assert_eq!(tags(&operator.receive('Z').await), "12TDDDC3Z");
    let mut twice = batch("show state", 0, 0);
    messages::message(&mut twice, b'E', |out| out.extend_from_slice(b"p\0\0\0\0\0"));
    messages::sync(&mut twice);
    operator.send(&twice);
    operator.receive('Z').await;
    assert_eq!(error(&operator.receive('Z').await), "ERROR 34000 portal \"p\" does not exist");
}

#[tokio::test]
async fn statements_are_limited() {
    let services = services(Config::default());
    let mut operator = admin(&services).await;
    let mut out = Vec::new();
    for number in 0..=256 {
        messages::message(&mut out, b'P', |out| {
            out.extend_from_slice(format!("s{number}\0show state\0\0\0").as_bytes())
        });
    }
    messages::sync(&mut out);
    operator.send(&out);
    let answer = operator.receive('Z').await;
    assert_eq!(answer.iter().filter(|(tag, _)| *tag == '1').count(), 256);
    assert_eq!(error(&answer), "ERROR 54000 too many prepared statements, at most 256");
}

#[tokio::test]
async fn what_is_not_the_protocol_ends_the_session() {
    let services = services(Config::default());
    for (bytes, words) in [
        (&b"F\0\0\0\x04"[..], "unsupported packet type for admin console: 70"),
        (b"Q\0\0\0\x08abcd", "invalid message of type 'Q'"),
        (b"Q\0\0\0\0", "message 'Q' has an impossible length of 0"),
        (b"Q\x7f\xff\xff\xff", "message of 2147483648 bytes is too large"),
    ] {
        let mut operator = admin(&services).await;
        operator.send(bytes);
        assert_eq!(error(&operator.receive('-').await), format!("FATAL 08P01 {words}"));
    }
}

#[tokio::test]
async fn a_console_can_be_killed_like_any_client() {
    let services = services(Config::default());
    let (mut operator, other) = (admin(&services).await, admin(&services).await);
    assert_eq!(tags(&operator.query(&format!("KILL_CLIENT {}", other.handle.id)).await), "CZ");
    assert_eq!(error(&other.receive('-').await), "FATAL 57P01 admin forced disconnect");
}

/// A pooler whose one server is in login for ever, so that no PAUSE is ever complete.
fn never_paused() -> (Arc<Services>, std::net::TcpListener) {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = Config::default();
    let database = control::tests::database("app", &server);
    config.databases.insert("app".into(), config::Database { min_pool_size: Some(1), ..database });
    let services = services(config);
    control::warm_up(&services);
    (services, server)
}

#[tokio::test]
async fn a_resume_from_elsewhere_answers_a_console_that_waits() {
    let (services, _server) = never_paused();
    let (mut operator, mut other) = (admin(&services).await, admin(&services).await);
    let resume = async {
        while services.state.paused(None).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        other.query("RESUME;").await
    };
    let (paused, resumed) = tokio::join!(operator.query("PAUSE;"), resume);
    assert_eq!(error(&paused), "ERROR 55000 RESUME ended this PAUSE before it was complete");
    assert_eq!(tags(&resumed), "CZ");
}

#[tokio::test]
async fn a_cancel_of_a_console_that_waits_resumes() {
    let (services, _server) = never_paused();
    let mut operator = admin(&services).await;
    let handle = operator.handle.clone();
    let cancel = async {
        while handle.doing() != crate::client::handle::Doing::Waiting {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        handle.cancel_wait();
    };
    let (paused, ()) = tokio::join!(operator.query("PAUSE;"), cancel);
    assert_eq!(error(&paused), "ERROR 57014 canceling statement due to user request");
    assert!(services.state.paused(None).is_none());
}

#[tokio::test]
async fn an_operator_who_leaves_leaves_the_pause_behind() {
    let (services, _server) = never_paused();
    let mut operator = admin(&services).await;
    let mut out = Vec::new();
    messages::query(&mut out, b"PAUSE");
    operator.send(&out);
    while operator.handle.doing() != crate::client::handle::Doing::Waiting {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let handle = operator.handle.clone();
    drop(operator);
    tokio::time::timeout(Duration::from_secs(5), async {
        while handle.doing() == crate::client::handle::Doing::Waiting {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the console notices that nobody is there");
    assert!(services.state.paused(None).is_some());
}
