//! Accepting connections: each gets a task that ends with its login.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::SetSockOpt;
use nix::sys::socket::sockopt::SetStruct;
use tokio::net;
use tracing::{info, warn};

use super::login::{self, Peer};
use crate::address::Address;
use crate::clock::Micros;
use crate::server::dial;
use crate::services::Services;
use crate::socket::Socket;
use crate::state::Shutdown;

/// Linux's TCP_DEFER_ACCEPT, in seconds: a connection is accepted when it has said something.
#[derive(Clone)]
struct DeferAccept;
nix::setsockopt_impl!(DeferAccept, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, u32, SetStruct<'_, u32>);

/// How long accepting rests when the process has run out of descriptors.
const REST: Duration = Duration::from_millis(100);

/// Accepts clients at one TCP address until a shutdown begins.
///
/// # Errors
/// When the runtime cannot take the listener.
pub async fn tcp(services: Arc<Services>, listener: TcpListener) -> io::Result<()> {
    let listener = net::TcpListener::from_std(listener)?;
    let mut deferred = None;
    loop {
        let wanted = services.config.load().global.tcp_defer_accept;
        if deferred.replace(wanted) != Some(wanted)
            && let Err(error) = DeferAccept.set(&listener, &wanted)
        {
            warn!("tcp_defer_accept: {error}");
        }
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown_begins(&services) => return Ok(()),
        };
        match accepted {
            Ok((stream, remote)) => {
                if let Err(error) = tcp_peer(&services, stream, remote) {
                    info!("a connection was lost at once: {error}");
                }
            }
            Err(error) => rest_after(&error).await,
        }
    }
}

/// Accepts clients at the Unix socket; it stays open in a shutdown, for the console.
///
/// # Errors
/// When the runtime cannot take the listener.
pub async fn unix(services: Arc<Services>, listener: UnixListener, port: u16) -> io::Result<()> {
    let listener = net::UnixListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = unix_peer(&services, stream, port) {
                    info!("a connection was lost at once: {error}");
                }
            }
            Err(error) => rest_after(&error).await,
        }
    }
}

async fn shutdown_begins(services: &Services) {
    loop {
        let changed = services.state.changed.notified();
        if services.state.shutdown() != Shutdown::No {
            return;
        }
        changed.await;
    }
}

async fn rest_after(error: &io::Error) {
    warn!("accept failed: {error}");
    tokio::time::sleep(REST).await;
}

fn tcp_peer(services: &Arc<Services>, stream: net::TcpStream, remote: SocketAddr) -> io::Result<()> {
    let local = Address::Tcp(stream.local_addr()?);
    let fd = OwnedFd::from(stream.into_std()?);
    dial::tune(&fd, &services.config.load().global)?;
    begin(services, fd, Address::Tcp(remote), local)
}

fn unix_peer(services: &Arc<Services>, stream: net::UnixStream, port: u16) -> io::Result<()> {
    let credentials = stream.peer_cred()?;
    let remote = Address::Unix { pid: credentials.pid().unwrap_or(0), uid: credentials.uid(), port };
    let local = Address::Unix { pid: 0, uid: 0, port };
    begin(services, stream.into_std()?.into(), remote, local)
}

fn begin(services: &Arc<Services>, fd: OwnedFd, remote: Address, local: Address) -> io::Result<()> {
    let peer = Peer { socket: Socket::new(fd)?, remote, local, connected_at: Micros::now() };
    tokio::spawn(login::serve(services.clone(), peer));
    Ok(())
}
