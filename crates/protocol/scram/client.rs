//! The client's side: we prove a password to a PostgreSQL server, and it proves to us that it is ours.

use super::attributes::{self, Attributes};
use super::{BASE64, BindingFlag, ChannelBinding, Key, Keys, Mechanism, Nonce, ScramError};
use base64::Engine as _;
use std::num::NonZeroU32;

/// The longest reason of a server that is repeated, in characters.
const MAX_REASON_LEN: usize = 200;

/// A client that has chosen its mechanism.
#[derive(Debug)]
#[must_use]
pub struct Client {
    mechanism: Mechanism,
    flag: BindingFlag,
    binding: ChannelBinding,
    nonce: Nonce,
}

impl Client {
    /// Chooses among the mechanisms of an AuthenticationSASL message; -PLUS wherever both sides can.
    ///
    /// A caller that insists on channel binding checks [`mechanism`](Self::mechanism) before it goes on.
    pub fn new<'a>(
        offer: impl IntoIterator<Item = &'a [u8]>,
        binding: ChannelBinding,
        nonce: Nonce,
    ) -> Result<Self, ScramError> {
        let (mut plain, mut plus) = (false, false);
        for name in offer {
            match Mechanism::parse(name) {
                Ok(Mechanism::ScramSha256) => plain = true,
                Ok(Mechanism::ScramSha256Plus) => plus = true,
                Err(_) => {} // a mechanism of a newer server
            }
        }
        let (mechanism, flag) = match &binding {
            ChannelBinding::TlsServerEndPoint(_) if plus => (Mechanism::ScramSha256Plus, BindingFlag::Used),
            ChannelBinding::TlsServerEndPoint(_) if plain => (Mechanism::ScramSha256, BindingFlag::NotOffered),
            ChannelBinding::None if plain => (Mechanism::ScramSha256, BindingFlag::Unsupported),
            ChannelBinding::TlsServerEndPoint(_) | ChannelBinding::None => return Err(ScramError::NoCommonMechanism),
        };
        Ok(Self { mechanism, flag, binding, nonce })
    }

    /// The mechanism to name in SASLInitialResponse.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The first message, for SASLInitialResponse. Its user is empty, as libpq's is: the StartupMessage has named it.
    pub fn client_first(self) -> (Vec<u8>, AwaitServerFirst) {
        let bare = [b"n=,r=", self.nonce.as_bytes()].concat();
        let message = [self.flag.gs2_header(), &bare].concat();
        let next = AwaitServerFirst { bare, binding_echo: self.flag.echo(&self.binding), nonce: self.nonce };
        (message, next)
    }
}

/// A client that awaits salt, iterations and the server's nonce.
#[derive(Debug)]
#[must_use]
pub struct AwaitServerFirst {
    bare: Vec<u8>,
    binding_echo: String,
    nonce: Nonce,
}

impl AwaitServerFirst {
    /// Takes the server's first message (AuthenticationSASLContinue).
    ///
    /// A server can ask for any number of iterations, and so for any amount of our time, before it has proved anything:
    /// more than `max_iterations` are refused.
    pub fn server_first(self, message: &[u8], max_iterations: NonZeroU32) -> Result<Challenge, ScramError> {
        let mut attributes = Attributes::new(message)?;
        let nonce = attributes::nonce(attributes.expect(b'r')?)?;
        match nonce.strip_prefix(self.nonce.as_bytes()) {
            Some([_, ..]) => {}
            Some([]) | None => return Err(ScramError::NonceMismatch),
        }
        let salt = attributes::base64(b's', attributes.expect(b's')?)?;
        if salt.is_empty() {
            return Err(ScramError::EmptySalt);
        }
        let iterations = attributes::iterations(attributes.expect(b'i')?).ok_or(ScramError::InvalidValue('i'))?;
        if iterations > max_iterations {
            return Err(ScramError::TooManyIterations { asked: iterations.get(), allowed: max_iterations.get() });
        }
        attributes.ignore_extensions()?;

        let client_final = [b"c=", self.binding_echo.as_bytes(), b",r=", nonce].concat();
        let auth_message = [&self.bare, &b","[..], message, b",", &client_final].concat();
        Ok(Challenge { salt, iterations, client_final, auth_message })
    }
}

