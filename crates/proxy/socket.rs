//! A connected socket, TCP or Unix, with or without TLS, that tells when it is ready and can move between workers.

mod raw;
mod tls;

use std::future::poll_fn;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustix::net::SocketAddrAny;
use rustls::Connection;

use raw::Raw;
use tls::Tls;

/// How long a peer that must go may take to read what is left for it.
pub const LAST_WORDS: Duration = Duration::from_secs(1);

/// A listening socket, TCP or Unix.
#[derive(Debug)]
pub struct Listener(Raw);

impl Listener {
    /// Registers a listening, non-blocking socket with this thread's runtime.
    ///
    /// # Errors
    /// What `epoll_ctl` says.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(Raw::new(fd)?))
    }

    /// The next connection, registered nowhere yet, and its peer's address.
    ///
    /// # Errors
    /// What the kernel says; a connection that was lost before is none.
    pub async fn accept(&self) -> io::Result<(OwnedFd, Option<SocketAddrAny>)> {
        poll_fn(|cx| self.0.poll_accept(cx)).await
    }

    /// The descriptor, for its options.
    ///
    /// # Errors
    /// None while the listener is registered.
    pub fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        self.0.as_fd()
    }
}

/// A non-blocking stream socket, registered with the runtime of the thread that made it.
#[derive(Debug)]
pub struct Socket {
    raw: Raw,
    // Boxed: most of an idle client's memory where there is TLS, nothing where there is none.
    tls: Option<Box<Tls>>,
}

/// A connection on its way to another thread, registered nowhere.
#[derive(Debug)]
pub struct Detached {
    fd: OwnedFd,
    tls: Option<Box<Tls>>,
}

impl Detached {
    /// Registers it with this thread's runtime.
    ///
    /// # Errors
    /// What `epoll_ctl` says.
    pub fn attach(self) -> io::Result<Socket> {
        Ok(Socket { raw: Raw::new(self.fd)?, tls: self.tls })
    }
}

impl Socket {
    /// Registers a connected, non-blocking socket with this thread's runtime.
    ///
    /// # Errors
    /// What `epoll_ctl` says.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { raw: Raw::eager(fd)?, tls: None })
    }

    /// Registers the socket with this thread's runtime instead of the one it was registered with.
    ///
    /// # Errors
    /// What `epoll_ctl` says; the socket is closed then.
    pub fn rehome(&mut self) -> io::Result<()> {
        self.raw.rehome()
    }

    /// Takes the socket off its runtime, for another one.
    ///
    /// # Errors
    /// If it was lost in a move before.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(Detached { fd: self.raw.into_fd()?, tls: self.tls })
    }

    /// Begins TLS. `received` is what has been received of the handshake already.
    pub fn start_tls(&mut self, connection: Connection, received: &[u8]) {
        self.tls.insert(Box::new(Tls::new(connection))).feed(received);
    }

    /// Ends the TLS handshake.
    ///
    /// # Errors
    /// What the peer did wrong; it has been told by an alert.
    pub async fn handshake(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        poll_fn(|cx| tls.poll_handshake(&mut self.raw, cx)).await
    }

    /// The TLS connection, if there is one.
    pub fn tls(&self) -> Option<&Connection> {
        self.tls.as_ref().map(|tls| tls.connection())
    }

    /// Ready when bytes, an end of file or an error wait to be received. Makes no system call.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.tls.as_mut().is_some_and(|tls| tls.has_plaintext()) {
            return Poll::Ready(Ok(()));
        }
        self.raw.poll_readable(cx)
    }

    /// Whether nothing is known to wait to be received. Makes no system call, and is not told of what comes later.
    pub fn is_quiet(&mut self) -> bool {
        !self.tls.as_mut().is_some_and(|tls| tls.has_plaintext()) && self.raw.is_quiet()
    }

    /// Looks for a byte without taking it: ready with false at end of file.
    pub fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        match &mut self.tls {
            None => self.raw.poll_peek(cx),
            Some(tls) => tls.poll_peek(&mut self.raw, cx),
        }
    }

    /// Receives into the free capacity of `buffer`, which must have some: how many bytes, 0 at end of file.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        match &mut self.tls {
            None => self.raw.poll_recv(cx, buffer),
            Some(tls) => tls.poll_recv(&mut self.raw, cx, buffer),
        }
    }

    /// Sends what is taken of `bytes` at once. TLS may keep some of it until [`Socket::poll_flush`].
    pub fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.tls {
            None => self.raw.poll_send(cx, bytes),
            Some(tls) => tls.poll_send(&mut self.raw, cx, bytes),
        }
    }

    /// Ready when the kernel has all that was taken.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.tls {
            None => Poll::Ready(Ok(())),
            Some(tls) => tls.poll_flush(&mut self.raw, cx),
        }
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn send_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        poll_fn(|cx| {
            while !bytes.is_empty() {
                let sent = ready!(self.poll_send(cx, bytes))?;
                bytes = &bytes[sent..];
            }
            self.poll_flush(cx)
        })
        .await
    }

    /// Receives once, into the free capacity of `buffer`.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn recv(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        poll_fn(|cx| self.poll_recv(cx, buffer)).await
    }

    /// Sends last words, and waits until the peer has closed, both within [`LAST_WORDS`]: closing on bytes that nobody
    /// has read would reset the connection, and the words be lost. Who does not listen has had its chance.
    pub async fn part_with(&mut self, words: &[u8]) {
        let _ = tokio::time::timeout(LAST_WORDS, async {
            self.send_all(words).await?;
            self.shutdown();
            let mut rest = Vec::with_capacity(4096);
            while self.recv(&mut rest).await? > 0 {
                rest.clear();
            }
            io::Result::Ok(())
        })
        .await;
    }

    /// Tells the peer that nothing more will come, as far as it still listens.
    pub fn shutdown(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.close(&mut self.raw, &mut Context::from_waker(Waker::noop()));
        }
        self.raw.shutdown();
    }
}
