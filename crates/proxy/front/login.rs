//! From the first byte to a client in the hands of its worker.

use std::sync::Arc;

use config::{Config, Database};
use protocol::backend::TxStatus;
use protocol::messages::{self, Authentication, Severity};
use protocol::params::Params;
use protocol::startup::{Opening, Startup};
use protocol::{options, sqlstate};
use thiserror::Error;
use tracing::{info, warn};

use super::auth::Proven;
use crate::address::Address;
use crate::cancel;
use crate::client::handle::{ClientHandle, Identity};
use crate::clock::Micros;
use crate::console::{self, Access};
use crate::control;
use crate::error::ClientError;
use crate::pools::{Greeting, SharedPool};
use crate::random;
use crate::services::{Services, lock};
use crate::socket::Socket;
use crate::state::Shutdown;
use crate::wire::{Wire, WireError};
use crate::worker::{Parked, Presence};

/// Somebody who has connected.
#[derive(Debug)]
pub struct Peer {
    /// The connection.
    pub socket: Socket,
    /// The peer's end.
    pub remote: Address,
    /// Our end.
    pub local: Address,
    /// When it connected.
    pub connected_at: Micros,
}

/// Why a login ends before it succeeds.
#[derive(Debug, Error)]
pub enum LoginEnd {
    /// It is told this.
    #[error("{0}")]
    Told(#[from] ClientError),
    /// Nobody is there to be told.
    #[error("{0}")]
    Gone(WireError),
    /// It wanted something else: a cancel.
    #[error("done")]
    Done,
}

impl From<WireError> for LoginEnd {
    fn from(error: WireError) -> Self {
        match error {
            WireError::TooLarge(len) => Self::Told(ClientError::LoginPacketTooLarge(len)),
            WireError::Frame(error) => Self::Told(error.into()),
            WireError::Io(_) | WireError::Closed => Self::Gone(error),
        }
    }
}

/// A peer's place among those that have not logged in.
struct Place(Arc<Services>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.clients.end_login();
    }
}

/// Logs a client in and hands it over, within `client_login_timeout`.
pub async fn serve(services: Arc<Services>, peer: Peer) {
    let config = services.config.load_full();
    let mut wire = Wire::new(peer.socket, config.global.max_login_packet_size as usize);
    let ends = (peer.remote.clone(), peer.local);
    let mut login = Login {
        services: services.clone(),
        config: config.clone(),
        ends,
        connected_at: peer.connected_at,
        waits_for_server: false,
    };
    let end = match services.clients.begin_login(&config) {
        Err(error) => Err(error.into()),
        Ok(()) => {
            let _place = Place(services.clone());
            match config.global.client_login_timeout {
                None => login.run(&mut wire).await,
                Some(limit) => match tokio::time::timeout(limit, login.run(&mut wire)).await {
                    Ok(end) => end,
                    Err(_) if login.waits_for_server => Err(ClientError::LoginTimeoutServerDown.into()),
                    Err(_) => Err(ClientError::LoginTimeout.into()),
                },
            }
        }
    };
    match end {
        Ok(Outcome::Client(client)) => client.park(wire),
        Ok(Outcome::Console(presence, access)) => {
            let house = services.house.clone();
            let (socket, early) = wire.into_parts();
            let Ok(fd) = socket.into_fd() else { return };
            house.spawn(async move {
                let Ok(socket) = Socket::new(fd) else { return };
                let limit = services.config.load().global.max_login_packet_size as usize;
                let handle = presence.handle.clone();
                console::serve(services, Wire::resume(socket, early, limit), handle, access).await;
                drop(presence);
            });
        }
        Err(LoginEnd::Told(error)) => refuse(&services, &wire, &peer.remote, &error).await,
        Err(LoginEnd::Gone(error)) => info!(peer = %peer.remote, "closing because: {error}"),
        Err(LoginEnd::Done) => {}
    }
}

async fn refuse(services: &Services, wire: &Wire, peer: &Address, error: &ClientError) {
    services.errors.count(error.sqlstate());
    if services.config.load().global.log_pooler_errors {
        warn!(peer = %peer, "pooler error: {error}");
    }
    wire.socket.part_with(&error.to_message()).await;
}

struct Login {
    services: Arc<Services>,
    config: Arc<Config>,
    ends: (Address, Address),
    connected_at: Micros,
    waits_for_server: bool,
}

enum Outcome {
    Client(Box<Admitted>),
    Console(Presence, Access),
}

/// A client that has logged in.
struct Admitted {
    presence: Presence,
    params: Arc<Params>,
    pool: Arc<SharedPool>,
}

impl Admitted {
    fn park(self, wire: Wire) {
        let (socket, early) = wire.into_parts();
        let Ok(fd) = socket.into_fd() else { return };
        let services = self.presence.services.clone();
        services.workers.park(Parked { fd, presence: self.presence, params: self.params, pool: self.pool, early });
    }
}

