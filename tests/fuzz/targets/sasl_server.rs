#![no_main]
//! Nobody logs in with bytes they made up, and an honest client only with the messages that it has sent.
//!
//! Three lines: the mechanism, with `+` in front where the server offers channel binding; the client's first message;
//! its final one.

use std::num::NonZeroU32;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use protocol::scram::{ChannelBinding, Client, Keys, MAX_MESSAGE_LEN, Mechanism, Nonce, ScramError, Server, Verifier};

/// Keys of a password that the fuzzer does not know.
static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::derive(b"pencil", b"salt", NonZeroU32::MIN));

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let [mechanism, first, last] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let (binding, mechanism) = match mechanism.strip_prefix(b"+") {
        Some(mechanism) => (ChannelBinding::TlsServerEndPoint(vec![5; 32]), mechanism),
        None => (ChannelBinding::None, mechanism),
    };
    let Ok(mechanism) = Mechanism::parse(mechanism) else { return };
    let real = Verifier::from_keys(&KEYS);
    let mock = Verifier::mock(b"joe", b"secret of the process", NonZeroU32::MIN);
    let answers = [real.clone(), mock].map(|verifier| made_up(verifier, &binding, mechanism, first, last));
    assert_eq!(answers[0], answers[1], "a user who does not exist can be told from one who does");
    altered(real, &binding, mechanism, first, last);
    if let Ok(text) = std::str::from_utf8(first)
        && let Ok(verifier) = Verifier::parse(text)
    {
        assert_eq!(Verifier::parse(&verifier.to_string()), Ok(verifier));
    }
});

fn nonce(byte: u8) -> Nonce {
    Nonce::from_random([byte; Nonce::RANDOM_LEN])
}

/// A dialogue with a client that knows no password: why it fails.
fn made_up(
    verifier: Verifier,
    binding: &ChannelBinding,
    mechanism: Mechanism,
    first: &[u8],
    last: &[u8],
) -> ScramError {
    let (challenge, dialogue) = match Server::new(verifier, binding.clone()).client_first(mechanism, first, nonce(3)) {
        Ok(next) => next,
        Err(error) => return error,
    };
    assert_eq!((mechanism == Mechanism::ScramSha256Plus, binding), (first.starts_with(b"p="), binding));
    assert!(mechanism == Mechanism::ScramSha256 || *binding != ChannelBinding::None);
    assert!(first.len() <= MAX_MESSAGE_LEN + 64 && challenge.len() <= first.len() + 100);
    match dialogue.client_final(last) {
        Ok(_) => panic!("logged in without a password"),
        Err(error) => error,
    }
}

/// A dialogue with a client that knows the password, while somebody in between puts `first` and `last` in its messages'
/// places, where they are not empty.
fn altered(verifier: Verifier, binding: &ChannelBinding, mechanism: Mechanism, first: &[u8], last: &[u8]) {
    let offer: &[&[u8]] =
        if mechanism == Mechanism::ScramSha256 { &[b"SCRAM-SHA-256"] } else { &[b"SCRAM-SHA-256-PLUS"] };
    let Ok(client) = Client::new(offer.iter().copied(), binding.clone(), nonce(4)) else { return };
    let (honest_first, client) = client.client_first();
    let first = if first.is_empty() { &honest_first } else { first };
    let server = Server::new(verifier, binding.clone());
    let Ok((challenge, server)) = server.client_first(mechanism, first, nonce(3)) else { return };
    let Ok(challenge) = client.server_first(&challenge, NonZeroU32::MIN) else { return };
    let (honest_last, client) = challenge.answer(&KEYS).expect("salt and iterations are the server's");
    let last = if last.is_empty() { &honest_last } else { last };
    let Ok(authenticated) = server.client_final(last) else { return };
    assert_eq!((first, last), (&honest_first[..], &honest_last[..]), "logged in with a message nobody sent");
    let _ = client.server_final(&authenticated.server_final).expect("it is the server's own signature");
    assert_eq!(authenticated.keys, *KEYS);
}
