//! The smallest possible PostgreSQL client: trust and SCRAM logins, with or without TLS, and simple queries.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::tls::{self, Stream};
use crate::{LabError, scram};

const LIMIT: Duration = Duration::from_secs(10);
/// PostgreSQL's protocol version 3.0 as a startup message carries it (manual, "Message Formats", StartupMessage).
const PROTOCOL_3_0: i32 = 196_608;
/// The code of an SSLRequest (manual, "Message Formats").
const SSL_REQUEST: i32 = 80_877_103;
/// Answers to the queries this client is for are tiny; anything larger is nonsense.
const MAX_MESSAGE: usize = 64 * 1024;
const BUFFER: usize = 4096;

/// Who logs in where, and how. Made once, used by any number of threads: a password's key is derived only once.
pub struct Login {
    address: SocketAddr,
    startup: Vec<u8>,
    password: Option<scram::Password>,
    tls: Option<Arc<ClientConfig>>,
    limit: Duration,
}

impl Login {
    /// A login without password and TLS.
    pub fn new(address: SocketAddr, user: &str, database: &str) -> Login {
        let mut startup = PROTOCOL_3_0.to_be_bytes().to_vec();
        for word in ["user", user, "database", database, ""] {
            startup.extend_from_slice(word.as_bytes());
            startup.push(0);
        }
        Login { address, startup, password: None, tls: None, limit: LIMIT }
    }

    /// Answers a request for SCRAM-SHA-256 with this password.
    pub fn password(mut self, password: &str) -> Login {
        self.password = Some(scram::Password::new(password));
        self
    }

    /// How long to wait for each answer, instead of ten seconds.
    pub fn limit(mut self, limit: Duration) -> Login {
        self.limit = limit;
        self
    }

    /// Asks for TLS 1.3 first, and gives up when it is refused. Any certificate will do.
    pub fn tls(mut self) -> Result<Login, LabError> {
        self.tls = Some(tls::config()?);
        Ok(self)
    }

    /// Connects and logs in.
    pub fn open(&self) -> Result<Client, LabError> {
        let Login { address, limit, .. } = *self;
        let tcp = TcpStream::connect_timeout(&address, limit).map_err(LabError::io(format!("connect to {address}")))?;
        tcp.set_read_timeout(Some(limit)).map_err(LabError::io("set a time limit"))?;
        tcp.set_write_timeout(Some(limit)).map_err(LabError::io("set a time limit"))?;
        tcp.set_nodelay(true).map_err(LabError::io("set TCP_NODELAY"))?;
        let stream = match &self.tls {
            None => Stream::Plain(tcp),
            Some(config) => Stream::tls(agreed_on_tls(tcp)?, config)?,
        };
        let mut client = Client { stream: BufReader::with_capacity(BUFFER, stream) };
        client.send(None, &self.startup)?;
        client.authenticate(self.password.as_ref())?;
        client.until_ready(None)?;
        Ok(client)
    }
}

/// Asks with an SSLRequest.
fn agreed_on_tls(mut tcp: TcpStream) -> Result<TcpStream, LabError> {
    let mut answer = [0];
    tcp.write_all(&message(None, &SSL_REQUEST.to_be_bytes())?).map_err(LabError::io("write to the server"))?;
    tcp.read_exact(&mut answer).map_err(LabError::io("read the answer to an SSLRequest"))?;
    match &answer {
        b"S" => Ok(tcp),
        other => Err(LabError::Protocol(format!("the server refuses TLS: {:?}", char::from(other[0])))),
    }
}

/// A logged-in connection. Every call is bounded by ten seconds of silence of the peer, or by [`Login::limit`].
#[derive(Debug)]
pub struct Client {
    stream: BufReader<Stream>,
}

impl Client {
    /// Connects and logs in. The role must need no password.
    pub fn connect(address: SocketAddr, user: &str, database: &str) -> Result<Client, LabError> {
        Login::new(address, user, database).open()
    }

    /// Runs a simple query and waits for its end; the rows are thrown away.
    pub fn query(&mut self, sql: &str) -> Result<(), LabError> {
        self.send(Some(b'Q'), &terminated(sql))?;
        self.until_ready(None)
    }

    /// Runs a simple query and returns its rows as text; NULL is empty.
    pub fn rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>, LabError> {
        let mut rows = Vec::new();
        self.send(Some(b'Q'), &terminated(sql))?;
        self.until_ready(Some(&mut rows))?;
        Ok(rows)
    }

    /// Says Terminate and closes, as libpq does; merely dropping a client closes without a word.
    pub fn end(mut self) -> Result<(), LabError> {
        self.send(Some(b'X'), &[])?;
        self.stream.get_mut().close().map_err(LabError::io("end the connection"))
    }