impl Login {
    async fn run(&mut self, wire: &mut Wire) -> Result<Outcome, LoginEnd> {
        let startup = self.startup(wire).await?;
        negotiate(wire, &startup).await?;
        let name = |bytes: &[u8]| -> Arc<str> { String::from_utf8_lossy(bytes).as_ref().into() };
        let (database_name, user) = (name(&startup.database), name(&startup.user));
        if self.config.global.log_connections {
            info!(peer = %self.ends.0, "login attempt: db={database_name} user={user} tls=no");
        }
        if config::CONSOLE_NAMES.contains(&&*database_name) {
            return self.console(wire, &startup, database_name, user).await;
        }
        let wishes = self.wishes(&startup)?;
        let database = self.config.find_database(&database_name);
        let seat = self.admit(&database_name, &user, database.as_ref())?;
        let proven = self.services.authenticator.authenticate(wire, &self.config, &user).await?;
        let database = database.ok_or_else(|| ClientError::NoSuchDatabase(database_name.to_string()))?;
        self.check_open(&database)?;
        let pool = control::pool_for(&self.services, &database, &user);
        remember(&pool, &database, proven);

        self.waits_for_server = true;
        let greeting = pool.greeting().await?;
        self.waits_for_server = false;
        let params = self.settle(wishes, &greeting)?;
        let presence = self.presence(seat, &startup);
        self.greet(wire, &greeting, &params, &presence.handle).await?;
        pool.count_login();
        let params = self.services.intern(params);
        presence.handle.set_params(params.clone());
        Ok(Outcome::Client(Box::new(Admitted { presence, params, pool })))
    }

    /// The StartupMessage, past all that may come before it.
    async fn startup(&self, wire: &mut Wire) -> Result<Startup, LoginEnd> {
        loop {
            let limit = self.config.global.max_login_packet_size as usize;
            let Some((opening, len)) = Opening::parse(wire.unused(), limit).map_err(ClientError::Startup)? else {
                wire.receive().await?;
                continue;
            };
            wire.use_up(len);
            match opening {
                Opening::Startup(startup) => return Ok(startup),
                Opening::Cancel { pid, key } => {
                    cancel::cancel_client(&self.services, pid, &key).await;
                    return Err(LoginEnd::Done);
                }
                // What came with the request was sent in the hope of encryption, or by somebody in the middle.
                Opening::Ssl | Opening::GssEnc if !wire.unused().is_empty() => {
                    return Err(ClientError::DataBeforeTls.into());
                }
                Opening::Ssl | Opening::GssEnc => wire.send(b"N").await?,
            }
        }
    }

    /// What the client wants of the tracked parameters. All else is refused, unless it is to be ignored.
    fn wishes(&self, startup: &Startup) -> Result<Params, ClientError> {
        let mut wishes = self.services.tracked.empty();
        let ignored = |name: &[u8]| {
            self.config.global.ignore_startup_parameters.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
        };
        for (name, value) in &startup.parameters {
            if let Some(position) = self.services.tracked.position(name) {
                wishes.set(position, value);
            } else if name == b"options" {
                self.options(value, &mut wishes, &ignored)?;
            } else if name == b"replication" && is_replication(value) {
                return Err(ClientError::Replication);
            } else if !name.starts_with(b"_pq_.") && name != b"replication" && !ignored(name) {
                return Err(ClientError::UnsupportedParameter(String::from_utf8_lossy(name).into_owned()));
            }
        }
        if self.config.global.application_name_add_host
            && let Some(position) = self.services.tracked.position(b"application_name")
        {
            let name = String::from_utf8_lossy(wishes.get(position).unwrap_or(b"app")).into_owned();
            wishes.set(position, format!("{name} - {}", self.ends.0).as_bytes());
        }
        Ok(wishes)
    }

    fn options(&self, text: &[u8], wishes: &mut Params, ignored: &dyn Fn(&[u8]) -> bool) -> Result<(), ClientError> {
        for (name, value) in options::parse(text)? {
            match self.services.tracked.position(&name) {
                Some(position) => wishes.set(position, &value),
                None if ignored(&name) || ignored(b"options") => {}
                None => return Err(ClientError::UnsupportedOption(String::from_utf8_lossy(&name).into_owned())),
            }
        }
        Ok(())
    }

    fn admit(&self, name: &Arc<str>, user: &Arc<str>, database: Option<&Database>) -> Result<Seat, ClientError> {
        let unknown = Database::default();
        let limits = self.config.client_settings(database.unwrap_or(&unknown), user);
        self.services.clients.admit(name, user, self.config.global.max_client_conn, &limits)?;
        Ok(Seat { services: self.services.clone(), names: Some((name.clone(), user.clone())) })
    }

