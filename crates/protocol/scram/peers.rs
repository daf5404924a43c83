//! Whole dialogues with implementations that share no code with ours, and with ourselves.

use super::*;
use ::scram::server::{AuthenticationProvider, AuthenticationStatus, PasswordInfo};
use ::scram::{ScramClient, ScramServer, hash_password};
use postgres_protocol::authentication::sasl;
use std::num::NonZeroU32;

const SALT: &[u8] = b"0123456789abcdef";
const ROUNDS: u16 = 64;
const PASSWORD: &str = "pa,ss=\u{fb01}"; // ends in a ligature that SASLprep takes apart

fn rounds() -> NonZeroU32 {
    NonZeroU32::new(ROUNDS.into()).unwrap()
}

fn verifier() -> Verifier {
    Verifier::from_password(PASSWORD.as_bytes(), SALT, rounds())
}

fn certificate() -> ChannelBinding {
    ChannelBinding::TlsServerEndPoint(vec![7; 32])
}

fn nonce() -> Nonce {
    Nonce::from_random([9; Nonce::RANDOM_LEN])
}

/// Runs the client of postgres-protocol against our server.
fn driver_logs_in(
    password: &str,
    client: sasl::ChannelBinding,
    mechanism: Mechanism,
    server: ChannelBinding,
) -> Result<Keys, ScramError> {
    let mut driver = sasl::ScramSha256::new(password.as_bytes(), client);
    let server = Server::new(verifier(), server);
    let (server_first, server) = server.client_first(mechanism, driver.message(), nonce())?;
    driver.update(&server_first).expect("the driver takes our first message");
    let Authenticated { server_final, keys } = server.client_final(driver.message())?;
    driver.finish(&server_final).expect("the driver takes our signature");
    Ok(keys)
}

#[test]
fn a_driver_logs_in_and_leaves_the_keys_of_its_password() {
    let unsupported = sasl::ChannelBinding::unsupported();
    let keys = driver_logs_in(PASSWORD, unsupported, Mechanism::ScramSha256, ChannelBinding::None);
    assert_eq!(keys, Ok(Keys::derive(PASSWORD.as_bytes(), SALT, rounds())));
}

#[test]
fn a_driver_over_tls_logs_in_though_no_binding_is_offered() {
    let unrequested = sasl::ChannelBinding::unrequested();
    assert!(driver_logs_in(PASSWORD, unrequested, Mechanism::ScramSha256, ChannelBinding::None).is_ok());
}

#[test]
fn a_driver_logs_in_with_channel_binding() {
    let bound = sasl::ChannelBinding::tls_server_end_point(vec![7; 32]);
    assert!(driver_logs_in(PASSWORD, bound, Mechanism::ScramSha256Plus, certificate()).is_ok());
}

#[test]
fn a_driver_bound_to_another_certificate_is_refused() {
    let bound = sasl::ChannelBinding::tls_server_end_point(vec![8; 32]);
    let outcome = driver_logs_in(PASSWORD, bound, Mechanism::ScramSha256Plus, certificate());
    assert_eq!(outcome, Err(ScramError::BindingMismatch));
}

#[test]
fn a_driver_with_the_wrong_password_is_refused() {
    let unsupported = sasl::ChannelBinding::unsupported();
    let outcome = driver_logs_in("password", unsupported, Mechanism::ScramSha256, ChannelBinding::None);
    assert_eq!(outcome, Err(ScramError::WrongProof));
}

/// Runs the client of the scram crate, which does not prepare passwords, against our server.
fn scram_client_logs_in(password: &str) -> Result<(), ScramError> {
    let prepared = saslprep(password.as_bytes());
    let prepared = std::str::from_utf8(&prepared).unwrap();
    let (client, first) = ScramClient::new("alice", prepared, None).client_first();
    let server = Server::new(verifier(), ChannelBinding::None);
    let (server_first, server) = server.client_first(Mechanism::ScramSha256, first.as_bytes(), nonce())?;
    let client = client.handle_server_first(std::str::from_utf8(&server_first).unwrap()).unwrap();
    let (client, client_final) = client.client_final();
    let Authenticated { server_final, .. } = server.client_final(client_final.as_bytes())?;
    client.handle_server_final(std::str::from_utf8(&server_final).unwrap()).expect("it takes our signature");
    Ok(())
}

#[test]
fn another_client_logs_in_with_the_right_password_only() {
    assert_eq!(scram_client_logs_in(PASSWORD), Ok(()));
    assert_eq!(scram_client_logs_in("password"), Err(ScramError::WrongProof));
}

struct OneUser;

impl AuthenticationProvider for OneUser {
    fn get_password_for(&self, user: &str) -> Option<PasswordInfo> {
        let prepared = saslprep(PASSWORD.as_bytes());
        let hash = hash_password(std::str::from_utf8(&prepared).unwrap(), rounds(), SALT);
        user.is_empty().then(|| PasswordInfo::new(hash.to_vec(), ROUNDS, SALT.to_vec()))
    }
}

