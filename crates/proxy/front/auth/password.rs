//! Passwords in clear and as md5 (PostgreSQL manual 54.2.1).

use std::collections::HashMap;
use std::sync::Mutex;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use config::Secret;
use protocol::md5::Md5Secret;
use protocol::messages::{self, Authentication};
use protocol::scram::{Keys, Verifier};

use super::password_message;
use crate::error::ClientError;
use crate::front::login::LoginEnd;
use crate::random;
use crate::services::lock;
use crate::wire::Wire;

/// Passwords that fitted a SCRAM verifier, by user, so that PBKDF2 runs once for each: only their hash is kept, with
/// the keys it cost half a millisecond to derive.
#[derive(Debug, Default)]
pub struct Fitting {
    by_user: Mutex<HashMap<String, Fit>>,
}

#[derive(Debug)]
struct Fit {
    verifier: String,
    password: digest::Digest,
    keys: Keys,
}

impl Fitting {
    fn check(&self, user: &str, verifier: &str, password: &[u8]) -> Option<Keys> {
        let hash = digest::digest(&digest::SHA256, password);
        if let Some(known) = lock(&self.by_user).get(user)
            && known.verifier == verifier
            && verify_slices_are_equal(known.password.as_ref(), hash.as_ref()).is_ok()
        {
            return Some(known.keys.clone());
        }
        let keys = Verifier::parse(verifier).ok()?.check_password(password)?;
        let fit = Fit { verifier: verifier.to_owned(), password: hash, keys: keys.clone() };
        lock(&self.by_user).insert(user.to_owned(), fit);
        Some(keys)
    }
}

/// Asks for the password itself: keys that open servers, where it fitted a SCRAM verifier.
///
/// # Errors
/// It is wrong, or the client leaves.
pub async fn in_clear(
    wire: &mut Wire,
    fitting: &Fitting,
    user: &str,
    secret: Option<&Secret>,
) -> Result<Option<Keys>, LoginEnd> {
    let mut out = Vec::with_capacity(16);
    messages::authentication(&mut out, Authentication::CleartextPassword);
    wire.send(&out).await?;
    let password = password_message(wire).await?.strip_suffix(b"\0").ok_or(ClientError::WrongPassword)?;
    if password.is_empty() {
        return Err(ClientError::EmptyPassword.into());
    }
    let (right, keys) = match secret {
        Some(Secret::Plain(known)) => (verify_slices_are_equal(known.as_bytes(), password).is_ok(), None),
        Some(Secret::Md5(known)) => {
            (Md5Secret::parse(known).is_some_and(|known| known.check_password(password, user.as_bytes())), None)
        }
        Some(Secret::Scram(known)) => {
            let keys = fitting.check(user, known, password);
            (keys.is_some(), keys)
        }
        None => (false, None),
    };
    if right { Ok(keys) } else { Err(ClientError::WrongPassword.into()) }
}

/// Asks for the password's md5 with a salt.
///
/// # Errors
/// It is wrong, or the client leaves.
pub async fn as_md5(wire: &mut Wire, user: &str, secret: Option<&Secret>) -> Result<(), LoginEnd> {
    let salt = random::bytes();
    let mut out = Vec::with_capacity(16);
    messages::authentication(&mut out, Authentication::Md5Password(salt));
    wire.send(&out).await?;
    let answer = password_message(wire).await?.strip_suffix(b"\0").ok_or(ClientError::WrongPassword)?;
    let known = match secret {
        Some(Secret::Plain(password)) if !password.is_empty() => {
            Some(Md5Secret::from_password(password.as_bytes(), user.as_bytes()))
        }
        Some(Secret::Md5(text)) => Md5Secret::parse(text),
        Some(Secret::Plain(_) | Secret::Scram(_)) | None => None,
    };
    match known {
        Some(known) if known.accepts(salt, answer) => Ok(()),
        Some(_) | None => Err(ClientError::WrongPassword.into()),
    }
}