/// What the server asks: the keys for this salt and this number of iterations.
///
/// ```text
/// let keys = match cache.get(challenge.salt(), challenge.iterations()) {
///     Some(keys) => keys,
///     None => cache.keep(Keys::derive(password, challenge.salt(), challenge.iterations())),
/// };
/// ```
#[derive(Debug)]
#[must_use]
pub struct Challenge {
    salt: Vec<u8>,
    iterations: NonZeroU32,
    /// The client's final message, without its proof.
    client_final: Vec<u8>,
    auth_message: Vec<u8>,
}

impl Challenge {
    /// The salt of the user's secret on the server; never empty.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The number of PBKDF2 rounds of the user's secret on the server.
    pub fn iterations(&self) -> NonZeroU32 {
        self.iterations
    }

    /// The final message with the proof, for SASLResponse.
    ///
    /// Keys of another salt or iteration count could only fail, as a wrong password would, and are refused by the
    /// clearer [`ScramError::KeysDoNotFit`].
    pub fn answer(self, keys: &Keys) -> Result<(Vec<u8>, AwaitServerFinal), ScramError> {
        if !keys.fit(&self.salt, self.iterations) {
            return Err(ScramError::KeysDoNotFit);
        }
        let client_signature = keys.client_key().hash().sign(&self.auth_message);
        let proof = keys.client_key().xor(&client_signature);
        let message = [&self.client_final[..], b",p=", BASE64.encode(proof.as_bytes()).as_bytes()].concat();
        let server_signature = keys.server_key().sign(&self.auth_message);
        Ok((message, AwaitServerFinal { server_signature }))
    }
}

/// A client that has sent its proof and awaits the server's.
#[derive(Debug)]
#[must_use]
pub struct AwaitServerFinal {
    server_signature: Key,
}

impl AwaitServerFinal {
    /// Takes the server's final message (AuthenticationSASLFinal) and checks its signature.
    ///
    /// Nothing may follow the signature, as libpq demands too: an extension there would be unsigned.
    pub fn server_final(self, message: &[u8]) -> Result<ServerVerified, ScramError> {
        let mut attributes = Attributes::new(message)?;
        match attributes.next()? {
            Some((b'e', reason)) => Err(ScramError::RefusedByServer(readable(reason))),
            Some((b'v', value)) => {
                attributes.end()?;
                let signature = Key::from_slice(&attributes::base64(b'v', value)?);
                match signature.ok_or(ScramError::InvalidValue('v'))? == self.server_signature {
                    true => Ok(ServerVerified(())),
                    false => Err(ScramError::WrongServerSignature),
                }
            }
            Some(_) | None => Err(ScramError::Expected('v')),
        }
    }
}

/// A stranger's words, fit for a log line.
fn readable(reason: &[u8]) -> String {
    let text = String::from_utf8_lossy(reason);
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(MAX_REASON_LEN).collect()
}