    fn send(&mut self, tag: Option<u8>, body: &[u8]) -> Result<(), LabError> {
        self.stream.get_mut().write_all(&message(tag, body)?).map_err(LabError::io("write to the server"))
    }

    /// Up to AuthenticationOk (manual, "Message Formats", the messages with tag R).
    fn authenticate(&mut self, password: Option<&scram::Password>) -> Result<(), LabError> {
        let mut exchange = None;
        loop {
            let (tag, body) = self.receive()?;
            match (tag, body.split_first_chunk()) {
                (b'E', _) => return Err(LabError::Protocol(message_of(&body))),
                (b'R', Some(([0, 0, 0, 0], _))) => return Ok(()),
                (b'R', Some(([0, 0, 0, 10], mechanisms))) => {
                    let offered = mechanisms.split(|byte| *byte == 0).any(|name| name == scram::MECHANISM.as_bytes());
                    if password.is_none() || !offered {
                        return Err(LabError::Protocol("the server asks for a password".into()));
                    }
                    let (client, first) = scram::Client::first()?;
                    let mut answer = terminated(scram::MECHANISM);
                    answer.extend_from_slice(&(first.len() as u32).to_be_bytes());
                    answer.extend_from_slice(first.as_bytes());
                    self.send(Some(b'p'), &answer)?;
                    exchange = Some(client);
                }
                (b'R', Some(([0, 0, 0, 11], first))) => {
                    let (Some(client), Some(password)) = (exchange.take(), password) else {
                        return Err(LabError::Protocol("SCRAM: a message out of turn".into()));
                    };
                    let last = client.last(&String::from_utf8_lossy(first), password)?;
                    self.send(Some(b'p'), last.as_bytes())?;
                }
                (b'R', Some(([0, 0, 0, 12], _signature))) => {}
                (b'R', _) => return Err(LabError::Protocol("the server asks for a password".into())),
                (tag, _) => return Err(LabError::Protocol(format!("unexpected {:?} in a login", char::from(tag)))),
            }
        }
    }

    /// Reads up to ReadyForQuery. The first ErrorResponse wins over whatever follows it.
    fn until_ready(&mut self, mut rows: Option<&mut Vec<Vec<String>>>) -> Result<(), LabError> {
        let mut failure = None;
        loop {
            let (tag, body) = match self.receive() {
                Ok(message) => message,
                Err(error) => return Err(failure.unwrap_or(error)),
            };
            match tag {
                b'Z' => return failure.map_or(Ok(()), Err),
                b'E' => failure = failure.or(Some(LabError::Protocol(message_of(&body)))),
                b'D' => {
                    if let Some(rows) = rows.as_mut() {
                        let row = row_of(&body);
                        rows.push(row.ok_or_else(|| LabError::Protocol("bad DataRow".into()))?);
                    }
                }
                _ => {}
            }
        }
    }

    fn receive(&mut self) -> Result<(u8, Vec<u8>), LabError> {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header).map_err(LabError::io("read from the server"))?;
        let [tag, length @ ..] = header;
        let length = (u32::from_be_bytes(length) as usize).checked_sub(4).filter(|length| *length <= MAX_MESSAGE);
        let length =
            length.ok_or_else(|| LabError::Protocol(format!("bad length of message {:?}", char::from(tag))))?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).map_err(LabError::io("read from the server"))?;
        Ok((tag, body))
    }
}

fn message(tag: Option<u8>, body: &[u8]) -> Result<Vec<u8>, LabError> {
    let length = u32::try_from(body.len() + 4).map_err(|_| LabError::Protocol("message too long".into()))?;
    let mut message: Vec<u8> = tag.into_iter().collect();
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(body);
    Ok(message)
}

fn terminated(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// The values of a DataRow: their number, then each with its length before it, -1 for NULL.
fn row_of(body: &[u8]) -> Option<Vec<String>> {
    let (count, mut rest) = body.split_first_chunk()?;
    let mut row = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let (value, after) = after.split_at_checked(length)?;
        row.push(String::from_utf8_lossy(value).into_owned());
        rest = after;
    }
    Some(row)
}

/// Severity, SQLSTATE and text of an ErrorResponse.
fn message_of(body: &[u8]) -> String {
    let field = |wanted: u8| {
        let mut fields = body.split(|byte| *byte == 0);
        fields.find_map(|field| match field {
            [kind, text @ ..] if *kind == wanted => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        })
    };
    let part = |wanted| field(wanted).unwrap_or_else(|| "?".into());
    format!("{} {}: {}", part(b'S'), part(b'C'), part(b'M'))
}
