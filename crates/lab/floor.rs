//! The least a login can cost: accept, TLS, SCRAM from stored keys, ReadyForQuery, close; no pool and no query.
//!
//! One thread serves one connection after the other with blocking calls, which needs the fewest of them. That makes its
//! CPU time per login a floor; its logins per second mean nothing, because it waits for each client in turn.

use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lab::{LabError, PASSWORD, scram};
use rustix::net::sockopt::{Timeout, set_socket_timeout, set_tcp_nodelay};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::ending::Ending;
use crate::{Failure, FloorArguments};

const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("not zero");
const SALT: &[u8] = b"the floor's salt";
/// What a client may send before it is logged in; more is nonsense.
const MAX_MESSAGE: usize = 4096;
/// How long a silent client is waited for, while the others wait too; and how long Ctrl-C may take.
const PATIENCE: Duration = Duration::from_secs(1);
const OK_AND_READY: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";

/// Made once, as a pooler would.
struct Floor {
    tls: Option<Arc<ServerConfig>>,
    keys: scram::Keys,
    salt_and_iterations: String,
}

/// Serves the lab's password until Ctrl-C, whoever the user says he is.
pub fn run(arguments: &FloorArguments) -> Result<(), Failure> {
    let ending = Ending::watch()?;
    let tls = arguments.cert.as_deref().zip(arguments.key.as_deref());
    let floor = Floor {
        tls: tls.map(|(cert, key)| server_config(cert, key)).transpose()?,
        keys: scram::Keys::derive(PASSWORD, SALT, ITERATIONS),
        salt_and_iterations: scram::salt_and_iterations(SALT, ITERATIONS),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port))?;
    // Accepted sockets inherit both, at no cost; accept itself wakes up to see whether it is to end.
    set_socket_timeout(&listener, Timeout::Recv, Some(PATIENCE))?;
    set_tcp_nodelay(&listener, true)?;
    while !ending.asked() {
        match listener.accept() {
            // A client that is slow, gone or wrong is counted by the one who measures.
            Ok((tcp, _)) => drop(floor.serve(tcp)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// TLS 1.3 alone, and nothing that would only help a client that comes back.
fn server_config(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, Failure> {
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<_, _>>()?;
    let mut config = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

impl Floor {
    fn serve(&self, mut tcp: TcpStream) -> Result<(), LabError> {
        match &self.tls {
            None => self.log_in(tcp),
            Some(config) => {
                // An SSLRequest; the client says nothing more before it has the answer.
                read(&mut tcp, 8)?;
                write(&mut tcp, b"S")?;
                self.log_in(StreamOwned::new(ServerConnection::new(Arc::clone(config))?, tcp))
            }
        }
    }

    fn log_in(&self, stream: impl Read + Write) -> Result<(), LabError> {
        let mut client = BufReader::with_capacity(MAX_MESSAGE, stream);
        let startup_length = length(&read(&mut client, 4)?)?;
        read(&mut client, startup_length)?;
        let mechanisms = format!("{}\0\0", scram::MECHANISM);
        write(client.get_mut(), &authentication(10, mechanisms.as_bytes()))?;
        let initial = password_message(&mut client)?;
        // The mechanism's name, its zero byte and the length of the rest come first.
        let first = initial.get(scram::MECHANISM.len() + 5..).unwrap_or_default();
        let (exchange, answer) = scram::Server::first(&String::from_utf8_lossy(first), &self.salt_and_iterations)?;
        write(client.get_mut(), &authentication(11, answer.as_bytes()))?;
        let last = password_message(&mut client)?;
        let signature = exchange.last(&String::from_utf8_lossy(&last), &self.keys)?;
        let mut end = authentication(12, signature.as_bytes());
        end.extend_from_slice(OK_AND_READY);
        write(client.get_mut(), &end)
    }
}

fn authentication(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut message = vec![b'R'];
    message.extend_from_slice(&(body.len() as u32 + 8).to_be_bytes());
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(body);
    message
}

fn password_message(client: &mut impl Read) -> Result<Vec<u8>, LabError> {
    let header = read(client, 5)?;
    let length = length(&header[1..])?;
    read(client, length)
}

/// What is left of a message after its length.
fn length(bytes: &[u8]) -> Result<usize, LabError> {
    let whole = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let rest = whole.checked_sub(4).filter(|length| *length <= MAX_MESSAGE);
    rest.ok_or_else(|| LabError::Protocol("bad length of a message".into()))
}

fn read(stream: &mut impl Read, length: usize) -> Result<Vec<u8>, LabError> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).map_err(LabError::io("read from the client"))?;
    Ok(bytes)
}

fn write(stream: &mut impl Write, bytes: &[u8]) -> Result<(), LabError> {
    stream.write_all(bytes).map_err(LabError::io("write to the client"))
}
