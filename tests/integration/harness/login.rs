//! Logging in, by whatever the server asks for.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroU32;

use protocol::md5::Md5Secret;
use protocol::messages;
use protocol::scram::{self, ChannelBinding, Keys, Nonce};

use super::client::Received;
use super::stream::Address;
use super::tls::{self, Tls};
use super::wait::LIMIT;
use super::{Client, Message, Report};

const MAX_ITERATIONS: NonZeroU32 = NonZeroU32::new(100_000).unwrap();

/// Who wants in, and with what.
#[derive(Clone, Debug)]
pub struct Login {
    user: String,
    database: String,
    password: String,
    minor: u16,
    parameters: Vec<(String, String)>,
    tls: Option<Tls>,
    binding: Binding,
}

/// What a client makes of SCRAM's channel binding, where there is TLS. Without TLS it always says `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// SCRAM-SHA-256-PLUS where it is offered, as libpq.
    Used,
    /// It has none: `n`.
    Unsupported,
    /// It says it was offered none, `y`, whatever it was offered.
    Denied,
    /// SCRAM-SHA-256-PLUS with the hash of another certificate.
    Wrong,
    /// SCRAM-SHA-256-PLUS with the right hash, offered or not.
    Forced,
}

impl Login {
    /// By the lab's usual password, to database `app`.
    pub fn new(user: &str) -> Login {
        Login {
            user: user.into(),
            database: "app".into(),
            password: lab::PASSWORD.into(),
            minor: 0,
            parameters: Vec::new(),
            tls: None,
            binding: Binding::Used,
        }
    }

    pub fn database(mut self, name: &str) -> Login {
        self.database = name.into();
        self
    }

    pub fn password(mut self, password: &str) -> Login {
        self.password = password.into();
        self
    }

    /// The minor version of protocol 3.
    pub fn minor(mut self, minor: u16) -> Login {
        self.minor = minor;
        self
    }

