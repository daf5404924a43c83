//! Connecting to an endpoint: name, address, socket and its options.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use config::Global;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

use super::secure::Secured;
use crate::address::{Address, Endpoint};
use crate::dns::{Dns, Ttls};
use crate::socket::Socket;

/// Where exactly a server was reached: a cancel goes to the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Address and port.
    Tcp(SocketAddr),
    /// A socket's path, and the port that its name ends with.
    Unix(PathBuf, u16),
}

/// A socket that has just connected, and the names of its two ends.
#[derive(Debug)]
pub struct Dialed {
    /// The connection.
    pub socket: Socket,
    /// Where it leads.
    pub reached: Reached,
    /// The server's end.
    pub remote: Address,
    /// Our end.
    pub local: Address,
    /// The TLS between them, once that has begun.
    pub tls: Option<Secured>,
}

/// Connects, trying each address of a host.
///
/// # Errors
/// The last address's error, or that of the name's look-up.
pub async fn dial(dns: &Dns, ttls: Ttls, endpoint: &Endpoint, global: &Global) -> io::Result<Dialed> {
    match endpoint {
        Endpoint::Unix(directory, port) => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            connect(Reached::Unix(path, *port), global).await
        }
        Endpoint::Tcp(host, port) => {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "DNS lookup failed: no address");
            for address in dns.lookup(host, ttls).await? {
                match connect(Reached::Tcp((address, *port).into()), global).await {
                    Ok(dialed) => return Ok(dialed),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    }
}

/// Connects to exactly this place.
///
/// # Errors
/// What the kernel says.
pub async fn connect(reached: Reached, global: &Global) -> io::Result<Dialed> {
    match &reached {
        Reached::Unix(path, port) => {
            let stream = UnixStream::connect(path).await?;
            let pid = stream.peer_cred().ok().and_then(|peer| peer.pid()).unwrap_or(0);
            let socket = Socket::new(stream.into_std()?.into())?;
            let end = |pid| Address::Unix { pid, uid: 0, port: *port };
            Ok(Dialed { socket, remote: end(pid), local: end(0), reached, tls: None })
        }
        Reached::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            let (remote, local) = (Address::Tcp(stream.peer_addr()?), Address::Tcp(stream.local_addr()?));
            let fd = OwnedFd::from(stream.into_std()?);
            tune(fd.as_fd(), global)?;
            Ok(Dialed { socket: Socket::new(fd)?, remote, local, reached, tls: None })
        }
    }
}

/// Sets the options of a TCP socket, a client's or a server's: `tcp_keepalive` and the others.
///
/// # Errors
/// What the kernel says.
pub fn tune(fd: BorrowedFd<'_>, global: &Global) -> io::Result<()> {
    let socket = SockRef::from(&fd);
    socket.set_tcp_nodelay(true)?;
    if global.tcp_keepalive {
        let mut keepalive = TcpKeepalive::new();
        let seconds = |count: u32| Duration::from_secs(count.into());
        if global.tcp_keepidle > 0 {
            keepalive = keepalive.with_time(seconds(global.tcp_keepidle));
        }
        if global.tcp_keepintvl > 0 {
            keepalive = keepalive.with_interval(seconds(global.tcp_keepintvl));
        }
        if global.tcp_keepcnt > 0 {
            keepalive = keepalive.with_retries(global.tcp_keepcnt);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    if global.tcp_socket_buffer > 0 {
        socket.set_send_buffer_size(global.tcp_socket_buffer as usize)?;
        socket.set_recv_buffer_size(global.tcp_socket_buffer as usize)?;
    }
    if global.tcp_user_timeout > 0 {
        socket.set_tcp_user_timeout(Some(Duration::from_millis(global.tcp_user_timeout.into())))?;
    }
    Ok(())
}
