//! The smallest possible PostgreSQL client: trust logins and simple queries, for readiness and for idle connections.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::LabError;

const LIMIT: Duration = Duration::from_secs(10);
/// PostgreSQL's protocol version 3.0 as a startup message carries it (manual, "Message Formats", StartupMessage).
const PROTOCOL_3_0: i32 = 196_608;
/// Answers to the queries this client is for are tiny; anything larger is nonsense.
const MAX_MESSAGE: usize = 64 * 1024;

/// A logged-in connection. Every call is bounded by ten seconds of silence of the peer.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects and logs in. The role must need no password.
    pub fn connect(address: SocketAddr, user: &str, database: &str) -> Result<Client, LabError> {
        let stream =
            TcpStream::connect_timeout(&address, LIMIT).map_err(LabError::io(format!("connect to {address}")))?;
        stream.set_read_timeout(Some(LIMIT)).map_err(LabError::io("set a time limit"))?;
        stream.set_write_timeout(Some(LIMIT)).map_err(LabError::io("set a time limit"))?;
        let mut client = Client { stream };
        let mut body = PROTOCOL_3_0.to_be_bytes().to_vec();
        for word in ["user", user, "database", database, ""] {
            body.extend_from_slice(word.as_bytes());
            body.push(0);
        }
        client.send(None, &body)?;
        client.until_ready()?;
        Ok(client)
    }

    /// Runs a simple query and waits for its end; the rows are thrown away.
    pub fn query(&mut self, sql: &str) -> Result<(), LabError> {
        let mut body = sql.as_bytes().to_vec();
        body.push(0);
        self.send(Some(b'Q'), &body)?;
        self.until_ready()
    }

    fn send(&mut self, tag: Option<u8>, body: &[u8]) -> Result<(), LabError> {
        let length = u32::try_from(body.len() + 4).map_err(|_| LabError::Protocol("message too long".into()))?;
        let mut message: Vec<u8> = tag.into_iter().collect();
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(body);
        self.stream.write_all(&message).map_err(LabError::io("write to the server"))
    }

    /// Reads up to ReadyForQuery. The first ErrorResponse wins over whatever follows it.
    fn until_ready(&mut self) -> Result<(), LabError> {
        let mut failure = None;
        loop {
            let (tag, body) = match self.receive() {
                Ok(message) => message,
                Err(error) => return Err(failure.unwrap_or(error)),
            };
            match tag {
                b'Z' => return failure.map_or(Ok(()), Err),
                b'E' => failure = failure.or(Some(LabError::Protocol(message_of(&body)))),
                b'R' if body != [0; 4] => {
                    return Err(LabError::Protocol("the server asks for a password".into()));
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
