#![no_main]
//! No server proves itself with bytes it made up, or costs us time or memory at will.
//!
//! Three lines: the mechanisms on offer, with blanks between them and `+` in front where the client has channel
//! binding; the server's first message; its final one.

use std::num::NonZeroU32;

use libfuzzer_sys::fuzz_target;
use protocol::scram::{ChannelBinding, Client, Keys, MAX_MESSAGE_LEN, Mechanism, Nonce, ScramError};

const MAX_ITERATIONS: NonZeroU32 = NonZeroU32::new(4).unwrap();

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let [offer, first, last] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let (binding, offer) = match offer.strip_prefix(b"+") {
        Some(offer) => (ChannelBinding::TlsServerEndPoint(vec![5; 32]), offer),
        None => (ChannelBinding::None, offer),
    };
    let nonce = || Nonce::from_random([3; Nonce::RANDOM_LEN]);
    let offered = || offer.split(|byte| *byte == b' ');
    let Ok(client) = Client::new(offered(), binding.clone(), nonce()) else {
        return assert!(!offered().any(|name| name == b"SCRAM-SHA-256"));
    };
    let mechanism = client.mechanism();
    assert!(offered().any(|name| name == mechanism.name().as_bytes()));
    let bound = binding != ChannelBinding::None && offered().any(|name| name == b"SCRAM-SHA-256-PLUS");
    assert_eq!(mechanism == Mechanism::ScramSha256Plus, bound);

    let (_, client) = client.client_first();
    let Ok(challenge) = client.server_first(first, MAX_ITERATIONS) else { return };
    assert!(first.len() <= MAX_MESSAGE_LEN && challenge.iterations() <= MAX_ITERATIONS);
    assert!(!challenge.salt().is_empty() && challenge.salt().len() < first.len());
    let keys = Keys::derive(b"pencil", challenge.salt(), challenge.iterations());
    let (client_final, client) = challenge.answer(&keys).expect("they were derived for it");
    assert!(client_final.len() <= 2 * first.len() + 200);
    match client.server_final(last) {
        Ok(_) => panic!("an impostor was believed"),
        Err(ScramError::RefusedByServer(reason)) => {
            assert!(reason.chars().count() <= 200 && !reason.contains(char::is_control));
        }
        Err(_) => {}
    }
});