/// Logs in to the server of the scram crate; tells what it says and what we make of its last message.
fn log_in_to_scram_server(password: &str) -> (AuthenticationStatus, Result<(), ScramError>) {
    let server = ScramServer::new(OneUser);
    let client = Client::new([&b"SCRAM-SHA-256"[..]], ChannelBinding::None, nonce()).unwrap();
    let (first, client) = client.client_first();
    let first = String::from_utf8(first).unwrap();
    let (server, server_first) = server.handle_client_first(&first).unwrap().server_first();
    let challenge = client.server_first(server_first.as_bytes(), rounds()).unwrap();
    let keys = Keys::derive(password.as_bytes(), challenge.salt(), challenge.iterations());
    let (client_final, client) = challenge.answer(&keys).unwrap();
    let client_final = String::from_utf8(client_final).unwrap();
    let (status, server_final) = server.handle_client_final(&client_final).unwrap().server_final();
    (status, client.server_final(server_final.as_bytes()).map(|ServerVerified { .. }| ()))
}

#[test]
fn we_log_in_to_another_server_with_the_right_password_only() {
    let (status, verified) = log_in_to_scram_server(PASSWORD);
    assert_eq!((status, verified), (AuthenticationStatus::Authenticated, Ok(())));
    let (status, verified) = log_in_to_scram_server("password");
    assert_eq!(status, AuthenticationStatus::NotAuthenticated);
    assert!(matches!(verified, Err(ScramError::RefusedByServer(_))), "{verified:?}");
}

/// Our client against our server, with each of the four messages passing through `wire`.
pub(super) fn dialogue(
    server: Server,
    client: Client,
    keys: impl FnOnce(&Challenge) -> Keys,
    mut wire: impl FnMut(usize, Vec<u8>) -> Vec<u8>,
) -> Result<(Authenticated, Result<ServerVerified, ScramError>), ScramError> {
    let mechanism = client.mechanism();
    let (message, client) = client.client_first();
    let (message, server) = server.client_first(mechanism, &wire(0, message), nonce())?;
    let challenge = client.server_first(&wire(1, message), rounds())?;
    let keys = keys(&challenge);
    let (message, client) = challenge.answer(&keys)?;
    let authenticated = server.client_final(&wire(2, message))?;
    let verified = client.server_final(&wire(3, authenticated.server_final.clone()));
    Ok((authenticated, verified))
}

#[test]
fn both_of_our_roles_agree_under_every_binding() {
    for (offered, ours, mechanism) in [
        (ChannelBinding::None, ChannelBinding::None, Mechanism::ScramSha256),
        (ChannelBinding::None, certificate(), Mechanism::ScramSha256),
        (certificate(), ChannelBinding::None, Mechanism::ScramSha256),
        (certificate(), certificate(), Mechanism::ScramSha256Plus),
    ] {
        let offer = offered.offer().iter().map(|name| name.as_bytes());
        let client = Client::new(offer, ours, nonce()).unwrap();
        assert_eq!(client.mechanism(), mechanism);
        let derive =
            |challenge: &Challenge| Keys::derive(PASSWORD.as_bytes(), challenge.salt(), challenge.iterations());
        let (_, verified) = dialogue(Server::new(verifier(), offered), client, derive, |_, message| message).unwrap();
        assert!(verified.is_ok());
    }
}

#[test]
fn the_keys_of_a_client_log_in_to_a_server_with_the_same_verifier() {
    let unsupported = sasl::ChannelBinding::unsupported();
    let passed = driver_logs_in(PASSWORD, unsupported, Mechanism::ScramSha256, ChannelBinding::None).unwrap();
    let upstream = Server::new(verifier(), ChannelBinding::None);
    let client = Client::new([&b"SCRAM-SHA-256"[..]], ChannelBinding::None, nonce()).unwrap();
    let (authenticated, verified) = dialogue(upstream, client, |_| passed.clone(), |_, message| message).unwrap();
    assert!(verified.is_ok());
    assert_eq!(authenticated.keys, passed);
}

#[test]
fn the_keys_of_a_client_do_not_fit_a_server_with_another_verifier() {
    let passed = Keys::derive(PASSWORD.as_bytes(), SALT, rounds());
    let other_salt = Verifier::from_password(PASSWORD.as_bytes(), b"another salt", rounds());
    let upstream = Server::new(other_salt, ChannelBinding::None);
    let client = Client::new([&b"SCRAM-SHA-256"[..]], ChannelBinding::None, nonce()).unwrap();
    let outcome = dialogue(upstream, client, |_| passed, |_, message| message);
    assert_eq!(outcome.unwrap_err(), ScramError::KeysDoNotFit);
}

#[test]
fn an_impostor_without_the_verifier_is_not_believed() {
    let client = Client::new([&b"SCRAM-SHA-256"[..]], ChannelBinding::None, nonce()).unwrap();
    let derive = |challenge: &Challenge| Keys::derive(PASSWORD.as_bytes(), challenge.salt(), challenge.iterations());
    let forged = b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_vec();
    let wire = |step, message| if step == 3 { forged.clone() } else { message };
    let (_, verified) = dialogue(Server::new(verifier(), ChannelBinding::None), client, derive, wire).unwrap();
    assert_eq!(verified.unwrap_err(), ScramError::WrongServerSignature);
}
