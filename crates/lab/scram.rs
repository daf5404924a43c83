//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as far as a load generator and the bare floor need it: ASCII passwords, no
//! channel binding, and a peer that is measured rather than trusted.

use std::num::NonZeroU32;
use std::sync::Mutex;

use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::LabError;

/// The mechanism's name on the wire.
pub const MECHANISM: &str = "SCRAM-SHA-256";
/// The client's GS2 header, "no channel binding", in base64 as it comes back in its last message.
const BINDING: &str = "c=biws";
const LENGTH: usize = digest::SHA256_OUTPUT_LEN;

type Key = [u8; LENGTH];

/// What a password becomes with one salt and one count of iterations.
#[derive(Clone)]
pub struct Keys {
    client: Key,
    stored: Key,
    server: Key,
}

impl Keys {
    /// Runs PBKDF2: half a millisecond for PostgreSQL's 4096 iterations.
    pub fn derive(password: &str, salt: &[u8], iterations: NonZeroU32) -> Keys {
        let mut salted = Key::default();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password.as_bytes(), &mut salted);
        let client = mac(&salted, b"Client Key");
        Keys { client, stored: sha256(&client), server: mac(&salted, b"Server Key") }
    }
}

/// A password that meets the same salt again and again: derived once, used by all threads.
pub struct Password {
    text: String,
    derived: Mutex<Option<(Vec<u8>, NonZeroU32, Keys)>>,
}

impl Password {
    /// Nothing is derived before a server has named its salt.
    pub fn new(text: impl Into<String>) -> Password {
        Password { text: text.into(), derived: Mutex::new(None) }
    }

    fn keys(&self, salt: Vec<u8>, iterations: NonZeroU32) -> Keys {
        // A thread that panicked cannot have left half a value.
        let mut derived = self.derived.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &*derived {
            Some((known, count, keys)) if *known == salt && *count == iterations => keys.clone(),
            _ => {
                let keys = Keys::derive(&self.text, &salt, iterations);
                *derived = Some((salt, iterations, keys.clone()));
                keys
            }
        }
    }
}

/// A client's exchange, after its first message.
pub struct Client {
    first_bare: String,
}

impl Client {
    /// Begins an exchange: its state and the first message.
    pub fn first() -> Result<(Client, String), LabError> {
        let first_bare = format!("n=,r={}", nonce()?);
        let message = format!("n,,{first_bare}");
        Ok((Client { first_bare }, message))
    }

    /// Answers the server's first message.
    pub fn last(self, server_first: &str, password: &Password) -> Result<String, LabError> {
        let nonce = attribute(server_first, 'r')?;
        let iterations = attribute(server_first, 'i')?.parse().map_err(|_| malformed(server_first))?;
        let keys = password.keys(decode(attribute(server_first, 's')?)?, iterations);
        let without_proof = format!("{BINDING},r={nonce}");
        let signed = format!("{},{server_first},{without_proof}", self.first_bare);
        let proof = xor(keys.client, mac(&keys.stored, signed.as_bytes()));
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)))
    }
}

/// A server's exchange, after its first message.
pub struct Server {
    signed: String,
    nonce: String,
}

impl Server {
    /// Answers a client's first message; `salt_and_iterations` is `s=…,i=…`.
    pub fn first(client_first: &str, salt_and_iterations: &str) -> Result<(Server, String), LabError> {
        let bare = client_first.strip_prefix("n,,").ok_or_else(|| malformed(client_first))?;
        let nonce = format!("{}{}", attribute(bare, 'r')?, nonce()?);
        let message = format!("r={nonce},{salt_and_iterations}");
        Ok((Server { signed: format!("{bare},{message}"), nonce }, message))
    }

    /// Checks the client's last message from its stored keys and answers with the server's signature.
    pub fn last(self, client_last: &str, keys: &Keys) -> Result<String, LabError> {
        let (without_proof, proof) = client_last.split_once(",p=").ok_or_else(|| malformed(client_last))?;
        let signed = format!("{},{without_proof}", self.signed);
        let proof = Key::try_from(decode(proof)?).map_err(|_| malformed(client_last))?;
        let client = xor(proof, mac(&keys.stored, signed.as_bytes()));
        if without_proof != format!("{BINDING},r={}", self.nonce) || sha256(&client) != keys.stored {
            return Err(LabError::Protocol("SCRAM: wrong password".into()));
        }
        Ok(format!("v={}", BASE64.encode(mac(&keys.server, signed.as_bytes()))))
    }
}

/// `s=…,i=…` of a server's first message.
pub fn salt_and_iterations(salt: &[u8], iterations: NonZeroU32) -> String {
    format!("s={},i={iterations}", BASE64.encode(salt))
}

fn nonce() -> Result<String, LabError> {
    let mut bytes = [0; 18];
    rand::fill(&mut bytes).map_err(|_| LabError::Protocol("no random numbers".into()))?;
    Ok(BASE64.encode(bytes))
}

fn attribute(message: &str, name: char) -> Result<&str, LabError> {
    let found = message.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    found.ok_or_else(|| malformed(message))
}

fn decode(text: &str) -> Result<Vec<u8>, LabError> {
    BASE64.decode(text).map_err(|_| malformed(text))
}

fn malformed(message: &str) -> LabError {
    LabError::Protocol(format!("SCRAM: unexpected {message:?}"))
}

fn mac(key: &Key, data: &[u8]) -> Key {
    fixed(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref())
}

fn sha256(data: &[u8]) -> Key {
    fixed(digest::digest(&digest::SHA256, data).as_ref())
}

/// SHA-256's output has the length of a key; `zip` needs no proof of it.
fn fixed(bytes: &[u8]) -> Key {
    let mut key = Key::default();
    key.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    key
}

fn xor(mut key: Key, other: Key) -> Key {
    key.iter_mut().zip(other).for_each(|(to, from)| *to ^= from);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3.
    #[test]
    fn the_rfcs_example_is_reproduced() {
        let client = Client { first_bare: "n=user,r=rOprNGfwEbeRWgbNEkqO".into() };
        let server_first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let last = client.last(server_first, &Password::new("pencil")).unwrap();
        assert!(last.ends_with(",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), "{last}");
    }

    fn exchange(password: &str) -> Result<String, LabError> {
        let iterations = NonZeroU32::new(4096).unwrap();
        let keys = Keys::derive("secret", b"a salt", iterations);
        let (client, first) = Client::first()?;
        let (server, first) = Server::first(&first, &salt_and_iterations(b"a salt", iterations))?;
        server.last(&client.last(&first, &Password::new(password))?, &keys)
    }

    #[test]
    fn both_sides_agree_on_the_password_only() {
        assert!(exchange("secret").unwrap().starts_with("v="));
        assert!(exchange("Secret").unwrap_err().to_string().contains("wrong password"));
    }
}
