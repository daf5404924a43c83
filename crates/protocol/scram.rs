//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, 7677), both roles, as steps that consume themselves.
//!
//! ```text
//! Client::new(offer, binding, nonce) ──client-first──▶ Server::client_first(mechanism, message, nonce)
//! AwaitServerFirst::server_first     ◀─server-first──          │
//! Challenge::answer(keys)            ──client-final──▶ AwaitClientFinal::client_final ─▶ Authenticated
//! AwaitServerFinal::server_final     ◀─server-final──          (holds the Keys that log in upstream)
//! ```
//!
//! A dialogue cannot be continued after a failed step, nor a step be left out: each state is made only by the one
//! before. Random numbers and channel-binding data are arguments. The one slow computation is [`Keys::derive`]; its
//! result is a value, so that a caller can run it elsewhere and keep it.

mod attributes;
mod client;
mod error;
#[cfg(test)]
mod hostile;
mod keys;
#[cfg(test)]
mod peers;
mod saslprep;
mod server;
mod verifier;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

pub use client::{AwaitServerFinal, AwaitServerFirst, Challenge, Client, ServerVerified};
pub use error::ScramError;
pub use keys::{KEY_LEN, Key, Keys};
pub use saslprep::saslprep;
pub use server::{Authenticated, AwaitClientFinal, Server};
pub use verifier::Verifier;

/// The longest SCRAM message accepted, in bytes. Real ones stay below 300; PostgreSQL's own limit is 65,535.
///
/// What a peer may make us keep before it has proved anything is bounded by this.
pub const MAX_MESSAGE_LEN: usize = 4096;

/// The only channel binding PostgreSQL knows (RFC 5929, section 4).
const BINDING_TYPE: &[u8] = b"tls-server-end-point";

/// A SASL mechanism, as named in AuthenticationSASL and SASLInitialResponse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// SCRAM-SHA-256, not bound to the TLS channel.
    ScramSha256,
    /// SCRAM-SHA-256-PLUS, bound to the server's certificate.
    ScramSha256Plus,
}

impl Mechanism {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
        }
    }

    /// Reads the name a client put into its SASLInitialResponse.
    pub fn parse(name: &[u8]) -> Result<Self, ScramError> {
        match name {
            b"SCRAM-SHA-256" => Ok(Self::ScramSha256),
            b"SCRAM-SHA-256-PLUS" => Ok(Self::ScramSha256Plus),
            _ => Err(ScramError::UnknownMechanism),
        }
    }
}

/// What ties a login to its TLS connection.
///
/// For a server: what it offers. For a client: what it can prove. The hash is that of the server's certificate (RFC
/// 5929, section 4.1); a certificate whose signature names no hash (Ed25519) has none, hence `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// No TLS, binding switched off, or a certificate without a defined hash.
    None,
    /// The certificate's hash.
    TlsServerEndPoint(Vec<u8>),
}

impl ChannelBinding {
    /// The mechanisms a server with this binding announces in AuthenticationSASL, the preferred one first.
    pub fn offer(&self) -> &'static [&'static str] {
        match self {
            Self::None => &["SCRAM-SHA-256"],
            Self::TlsServerEndPoint(_) => &["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"],
        }
    }
}

/// One side's share of the nonce that makes a dialogue unique.
#[derive(Clone, Debug)]
pub struct Nonce(String);

impl Nonce {
    /// Bytes of randomness a nonce is made of; PostgreSQL's number.
    pub const RANDOM_LEN: usize = 18;

    /// Makes a nonce from bytes that must come from a cryptographic source and serve for one dialogue only.
    pub fn from_random(random: [u8; Self::RANDOM_LEN]) -> Self {
        Self(BASE64.encode(random))
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// A nonce given as text, which the examples of the RFCs need.
    #[cfg(test)]
    fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// How the client says, in the first byte of its first message, what it thinks of channel binding (RFC 5802, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BindingFlag {
    /// `n`: the client does not support it.
    Unsupported,
    /// `y`: the client supports it, and believes that the server does not.
    NotOffered,
    /// `p=tls-server-end-point`: the client uses it.
    Used,
}

impl BindingFlag {
    /// The header that opens the client's first message, without an authorization identity.
    fn gs2_header(self) -> &'static [u8] {
        match self {
            Self::Unsupported => b"n,,",
            Self::NotOffered => b"y,,",
            Self::Used => b"p=tls-server-end-point,,",
        }
    }

    /// The value of `c=` in the client's final message: header and binding data, in base64.
    fn echo(self, binding: &ChannelBinding) -> String {
        let mut input = self.gs2_header().to_vec();
        match (self, binding) {
            (Self::Used, ChannelBinding::TlsServerEndPoint(hash)) => input.extend_from_slice(hash),
            (Self::Used, ChannelBinding::None) | (Self::Unsupported | Self::NotOffered, _) => {}
        }
        BASE64.encode(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_printable_and_has_no_comma() {
        let nonce = Nonce::from_random([0xff; Nonce::RANDOM_LEN]);
        assert_eq!(nonce.as_bytes(), b"////////////////////////");
    }

    #[test]
    fn the_echo_of_each_flag_is_what_libpq_sends() {
        let binding = ChannelBinding::TlsServerEndPoint(vec![1, 2, 3]);
        assert_eq!(BindingFlag::Unsupported.echo(&binding), "biws");
        assert_eq!(BindingFlag::NotOffered.echo(&binding), "eSws");
        assert_eq!(BindingFlag::Used.echo(&binding), "cD10bHMtc2VydmVyLWVuZC1wb2ludCwsAQID");
    }

    #[test]
    fn every_mechanism_offered_is_one_we_can_parse() {
        for name in ChannelBinding::TlsServerEndPoint(vec![1]).offer() {
            assert_eq!(Mechanism::parse(name.as_bytes()).map(Mechanism::name), Ok(*name));
        }
        assert_eq!(Mechanism::parse(b"SCRAM-SHA-1"), Err(ScramError::UnknownMechanism));
    }
}
