//! The first packet of a connection: SSLRequest, GSSENCRequest, CancelRequest or StartupMessage.

use thiserror::Error;

/// CancelRequest's code where a version would stand.
pub const CANCEL_CODE: u32 = 80_877_102;
/// SSLRequest's code where a version would stand.
pub const SSL_CODE: u32 = 80_877_103;
const GSSENC_CODE: u32 = 80_877_104;
/// The newest minor version of protocol 3 that we speak: 3.2, which has longer cancel keys.
pub const NEWEST_MINOR: u16 = 2;
/// PgBouncer's limit on a user's name, in bytes.
const MAX_USER_LEN: usize = 127;

/// What a peer that has just connected wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// To go on under TLS.
    Ssl,
    /// To go on under GSSAPI encryption.
    GssEnc,
    /// To have the query of another connection canceled.
    Cancel {
        /// The process id that connection was given.
        pid: u32,
        /// The key it was given: 4 to 256 bytes.
        key: Vec<u8>,
    },
    /// To log in.
    Startup(Startup),
}

/// A StartupMessage, as bytes: names need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup {
    /// The minor version that was asked for.
    pub minor: u16,
    /// `user`
    pub user: Vec<u8>,
    /// `database`; the user's name if it was missing or empty.
    pub database: Vec<u8>,
    /// All else, in the order it came.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why a first packet is refused. The words are PgBouncer's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StartupError {
    /// Neither a length nor a version that exists.
    #[error("bad packet header: '{0}'")]
    BadHeader(String),
    /// Longer than `max_login_packet_size`.
    #[error("startup packet of {len} bytes is too large (max_login_packet_size)")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
    },
    /// Protocol 2, which ended with PostgreSQL 14.
    #[error("old V2 protocol not supported")]
    Version2,
    /// The list of parameters has no end.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    NoTerminator,
    /// No `user`.
    #[error("no username supplied")]
    NoUser,
    /// A `user` over 127 bytes.
    #[error("username too long")]
    UserTooLong,
}

impl Opening {
    /// Reads a first packet of at most `max_len` bytes: it and its length; `None` while bytes are missing.
    ///
    /// # Errors
    /// As soon as the bytes cannot become a valid packet.
    pub fn parse(bytes: &[u8], max_len: usize) -> Result<Option<(Self, usize)>, StartupError> {
        let Some(&[a, b, c, d]) = bytes.first_chunk() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if !(8..=1 << 24).contains(&len) {
            return Err(bad_header(bytes));
        }
        if len > max_len {
            return Err(StartupError::TooLarge { len });
        }
        let Some(&[e, f, g, h]) = bytes.get(4..).and_then(|rest| rest.first_chunk()) else {
            return Ok(None);
        };
        let code = u32::from_be_bytes([e, f, g, h]);
        check_code(code, bytes)?;
        let Some(body) = bytes.get(8..len) else {
            return Ok(None);
        };
        let opening = match (code, body.len()) {
            (SSL_CODE, 0) => Self::Ssl,
            (GSSENC_CODE, 0) => Self::GssEnc,
            (CANCEL_CODE, 8..=260) => {
                let (pid, key) = body.split_at(4);
                let pid = u32::from_be_bytes([pid[0], pid[1], pid[2], pid[3]]);
                Self::Cancel { pid, key: key.to_vec() }
            }
            (SSL_CODE | GSSENC_CODE | CANCEL_CODE, _) => return Err(bad_header(bytes)),
            _ => Self::Startup(Startup::parse(code as u16, body)?),
        };
        Ok(Some((opening, len)))
    }
}

fn check_code(code: u32, bytes: &[u8]) -> Result<(), StartupError> {
    match (code, code >> 16) {
        (SSL_CODE | GSSENC_CODE | CANCEL_CODE, _) | (_, 3) => Ok(()),
        (_, 2) => Err(StartupError::Version2),
        _ => Err(bad_header(bytes)),
    }
}