    fn check_open(&self, database: &Database) -> Result<(), ClientError> {
        if self.services.state.is_disabled(&database.name) {
            return Err(ClientError::DatabaseDisabled(database.name.clone()));
        }
        if self.services.state.shutdown() != Shutdown::No {
            return Err(ClientError::ShuttingDown);
        }
        if self.config.global.auth_type == config::AuthType::Any && database.user.is_none() {
            return Err(ClientError::BouncerConfig);
        }
        Ok(())
    }

    /// The client's wishes, and the server's values for all else. What the server does not report cannot follow a client.
    fn settle(&self, mut wishes: Params, greeting: &Greeting) -> Result<Params, ClientError> {
        let mut reported = self.services.tracked.empty();
        for (name, value) in &greeting.parameters {
            if let Some(position) = self.services.tracked.position(name) {
                reported.set(position, value);
            }
        }
        if let Some(position) = wishes.unreported(&reported) {
            return Err(ClientError::UnsupportedParameter(self.services.tracked.name(position).to_owned()));
        }
        wishes.fill_from(&reported);
        Ok(wishes)
    }

    fn presence(&self, mut seat: Seat, startup: &Startup) -> Presence {
        let (database, user) = seat.names.take().unwrap_or_else(|| ("".into(), "".into()));
        let identity = Identity {
            database,
            user,
            remote: self.ends.0.clone(),
            local: self.ends.1.clone(),
            connected_at: self.connected_at,
        };
        // Four bytes are all that protocol 3.0 can carry.
        let key: Box<[u8]> =
            if startup.agreed_minor() >= 2 { Box::new(random::bytes::<32>()) } else { Box::new(random::bytes::<4>()) };
        let id = self.services.next_id();
        let handle = self.services.clients.add(random::number, |pid| ClientHandle::new(id, pid, key, identity));
        Presence::new(handle, self.services.clone())
    }

    async fn greet(
        &self,
        wire: &Wire,
        greeting: &Greeting,
        params: &Params,
        handle: &ClientHandle,
    ) -> Result<(), LoginEnd> {
        let mut out = Vec::with_capacity(1024);
        messages::authentication(&mut out, Authentication::Ok);
        for (name, value) in &greeting.parameters {
            let position = self.services.tracked.position(name);
            let wanted = position.and_then(|position| params.get(position));
            messages::parameter_status(&mut out, name, wanted.unwrap_or(value));
        }
        messages::backend_key_data(&mut out, handle.pid, &handle.key);
        let message = &self.config.global.login_notify_message;
        if !message.is_empty() {
            messages::report(&mut out, Severity::Notice, sqlstate::SUCCESSFUL_COMPLETION, message, "");
        }
        messages::ready_for_query(&mut out, TxStatus::Idle);
        Ok(wire.send(&out).await?)
    }

    async fn console(
        &self,
        wire: &mut Wire,
        startup: &Startup,
        database: Arc<str>,
        user: Arc<str>,
    ) -> Result<Outcome, LoginEnd> {
        let global = &self.config.global;
        let is_owner = matches!(self.ends.0, Address::Unix { uid, .. } if uid == rustix::process::geteuid().as_raw());
        let listed = |users: &[String]| users.iter().any(|name| name == "*" || **name == *user);
        let access = if is_owner && &*user == "pgbouncer" {
            Access::Admin
        } else {
            let _: Proven = self.services.authenticator.authenticate(wire, &self.config, &user).await?;
            if listed(&global.admin_users) {
                Access::Admin
            } else if listed(&global.stats_users) || global.auth_type == config::AuthType::Any {
                Access::Stats
            } else {
                return Err(ClientError::ConsoleNotAllowed.into());
            }
        };
        // Operators are let in however full the house is.
        self.services.clients.admit_console(&database, &user);
        let seat = Seat { services: self.services.clone(), names: Some((database, user)) };
        Ok(Outcome::Console(self.presence(seat, startup), access))
    }
}

/// A place among the limits, until the client's presence takes it over.
struct Seat {
    services: Arc<Services>,
    names: Option<(Arc<str>, Arc<str>)>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some((database, user)) = self.names.take() {
            self.services.clients.leave(&database, &user);
        }
    }
}

async fn negotiate(wire: &Wire, startup: &Startup) -> Result<(), LoginEnd> {
    if startup.needs_negotiation() {
        let mut out = Vec::with_capacity(32);
        messages::negotiate_protocol_version(&mut out, startup.agreed_minor(), &startup.protocol_options());
        wire.send(&out).await?;
    }
    Ok(())
}

/// What a client has proved opens servers for its pool, unless the database says whom it logs in as.
fn remember(pool: &SharedPool, database: &Database, proven: Proven) {
    if let (Some(keys), None) = (proven.keys, &database.user) {
        lock(&pool.credentials).proven = Some(keys);
    }
}

/// libpq's and PostgreSQL's words for yes, and `database` for logical replication.
fn is_replication(value: &[u8]) -> bool {
    ["database", "true", "yes", "on", "1"].iter().any(|word| word.as_bytes().eq_ignore_ascii_case(value))
}