    /// A startup parameter.
    pub fn with(mut self, name: &str, value: &str) -> Login {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// Over TLS.
    pub fn tls(mut self, tls: &Tls) -> Login {
        self.tls = Some(tls.clone());
        self
    }

    pub fn binding(mut self, binding: Binding) -> Login {
        self.binding = binding;
        self
    }

    /// The StartupMessage.
    pub fn startup(&self) -> Vec<u8> {
        let mut pairs = vec![("user", self.user.as_str()), ("database", self.database.as_str())];
        pairs.extend(self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut out = Vec::new();
        messages::startup(&mut out, pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        out[6..8].copy_from_slice(&self.minor.to_be_bytes());
        out
    }

    /// Logs in, which must succeed.
    #[track_caller]
    pub fn open(&self, address: &Address) -> Client {
        self.try_open(address).unwrap_or_else(|report| panic!("cannot log in as {self:?}: {report}"))
    }

    /// Logs in, or returns the error.
    #[track_caller]
    pub fn try_open(&self, address: &Address) -> Result<Client, Report> {
        let mut client = self.connect(address)?;
        client.send(&self.startup());
        self.finish(client)
    }

    /// Connects, and begins TLS if it is to be used.
    pub fn connect(&self, address: &Address) -> Result<Client, Report> {
        let failed = |error: io::Error| Report::silence(&error.to_string());
        let mut client = Client::try_connect(address).map_err(failed)?;
        if let Some(tls) = &self.tls {
            client.tls = Some(tls.clone());
            tls.begin(&mut client.stream).map_err(failed)?;
        }
        Ok(client)
    }

    /// Goes on after the StartupMessage.
    #[track_caller]
    pub fn finish(&self, mut client: Client) -> Result<Client, Report> {
        let mut dialogue = None;
        loop {
            let message = next(&mut client)?;
            match message.tag {
                b'R' if message.body == [0; 4] => break,
                b'R' => {
                    let answer = self.answer(&client, &message, &mut dialogue);
                    client.send(&answer);
                }
                b'v' => client.greeting.push(message),
                _ => panic!("unexpected during login: {message:?}"),
            }
        }
        loop {
            let message = next(&mut client)?;
            if message.tag == b'Z' {
                return Ok(client);
            }
            client.greeting.push(message);
        }
    }

    /// What to answer to an Authentication message other than its success.
    fn answer(&self, client: &Client, request: &Message, dialogue: &mut Option<Dialogue>) -> Vec<u8> {
        let (kind, data) = request.body.split_first_chunk::<4>().expect("Authentication has a kind");
        let mut out = Vec::new();
        match u32::from_be_bytes(*kind) {
            3 => messages::password(&mut out, self.password.as_bytes()),
            5 => {
                let secret = Md5Secret::from_password(self.password.as_bytes(), self.user.as_bytes());
                let salt = data.try_into().expect("a salt has four bytes");
                messages::password(&mut out, secret.response(salt).as_bytes());
            }
            10 => {
                let offer = data.split(|byte| *byte == 0).filter(|name| !name.is_empty());
                let scram = self.scram(client, offer.collect());
                let mechanism = scram.mechanism().name();
                let (first, next) = scram.client_first();
                *dialogue = Some(Dialogue::First(next));
                messages::sasl_initial_response(&mut out, mechanism, &first);
            }
            11 => {
                let Some(Dialogue::First(state)) = dialogue.take() else { panic!("SASLContinue out of order") };
                let challenge = state.server_first(data, MAX_ITERATIONS).expect("a good server-first message");
                let keys = Keys::derive(self.password.as_bytes(), challenge.salt(), challenge.iterations());
                let (last, next) = challenge.answer(&keys).expect("keys that fit");
                *dialogue = Some(Dialogue::Final(next));
                messages::sasl_response(&mut out, &last);
            }
            12 => {
                let Some(Dialogue::Final(state)) = dialogue.take() else { panic!("SASLFinal out of order") };
                let _proof = state.server_final(data).expect("the server proves that it knows us");
            }
            other => panic!("authentication of kind {other}"),
        }
        out
    }

    fn scram(&self, client: &Client, offer: Vec<&[u8]>) -> scram::Client {
        let end_point = || ChannelBinding::TlsServerEndPoint(tls::end_point(&client.stream));
        let plain: &[&[u8]] = &[b"SCRAM-SHA-256"];
        let plus: &[&[u8]] = &[b"SCRAM-SHA-256-PLUS"];
        let (offer, binding) = match self.binding {
            _ if !client.stream.is_tls() => (offer.as_slice(), ChannelBinding::None),
            Binding::Used => (offer.as_slice(), end_point()),
            Binding::Unsupported => (offer.as_slice(), ChannelBinding::None),
            Binding::Denied => (plain, end_point()),
            Binding::Wrong => (plus, ChannelBinding::TlsServerEndPoint(vec![7; 32])),
            Binding::Forced => (plus, end_point()),
        };
        scram::Client::new(offer.iter().copied(), binding, nonce()).expect("SCRAM-SHA-256 is offered")
    }
}

enum Dialogue {
    First(scram::AwaitServerFirst),
    Final(scram::AwaitServerFinal),
}

pub fn nonce() -> Nonce {
    let mut random = [0; Nonce::RANDOM_LEN];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random)).expect("there is randomness");
    Nonce::from_random(random)
}

/// The next message of a login; its error, or its end, ends the login.
#[track_caller]
fn next(client: &mut Client) -> Result<Message, Report> {
    match client.receive(LIMIT) {
        Received::Message(message) if message.tag == b'E' => {
            let report = message.report();
            assert!(matches!(client.receive(LIMIT), Received::Closed), "still open after {report}");
            Err(report)
        }
        Received::Message(message) => Ok(message),
        Received::Closed => Err(Report::silence("connection closed during login")),
        other => panic!("the login did not go on: {other:?}"),
    }
}