/// The server has proved that it holds the user's secret. An AuthenticationOk is to be believed only with this in hand.
#[derive(Debug)]
#[must_use]
pub struct ServerVerified(());

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice;

    const MAX: NonZeroU32 = NonZeroU32::new(10_000).unwrap();
    const SERVER_NONCE: &str = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";

    fn nonce() -> Nonce {
        Nonce::from_text("rOprNGfwEbeRWgbNEkqO")
    }

    fn certificate() -> ChannelBinding {
        ChannelBinding::TlsServerEndPoint(vec![1; 32])
    }

    /// The dialogue of RFC 7677 after the first message, which names a user where ours does not.
    fn rfc_7677() -> AwaitServerFirst {
        AwaitServerFirst {
            bare: b"n=user,r=rOprNGfwEbeRWgbNEkqO".to_vec(),
            binding_echo: "biws".to_owned(),
            nonce: nonce(),
        }
    }

    fn answered() -> (Vec<u8>, AwaitServerFinal) {
        let message = format!("r={SERVER_NONCE},s={SALT},i=4096");
        let challenge = rfc_7677().server_first(message.as_bytes(), MAX).unwrap();
        let keys = Keys::derive(b"pencil", challenge.salt(), challenge.iterations());
        challenge.answer(&keys).unwrap()
    }

    fn refused(message: &str) -> ScramError {
        rfc_7677().server_first(message.as_bytes(), MAX).unwrap_err()
    }

    fn refused_finally(message: &str) -> ScramError {
        AwaitServerFinal { server_signature: Key::from([1; 32]) }.server_final(message.as_bytes()).unwrap_err()
    }

    #[test]
    fn the_dialogue_of_rfc_7677_is_reproduced() {
        let (client_final, client) = answered();
        let expected = format!("c=biws,r={SERVER_NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert_eq!(String::from_utf8(client_final).unwrap(), expected);
        assert!(client.server_final(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_ok());
    }

    #[test]
    fn the_mechanism_is_the_best_that_both_sides_can() {
        let choose = |offer: &[&'static [u8]], binding| {
            let client = Client::new(offer.iter().copied(), binding, nonce())?;
            let mechanism = client.mechanism();
            Ok((mechanism, String::from_utf8(client.client_first().0).unwrap()))
        };
        let plain: &[u8] = b"SCRAM-SHA-256";
        let plus: &[u8] = b"SCRAM-SHA-256-PLUS";
        let first = |header| format!("{header},,n=,r=rOprNGfwEbeRWgbNEkqO");
        for (offer, binding, mechanism, header) in [
            (&[plus, plain][..], certificate(), Mechanism::ScramSha256Plus, "p=tls-server-end-point"),
            (&[plus], certificate(), Mechanism::ScramSha256Plus, "p=tls-server-end-point"),
            (&[plain], certificate(), Mechanism::ScramSha256, "y"),
            (&[plus, plain], ChannelBinding::None, Mechanism::ScramSha256, "n"),
            (&[b"OAUTHBEARER", plain], ChannelBinding::None, Mechanism::ScramSha256, "n"),
        ] {
            assert_eq!(choose(offer, binding), Ok((mechanism, first(header))));
        }
        for (offer, binding) in [(slice::from_ref(&plus), ChannelBinding::None), (&[], certificate())] {
            assert_eq!(choose(offer, binding), Err(ScramError::NoCommonMechanism));
        }
    }

    #[test]
    fn a_nonce_that_does_not_extend_ours_is_refused() {
        for nonce in ["rOprNGfwEbeRWgbNEkqO", "rOprNGfwEbeRWgbNEkq", "xOprNGfwEbeRWgbNEkqOabc"] {
            assert_eq!(refused(&format!("r={nonce},s={SALT},i=4096")), ScramError::NonceMismatch, "{nonce}");
        }
        for nonce in ["", "rOprNGfwEbeRWgbNEkqO a", "rOprNGfwEbeRWgbNEkqOé"] {
            assert_eq!(refused(&format!("r={nonce},s={SALT},i=4096")), ScramError::InvalidNonce, "{nonce}");
        }
    }

    #[test]
    fn a_salt_must_be_there_and_be_base64() {
        assert_eq!(refused(&format!("r={SERVER_NONCE},s=,i=4096")), ScramError::EmptySalt);
        for salt in ["*", "W22", "W22ZaJ0SNY7soEsUEjb6gR==", "é"] {
            assert_eq!(refused(&format!("r={SERVER_NONCE},s={salt},i=4096")), ScramError::InvalidValue('s'), "{salt}");
        }
    }

    #[test]
    fn iterations_are_between_one_and_the_limit() {
        let outcome = |iterations| {
            let message = format!("r={SERVER_NONCE},s={SALT},i={iterations}");
            rfc_7677().server_first(message.as_bytes(), MAX).map(|challenge| challenge.iterations().get())
        };
        assert_eq!(outcome("1"), Ok(1));
        assert_eq!(outcome("10000"), Ok(10_000));
        assert_eq!(outcome("10001"), Err(ScramError::TooManyIterations { asked: 10_001, allowed: 10_000 }));
        for bad in ["", "0", "-1", "4096x", "99999999999999999999"] {
            assert_eq!(outcome(bad), Err(ScramError::InvalidValue('i')), "{bad}");
        }
    }

    #[test]
    fn a_first_message_with_parts_missing_is_refused() {
        assert_eq!(refused(""), ScramError::Expected('r'));
        // The message that makes other implementations panic.
        assert_eq!(refused("r=x,s"), ScramError::NonceMismatch);
        assert_eq!(refused(&format!("r={SERVER_NONCE},s")), ScramError::Expected('s'));
        assert_eq!(refused(&format!("r={SERVER_NONCE}")), ScramError::Expected('s'));
        assert_eq!(refused(&format!("r={SERVER_NONCE},i=1,s={SALT}")), ScramError::Expected('s'));
        assert_eq!(refused(&format!("r={SERVER_NONCE},s={SALT}")), ScramError::Expected('i'));
        assert_eq!(refused(&format!("m=x,r={SERVER_NONCE},s={SALT},i=1")), ScramError::MandatoryExtension);
        assert_eq!(refused(&format!("r={SERVER_NONCE},s={SALT},i=1,")), ScramError::NotAnAttribute);
        assert_eq!(refused(&"r".repeat(5000)), ScramError::TooLong);
    }

    #[test]
    fn optional_extensions_are_ignored() {
        let message = format!("r={SERVER_NONCE},s={SALT},i=1,x=y");
        assert!(rfc_7677().server_first(message.as_bytes(), MAX).is_ok());
    }

    #[test]
    fn keys_of_another_salt_or_iteration_count_do_not_fit() {
        let message = format!("r={SERVER_NONCE},s={SALT},i=1");
        let challenge = || rfc_7677().server_first(message.as_bytes(), MAX).unwrap();
        let salt = challenge().salt().to_vec();
        assert!(challenge().answer(&Keys::derive(b"pencil", &salt, NonZeroU32::MIN)).is_ok());
        for keys in [Keys::derive(b"pencil", b"salt", NonZeroU32::MIN), Keys::derive(b"pencil", &salt, MAX)] {
            assert_eq!(challenge().answer(&keys).unwrap_err(), ScramError::KeysDoNotFit);
        }
    }

    #[test]
    fn a_server_without_the_right_signature_is_not_verified() {
        let zeros = "A".repeat(43);
        assert_eq!(refused_finally(&format!("v={zeros}=")), ScramError::WrongServerSignature);
        for value in ["", "AAAA", &zeros, "é"] {
            assert_eq!(refused_finally(&format!("v={value}")), ScramError::InvalidValue('v'), "{value}");
        }
        assert_eq!(refused_finally(&format!("v={zeros}=,x=1")), ScramError::Trailing);
        assert_eq!(refused_finally("x=1"), ScramError::Expected('v'));
        assert_eq!(refused_finally("é"), ScramError::NotAnAttribute);
        assert_eq!(refused_finally(""), ScramError::NotAnAttribute);
    }

    #[test]
    fn a_servers_reason_is_repeated_without_control_characters() {
        assert_eq!(refused_finally("e=no\x1b[31m\n"), ScramError::RefusedByServer("no?[31m?".to_owned()));
        let long = format!("e={}", "é".repeat(1000));
        assert_eq!(refused_finally(&long), ScramError::RefusedByServer("é".repeat(MAX_REASON_LEN)));
    }
}
