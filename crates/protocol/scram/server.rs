//! The server's side: a client that must prove a password to us.

use super::attributes::{self, Attributes};
use super::{BASE64, BINDING_TYPE, BindingFlag, ChannelBinding, Key, Keys, Mechanism, Nonce, ScramError, Verifier};
use base64::Engine as _;

/// A server that has announced [`ChannelBinding::offer`] and awaits the client's choice.
///
/// A client may send its choice without a first message (length -1 in SASLInitialResponse); it is then asked for it by
/// an empty AuthenticationSASLContinue, and the state does not change.
#[derive(Debug)]
#[must_use]
pub struct Server {
    verifier: Verifier,
    binding: ChannelBinding,
}

impl Server {
    /// Starts a login against this verifier, offering this channel binding.
    pub fn new(verifier: Verifier, binding: ChannelBinding) -> Self {
        Self { verifier, binding }
    }

    /// Takes the client's first message (in SASLInitialResponse, or the SASLResponse after it) and gives the answer,
    /// for AuthenticationSASLContinue.
    ///
    /// The user named in it is ignored: PostgreSQL's protocol knows the user from the StartupMessage.
    pub fn client_first(
        self,
        mechanism: Mechanism,
        message: &[u8],
        nonce: Nonce,
    ) -> Result<(Vec<u8>, AwaitClientFinal), ScramError> {
        let first = ClientFirst::parse(message)?;
        self.check_binding(mechanism, first.flag)?;

        let nonce = [first.nonce, nonce.as_bytes()].concat();
        let server_first = [
            b"r=",
            &nonce[..],
            b",s=",
            BASE64.encode(self.verifier.salt()).as_bytes(),
            b",i=",
            self.verifier.iterations().to_string().as_bytes(),
        ]
        .concat();
        let next = AwaitClientFinal {
            auth_message: [first.bare, b",", &server_first, b","].concat(),
            binding_echo: first.flag.echo(&self.binding),
            nonce,
            verifier: self.verifier,
        };
        Ok((server_first, next))
    }

    /// RFC 5802, section 6: mechanism, flag and offer must tell the same story.
    fn check_binding(&self, mechanism: Mechanism, flag: BindingFlag) -> Result<(), ScramError> {
        match (mechanism, flag, &self.binding) {
            (Mechanism::ScramSha256Plus, _, ChannelBinding::None) => Err(ScramError::MechanismNotOffered),
            (Mechanism::ScramSha256Plus, BindingFlag::Used, ChannelBinding::TlsServerEndPoint(_)) => Ok(()),
            (
                Mechanism::ScramSha256Plus,
                BindingFlag::Unsupported | BindingFlag::NotOffered,
                ChannelBinding::TlsServerEndPoint(_),
            ) => Err(ScramError::BindingMissing),
            (Mechanism::ScramSha256, BindingFlag::Used, _) => Err(ScramError::BindingUnexpected),
            (Mechanism::ScramSha256, BindingFlag::Unsupported, _) => Ok(()),
            (Mechanism::ScramSha256, BindingFlag::NotOffered, ChannelBinding::None) => Ok(()),
            (Mechanism::ScramSha256, BindingFlag::NotOffered, ChannelBinding::TlsServerEndPoint(_)) => {
                Err(ScramError::Downgrade)
            }
        }
    }
}

/// client-first-message, RFC 5802 section 7.
struct ClientFirst<'a> {
    flag: BindingFlag,
    nonce: &'a [u8],
    /// The message without its GS2 header, as received: both sides sign it.
    bare: &'a [u8],
}

