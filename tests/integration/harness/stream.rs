//! A TCP or Unix socket, with TLS or without, whose reads and writes are bounded in time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ClientConnection;

use super::wait::LIMIT;

/// Where somebody listens.
#[derive(Clone, Debug)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    pub fn local(port: u16) -> Address {
        Address::Tcp((Ipv4Addr::LOCALHOST, port).into())
    }
}

#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    tls: Option<Arc<Session>>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// TLS that one thread may read while another writes: neither lock is held while the socket is waited for, except
/// that records leave in the order they were made.
#[derive(Debug)]
struct Session {
    connection: Mutex<ClientConnection>,
    output: Mutex<()>,
}

impl Stream {
    pub fn connect(address: &Address) -> io::Result<Stream> {
        let socket = match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, LIMIT)?;
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(LIMIT))?;
                Socket::Tcp(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(LIMIT))?;
                Socket::Unix(stream)
            }
        };
        let stream = Stream { socket, tls: None };
        stream.set_read_timeout(LIMIT)?;
        Ok(stream)
    }

    /// Goes on under TLS; returns when the handshake is over. An alert of the other side is an error.
    pub fn start_tls(&mut self, connection: ClientConnection) -> io::Result<()> {
        let session = Arc::new(Session { connection: Mutex::new(connection), output: Mutex::new(()) });
        self.tls = Some(session.clone());
        while session.connection().is_handshaking() {
            session.flush(&mut self.socket.try_clone()?)?;
            if session.connection().is_handshaking() && session.fill(&mut self.socket)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        session.flush(&mut self.socket)
    }

    /// What is asked of the TLS connection; there must be one.
    pub fn tls<T>(&self, ask: impl FnOnce(&ClientConnection) -> T) -> T {
        ask(&self.tls.as_ref().expect("TLS was begun").connection())
    }

    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The socket below the TLS, for bytes that are none.
    pub fn raw(&mut self) -> impl Read + Write + '_ {
        &mut self.socket
    }

    /// Zero would mean "for ever" to the system, so it becomes a millisecond.
    pub fn set_read_timeout(&self, limit: Duration) -> io::Result<()> {
        let limit = Some(limit.max(Duration::from_millis(1)));
        match &self.socket {
            Socket::Tcp(stream) => stream.set_read_timeout(limit),
            Socket::Unix(stream) => stream.set_read_timeout(limit),
        }
    }

    /// Ends our direction only, unless the other side has reset the connection.
    pub fn half_close(&self) -> io::Result<()> {
        let closed = match &self.socket {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
        closed.or_else(|error| if error.kind() == ErrorKind::NotConnected { Ok(()) } else { Err(error) })
    }

    /// A second handle on the same connection, for another thread.
    pub fn try_clone(&self) -> io::Result<Stream> {
        Ok(Stream { socket: self.socket.try_clone()?, tls: self.tls.clone() })
    }
}

impl Session {
    fn connection(&self) -> MutexGuard<'_, ClientConnection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the socket once: how many bytes.
    fn fill(&self, socket: &mut Socket) -> io::Result<usize> {
        let mut chunk = [0; 16384];
        let count = socket.read(&mut chunk)?;
        let mut received = &chunk[..count];
        loop {
            let mut connection = self.connection();
            connection.read_tls(&mut received)?;
            let processed = connection.process_new_packets();
            drop(connection);
            if let Err(error) = processed {
                // The alert that says why; nobody waits for it.
                let _ = self.flush(socket);
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
            if received.is_empty() {
                return Ok(count);
            }
        }
    }

    fn flush(&self, socket: &mut Socket) -> io::Result<()> {
        let _ordered = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records = Vec::new();
        {
            let mut connection = self.connection();
            while connection.wants_write() {
                connection.write_tls(&mut records)?;
            }
        }
        socket.write_all(&records)
    }
}

impl Socket {
    fn try_clone(&self) -> io::Result<Socket> {
        Ok(match self {
            Socket::Tcp(stream) => Socket::Tcp(stream.try_clone()?),
            Socket::Unix(stream) => Socket::Unix(stream.try_clone()?),
        })
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &self.tls else { return self.socket.read(buffer) };
        loop {
            match session.connection().reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            session.fill(&mut self.socket)?;
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(session) = &self.tls else { return self.socket.write(bytes) };
        let count = session.connection().writer().write(bytes)?;
        session.flush(&mut self.socket)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buffer),
            Socket::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}
