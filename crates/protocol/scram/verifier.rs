//! What a server keeps of a password: enough to check a login, not enough to perform one.

use super::attributes;
use super::{BASE64, Key, Keys, ScramError};
use base64::Engine as _;
use std::fmt;
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// The length of a made-up salt; PostgreSQL's own salts have the same.
const MOCK_SALT_LEN: usize = 16;

/// A user's SCRAM secret, as in `pg_authid.rolpassword` and in an auth_file.
///
/// `Display` writes PostgreSQL's form, which is a secret; `Debug` hides the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

impl Verifier {
    /// Reads `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
    pub fn parse(secret: &str) -> Result<Self, ScramError> {
        Self::read(secret).ok_or(ScramError::NotAVerifier)
    }

    fn read(secret: &str) -> Option<Self> {
        let (parameters, keys) = secret.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let key = |text: &str| Key::from_slice(&Zeroizing::new(BASE64.decode(text).ok()?));
        Some(Self {
            iterations: attributes::iterations(iterations.as_bytes())?,
            salt: BASE64.decode(salt).ok().filter(|salt| !salt.is_empty())?,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    /// The verifier of a password known in plain text. Slow: see [`Keys::derive`].
    pub fn from_password(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        Self::from_keys(&Keys::derive(password, salt, iterations))
    }

    /// The verifier that goes with these keys.
    pub fn from_keys(keys: &Keys) -> Self {
        Self {
            iterations: keys.iterations(),
            salt: keys.salt().to_vec(),
            stored_key: keys.client_key().hash(),
            server_key: keys.server_key().clone(),
        }
    }

    /// A verifier nobody can satisfy, for a user who does not exist or has no usable secret.
    ///
    /// The dialogue with it takes the same steps and the same time as any other and fails at the proof. Its salt is the
    /// same for the same user and `process_secret`, as a real one would be, so asking twice reveals nothing. The secret
    /// is random, private, and best shared by processes that serve the same address. `iterations` is what real users
    /// have (`scram_iterations`).
    pub fn mock(user: &[u8], process_secret: &[u8], iterations: NonZeroU32) -> Self {
        let secret = Key::hmac(process_secret, user);
        Self {
            iterations,
            salt: secret.sign(b"salt").as_bytes()[..MOCK_SALT_LEN].to_vec(),
            // To satisfy it takes a key whose SHA-256 is this: none is known, not even to us.
            stored_key: secret.sign(b"stored key"),
            server_key: secret.sign(b"server key"),
        }
    }

    /// The number of PBKDF2 rounds.
    pub fn iterations(&self) -> NonZeroU32 {
        self.iterations
    }

    /// The salt.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// Checks a password received in plain text (`auth_type=plain`), and gives its keys if it is right.
    ///
    /// Slow: see [`Keys::derive`].
    pub fn check_password(&self, password: &[u8]) -> Option<Keys> {
        let keys = Keys::derive(password, &self.salt, self.iterations);
        self.accepts(keys.client_key()).then_some(keys)
    }

    /// Whether this is the ClientKey behind the StoredKey.
    pub(super) fn accepts(&self, client_key: &Key) -> bool {
        client_key.hash() == self.stored_key
    }

    /// The signature the right client's proof is masked with (ClientSignature).
    pub(super) fn client_signature(&self, auth_message: &[u8]) -> Key {
        self.stored_key.sign(auth_message)
    }

    /// What proves to the client that we hold its verifier (ServerSignature).
    pub(super) fn server_signature(&self, auth_message: &[u8]) -> Key {
        self.server_key.sign(auth_message)
    }

    /// The keys of a client that has just shown its ClientKey.
    pub(super) fn into_keys(self, client_key: Key) -> Keys {
        Keys::from_parts(self.salt, self.iterations, client_key, self.server_key)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let salt = BASE64.encode(&self.salt);
        let [stored, server] =
            [&self.stored_key, &self.server_key].map(|key| Zeroizing::new(BASE64.encode(key.as_bytes())));
        write!(formatter, "SCRAM-SHA-256${}:{salt}${}:{}", self.iterations, *stored, *server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by PostgreSQL 15 for the password "secret".
    const SECRET: &str = "SCRAM-SHA-256$4096:Gqdqsh9Q6o7zXANgv1kKVg==$CXaF29Bk+VAboJ1fVp14AuJxw4k6DB8YBraus8WeMe0=:\
                          Lr2cQL0OiYirspBoeiw3Zyt8QqD3QBczTqFezRihbPI=";
    const ROUNDS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

    #[test]
    fn a_secret_made_by_postgresql_is_read_checked_and_written() {
        let verifier = Verifier::parse(SECRET).unwrap();
        assert_eq!(verifier.iterations(), ROUNDS);
        assert_eq!(verifier.salt().len(), MOCK_SALT_LEN);
        assert_eq!(verifier.to_string(), SECRET);
        assert_eq!(Verifier::from_password(b"secret", verifier.salt(), ROUNDS), verifier);
    }

    #[test]
    fn a_plain_password_gives_the_keys_if_it_is_right() {
        let verifier = Verifier::parse(SECRET).unwrap();
        let keys = verifier.check_password(b"secret").unwrap();
        assert!(keys.fit(verifier.salt(), verifier.iterations()));
        assert_eq!(Verifier::from_keys(&keys), verifier);
        assert_eq!(verifier.check_password(b"Secret"), None);
    }

    #[test]
    fn whatever_differs_from_postgresqls_form_is_no_secret() {
        for (good, bad) in [
            ("SCRAM-SHA-256$", "SCRAM-SHA-1$"),
            ("SCRAM-SHA-256$", "scram-sha-256$"),
            ("SCRAM-SHA-256$", " SCRAM-SHA-256$"),
            ("4096", "0"),
            ("4096", "-1"),
            ("4096", ""),
            ("4096", "4294967296"),
            ("4096:Gqdqsh9Q6o7zXANgv1kKVg==", "4096:"),
            ("4096:", "4096"),
            ("Gqdq", "Gqd"),
            ("Gqdq", "*"),
            ("CXaF", ""),
            ("CXaF", "CXaFAAAA"),
            ("WeMe0=", "WeMe0"),
            ("WeMe0=:", "WeMe0="),
            ("hbPI=", ""),
            ("hbPI=", "hbPI=$"),
        ] {
            let text = SECRET.replacen(good, bad, 1);
            assert_ne!(text, SECRET);
            assert_eq!(Verifier::parse(&text), Err(ScramError::NotAVerifier), "{text}");
        }
        for text in ["", "secret", "md5a5c81120f0e0bb37e0759ad80bd15c35", "SCRAM-SHA-256$", "SCRAM-SHA-256$1:$:"] {
            assert_eq!(Verifier::parse(text), Err(ScramError::NotAVerifier), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", Verifier::parse(SECRET).unwrap());
        assert!(shown.contains("stored_key: Key(…), server_key: Key(…)"), "{shown}");
    }

    #[test]
    fn a_mock_is_stable_for_its_user_and_looks_like_a_real_one() {
        let mock = Verifier::mock(b"nobody", b"process", ROUNDS);
        assert_eq!(mock, Verifier::mock(b"nobody", b"process", ROUNDS));
        assert_ne!(mock.salt(), Verifier::mock(b"nobodz", b"process", ROUNDS).salt());
        assert_ne!(mock.salt(), Verifier::mock(b"nobody", b"another", ROUNDS).salt());
        let real = Verifier::parse(SECRET).unwrap();
        assert_eq!((mock.salt().len(), mock.iterations()), (real.salt().len(), real.iterations()));
    }
}
