//! The sockets that clients connect to.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use config::Global;
use nix::unistd::Group;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use thiserror::Error;
use tracing::{info, warn};

/// All sockets that the pooler listens on.
#[derive(Debug, Default)]
pub struct Listeners {
    /// One for each address.
    pub tcp: Vec<TcpListener>,
    /// The Unix socket.
    pub unix: Option<UnixSocket>,
}

/// A Unix socket that is removed when it is dropped.
#[derive(Debug)]
pub struct UnixSocket {
    /// The socket.
    pub listener: UnixListener,
    /// The port that its name ends with.
    pub port: u16,
    path: PathBuf,
}

/// Why the pooler cannot listen.
#[derive(Debug, Error)]
pub enum ListenError {
    /// None of the addresses can be used; the last one's error.
    #[error("cannot listen on any address: {0}")]
    NoAddress(io::Error),
    /// Somebody answers there.
    #[error("unix socket is in use, cannot continue: {}", .0.display())]
    InUse(PathBuf),
    /// The Unix socket cannot be made.
    #[error("cannot listen on unix socket {}: {error}", path.display())]
    Unix {
        /// Its path.
        path: PathBuf,
        /// What the kernel says.
        error: io::Error,
    },
}

impl Listeners {
    /// Opens all sockets of the configuration. One TCP address that fails is only a warning; all of them failing is an error.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn open(global: &Global) -> Result<Self, ListenError> {
        let mut tcp = Vec::new();
        let mut last = None;
        for address in addresses(global) {
            match address.and_then(|address| Ok((address, listen_tcp(address, global)?))) {
                Ok((address, listener)) => {
                    info!("listening on {address}");
                    tcp.push(listener);
                }
                Err(error) => {
                    warn!("cannot listen: {error}");
                    last = Some(error);
                }
            }
        }
        if let (true, Some(error)) = (tcp.is_empty(), last) {
            return Err(ListenError::NoAddress(error));
        }
        let unix = if global.unix_socket_dir.is_empty() { None } else { Some(UnixSocket::open(global)?) };
        Ok(Self { tcp, unix })
    }
}

fn addresses(global: &Global) -> Vec<io::Result<SocketAddr>> {
    let mut found = Vec::new();
    for name in &global.listen_addr {
        if name == "*" {
            found.push(Ok(SocketAddr::from(([0; 16], global.listen_port))));
            continue;
        }
        match (name.as_str(), global.listen_port).to_socket_addrs() {
            Ok(addresses) => found.extend(addresses.map(Ok)),
            Err(error) => found.push(Err(io::Error::new(error.kind(), format!("listen_addr {name:?}: {error}")))),
        }
    }
    found
}

fn listen_tcp(address: SocketAddr, global: &Global) -> io::Result<TcpListener> {
    let with_name = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(backlog(global))?;
        Ok(socket.into())
    };
    open().map_err(with_name)
}

fn backlog(global: &Global) -> i32 {
    global.listen_backlog.min(i32::MAX as u32) as i32
}

impl UnixSocket {
    fn open(global: &Global) -> Result<Self, ListenError> {
        let path = Path::new(&global.unix_socket_dir).join(format!(".s.PGSQL.{}", global.listen_port));
        let failed = |error| ListenError::Unix { path: path.clone(), error };
        if path.with_extension(format!("{}.lock", global.listen_port)).exists() || UnixStream::connect(&path).is_ok() {
            return Err(ListenError::InUse(path));
        }
        // Nobody answers: it was left behind by a process that is gone.
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(failed(error));
        }
        let listener = Self::bind(&path, global).map_err(failed)?;
        info!("listening on unix:{}", path.display());
        Ok(Self { listener, port: global.listen_port, path })
    }

    fn bind(path: &Path, global: &Global) -> io::Result<UnixListener> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        if !global.unix_socket_group.is_empty() {
            let group = &global.unix_socket_group;
            let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("unknown group {group:?}"));
            chown(path, None, Some(Group::from_name(group)?.ok_or_else(unknown)?.gid.as_raw()))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(global.unix_socket_mode.0))?;
        socket.listen(backlog(global))?;
        Ok(socket.into())
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