fn bad_header(bytes: &[u8]) -> StartupError {
    StartupError::BadHeader(bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

impl Startup {
    fn parse(minor: u16, body: &[u8]) -> Result<Self, StartupError> {
        let Some((0, mut rest)) = body.split_last().map(|(last, rest)| (*last, rest)) else {
            return Err(StartupError::NoTerminator);
        };
        let mut found = Self { minor, user: Vec::new(), database: Vec::new(), parameters: Vec::new() };
        while !rest.is_empty() {
            let name = take_cstr(&mut rest)?;
            let value = take_cstr(&mut rest)?;
            match name {
                b"" => return Err(StartupError::NoTerminator),
                b"user" => found.user = value.to_vec(),
                b"database" => found.database = value.to_vec(),
                _ => found.parameters.push((name.to_vec(), value.to_vec())),
            }
        }
        match found.user.len() {
            0 => return Err(StartupError::NoUser),
            len if len > MAX_USER_LEN => return Err(StartupError::UserTooLong),
            _ => {}
        }
        if found.database.is_empty() {
            found.database = found.user.clone();
        }
        Ok(found)
    }

    /// The `_pq_.` options that were asked for: we know none of them.
    pub fn protocol_options(&self) -> Vec<&[u8]> {
        let names = self.parameters.iter().map(|(name, _)| name.as_slice());
        names.filter(|name| name.starts_with(b"_pq_.")).collect()
    }

    /// The minor version to go on with.
    ///
    /// 3.1 never existed: a client that asks for it gets 3.0, and is told so.
    pub fn agreed_minor(&self) -> u16 {
        if self.minor >= NEWEST_MINOR { NEWEST_MINOR } else { 0 }
    }

    /// Whether NegotiateProtocolVersion is due before authentication.
    pub fn needs_negotiation(&self) -> bool {
        self.agreed_minor() != self.minor || !self.protocol_options().is_empty()
    }
}

fn take_cstr<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], StartupError> {
    let end = memchr::memchr(0, rest).ok_or(StartupError::NoTerminator)?;
    let text = &rest[..end];
    *rest = &rest[end + 1..];
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(code: u32, body: &[u8]) -> Vec<u8> {
        let len = body.len() as u32 + 8;
        [&len.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
    }

    fn parse(bytes: &[u8]) -> Result<Option<(Opening, usize)>, StartupError> {
        Opening::parse(bytes, 16384)
    }

    #[test]
    fn the_database_defaults_to_the_user() {
        let bytes = packet(3 << 16, b"user\0ann\0application_name\0x\0\0");
        let Ok(Some((Opening::Startup(startup), len))) = parse(&bytes) else { panic!("no startup") };
        assert_eq!((startup.database.as_slice(), len), (&b"ann"[..], bytes.len()));
        assert_eq!(startup.parameters, [(b"application_name".to_vec(), b"x".to_vec())]);
    }

    #[test]
    fn version_3_2_is_spoken_and_3_9_is_brought_down_to_it() {
        for (minor, agreed, negotiates) in [(0, 0, false), (1, 0, true), (2, 2, false), (9, 2, true)] {
            let bytes = packet(3 << 16 | minor, b"user\0ann\0\0");
            let Ok(Some((Opening::Startup(startup), _))) = parse(&bytes) else { panic!("no startup") };
            assert_eq!((startup.agreed_minor(), startup.needs_negotiation()), (agreed, negotiates));
        }
    }

    #[test]
    fn what_cannot_become_a_packet_is_refused_before_it_is_whole() {
        assert_eq!(parse(b"\0\0\0\x04"), Err(StartupError::BadHeader("00000004".into())));
        assert_eq!(parse(b"GET / HT"), Err(StartupError::BadHeader("474554202f204854".into())));
        assert_eq!(parse(b"\0\0\x90\0"), Err(StartupError::TooLarge { len: 0x9000 }));
        assert_eq!(parse(&packet(2 << 16, b"")), Err(StartupError::Version2));
        assert_eq!(parse(&packet(3 << 16, b"user\0ann\0")), Err(StartupError::NoTerminator));
        assert_eq!(parse(&packet(3 << 16, b"user\0ann\0x\0")), Err(StartupError::NoTerminator));
        assert_eq!(parse(&packet(3 << 16, b"\0")), Err(StartupError::NoUser));
        assert!(parse(&packet(SSL_CODE, b"x")).is_err());
        assert!(parse(&packet(CANCEL_CODE, b"1234567")).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
            let _ = parse(&packet(3 << 16, &bytes));
        }

        #[test]
        fn a_packet_is_the_same_in_any_pieces(cut in 0usize..40) {
            let bytes = packet(3 << 16, b"user\0ann\0database\0shop\0\0");
            let cut = cut.min(bytes.len() - 1);
            prop_assert_eq!(parse(&bytes[..cut]), Ok(None));
        }
    }
}
