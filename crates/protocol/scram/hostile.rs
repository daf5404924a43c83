//! Peers that send anything: no step panics, and nothing but an untouched dialogue ends well.

use super::peers::dialogue;
use super::*;
use proptest::prelude::*;
use std::num::NonZeroU32;

const PASSWORD: &[u8] = b"pencil";
const ROUNDS: NonZeroU32 = NonZeroU32::MIN;

fn nonce() -> Nonce {
    Nonce::from_random([3; Nonce::RANDOM_LEN])
}

fn binding(bound: bool) -> ChannelBinding {
    if bound { ChannelBinding::TlsServerEndPoint(vec![5; 32]) } else { ChannelBinding::None }
}

fn server(bound: bool) -> Server {
    Server::new(Verifier::from_password(PASSWORD, b"salt", ROUNDS), binding(bound))
}

fn client(bound: bool) -> Client {
    let offer = binding(bound).offer().iter().map(|name| name.as_bytes());
    Client::new(offer, binding(bound), nonce()).unwrap()
}

fn derive(challenge: &Challenge) -> Keys {
    Keys::derive(PASSWORD, challenge.salt(), challenge.iterations())
}

/// Bytes of any kind, and bytes that get past the first checks.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let anything = prop::collection::vec(any::<u8>(), 0..200);
    let alike = "([nypa=]{0,3},){0,2}([acimnprsve]=?[ -~é]{0,12},?){0,6}".prop_map(String::into_bytes);
    prop_oneof![anything, alike]
}

/// A change of one byte, at a place given as a share of the message.
#[derive(Clone, Copy, Debug)]
enum Change {
    Replace(f64, u8),
    Insert(f64, u8),
    Remove(f64),
}

impl Change {
    fn apply(self, mut message: Vec<u8>) -> Vec<u8> {
        let (Self::Replace(place, _) | Self::Insert(place, _) | Self::Remove(place)) = self;
        let at = (place * message.len() as f64) as usize;
        match self {
            Self::Replace(_, byte) => message[at] = byte,
            Self::Insert(_, byte) => message.insert(at, byte),
            Self::Remove(_) => drop(message.remove(at)),
        }
        message
    }
}

fn change() -> impl Strategy<Value = Change> {
    let byte = || prop_oneof![any::<u8>(), prop::sample::select(&b",=+/nypaicmrsv09A"[..])];
    prop_oneof![
        (0.0..1.0, byte()).prop_map(|(place, byte)| Change::Replace(place, byte)),
        (0.0..1.0, byte()).prop_map(|(place, byte)| Change::Insert(place, byte)),
        (0.0..1.0).prop_map(Change::Remove),
    ]
}

/// Whether the login succeeds on both sides when one message passes through `change`; `None` if it changes nothing.
fn survives(bound: bool, step: usize, change: impl Fn(Vec<u8>) -> Vec<u8>) -> Option<bool> {
    let mut changed = false;
    let outcome = dialogue(server(bound), client(bound), derive, |now, message| {
        if now != step {
            return message;
        }
        let altered = change(message.clone());
        changed = altered != message;
        altered
    });
    changed.then_some(matches!(outcome, Ok((_, Ok(_)))))
}

proptest! {
    #[test]
    fn no_message_makes_a_step_panic(message in message(), bound: bool, plus: bool) {
        let mechanism = if plus { Mechanism::ScramSha256Plus } else { Mechanism::ScramSha256 };
        let _ = server(bound).client_first(mechanism, &message, nonce());
        let (first, after_first) = client(bound).client_first();
        let _ = after_first.server_first(&message, ROUNDS);
        let (_, after_first) = server(bound).client_first(client(bound).mechanism(), &first, nonce()).unwrap();
        prop_assert!(after_first.client_final(&message).is_err());
        for step in 0..4 {
            prop_assert_ne!(survives(bound, step, |_| message.clone()), Some(true));
        }
        let _ = Verifier::parse(&String::from_utf8_lossy(&message));
        let _ = Mechanism::parse(&message);
        let _ = saslprep(&message);
    }

    #[test]
    fn a_message_changed_on_its_way_never_authenticates(change in change(), step in 0..4_usize, bound: bool) {
        prop_assert_ne!(survives(bound, step, |message| change.apply(message)), Some(true));
    }

    #[test]
    fn any_password_logs_in_and_any_other_does_not(
        // No NUL: PostgreSQL knows none, and HMAC cannot tell trailing ones from nothing.
        password in prop::collection::vec(1..=u8::MAX, 0..40),
        other in prop::collection::vec(1..=u8::MAX, 0..40),
    ) {
        let verifier = Verifier::from_password(&password, b"salt", ROUNDS);
        let log_in = |with: &[u8]| {
            let keys = |challenge: &Challenge| Keys::derive(with, challenge.salt(), challenge.iterations());
            let server = Server::new(verifier.clone(), ChannelBinding::None);
            dialogue(server, client(false), keys, |_, message| message).map(drop)
        };
        prop_assert_eq!(log_in(&password), Ok(()));
        let same = *saslprep(&password) == *saslprep(&other);
        prop_assert_eq!(log_in(&other), if same { Ok(()) } else { Err(ScramError::WrongProof) });
    }

    #[test]
    fn a_secret_survives_being_written_and_read(salt in prop::collection::vec(any::<u8>(), 1..40), password: String) {
        let verifier = Verifier::from_password(password.as_bytes(), &salt, ROUNDS);
        prop_assert_eq!(Verifier::parse(&verifier.to_string()), Ok(verifier));
    }
}

#[test]
fn a_message_cut_off_anywhere_never_authenticates() {
    for (bound, step) in [false, true].into_iter().flat_map(|bound| (0..4).map(move |step| (bound, step))) {
        for len in 0..200 {
            let cut = |message: Vec<u8>| message.into_iter().take(len).collect();
            assert_ne!(survives(bound, step, cut), Some(true), "message {step} cut to {len} bytes");
        }
    }
}

#[test]
fn an_untouched_dialogue_authenticates() {
    // Otherwise the tests above would prove nothing.
    for bound in [false, true] {
        assert!(matches!(dialogue(server(bound), client(bound), derive, |_, message| message), Ok((_, Ok(_)))));
    }
}