impl<'a> ClientFirst<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, ScramError> {
        let mut parts = message.splitn(3, |&byte| byte == b',');
        let flag = match parts.next() {
            Some(b"n") => BindingFlag::Unsupported,
            Some(b"y") => BindingFlag::NotOffered,
            Some([b'p', b'=', name @ ..]) if name == BINDING_TYPE => BindingFlag::Used,
            Some([b'p', b'=', ..]) => return Err(ScramError::UnsupportedBinding),
            Some(_) | None => return Err(ScramError::UnknownBindingFlag),
        };
        match parts.next() {
            Some([]) => {}
            Some([b'a', b'=', ..]) => return Err(ScramError::AuthorizationIdentity),
            Some(_) | None => return Err(ScramError::NotAnAttribute),
        }
        let bare = parts.next().ok_or(ScramError::Expected('n'))?;
        let mut attributes = Attributes::new(bare)?;
        attributes.expect(b'n')?;
        let nonce = attributes::nonce(attributes.expect(b'r')?)?;
        attributes.ignore_extensions()?;
        Ok(Self { flag, nonce, bare })
    }
}

/// A server that has sent salt and nonce and awaits the proof.
#[derive(Debug)]
#[must_use]
pub struct AwaitClientFinal {
    verifier: Verifier,
    /// Everything both sides have signed so far, up to the comma before the client's final message.
    auth_message: Vec<u8>,
    binding_echo: String,
    nonce: Vec<u8>,
}

impl AwaitClientFinal {
    /// Takes the client's final message (SASLResponse) and checks its proof.
    ///
    /// [`ScramError::WrongProof`] means a wrong password or a [mock](Verifier::mock) verifier; any other error a client
    /// that does not speak SCRAM as it should.
    pub fn client_final(mut self, message: &[u8]) -> Result<Authenticated, ScramError> {
        let mut attributes = Attributes::new(message)?;
        let echo = attributes.expect(b'c')?;
        if attributes.expect(b'r')? != self.nonce {
            return Err(ScramError::NonceMismatch);
        }
        let mut without_proof = attributes.position();
        let proof = loop {
            match attributes.next()? {
                Some((b'p', value)) => break value,
                Some(_) => without_proof = attributes.position(),
                None => return Err(ScramError::Expected('p')),
            }
        };
        attributes.end()?;
        let proof = Key::from_slice(&attributes::base64(b'p', proof)?).ok_or(ScramError::InvalidValue('p'))?;
        if echo != self.binding_echo.as_bytes() {
            return Err(ScramError::BindingMismatch);
        }

        self.auth_message.extend_from_slice(&message[..without_proof - 1]);
        let client_key = proof.xor(&self.verifier.client_signature(&self.auth_message));
        let signature = self.verifier.server_signature(&self.auth_message);
        if !self.verifier.accepts(&client_key) {
            return Err(ScramError::WrongProof);
        }
        let server_final = format!("v={}", BASE64.encode(signature.as_bytes())).into_bytes();
        Ok(Authenticated { server_final, keys: self.verifier.into_keys(client_key) })
    }
}

/// The client knows the password.
#[derive(Debug)]
#[must_use]
pub struct Authenticated {
    /// For AuthenticationSASLFinal.
    pub server_final: Vec<u8>,
    /// What logs in to a server that holds the same verifier, in the client's name (pass-through).
    pub keys: Keys,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    const CLIENT_FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const WITHOUT_PROOF: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const PROOF: &str = ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn certificate() -> ChannelBinding {
        ChannelBinding::TlsServerEndPoint(vec![1; 32])
    }

    fn verifier() -> Verifier {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        Verifier::from_password(b"pencil", &salt, NonZeroU32::new(4096).unwrap())
    }

    fn start(
        mechanism: Mechanism,
        binding: ChannelBinding,
        message: &[u8],
    ) -> Result<(Vec<u8>, AwaitClientFinal), ScramError> {
        let verifier = Verifier::mock(b"user", b"process", NonZeroU32::MIN);
        Server::new(verifier, binding).client_first(mechanism, message, Nonce::from_text("server"))
    }

    /// Why a first message is refused, by a server that offers no channel binding.
    fn refused(message: &[u8]) -> ScramError {
        start(Mechanism::ScramSha256, ChannelBinding::None, message).unwrap_err()
    }

