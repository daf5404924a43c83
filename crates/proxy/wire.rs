//! Whole messages from a socket, for dialogues that are not on the path of a query: logins and the console.

use std::io;

use protocol::{FrameError, Header};
use rustls::Connection;
use thiserror::Error;

use crate::socket::Socket;

/// A socket, and what has been received from it and not been used yet.
#[derive(Debug)]
pub struct Wire {
    /// The connection.
    pub socket: Socket,
    received: Vec<u8>,
    used: usize,
    /// Goes out before the next message that is sent.
    queued: Vec<u8>,
    max_len: usize,
}

/// Why no message comes.
#[derive(Debug, Error)]
pub enum WireError {
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// End of file.
    #[error("connection closed by the other side")]
    Closed,
    /// A length that cannot be.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// Not what may come here.
    #[error("unexpected message type {0}")]
    Unexpected(u8),
    /// Longer than what may come here.
    #[error("message of {0} bytes is too large")]
    TooLarge(usize),
}

impl Wire {
    /// Takes messages of at most `max_len` bytes from `socket`.
    pub fn new(socket: Socket, max_len: usize) -> Self {
        Self::resume(socket, Vec::with_capacity(max_len.min(1024)), max_len)
    }

    /// The same with bytes that were received from it before.
    pub fn resume(socket: Socket, received: Vec<u8>, max_len: usize) -> Self {
        Self { socket, received, used: 0, queued: Vec::new(), max_len }
    }

    /// What has been received and not been used.
    pub fn unused(&self) -> &[u8] {
        &self.received[self.used..]
    }

    /// Marks bytes as used.
    pub fn use_up(&mut self, count: usize) {
        self.used += count;
    }

    /// Receives once more.
    ///
    /// # Errors
    /// End of file, and what the socket says.
    pub async fn receive(&mut self) -> Result<(), WireError> {
        self.received.drain(..self.used);
        self.used = 0;
        if self.received.len() == self.received.capacity() {
            self.received.reserve(self.received.len().max(512));
        }
        match self.socket.recv(&mut self.received).await? {
            0 => Err(WireError::Closed),
            _ => Ok(()),
        }
    }

    /// The body of the next message, which must have this tag: another one is not waited for to its end.
    ///
    /// # Errors
    /// What keeps it from coming.
    pub async fn message_of(&mut self, tag: u8) -> Result<&[u8], WireError> {
        while self.unused().is_empty() {
            self.receive().await?;
        }
        match self.unused()[0] {
            other if other != tag => Err(WireError::Unexpected(other)),
            _ => Ok(self.message().await?.1),
        }
    }

    /// The next message: its tag and its body.
    ///
    /// # Errors
    /// What keeps it from coming.
    pub async fn message(&mut self) -> Result<(u8, &[u8]), WireError> {
        let header = loop {
            if let Some(header) = Header::peek(self.unused())? {
                if header.total_len() > self.max_len {
                    return Err(WireError::TooLarge(header.total_len()));
                }
                if self.unused().len() >= header.total_len() {
                    break header;
                }
            }
            self.receive().await?;
        };
        let start = self.used + Header::SIZE;
        self.used += header.total_len();
        Ok((header.tag, &self.received[start..self.used]))
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        if self.queued.is_empty() {
            return Ok(self.socket.send_all(bytes).await?);
        }
        self.queue(bytes);
        Ok(self.socket.send_all(&std::mem::take(&mut self.queued)).await?)
    }

    /// Keeps bytes back until the next ones are sent: one packet for both.
    pub fn queue(&mut self, bytes: &[u8]) {
        self.queued.extend_from_slice(bytes);
    }

    /// Sends last words, and waits a moment until they have been read.
    pub async fn part_with(&mut self, words: &[u8]) {
        self.queue(words);
        self.socket.part_with(&std::mem::take(&mut self.queued)).await;
    }

    /// Begins TLS with a handshake of which the beginning may have been received.
    pub fn start_tls(&mut self, connection: Connection) {
        self.socket.start_tls(connection, &self.received[self.used..]);
        self.received.clear();
        self.used = 0;
    }

    /// The socket, and what was received from it and not used.
    pub fn into_parts(mut self) -> (Socket, Vec<u8>) {
        self.received.drain(..self.used);
        (self.socket, self.received)
    }
}
