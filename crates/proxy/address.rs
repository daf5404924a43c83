//! Who is at the other end of a socket, in PgBouncer's words.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// The address of one end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Address and port.
    Tcp(SocketAddr),
    /// A Unix socket: the peer's process id (0 for our own end) and the port that its name ends with.
    Unix {
        /// Process id of the peer.
        pid: i32,
        /// User id of the peer.
        uid: u32,
        /// The port in the socket's name.
        port: u16,
    },
}

impl Address {
    /// The column `addr`.
    pub fn host(&self) -> String {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().to_string(),
            Self::Unix { .. } => "unix".to_owned(),
        }
    }

    /// The column `port`.
    pub fn port(&self) -> u16 {
        match self {
            Self::Tcp(address) => address.port(),
            Self::Unix { port, .. } => *port,
        }
    }

    /// The host; none for a Unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip().to_canonical()),
            Self::Unix { .. } => None,
        }
    }

    /// The column `remote_pid`: 0 for TCP.
    pub fn pid(&self) -> i32 {
        match self {
            Self::Tcp(_) => 0,
            Self::Unix { pid, .. } => *pid,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{}", SocketAddr::new(address.ip().to_canonical(), address.port())),
            Self::Unix { pid, port, .. } => write!(f, "unix({pid}):{port}"),
        }
    }
}

/// Where servers are to be reached, before any name is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Host name or address, and port.
    Tcp(Arc<str>, u16),
    /// The socket `.s.PGSQL.port` in this directory.
    Unix(PathBuf, u16),
}

impl Endpoint {
    /// The host or the directory, and the port.
    pub fn parts(&self) -> (String, u16) {
        match self {
            Self::Tcp(host, port) => (host.to_string(), *port),
            Self::Unix(directory, port) => (directory.display().to_string(), *port),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(directory, port) => write!(f, "{}:{port}", directory.display()),
        }
    }
}
