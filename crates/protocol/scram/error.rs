//! Why a SCRAM dialogue ended.

use thiserror::Error;

/// Why a step was refused. Only [`WrongProof`](Self::WrongProof) says anything about a password.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ScramError {
    /// The client chose a mechanism that is not SCRAM-SHA-256 with or without -PLUS.
    #[error("client selected an invalid SASL authentication mechanism")]
    UnknownMechanism,
    /// The client chose SCRAM-SHA-256-PLUS, which was not offered.
    #[error("client selected SCRAM-SHA-256-PLUS, which was not offered")]
    MechanismNotOffered,
    /// The server offers no mechanism that we know.
    #[error("none of the server's SASL authentication mechanisms are supported")]
    NoCommonMechanism,
    /// Longer than [`MAX_MESSAGE_LEN`](super::MAX_MESSAGE_LEN).
    #[error("SCRAM message is too long")]
    TooLong,
    /// Something else stands where this attribute has to be.
    #[error("malformed SCRAM message (attribute \"{0}\" expected)")]
    Expected(char),
    /// An attribute that is no letter followed by `=`, or a NUL byte.
    #[error("malformed SCRAM message (attribute expected)")]
    NotAnAttribute,
    /// The value of this attribute is not what its grammar asks for: base64, its length, a number.
    #[error("malformed SCRAM message (invalid value of attribute \"{0}\")")]
    InvalidValue(char),
    /// Bytes after what has to be the last attribute.
    #[error("malformed SCRAM message (garbage at the end)")]
    Trailing,
    /// The first byte of the client's first message is none of `n`, `y`, `p`.
    #[error("malformed SCRAM message (unexpected channel-binding flag)")]
    UnknownBindingFlag,
    /// `a=`: the client wants to act for somebody else.
    #[error("client uses authorization identity, but it is not supported")]
    AuthorizationIdentity,
    /// `m=`: the peer demands an extension.
    #[error("an unsupported SCRAM extension is required")]
    MandatoryExtension,
    /// Another binding than tls-server-end-point.
    #[error("unsupported SCRAM channel-binding type")]
    UnsupportedBinding,
    /// SCRAM-SHA-256-PLUS chosen, but the message says `n` or `y`.
    #[error("client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data")]
    BindingMissing,
    /// SCRAM-SHA-256 chosen, but the message says `p=`.
    #[error(
        "client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data"
    )]
    BindingUnexpected,
    /// The client says that no -PLUS was offered, though it was: somebody in between removed it.
    #[error("client supports SCRAM channel binding but thinks the server does not; however, this server does")]
    Downgrade,
    /// The client is bound to another TLS connection than this one.
    #[error("SCRAM channel binding check failed")]
    BindingMismatch,
    /// A nonce that is empty or not printable.
    #[error("non-printable or empty SCRAM nonce")]
    InvalidNonce,
    /// A nonce that is not the one of this dialogue, or does not extend ours.
    #[error("SCRAM nonce does not match")]
    NonceMismatch,
    /// The server's salt is empty, which would let it prepare dictionaries.
    #[error("SCRAM salt is empty")]
    EmptySalt,
    /// The server asks for more rounds than the caller allows: each costs us time.
    #[error("server asks for {asked} SCRAM iterations, at most {allowed} are allowed")]
    TooManyIterations {
        /// What the server asks for.
        asked: u32,
        /// The caller's limit.
        allowed: u32,
    },
    /// The keys were derived for another salt or another number of rounds than the server's.
    ///
    /// So ends a pass-through login when pooler and server hold different verifiers of the user.
    #[error("SCRAM keys do not fit the server's salt and iterations: its secret is not the one the client used")]
    KeysDoNotFit,
    /// The proof does not fit: the password is wrong, or the user does not exist.
    #[error("password authentication failed")]
    WrongProof,
    /// The server refused, in its own words (`e=`, RFC 5802 section 7).
    #[error("error received from server in SCRAM exchange: {0}")]
    RefusedByServer(String),
    /// The server could not prove that it knows the password's verifier: it is an impostor.
    #[error("incorrect server signature")]
    WrongServerSignature,
    /// A stored secret that is not of the form `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
    #[error("not a SCRAM-SHA-256 secret")]
    NotAVerifier,
}
