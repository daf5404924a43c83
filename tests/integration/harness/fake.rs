//! A listener that plays a PostgreSQL server, for answers that a real one never gives.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use protocol::backend::TxStatus;
use protocol::messages::{self, Authentication};

/// The longest that a fake server waits for a byte.
const LIMIT: Duration = Duration::from_secs(20);

/// A listening fake server; its threads end with the process.
#[derive(Debug)]
pub struct FakeServer {
    pub port: u16,
    connections: Arc<AtomicUsize>,
}

/// One connection to a fake server.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
}

impl FakeServer {
    /// Plays `play` on each connection. It gets the number of the connection, from 0, and ends it by returning.
    pub fn start(play: impl Fn(usize, &mut Session) + Send + Sync + 'static) -> FakeServer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port to listen on");
        let port = listener.local_addr().expect("a bound address").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counter, play) = (connections.clone(), Arc::new(play));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let play = play.clone();
                thread::spawn(move || {
                    stream.set_read_timeout(Some(LIMIT)).expect("a time limit can be set");
                    play(number, &mut Session { stream });
                });
            }
        });
        FakeServer { port, connections }
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Session {
    /// Reads the startup packet, refusing TLS before it. None when the peer has gone.
    pub fn startup(&mut self) -> Option<Vec<u8>> {
        loop {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length).ok()?;
            let mut body = vec![0; (u32::from_be_bytes(length) as usize).checked_sub(4)?];
            self.stream.read_exact(&mut body).ok()?;
            if body.len() > 4 {
                return Some(body);
            }
            self.send(b"N");
        }
    }

    /// Reads one message. None when the peer has gone.
    pub fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header).ok()?;
        let [tag, length @ ..] = header;
        let mut body = vec![0; (u32::from_be_bytes(length) as usize).checked_sub(4)?];
        self.stream.read_exact(&mut body).ok()?;
        Some((tag, body))
    }

    /// Sends bytes; a peer that has gone is noticed by the next read.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Lets anyone in, as a server in good health would. None when the peer has gone.
    pub fn log_in(&mut self) -> Option<()> {
        self.startup()?;
        self.send(&welcome());
        Some(())
    }

    /// Answers an empty or any other query with an empty result; None at the end. For checks before use.
    pub fn answer_quietly(&mut self) -> Option<(u8, Vec<u8>)> {
        let message = self.message()?;
        self.send(&done("SELECT 0"));
        Some(message)
    }
}

/// AuthenticationOk up to ReadyForQuery.
pub fn welcome() -> Vec<u8> {
    let mut out = Vec::new();
    messages::authentication(&mut out, Authentication::Ok);
    let parameters = [
        ("server_version", "15.0"),
        ("client_encoding", "UTF8"),
        ("server_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("TimeZone", "UTC"),
        ("IntervalStyle", "postgres"),
        ("standard_conforming_strings", "on"),
        ("integer_datetimes", "on"),
        ("application_name", ""),
    ];
    for (name, value) in parameters {
        messages::parameter_status(&mut out, name.as_bytes(), value.as_bytes());
    }
    messages::backend_key_data(&mut out, 4711, &[1, 2, 3, 4]);
    messages::ready_for_query(&mut out, TxStatus::Idle);
    out
}

/// CommandComplete and ReadyForQuery.
pub fn done(tag: &str) -> Vec<u8> {
    let mut out = Vec::new();
    messages::command_complete(&mut out, tag);
    messages::ready_for_query(&mut out, TxStatus::Idle);
    out
}