    fn rfc_7677() -> AwaitClientFinal {
        let nonce = Nonce::from_text("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        let server = Server::new(verifier(), ChannelBinding::None);
        let (server_first, server) = server.client_first(Mechanism::ScramSha256, CLIENT_FIRST, nonce).unwrap();
        assert_eq!(server_first, SERVER_FIRST.as_bytes());
        server
    }

    /// Why a final message is refused in the dialogue of RFC 7677.
    fn refused_finally(message: impl AsRef<[u8]>) -> ScramError {
        rfc_7677().client_final(message.as_ref()).unwrap_err()
    }

    #[test]
    fn the_dialogue_of_rfc_7677_authenticates() {
        let outcome = rfc_7677().client_final(format!("{WITHOUT_PROOF}{PROOF}").as_bytes()).unwrap();
        assert_eq!(outcome.server_final, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(Verifier::from_keys(&outcome.keys), verifier());
    }

    #[test]
    fn a_mock_verifier_fails_at_the_proof_and_not_before() {
        let (_, server) = start(Mechanism::ScramSha256, ChannelBinding::None, b"n,,n=,r=client").unwrap();
        let message = format!("c=biws,r=clientserver{PROOF}");
        assert_eq!(server.client_final(message.as_bytes()).unwrap_err(), ScramError::WrongProof);
    }

    #[test]
    fn the_user_in_the_message_is_ignored() {
        for user in [&b""[..], b"someone=2Celse", b"\xff\xfe", "ж".as_bytes()] {
            let message = [b"n,,n=", user, b",r=client"].concat();
            assert!(start(Mechanism::ScramSha256, ChannelBinding::None, &message).is_ok(), "{user:?}");
        }
    }

    #[test]
    fn optional_extensions_are_ignored_but_signed() {
        assert!(start(Mechanism::ScramSha256, ChannelBinding::None, b"n,,n=,r=client,x=1,y=").is_ok());
        // Before the proof an extension changes what is signed, so the old proof no longer fits.
        assert_eq!(refused_finally(format!("{WITHOUT_PROOF},x=1{PROOF}")), ScramError::WrongProof);
    }

    #[test]
    fn flag_mechanism_and_offer_must_agree() {
        use Mechanism::{ScramSha256 as Plain, ScramSha256Plus as Plus};
        let outcome = |mechanism, binding, header: &str| {
            start(mechanism, binding, format!("{header},,n=,r=client").as_bytes()).map(|(message, _)| drop(message))
        };
        let none = || ChannelBinding::None;
        assert_eq!(outcome(Plain, none(), "n"), Ok(()));
        assert_eq!(outcome(Plain, none(), "y"), Ok(()));
        assert_eq!(outcome(Plain, none(), "p=tls-server-end-point"), Err(ScramError::BindingUnexpected));
        assert_eq!(outcome(Plain, certificate(), "n"), Ok(()));
        assert_eq!(outcome(Plain, certificate(), "y"), Err(ScramError::Downgrade));
        assert_eq!(outcome(Plain, certificate(), "p=tls-server-end-point"), Err(ScramError::BindingUnexpected));
        assert_eq!(outcome(Plus, certificate(), "n"), Err(ScramError::BindingMissing));
        assert_eq!(outcome(Plus, certificate(), "y"), Err(ScramError::BindingMissing));
        assert_eq!(outcome(Plus, certificate(), "p=tls-server-end-point"), Ok(()));
        assert_eq!(outcome(Plus, certificate(), "p=tls-unique"), Err(ScramError::UnsupportedBinding));
        for header in ["n", "y", "p=tls-server-end-point"] {
            assert_eq!(outcome(Plus, none(), header), Err(ScramError::MechanismNotOffered));
        }
    }

    #[test]
    fn a_first_message_that_is_short_or_has_another_header_is_refused() {
        for message in [&b""[..], b",", b"x,,n=,r=c", b"N,,n=,r=c", b"p,,n=,r=c", b"nn,,n=,r=c", b"\xc3\xa9,,n=,r=c"] {
            assert_eq!(refused(message), ScramError::UnknownBindingFlag, "{message:?}");
        }
        for message in [&b"n"[..], b"n,x,n=,r=c", b"n,a,n=,r=c"] {
            assert_eq!(refused(message), ScramError::NotAnAttribute, "{message:?}");
        }
        for message in [&b"n,"[..], b"n,,", b"n,,n", b"n,,r=c", b"n,,u=,r=c"] {
            assert_eq!(refused(message), ScramError::Expected('n'), "{message:?}");
        }
        assert_eq!(refused(b"n,a=root,n=,r=c"), ScramError::AuthorizationIdentity);
        assert_eq!(refused(b"n,,m=x,n=,r=c"), ScramError::MandatoryExtension);
        // The message that makes other implementations panic.
        assert_eq!(refused(b"n,,n=u,r"), ScramError::Expected('r'));
        assert_eq!(refused(b"n,,n=u"), ScramError::Expected('r'));
        assert_eq!(refused(&[b"n,,n=,r=", &[b'c'; 5000][..]].concat()), ScramError::TooLong);
        assert_eq!(refused(b"n,,n=,r=c\0"), ScramError::NotAnAttribute);
        assert_eq!(refused(b"n,,n=,r=c,"), ScramError::NotAnAttribute);
    }

    #[test]
    fn a_nonce_that_is_empty_or_not_printable_is_refused() {
        for nonce in [&b""[..], b"a b", b"a\x7f", "é".as_bytes()] {
            assert_eq!(refused(&[b"n,,n=,r=", nonce].concat()), ScramError::InvalidNonce, "{nonce:?}");
        }
    }

    #[test]
    fn a_final_message_with_another_nonce_is_refused() {
        for nonce in ["", "rOprNGfwEbeRWgbNEkqO", "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0x", "é"] {
            assert_eq!(refused_finally(format!("c=biws,r={nonce}{PROOF}")), ScramError::NonceMismatch, "{nonce}");
        }
    }

    #[test]
    fn a_final_message_that_echoes_another_header_is_refused() {
        let nonce = &WITHOUT_PROOF["c=biws".len()..];
        for echo in ["eSws", "", "biw", "biws=", "cD10bHMtc2VydmVyLWVuZC1wb2ludCws", "bixhPXJvb3Qs"] {
            assert_eq!(refused_finally(format!("c={echo}{nonce}{PROOF}")), ScramError::BindingMismatch, "{echo}");
        }
    }

    #[test]
    fn a_proof_must_be_32_bytes_of_base64() {
        let long = BASE64.encode([0; 33]);
        let short = BASE64.encode([0; 31]);
        for proof in ["", "=", "dHzb", "****", "é", &long, &short, &PROOF[3..PROOF.len() - 1]] {
            let message = format!("{WITHOUT_PROOF},p={proof}");
            assert_eq!(refused_finally(message), ScramError::InvalidValue('p'), "{proof}");
        }
        let other = BASE64.encode([0; 32]);
        assert_eq!(refused_finally(format!("{WITHOUT_PROOF},p={other}")), ScramError::WrongProof);
    }

    #[test]
    fn a_final_message_with_parts_missing_or_added_is_refused() {
        assert_eq!(refused_finally(""), ScramError::Expected('c'));
        assert_eq!(refused_finally(&PROOF[1..]), ScramError::Expected('c'));
        assert_eq!(refused_finally(format!("c=biws{PROOF}")), ScramError::Expected('r'));
        assert_eq!(refused_finally(WITHOUT_PROOF), ScramError::Expected('p'));
        assert_eq!(refused_finally(format!("{WITHOUT_PROOF},x=1")), ScramError::Expected('p'));
        assert_eq!(refused_finally(format!("{WITHOUT_PROOF},m=1{PROOF}")), ScramError::MandatoryExtension);
        assert_eq!(refused_finally(format!("{WITHOUT_PROOF}{PROOF},x=1")), ScramError::Trailing);
        assert_eq!(refused_finally(format!("{WITHOUT_PROOF}{PROOF}\0")), ScramError::NotAnAttribute);
    }
}
