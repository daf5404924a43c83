//! The kernel's side of a connection: receiving and sending without blocking, and telling when that is possible.

use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, SocketFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::kernel;

/// A non-blocking descriptor, registered with the runtime of the thread that made it.
#[derive(Debug)]
pub(super) struct Raw {
    /// None once a move to another runtime has failed: everything is an error from then on.
    io: Option<AsyncFd<OwnedFd>>,
    /// It was accepted or connected just now: the runtime has not heard of it yet, but bytes may wait already.
    is_new: bool,
    /// Whether the runtime is to tell of room to send. From the start it is not: there nearly always is, so each
    /// registration would be a wake-up for nothing.
    awaits_room: bool,
}

impl Raw {
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { io: Some(kernel::register(fd, Interest::READABLE)?), is_new: false, awaits_room: false })
    }

    /// For a socket whose peer may have spoken already: the first receive is tried at once.
    pub fn eager(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { is_new: true, ..Self::new(fd)? })
    }

    pub fn rehome(&mut self) -> io::Result<()> {
        let io = self.io.take().ok_or(io::ErrorKind::NotConnected)?;
        *self = Self::new(io.into_inner())?;
        Ok(())
    }

    pub fn into_fd(self) -> io::Result<OwnedFd> {
        Ok(self.io.ok_or(io::ErrorKind::NotConnected)?.into_inner())
    }

    fn io(&self) -> io::Result<&AsyncFd<OwnedFd>> {
        self.io.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.io()?.poll_read_ready(cx))?.retain_ready();
        Poll::Ready(Ok(()))
    }

    /// Whether nothing is known to wait to be received. Makes no system call, and registers nobody.
    pub fn is_quiet(&self) -> bool {
        let looked = self.io().and_then(|io| io.try_io(Interest::READABLE, |_| Ok(())));
        looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    pub fn poll_peek(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.poll_read(cx, |reader| Ok(rustix::net::recv(reader.fd, &mut [0u8; 1], RecvFlags::PEEK)?.1 > 0))
    }

    pub fn poll_recv(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        if std::mem::take(&mut self.is_new)
            && let Ok((_, received)) = rustix::net::recv(self.io()?, spare_capacity(buffer), RecvFlags::empty())
        {
            return Poll::Ready(Ok(received));
        }
        self.poll_read(cx, |reader| {
            let (_, received) = rustix::net::recv(reader.fd, spare_capacity(buffer), RecvFlags::empty())?;
            reader.drained = received > 0 && buffer.len() < buffer.capacity();
            Ok(received)
        })
    }

    pub fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write(cx, |writer| writer.write(bytes))
    }

    /// Accepts a connection, non-blocking, with its peer's address.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(OwnedFd, Option<SocketAddrAny>)>> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        self.poll_read(cx, |reader| match rustix::net::acceptfrom_with(reader.fd, flags) {
            // One that is gone already is none: the next one is asked for.
            Err(Errno::CONNABORTED) => Err(io::ErrorKind::Interrupted.into()),
            accepted => Ok(accepted?),
        })
    }

    /// Has `read` read once from the descriptor as soon as there is something: what it answered.
    ///
    /// A read that leaves room has drained the socket, so the next one waits for an event and needs no EAGAIN.
    pub fn poll_read<T>(
        &self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(&mut Reader<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let io = self.io()?;
        loop {
            let mut ready = ready!(io.poll_read_ready(cx))?;
            let mut reader = Reader { fd: io.get_ref(), drained: false };
            match read(&mut reader) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                ended => {
                    if reader.drained {
                        ready.clear_ready();
                    }
                    return Poll::Ready(ended);
                }
            }
        }
    }

    /// Has `write` write once to the descriptor, trying before waiting: sockets are writable nearly always.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut Writer<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match write(&mut Writer(self.io()?.get_ref())) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.await_room(cx)?;
                    let mut ready = ready!(self.io()?.poll_write_ready(cx))?;
                    // The flag may be older than the full buffer: drop it, and look once more before waiting.
                    if let Ok(result) = ready.try_io(|io| write(&mut Writer(io.get_ref()))) {
                        return Poll::Ready(result);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                ended => return Poll::Ready(ended),
            }
        }
    }

    /// Registers anew, for room to send too. Whoever waits for bytes is not known to the new registration: the task is
    /// woken, so that it asks for all that it waits for once more.
    fn await_room(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.awaits_room {
            let io = self.io.take().ok_or(io::ErrorKind::NotConnected)?;
            self.io = Some(kernel::register(io.into_inner(), Interest::READABLE | Interest::WRITABLE)?);
            self.awaits_room = true;
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    pub fn as_fd(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.io()?.get_ref().as_fd())
    }

    pub fn shutdown(&self) {
        if let Ok(io) = self.io() {
            let _ = rustix::net::shutdown(io.get_ref(), rustix::net::Shutdown::Write);
        }
    }
}

/// Reads from a descriptor that has something.
pub(super) struct Reader<'a> {
    fd: &'a OwnedFd,
    /// The last read left room: there is nothing more to be had now.
    drained: bool,
}

impl io::Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len();
        let (_, received) = rustix::net::recv(self.fd, buffer, RecvFlags::empty())?;
        self.drained = received > 0 && received < room;
        Ok(received)
    }
}

/// Writes to a descriptor.
pub(super) struct Writer<'a>(&'a OwnedFd);

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.0, bytes, SendFlags::NOSIGNAL)?)
    }

    /// Without MSG_NOSIGNAL, which it has no flag for: the process ignores SIGPIPE, as every Rust program does.
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match parts {
            [one] => self.write(one),
            several => Ok(rustix::io::writev(self.0, several)?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
