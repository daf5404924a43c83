//! TLS over a [`Raw`] socket: the handshake, and records in both directions.

use std::io::{self, BufRead, Write};
use std::task::{Context, Poll, ready};

use rustls::Connection;

use super::raw::Raw;

/// The state of a TLS connection. It knows nothing of its socket, so that both can move to another thread.
pub(super) struct Tls {
    connection: Connection,
    /// The socket's end of file was read.
    ended: bool,
    /// What was wrong with the bytes that came before TLS was begun.
    broken: Option<io::Error>,
}

/// What waits in a TLS connection to be read.
enum Plaintext {
    Some,
    None,
    End,
}

impl Tls {
    pub fn new(connection: Connection) -> Self {
        Self { connection, ended: false, broken: None }
    }

    /// Takes what came of the handshake before TLS was begun.
    pub fn feed(&mut self, mut received: &[u8]) {
        while !received.is_empty() && self.broken.is_none() {
            let fed = self.connection.read_tls(&mut received).and_then(|_| self.process());
            self.broken = fed.err();
        }
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    pub fn poll_handshake(&mut self, raw: &mut Raw, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flush(raw, cx))?;
            if let Some(error) = self.broken.take() {
                return Poll::Ready(Err(error));
            }
            if !self.connection.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            ready!(self.poll_fill(raw, cx))?;
        }
    }

    /// Whether there is something to read without the socket.
    pub fn has_plaintext(&mut self) -> bool {
        !matches!(self.plaintext(), Plaintext::None)
    }

    fn plaintext(&mut self) -> Plaintext {
        match self.connection.reader().fill_buf() {
            Ok([]) => Plaintext::End,
            Ok(_) => Plaintext::Some,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Plaintext::None,
            // Without close_notify, which many clients do not send: the messages inside have an end of their own.
            Err(_) => Plaintext::End,
        }
    }

    pub fn poll_peek(&mut self, raw: &mut Raw, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            match self.plaintext() {
                Plaintext::Some => return Poll::Ready(Ok(true)),
                Plaintext::End => return Poll::Ready(Ok(false)),
                Plaintext::None => ready!(self.poll_fill(raw, cx))?,
            }
        }
    }

    pub fn poll_recv(&mut self, raw: &mut Raw, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        if !ready!(self.poll_peek(raw, cx))? {
            return Poll::Ready(Ok(0));
        }
        let before = buffer.len();
        let mut reader = self.connection.reader();
        while let Ok(part) = reader.fill_buf() {
            let count = part.len().min(buffer.capacity() - buffer.len());
            if count == 0 {
                break;
            }
            buffer.extend_from_slice(&part[..count]);
            reader.consume(count);
        }
        Poll::Ready(Ok(buffer.len() - before))
    }

    /// Reads from the socket once.
    fn poll_fill(&mut self, raw: &mut Raw, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let received = ready!(raw.poll_read(cx, |reader| self.connection.read_tls(reader)))?;
        self.ended |= received == 0;
        let processed = self.process();
        // An answer of TLS's own, or an alert that says what was wrong: nobody waits for it.
        if self.connection.wants_write() {
            let _ = self.poll_flush(raw, cx);
        }
        Poll::Ready(processed)
    }

    fn process(&mut self) -> io::Result<()> {
        let processed = self.connection.process_new_packets();
        processed.map(drop).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {error}")))
    }

    /// Takes bytes once all earlier ones are on their way: what the socket does not take now is left for `poll_flush`.
    pub fn poll_send(&mut self, raw: &mut Raw, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(raw, cx))?;
        let taken = self.connection.writer().write(bytes)?;
        match self.poll_flush(raw, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    pub fn poll_flush(&mut self, raw: &mut Raw, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.wants_write() {
            ready!(raw.poll_write(cx, |writer| self.connection.write_tls(writer)))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the peer that nothing more will come.
    pub fn close(&mut self, raw: &mut Raw, cx: &mut Context<'_>) {
        self.connection.send_close_notify();
        let _ = self.poll_flush(raw, cx);
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("ended", &self.ended).finish_non_exhaustive()
    }
}
