//! A connected socket, TCP or Unix, that tells when it is ready and can move from one worker to another.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::unix::AsyncFd;

/// How long a peer that must go may take to read what is left for it.
pub const LAST_WORDS: Duration = Duration::from_secs(1);

/// A non-blocking stream socket, registered with the runtime of the thread that made it.
#[derive(Debug)]
pub struct Socket {
    /// None once a move to another runtime has failed: everything is an error from then on.
    io: Option<AsyncFd<OwnedFd>>,
}

impl Socket {
    /// Registers a connected, non-blocking socket with this thread's runtime.
    ///
    /// # Errors
    /// What `epoll_ctl` says.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { io: Some(register(fd)?) })
    }

    /// Registers the socket with this thread's runtime instead of the one it was registered with.
    ///
    /// # Errors
    /// What `epoll_ctl` says; the socket is closed then.
    pub fn rehome(&mut self) -> io::Result<()> {
        let io = self.io.take().ok_or(io::ErrorKind::NotConnected)?;
        *self = Self::new(io.into_inner())?;
        Ok(())
    }

    /// Takes the socket off its runtime, for another one.
    ///
    /// # Errors
    /// If it was lost in a move before.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        Ok(self.io.ok_or(io::ErrorKind::NotConnected)?.into_inner())
    }

    fn io(&self) -> io::Result<&AsyncFd<OwnedFd>> {
        self.io.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Ready when bytes, an end of file or an error wait to be received. Makes no system call.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.io()?.poll_read_ready(cx))?.retain_ready();
        Poll::Ready(Ok(()))
    }

    /// Looks for a byte without taking it: ready with false at end of file.
    pub fn poll_peek(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let io = self.io()?;
        loop {
            let mut ready = ready!(io.poll_read_ready(cx))?;
            match rustix::net::recv(io.get_ref(), &mut [0u8; 1], RecvFlags::PEEK) {
                Ok((_, received)) => return Poll::Ready(Ok(received > 0)),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Receives into the free capacity of `buffer`, which must have some: how many bytes, 0 at end of file.
    ///
    /// A receive that leaves room has drained the socket, so the next one waits for an event and needs no EAGAIN.
    pub fn poll_recv(&self, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let io = self.io()?;
        loop {
            let mut ready = ready!(io.poll_read_ready(cx))?;
            match rustix::net::recv(io.get_ref(), spare_capacity(buffer), RecvFlags::empty()) {
                Ok((_, received)) => {
                    if received > 0 && buffer.len() < buffer.capacity() {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(received));
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Sends what the kernel takes of `bytes`, trying before waiting: sockets are writable nearly always.
    pub fn poll_send(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let io = self.io()?;
        loop {
            match rustix::net::send(io.get_ref(), bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => return Poll::Ready(Ok(sent)),
                Err(Errno::AGAIN) => {
                    let mut ready = ready!(io.poll_write_ready(cx))?;
                    // The flag may be older than the full buffer: drop it, and look once more before waiting.
                    if let Ok(result) = ready.try_io(|io| send_once(io.get_ref(), bytes)) {
                        return Poll::Ready(result);
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = poll_fn(|cx| self.poll_send(cx, bytes)).await?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Receives once, into the free capacity of `buffer`.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn recv(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        poll_fn(|cx| self.poll_recv(cx, buffer)).await
    }

    /// Sends last words, and waits until the peer has closed, both within [`LAST_WORDS`]: closing on bytes that nobody
    /// has read would reset the connection, and the words be lost. Who does not listen has had its chance.
    pub async fn part_with(&self, words: &[u8]) {
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
    pub fn shutdown(&self) {
        if let Ok(io) = self.io() {
            let _ = rustix::net::shutdown(io.get_ref(), rustix::net::Shutdown::Write);
        }
    }
}

/// The only unsafe line of the project.
#[expect(unsafe_code, reason = "tokio cannot check what it asks for; an OwnedFd fulfils it")]
fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor has to stay open and the same until it is deregistered. An `OwnedFd` never changes its
    // descriptor and closes it only when dropped; it lives inside the `AsyncFd`, which deregisters before it drops or
    // returns it and lends it out by shared reference alone, by which it can be neither replaced nor closed.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

fn send_once(fd: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(fd, bytes, SendFlags::NOSIGNAL)?)
}
