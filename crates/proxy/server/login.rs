//! The login at a server: StartupMessage, proof of identity, and what the server reports of itself.

use std::num::NonZeroU32;

use config::Secret;
use protocol::fields::Fields;
use protocol::md5::Md5Secret;
use protocol::messages;
use protocol::scram::{self, ChannelBinding, Keys, Nonce, ScramError};
use thiserror::Error;

use super::connection::{server_report, split_parameter};
use super::secure::Secured;
use super::target::Credentials;
use crate::error::ServerReport;
use crate::random;
use crate::wire::{Wire, WireError};

/// PBKDF2 rounds that a server may ask for: a million takes about 0.15 s.
const MAX_ITERATIONS: NonZeroU32 = NonZeroU32::new(1_000_000).unwrap();

/// What a server told at login.
#[derive(Debug, Default)]
pub struct LoggedIn {
    /// Names and values in the order they came.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
    /// From BackendKeyData.
    pub pid: u32,
    /// From BackendKeyData.
    pub key: Vec<u8>,
    /// Keys that were derived for this login, to be kept for the next one.
    pub derived: Option<Keys>,
    /// It has proved that it is the other end of the TLS connection.
    is_bound: bool,
}

/// Why a login at a server failed.
#[derive(Debug, Error)]
pub enum LoginError {
    /// The connection did not come about, or broke.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// `server_connect_timeout` has passed.
    #[error("connect timeout")]
    Timeout,
    /// The server said no.
    #[error("{}", .0.message)]
    Refused(ServerReport),
    /// The password we have is of no use for what the server asks for.
    #[error("server login failed: wrong password type")]
    WrongPasswordType,
    /// The server asks for a proof we do not know.
    #[error("server login failed: unknown authentication request {0}")]
    UnknownRequest(u32),
    /// The server's SCRAM is not right.
    #[error("server login failed: {0}")]
    Scram(#[from] ScramError),
    /// TLS did not come about.
    #[error("{0}")]
    Tls(std::io::Error),
    /// It did not prove that it is the other end of the TLS connection.
    #[error("server login failed: channel binding is required, but the server did not do it (server_channel_binding)")]
    NoChannelBinding,
    /// It does not speak the protocol.
    #[error("server broke the protocol during login (message type {0})")]
    Violation(u8),
    /// It is not the primary that was proved.
    #[error("not the primary: {0}")]
    Unfit(failover::Unfit),
    /// Transactions do not go there any more.
    #[error("given up: no primary is known, or another one")]
    GivenUp,
}

/// What ties the login to its TLS connection (SCRAM-SHA-256-PLUS; setting `server_channel_binding`).
#[derive(Debug)]
pub struct Binding {
    channel: ChannelBinding,
    is_required: bool,
}

impl Binding {
    /// For a connection with this TLS.
    pub fn new(wanted: config::ChannelBinding, tls: Option<&Secured>) -> Self {
        let end_point = tls.and_then(|tls| tls.end_point.clone()).filter(|_| wanted != config::ChannelBinding::Disable);
        Self {
            channel: end_point.map_or(ChannelBinding::None, ChannelBinding::TlsServerEndPoint),
            is_required: wanted == config::ChannelBinding::Require,
        }
    }
}

/// Logs in. `startup` is all that StartupMessage says.
///
/// # Errors
/// See [`LoginError`].
pub async fn log_in(
    wire: &mut Wire,
    startup: &[(Vec<u8>, Vec<u8>)],
    user: &str,
    credentials: &Credentials,
    binding: Binding,
) -> Result<LoggedIn, LoginError> {
    let mut hello = Vec::with_capacity(128);
    messages::startup(&mut hello, startup.iter().map(|(name, value)| (&name[..], &value[..])));
    wire.send(&hello).await?;
    let mut found = LoggedIn::default();
    let mut is_authenticated = false;
    loop {
        let (tag, body) = wire.message().await?;
        match tag {
            b'R' => {
                let request = Request::parse(body).ok_or(LoginError::Violation(tag))?;
                match request {
                    Request::Nothing if binding.is_required && !found.is_bound => {
                        return Err(LoginError::NoChannelBinding);
                    }
                    Request::Nothing => is_authenticated = true,
                    Request::Sasl(offer) => sasl(wire, &offer, credentials, &binding, &mut found).await?,
                    _ if binding.is_required => return Err(LoginError::NoChannelBinding),
                    request => answer(wire, request, user, credentials).await?,
                }
            }
            b'S' => {
                let (name, value) = split_parameter(body).ok_or(LoginError::Violation(tag))?;
                found.parameters.push((name.to_vec(), value.to_vec()));
            }
            b'K' => {
                let (pid, key) = body.split_first_chunk().ok_or(LoginError::Violation(tag))?;
                (found.pid, found.key) = (u32::from_be_bytes(*pid), key.to_vec());
            }
            b'Z' if is_authenticated && body == b"I" => return Ok(found),
            b'E' => return Err(LoginError::Refused(server_report(body))),
            b'N' => {
                tracing::info!(notice = %String::from_utf8_lossy(Fields::parse(body).message), "server notice at login")
            }
            b'v' => {}
            _ => return Err(LoginError::Violation(tag)),
        }
    }
}

/// What a server asks for before it lets anybody in.
enum Request {
    Nothing,
    Cleartext,
    Md5([u8; 4]),
    Sasl(Vec<Vec<u8>>),
    Unknown(u32),
}

impl Request {
    fn parse(body: &[u8]) -> Option<Self> {
        let (code, rest) = body.split_first_chunk()?;
        Some(match u32::from_be_bytes(*code) {
            0 => Self::Nothing,
            3 => Self::Cleartext,
            5 => Self::Md5(*rest.first_chunk()?),
            10 => {
                Self::Sasl(rest.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
            }
            code => Self::Unknown(code),
        })
    }
}

async fn answer(wire: &mut Wire, request: Request, user: &str, credentials: &Credentials) -> Result<(), LoginError> {
    let mut out = Vec::new();
    match (request, credentials.secret()) {
        (Request::Cleartext, Some(Secret::Plain(password))) => messages::password(&mut out, password.as_bytes()),
        (Request::Md5(salt), Some(Secret::Plain(password))) => {
            let secret = Md5Secret::from_password(password.as_bytes(), user.as_bytes());
            messages::password(&mut out, secret.response(salt).as_bytes());
        }
        (Request::Md5(salt), Some(Secret::Md5(secret))) => {
            let secret = Md5Secret::parse(secret).ok_or(LoginError::WrongPasswordType)?;
            messages::password(&mut out, secret.response(salt).as_bytes());
        }
        (Request::Unknown(code), _) => return Err(LoginError::UnknownRequest(code)),
        _ => return Err(LoginError::WrongPasswordType),
    }
    Ok(wire.send(&out).await?)
}

async fn sasl(
    wire: &mut Wire,
    offer: &[Vec<u8>],
    credentials: &Credentials,
    binding: &Binding,
    found: &mut LoggedIn,
) -> Result<(), LoginError> {
    let nonce = Nonce::from_random(random::bytes());
    let client = scram::Client::new(offer.iter().map(Vec::as_slice), binding.channel.clone(), nonce)?;
    let mechanism = client.mechanism();
    found.is_bound = mechanism == scram::Mechanism::ScramSha256Plus;
    if binding.is_required && !found.is_bound {
        return Err(LoginError::NoChannelBinding);
    }
    let (first, dialogue) = client.client_first();
    let mut out = Vec::new();
    messages::sasl_initial_response(&mut out, mechanism.name(), &first);
    wire.send(&out).await?;

    let challenge = dialogue.server_first(&sasl_data(wire, 11).await?, MAX_ITERATIONS)?;
    let keys = keys_for(&challenge, credentials)?;
    let (last, dialogue) = challenge.answer(&keys)?;
    out.clear();
    messages::sasl_response(&mut out, &last);
    wire.send(&out).await?;

    let verified = dialogue.server_final(&sasl_data(wire, 12).await?)?;
    let _: scram::ServerVerified = verified;
    found.derived = Some(keys);
    Ok(())
}

/// Keys that fit the server's salt: kept ones, or derived from the password, which takes half a millisecond.
fn keys_for(challenge: &scram::Challenge, credentials: &Credentials) -> Result<Keys, LoginError> {
    let kept = [&credentials.derived, &credentials.proven];
    let fitting = kept.into_iter().flatten().find(|keys| keys.fit(challenge.salt(), challenge.iterations()));
    match (fitting, credentials.secret()) {
        (Some(keys), _) => Ok(keys.clone()),
        (None, Some(Secret::Plain(password))) => {
            Ok(Keys::derive(password.as_bytes(), challenge.salt(), challenge.iterations()))
        }
        (None, Some(Secret::Md5(_) | Secret::Scram(_)) | None) => Err(LoginError::WrongPasswordType),
    }
}

async fn sasl_data(wire: &mut Wire, expected: u32) -> Result<Vec<u8>, LoginError> {
    loop {
        let (tag, body) = wire.message().await?;
        match (tag, body.split_first_chunk()) {
            (b'R', Some((code, data))) if u32::from_be_bytes(*code) == expected => return Ok(data.to_vec()),
            (b'E', _) => return Err(LoginError::Refused(server_report(body))),
            (b'N', _) => {}
            _ => return Err(LoginError::Violation(tag)),
        }
    }
}
