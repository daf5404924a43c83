#![no_main]
//! A first packet means the same in any pieces and with anything behind it, and survives being written again.

use libfuzzer_sys::fuzz_target;
use protocol::messages;
use protocol::startup::{Opening, Startup, StartupError};

/// PgBouncer's default of `max_login_packet_size`.
const MAX_LEN: usize = 16_384;

fuzz_target!(|input: &[u8]| {
    let whole = Opening::parse(input, MAX_LEN);
    let mut decided = None;
    for len in 0..=input.len() {
        let now = Opening::parse(&input[..len], MAX_LEN);
        let same = decided.as_ref().is_none_or(|before| same(before, &now));
        assert!(same, "{decided:?} became {now:?} with {len} bytes");
        match &now {
            Ok(Some((_, taken))) => assert!(*taken <= len),
            Ok(None) => assert!(len < 8 || len < MAX_LEN),
            Err(_) => {}
        }
        if now != Ok(None) {
            decided = Some(now);
        }
    }
    let Ok(Some((opening, taken))) = whole else { return };
    let mut again = Vec::new();
    match &opening {
        Opening::Ssl => messages::ssl_request(&mut again),
        Opening::GssEnc => return,
        Opening::Cancel { pid, key } => {
            assert!((4..=256).contains(&key.len()));
            messages::cancel_request(&mut again, *pid, key);
        }
        Opening::Startup(startup) => return check(startup, taken),
    }
    assert_eq!(again, &input[..taken]);
});

/// An error may say more when more has arrived, but stays the error that it is.
fn same<T: PartialEq>(before: &Result<T, StartupError>, now: &Result<T, StartupError>) -> bool {
    match (before, now) {
        (Err(StartupError::BadHeader(before)), Err(StartupError::BadHeader(now))) => now.starts_with(before.as_str()),
        _ => before == now,
    }
}

fn check(startup: &Startup, taken: usize) {
    let Startup { minor, user, database, parameters } = startup;
    assert!((1..=127).contains(&user.len()) && !database.is_empty());
    let sizes = parameters.iter().map(|(name, value)| name.len() + value.len() + 2);
    assert!(sizes.sum::<usize>() + user.len() < taken);
    assert_eq!(startup.needs_negotiation(), !matches!(minor, 0 | 2) || !startup.protocol_options().is_empty());

    let mut again = Vec::new();
    let named = [(&b"user"[..], &user[..]), (b"database", database)];
    let others = parameters.iter().map(|(name, value)| (&name[..], &value[..]));
    messages::startup(&mut again, named.into_iter().chain(others));
    // `database` was perhaps not written before: it may need room now.
    let Ok(Some((Opening::Startup(read), len))) = Opening::parse(&again, 2 * MAX_LEN) else { panic!("{startup:?}") };
    assert_eq!((read, len), (Startup { minor: 0, ..startup.clone() }, again.len()));
}
