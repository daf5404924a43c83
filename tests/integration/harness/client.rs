//! A client of the wire protocol, small and blocking; every wait is bounded and ends in a failed test.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use protocol::messages;

use super::stream::{Address, Stream};
use super::tls::Tls;
use super::wait::LIMIT;
use super::{Message, Report};

/// A connection, usually logged in by [`Login`](super::Login).
#[derive(Debug)]
pub struct Client {
    pub stream: Stream,
    pub address: Address,
    /// What came between the login's success and the first ReadyForQuery.
    pub greeting: Vec<Message>,
    /// How it began TLS, if it did; its cancels do likewise.
    pub tls: Option<Tls>,
    inbox: Vec<u8>,
}

/// What a wait for a message ended in.
#[derive(Debug)]
pub enum Received {
    Message(Message),
    /// End of file, or a reset.
    Closed,
    Nothing,
}

impl Client {
    /// Connects, and says nothing yet.
    #[track_caller]
    pub fn connect(address: &Address) -> Client {
        Client::try_connect(address).unwrap_or_else(|error| panic!("cannot connect to {address:?}: {error}"))
    }

    /// Connects, if somebody listens.
    pub fn try_connect(address: &Address) -> io::Result<Client> {
        let stream = Stream::connect(address)?;
        Ok(Client { stream, address: address.clone(), greeting: Vec::new(), tls: None, inbox: Vec::new() })
    }

    /// Sends bytes. A peer that has closed is noticed by the next read, which says why.
    pub fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            let gone = matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
            assert!(gone, "cannot send: {error}");
        }
    }

    /// Sends a simple Query without waiting for its answer.
    pub fn send_query(&mut self, sql: &str) {
        let mut out = Vec::new();
        messages::query(&mut out, sql.as_bytes());
        self.send(&out);
    }

    /// Waits for the next message for at most `limit`.
    pub fn receive(&mut self, limit: Duration) -> Received {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(message) = self.take_message() {
                return Received::Message(message);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.stream.set_read_timeout(left).expect("a time limit can be set");
            let mut chunk = [0; 16384];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Received::Closed,
                Ok(count) => self.inbox.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= deadline {
                        return Received::Nothing;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Received::Closed,
            }
        }
    }

    fn take_message(&mut self) -> Option<Message> {
        let (header, _) = self.inbox.split_first_chunk::<5>()?;
        let [tag, a, b, c, d] = *header;
        let end = u32::from_be_bytes([a, b, c, d]) as usize + 1;
        let body = self.inbox.get(5..end)?.to_vec();
        self.inbox.drain(..end);
        Some(Message { tag, body })
    }

    /// The next message, which must come.
    #[track_caller]
    pub fn message(&mut self) -> Message {
        match self.receive(LIMIT) {
            Received::Message(message) => message,
            other => panic!("expected a message: {other:?}"),
        }
    }

    /// All messages up to and with the first of this tag. Fails when the connection ends before.
    #[track_caller]
    pub fn until(&mut self, tag: u8) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            match self.receive(LIMIT) {
                Received::Message(message) => {
                    messages.push(message);
                    if messages.last().is_some_and(|last| last.tag == tag) {
                        return messages;
                    }
                }
                other => panic!("expected {} after {messages:?}: {other:?}", char::from(tag)),
            }
        }
    }

    /// All messages up to the end of the connection, which must come.
    #[track_caller]
    pub fn until_closed(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            match self.receive(LIMIT) {
                Received::Message(message) => messages.push(message),
                Received::Closed => return messages,
                Received::Nothing => panic!("the connection stays open after {messages:?}"),
            }
        }
    }

    /// Runs a simple query to its end and returns everything that came.
    #[track_caller]
    pub fn ask(&mut self, sql: &str) -> Vec<Message> {
        self.send_query(sql);
        self.until(b'Z')
    }

    /// Runs a query that must succeed, and returns its rows.
    #[track_caller]
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        match self.try_rows(sql) {
            Ok(rows) => rows,
            Err(report) => panic!("{sql}: {report}"),
        }
    }

    /// Runs a query and returns its rows, or its error, whether or not the connection survived it.
    #[track_caller]
    pub fn try_rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Report> {
        self.send_query(sql);
        self.answer()
    }

    /// The rows of an answer that is under way, up to ReadyForQuery, or its error.
    #[track_caller]
    pub fn answer(&mut self) -> Result<Vec<Vec<Option<String>>>, Report> {
        let (mut rows, mut failure) = (Vec::new(), None);
        loop {
            match self.receive(LIMIT) {
                Received::Message(message) => match message.tag {
                    b'D' => rows.push(message.values()),
                    b'E' => failure = failure.or(Some(message.report())),
                    b'Z' => return failure.map_or(Ok(rows), Err),
                    _ => {}
                },
                Received::Closed => {
                    return Err(failure.unwrap_or_else(|| Report::silence("connection closed without a word")));
                }
                Received::Nothing => panic!("no answer within {LIMIT:?}"),
            }
        }
    }

    /// The first value of the first row of a query that must succeed.
    #[track_caller]
    pub fn value(&mut self, sql: &str) -> String {
        let rows = self.rows(sql);
        rows.into_iter().flatten().next().flatten().unwrap_or_else(|| panic!("{sql}: no value"))
    }

    /// The error of a query that must fail.
    #[track_caller]
    pub fn error(&mut self, sql: &str) -> Report {
        match self.try_rows(sql) {
            Ok(rows) => panic!("{sql} succeeded: {rows:?}"),
            Err(report) => report,
        }
    }

    /// The ErrorResponse that must come next, possibly after other messages, followed by the end of the connection.
    #[track_caller]
    pub fn last_words(&mut self) -> Report {
        let messages = self.until_closed();
        let last = messages.last().unwrap_or_else(|| panic!("closed without a word"));
        assert_eq!(last.tag, b'E', "{messages:?}");
        last.report()
    }

    /// A value of the greeting's ParameterStatus messages.
    #[track_caller]
    pub fn parameter(&self, name: &str) -> String {
        let mut parameters = self.greeting.iter().filter(|message| message.tag == b'S').map(Message::parameter);
        parameters.find(|(key, _)| key == name).unwrap_or_else(|| panic!("no {name} in {:?}", self.greeting)).1
    }

    /// The process id and key for cancels.
    #[track_caller]
    pub fn key_data(&self) -> (u32, Vec<u8>) {
        let data = self.greeting.iter().find(|message| message.tag == b'K').expect("BackendKeyData was sent");
        let (pid, key) = data.body.split_first_chunk::<4>().expect("BackendKeyData has a process id");
        (u32::from_be_bytes(*pid), key.to_vec())
    }

    /// Sends a cancel request for this client over a connection of its own, and waits until that is closed.
    #[track_caller]
    pub fn cancel(&self) {
        let (pid, key) = self.key_data();
        let mut out = Vec::new();
        messages::cancel_request(&mut out, pid, &key);
        let mut other = Client::connect(&self.address);
        if let Some(tls) = &self.tls {
            tls.begin(&mut other.stream).expect("a cancel can be encrypted");
        }
        other.send(&out);
        assert_eq!(other.until_closed(), [], "a cancel request has no answer");
    }

    /// Says goodbye, and waits until the other side has closed.
    #[track_caller]
    pub fn bye(mut self) {
        let mut out = Vec::new();
        messages::terminate(&mut out);
        self.send(&out);
        self.until_closed();
    }
}
