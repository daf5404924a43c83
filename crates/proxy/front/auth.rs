//! Whether a client is who it says it is (setting `auth_type`).

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Mutex;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use config::{AuthType, Config, Secret};
use protocol::md5::Md5Secret;
use protocol::messages::{self, Authentication};
use protocol::scram::{ChannelBinding, Keys, Mechanism, Nonce, ScramError, Server, Verifier};

use super::login::LoginEnd;
use crate::error::ClientError;
use crate::random;
use crate::services::lock;
use crate::wire::Wire;

/// What is remembered between logins: derived verifiers, and the secret behind the mock ones.
#[derive(Debug)]
pub struct Authenticator {
    process_secret: [u8; 32],
    /// By user: the password it was derived from, and the verifier. A changed password is derived anew.
    derived: Mutex<HashMap<String, (Secret, Verifier)>>,
}

/// What a login has proved.
#[derive(Debug, Default)]
#[must_use]
pub struct Proven {
    /// Keys that open servers with the same verifier.
    pub keys: Option<Keys>,
}

impl Default for Authenticator {
    fn default() -> Self {
        Self { process_secret: random::bytes(), derived: Mutex::default() }
    }
}

impl Authenticator {
    /// Has the client prove that it is `user`.
    ///
    /// An unknown user is asked for the same things, and fails at the end.
    ///
    /// # Errors
    /// It does not prove it, or leaves.
    pub async fn authenticate(&self, wire: &mut Wire, config: &Config, user: &str) -> Result<Proven, LoginEnd> {
        let secret = config.userlist.get(user);
        match (config.global.auth_type, secret) {
            (AuthType::Any, _) => Ok(Proven::default()),
            (AuthType::Trust, _) if secret.is_some() || config.users.contains_key(user) => Ok(Proven::default()),
            (AuthType::Trust, _) => Err(ClientError::TrustFailed.into()),
            (AuthType::Plain, _) => cleartext(wire, user, secret).await,
            (AuthType::Md5, Some(Secret::Scram(_))) => self.scram(wire, config, user, secret).await,
            (AuthType::Md5, _) => md5(wire, user, secret).await,
            (AuthType::ScramSha256, _) => self.scram(wire, config, user, secret).await,
            // Refused when the configuration is loaded.
            (AuthType::Cert | AuthType::Hba, _) => Err(ClientError::BouncerConfig.into()),
        }
    }

    async fn scram(
        &self,
        wire: &mut Wire,
        config: &Config,
        user: &str,
        secret: Option<&Secret>,
    ) -> Result<Proven, LoginEnd> {
        let iterations = NonZeroU32::new(config.global.scram_iterations).unwrap_or(NonZeroU32::MIN);
        let verifier = self.verifier(user, secret, iterations);
        let server = Server::new(verifier, ChannelBinding::None);
        let mut out = Vec::with_capacity(128);
        messages::authentication(&mut out, Authentication::Sasl(ChannelBinding::None.offer()));
        wire.send(&out).await?;

        let body = password_message(wire).await?;
        let (mechanism, first) = initial_response(&body).ok_or(ClientError::SaslFailed)?;
        let nonce = Nonce::from_random(random::bytes());
        let (challenge, dialogue) = server.client_first(mechanism, first, nonce).map_err(failed)?;
        out.clear();
        messages::authentication(&mut out, Authentication::SaslContinue(&challenge));
        wire.send(&out).await?;

        let body = password_message(wire).await?;
        let authenticated = dialogue.client_final(&body).map_err(failed)?;
        out.clear();
        messages::authentication(&mut out, Authentication::SaslFinal(&authenticated.server_final));
        wire.send(&out).await?;
        Ok(Proven { keys: Some(authenticated.keys) })
    }

    fn verifier(&self, user: &str, secret: Option<&Secret>, iterations: NonZeroU32) -> Verifier {
        let mock = || Verifier::mock(user.as_bytes(), &self.process_secret, iterations);
        match secret {
            Some(Secret::Scram(text)) => Verifier::parse(text).unwrap_or_else(|_| mock()),
            Some(Secret::Plain(password)) if !password.is_empty() => self.derive(user, password, iterations),
            Some(Secret::Plain(_) | Secret::Md5(_)) | None => mock(),
        }
    }

    /// Derives a verifier once for each password: PBKDF2 takes half a millisecond.
    fn derive(&self, user: &str, password: &str, iterations: NonZeroU32) -> Verifier {
        let plain = Secret::Plain(password.to_owned());
        if let Some((known, verifier)) = lock(&self.derived).get(user)
            && *known == plain
            && verifier.iterations() == iterations
        {
            return verifier.clone();
        }
        let verifier = Verifier::from_password(password.as_bytes(), &random::bytes::<16>(), iterations);
        lock(&self.derived).insert(user.to_owned(), (plain, verifier.clone()));
        verifier
    }
}

async fn cleartext(wire: &mut Wire, user: &str, secret: Option<&Secret>) -> Result<Proven, LoginEnd> {
    let mut out = Vec::with_capacity(16);
    messages::authentication(&mut out, Authentication::CleartextPassword);
    wire.send(&out).await?;
    let body = password_message(wire).await?;
    let password = body.strip_suffix(b"\0").ok_or(ClientError::WrongPassword)?;
    if password.is_empty() {
        return Err(ClientError::EmptyPassword.into());
    }
    let (right, keys) = match secret {
        Some(Secret::Plain(known)) => (verify_slices_are_equal(known.as_bytes(), password).is_ok(), None),
        Some(Secret::Md5(known)) => {
            (Md5Secret::parse(known).is_some_and(|known| known.check_password(password, user.as_bytes())), None)
        }
        Some(Secret::Scram(known)) => {
            let keys = Verifier::parse(known).ok().and_then(|verifier| verifier.check_password(password));
            (keys.is_some(), keys)
        }
        None => (false, None),
    };
    if right { Ok(Proven { keys }) } else { Err(ClientError::WrongPassword.into()) }
}

async fn md5(wire: &mut Wire, user: &str, secret: Option<&Secret>) -> Result<Proven, LoginEnd> {
    let salt = random::bytes();
    let mut out = Vec::with_capacity(16);
    messages::authentication(&mut out, Authentication::Md5Password(salt));
    wire.send(&out).await?;
    let body = password_message(wire).await?;
    let answer = body.strip_suffix(b"\0").ok_or(ClientError::WrongPassword)?;
    let known = match secret {
        Some(Secret::Plain(password)) if !password.is_empty() => {
            Some(Md5Secret::from_password(password.as_bytes(), user.as_bytes()))
        }
        Some(Secret::Md5(text)) => Md5Secret::parse(text),
        Some(Secret::Plain(_) | Secret::Scram(_)) | None => None,
    };
    match known {
        Some(known) if known.accepts(salt, answer) => Ok(Proven::default()),
        Some(_) | None => Err(ClientError::WrongPassword.into()),
    }
}

async fn password_message(wire: &mut Wire) -> Result<Vec<u8>, LoginEnd> {
    match wire.message().await? {
        (b'p', body) => Ok(body.to_vec()),
        (tag, _) => Err(ClientError::UnexpectedLoginMessage(tag).into()),
    }
}

/// Mechanism and data of a SASLInitialResponse.
fn initial_response(body: &[u8]) -> Option<(Mechanism, &[u8])> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let mechanism = Mechanism::parse(&body[..end]).ok()?;
    let (len, data) = body[end + 1..].split_first_chunk()?;
    (u32::from_be_bytes(*len) as usize == data.len()).then_some((mechanism, data))
}

fn failed(_: ScramError) -> ClientError {
    ClientError::SaslFailed
}
