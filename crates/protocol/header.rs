//! The five bytes in front of every message: one tag, and a length that is checked where it is born.

use thiserror::Error;

/// A message's header: its tag and its checked length.
///
/// Source: protocol chapter, "Messages": a byte that names the type, then an `Int32` that counts itself and the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The byte that names the message's type.
    pub tag: u8,
    len: u32,
}

/// A length that no message can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("message {tag:?} has an impossible length of {len}", tag = char::from(*tag))]
pub struct FrameError {
    /// The byte that names the message's type.
    pub tag: u8,
    /// The length as it was read.
    pub len: u32,
}

impl Header {
    /// Bytes that a header takes.
    pub const SIZE: usize = 5;

    /// Reads the header at the start of `bytes`; `None` while fewer than five are there.
    ///
    /// # Errors
    /// A length below four (it counts itself) or above `i32::MAX`.
    pub fn peek(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some(&[tag, a, b, c, d]) = bytes.first_chunk() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes([a, b, c, d]);
        if len < 4 || len > i32::MAX as u32 {
            return Err(FrameError { tag, len });
        }
        Ok(Some(Self { tag, len }))
    }

    /// Bytes of the whole message, tag included.
    pub fn total_len(self) -> usize {
        self.len as usize + 1
    }

    /// Bytes of the body alone.
    pub fn body_len(self) -> usize {
        self.len as usize - 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_needs_five_bytes() {
        assert_eq!(Header::peek(b"Q\0\0\0"), Ok(None));
        let header = Header::peek(b"Q\0\0\0\x08rest").unwrap().unwrap();
        assert_eq!((header.tag, header.total_len(), header.body_len()), (b'Q', 9, 4));
    }

    #[test]
    fn a_length_that_does_not_count_itself_is_an_error() {
        assert_eq!(Header::peek(b"Q\0\0\0\x03"), Err(FrameError { tag: b'Q', len: 3 }));
        assert!(Header::peek(b"Q\xff\xff\xff\xff").is_err());
    }
}
