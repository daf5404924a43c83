//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677; PostgreSQL manual 54.3).

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Mutex;

use config::Secret;
use protocol::messages::{self, Authentication};
use protocol::scram::{ChannelBinding, Keys, Mechanism, Nonce, ScramError, Server, Verifier};

use super::password_message;
use crate::error::ClientError;
use crate::front::login::LoginEnd;
use crate::random;
use crate::services::lock;
use crate::wire::Wire;

/// Has the client prove that it knows the password of `verifier`: the keys that open servers with the same verifier.
///
/// # Errors
/// It does not, or leaves.
pub async fn prove(wire: &mut Wire, verifier: Verifier, binding: ChannelBinding) -> Result<Keys, LoginEnd> {
    let mut out = Vec::with_capacity(128);
    messages::authentication(&mut out, Authentication::Sasl(binding.offer()));
    wire.send(&out).await?;

    let server = Server::new(verifier, binding);
    let body = password_message(wire).await?;
    let (mechanism, first) = initial_response(body).ok_or(ClientError::SaslFailed)?;
    let nonce = Nonce::from_random(random::bytes());
    let (challenge, dialogue) = server.client_first(mechanism, first, nonce).map_err(failed)?;
    out.clear();
    messages::authentication(&mut out, Authentication::SaslContinue(&challenge));
    wire.send(&out).await?;

    let authenticated = dialogue.client_final(password_message(wire).await?).map_err(failed)?;
    // Not sent yet: it goes out with the answer to the login, which saves a packet.
    out.clear();
    messages::authentication(&mut out, Authentication::SaslFinal(&authenticated.server_final));
    wire.queue(&out);
    Ok(authenticated.keys)
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

/// Verifiers that were derived from passwords, by user: PBKDF2 takes half a millisecond, so it runs once for each.
#[derive(Debug, Default)]
pub struct Derived {
    by_user: Mutex<HashMap<String, (Secret, Verifier)>>,
}

impl Derived {
    /// The verifier of a user's password; a changed password is derived anew.
    pub fn verifier(&self, user: &str, password: &str, iterations: NonZeroU32) -> Verifier {
        if let Some((Secret::Plain(known), verifier)) = lock(&self.by_user).get(user)
            && known == password
            && verifier.iterations() == iterations
        {
            return verifier.clone();
        }
        let verifier = Verifier::from_password(password.as_bytes(), &random::bytes::<16>(), iterations);
        lock(&self.by_user).insert(user.to_owned(), (Secret::Plain(password.to_owned()), verifier.clone()));
        verifier
    }
}
