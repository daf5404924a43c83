//! A listener that plays a PostgreSQL server, for answers that a real one never gives.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use protocol::backend::TxStatus;
use protocol::messages::{self, Authentication};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

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
    stream: Option<Wire>,
}

#[derive(Debug)]
enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
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
                    play(number, &mut Session { stream: Some(Wire::Plain(stream)) });
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
            let body = self.opening()?;
            if body.len() > 4 {
                return Some(body);
            }
            self.send(b"N");
        }
    }

    /// Reads one packet without a tag: an SSLRequest, a StartupMessage or a cancel. None when the peer has gone.
    pub fn opening(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.read(&mut length)?;
        self.bytes((u32::from_be_bytes(length) as usize).checked_sub(4)?)
    }

    /// Goes on under TLS. None when the handshake fails.
    pub fn start_tls(&mut self, config: &Arc<ServerConfig>) -> Option<()> {
        let Wire::Plain(stream) = self.stream.take()? else { return None };
        let connection = ServerConnection::new(config.clone()).ok()?;
        let mut tls = StreamOwned::new(connection, stream);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock).ok()?;
        }
        self.stream = Some(Wire::Tls(Box::new(tls)));
        Some(())
    }

    /// Accepts the TLS that the peer asks for. None when it does something else.
    pub fn accept_tls(&mut self, config: &Arc<ServerConfig>) -> Option<()> {
        if self.opening()?.len() > 4 {
            return None;
        }
        self.send(b"S");
        self.start_tls(config)
    }

    /// Reads that many bytes. None when the peer has gone.
    pub fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.read(&mut bytes)?;
        Some(bytes)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Option<()> {
        match self.stream.as_mut()? {
            Wire::Plain(stream) => stream.read_exact(buffer).ok(),
            Wire::Tls(stream) => stream.read_exact(buffer).ok(),
        }
    }

    /// Reads one message. None when the peer has gone.
    pub fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let tag = self.bytes(1)?[0];
        Some((tag, self.opening()?))
    }

    /// Sends bytes; a peer that has gone is noticed by the next read.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = match &mut self.stream {
            None => Ok(()),
            Some(Wire::Plain(stream)) => stream.write_all(bytes),
            Some(Wire::Tls(stream)) => stream.write_all(bytes).and_then(|()| stream.flush()),
        };
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
