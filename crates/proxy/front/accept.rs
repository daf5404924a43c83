//! Accepting connections: each goes to a thread of the front door.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::SetSockOpt;
use nix::sys::socket::sockopt::SetStruct;
use rustix::net::SocketAddrAny;
use tracing::{info, warn};

use super::door::Arrival;
use crate::address::Address;
use crate::server::dial;
use crate::services::Services;
use crate::socket::Listener;

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
    let here = listener.local_addr()?;
    let listener = Listener::new(listener.into())?;
    let mut generation = None;
    let mut ending = pin!(services.state.shutdown_begins());
    loop {
        let newest = services.generation.load(Ordering::Acquire);
        if generation.replace(newest) != Some(newest) {
            tune(&services, &listener);
        }
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut ending => return Ok(()),
        };
        match accepted {
            Ok((fd, remote)) => match ends(here, &fd, remote) {
                Ok((remote, local)) => {
                    let limit = services.config.load().global.max_unauthenticated_conn;
                    services.door.admit(Arrival { fd, remote, local }, limit);
                }
                Err(error) => info!("a connection was lost at once: {error}"),
            },
            Err(error) => rest_after(&error).await,
        }
    }
}

/// Accepts clients at the Unix socket; it stays open in a shutdown, for the console.
///
/// # Errors
/// When the runtime cannot take the listener.
pub async fn unix(services: Arc<Services>, listener: UnixListener, port: u16) -> io::Result<()> {
    let listener = Listener::new(listener.into())?;
    let local = Address::Unix { pid: 0, uid: 0, port };
    loop {
        match listener.accept().await {
            Ok((fd, _)) => match unix_peer(&fd, port) {
                Ok(remote) => {
                    let limit = services.config.load().global.max_unauthenticated_conn;
                    services.door.admit(Arrival { fd, remote, local: local.clone() }, limit);
                }
                Err(error) => info!("a connection was lost at once: {error}"),
            },
            Err(error) => rest_after(&error).await,
        }
    }
}

async fn rest_after(error: &io::Error) {
    warn!("accept failed: {error}");
    tokio::time::sleep(REST).await;
}

/// Linux gives the options of a listening socket to those that it accepts: set once, they cost a login nothing.
fn tune(services: &Services, listener: &Listener) {
    let config = services.config.load();
    let Ok(fd) = listener.as_fd() else { return };
    if let Err(error) = dial::tune(fd, &config.global) {
        warn!("socket options: {error}");
    }
    if let Err(error) = DeferAccept.set(&fd, &config.global.tcp_defer_accept) {
        warn!("tcp_defer_accept: {error}");
    }
}

/// Both ends: ours is the listener's, unless that stands for all addresses.
fn ends(here: SocketAddr, fd: &OwnedFd, remote: Option<SocketAddrAny>) -> io::Result<(Address, Address)> {
    let tcp = |any: SocketAddrAny| SocketAddr::try_from(any).map(Address::Tcp).map_err(io::Error::from);
    let remote = tcp(remote.ok_or(io::ErrorKind::NotConnected)?)?;
    let local = if here.ip().is_unspecified() { tcp(rustix::net::getsockname(fd)?)? } else { Address::Tcp(here) };
    Ok((remote, local))
}

fn unix_peer(fd: &OwnedFd, port: u16) -> io::Result<Address> {
    let credentials = rustix::net::sockopt::socket_peercred(fd)?;
    Ok(Address::Unix { pid: credentials.pid.as_raw_nonzero().get(), uid: credentials.uid.as_raw(), port })
}
