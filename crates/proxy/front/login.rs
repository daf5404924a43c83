//! From the first byte to a client in the hands of its worker.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use config::{Config, Database};
use protocol::backend::TxStatus;
use protocol::messages::{self, Authentication, Severity};
use protocol::params::Params;
use protocol::startup::Startup;
use protocol::{options, sqlstate};
use thiserror::Error;
use tracing::{info, warn};

use super::auth::{Applicant, Proven};
use super::door::{Desk, Place};
use super::hello::{self, Hello};
use crate::address::Address;
use crate::client::handle::{ClientHandle, Identity};
use crate::clock::Micros;
use crate::console::{self, Access};
use crate::control;
use crate::error::ClientError;
use crate::greeting::Welcome;
use crate::pools::SharedPool;
use crate::random;
use crate::services::{Services, lock};
use crate::socket::Socket;
use crate::state::Shutdown;
use crate::tls::{self, ClientTls};
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
    /// The TLS handshake failed; an alert has told the peer.
    #[error("TLS handshake failed: {0}")]
    Tls(String),
    /// It wanted something else: a cancel.
    #[error("done")]
    Done,
}

impl From<WireError> for LoginEnd {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Unexpected(tag) => Self::Told(ClientError::UnexpectedLoginMessage(tag)),
            WireError::TooLarge(len) => Self::Told(ClientError::LoginPacketTooLarge(len)),
            WireError::Frame(error) => Self::Told(error.into()),
            WireError::Io(_) | WireError::Closed => Self::Gone(error),
        }
    }
}

/// A peer's place among those that have not logged in.
struct Unauthenticated<'a>(&'a Services, Option<IpAddr>);

impl Drop for Unauthenticated<'_> {
    fn drop(&mut self) {
        self.0.clients.end_login(self.1);
    }
}

/// Logs a client in and hands it over, within `client_login_timeout`.
pub async fn serve(services: Arc<Services>, desk: Arc<Desk>, peer: Peer, in_flight: Place) {
    let config = services.config.load_full();
    let mut wire = Wire::new(peer.socket, config.global.max_login_packet_size as usize);
    let mut login = Login {
        services: services.clone(),
        desk,
        config: config.clone(),
        ends: (peer.remote.clone(), peer.local),
        connected_at: peer.connected_at,
        tls: None,
        waits_for_server: false,
    };
    let address = peer.remote.ip();
    let (place, end) = match services.clients.begin_login(&config.global, address) {
        Err(error) => (None, Err(error.into())),
        Ok(()) => (Some(Unauthenticated(&services, address)), login.run_in_time(&mut wire).await),
    };
    match end {
        Ok(Outcome::Client(client)) => {
            drop((place, in_flight));
            login.desk.count_login();
            client.see_off(wire, &login.desk).await;
        }
        Ok(Outcome::Console(presence, access)) => {
            drop(place);
            let house = services.house.clone();
            // What waits for the next words, such as the end of a SCRAM dialogue, does not go with the socket.
            if wire.send(&[]).await.is_err() {
                return;
            }
            let (socket, early) = wire.into_parts();
            let Ok(socket) = socket.detach() else { return };
            house.spawn(async move {
                let Ok(socket) = socket.attach() else { return };
                let limit = services.config.load().global.max_login_packet_size as usize;
                let handle = presence.handle.clone();
                console::serve(services, Wire::resume(socket, early, limit), handle, access).await;
                drop(presence);
            });
        }
        // It keeps its place until it has been told: answers that are held back are limited like logins.
        Err(LoginEnd::Told(error)) => refuse(&services, &mut wire, &peer.remote, &error).await,
        Err(LoginEnd::Done) => {}
        Err(gone) => info!(peer = %peer.remote, "closing because: {gone}"),
    }
}

async fn refuse(services: &Services, wire: &mut Wire, peer: &Address, error: &ClientError) {
    services.errors.count(error.sqlstate());
    let config = services.config.load_full();
    if config.global.log_pooler_errors {
        warn!(peer = %peer, "pooler error: {error}");
    }
    if let Some(reason) = error.auth_failure() {
        services.auth_failures.count(reason);
        let longest = config.global.auth_failure_delay;
        if let (Some(address), Some(longest)) = (peer.ip(), longest) {
            tokio::time::sleep(services.throttle.failed(address, longest, Instant::now())).await;
        }
    }
    wire.part_with(&error.to_message()).await;
}

struct Login {
    services: Arc<Services>,
    desk: Arc<Desk>,
    config: Arc<Config>,
    ends: (Address, Address),
    connected_at: Micros,
    /// The client's TLS, in PgBouncer's words.
    tls: Option<Arc<str>>,
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
    /// Sees the client off: to a worker with its first words, or out of the house. Who leaves at once never costs a
    /// worker anything.
    async fn see_off(self, mut wire: Wire, desk: &Desk) {
        let mut left = false;
        if wire.unused().is_empty() {
            tokio::select! {
                received = wire.receive() => left = received.is_err(),
                () = desk.silence.lasts() => {}
            }
        }
        let reason = match wire.unused().first() {
            _ if left => "client unexpected eof",
            Some(b'X') => "client close request",
            _ => return self.park(wire).await,
        };
        self.presence.services.log_end(&self.presence.handle, reason);
    }

    /// Waits while the worker has many to welcome: logins must not run ahead of those who serve them.
    async fn park(self, wire: Wire) {
        let (socket, early) = wire.into_parts();
        let Ok(socket) = socket.detach() else { return };
        let services = self.presence.services.clone();
        let Self { presence, params, pool } = self;
        services.workers.park(Parked { socket, presence, params, pool, early }).await;
    }
}

impl Login {
    async fn run_in_time(&mut self, wire: &mut Wire) -> Result<Outcome, LoginEnd> {
        let Some(limit) = self.config.global.client_login_timeout else { return self.run(wire).await };
        match tokio::time::timeout(limit, self.run(wire)).await {
            Ok(end) => end,
            Err(_) if self.waits_for_server => Err(ClientError::LoginTimeoutServerDown.into()),
            Err(_) => Err(ClientError::LoginTimeout.into()),
        }
    }

    async fn run(&mut self, wire: &mut Wire) -> Result<Outcome, LoginEnd> {
        let Hello { startup, tls } =
            hello::listen(&self.services, &self.config.global, &self.desk, wire, &self.ends.0).await?;
        self.tls = wire.socket.tls().and_then(|connection| tls::describe(connection)).map(Arc::from);
        negotiate(wire, &startup);
        let name = |bytes: &[u8]| -> Arc<str> { String::from_utf8_lossy(bytes).as_ref().into() };
        let (database_name, user) = (name(&startup.database), name(&startup.user));
        if self.config.global.log_connections {
            info!(peer = %self.ends.0, "login attempt: db={database_name} user={user} tls={}", self.tls.as_deref().unwrap_or("no"));
        }
        if config::CONSOLE_NAMES.contains(&&*database_name) {
            // Boxed: rare, it must not make every login larger.
            return Box::pin(self.console(wire, &startup, tls.as_deref(), (database_name, user))).await;
        }
        let wishes = self.wishes(&startup)?;
        let database = self.config.find_database(&database_name);
        let seat = self.admit(&database_name, &user, database.as_ref())?;
        let proven = self.authenticate(wire, (database.as_ref(), &database_name, &user), tls.as_deref()).await?;
        let database = database.ok_or_else(|| ClientError::NoSuchDatabase(database_name.to_string()))?;
        self.check_open(&database)?;
        let pool = control::pool_for(&self.services, &database, &user);
        remember(&pool, &database, proven);

        self.waits_for_server = true;
        let greeting = pool.greeting().await?;
        self.waits_for_server = false;
        let Welcome { params, statuses, .. } = greeting.welcome(&self.services, wishes);
        let presence = self.presence(seat, &startup);
        self.greet(wire, &statuses, &presence.handle).await?;
        pool.count_login();
        presence.handle.set_params(params.clone());
        Ok(Outcome::Client(Box::new(Admitted { presence, params, pool })))
    }

    /// What the client wants its parameters to be, except for those that are to be ignored. Whether they exist, and may
    /// have these values, is for the server to say. What stands alone goes before what stands in `options`.
    fn wishes(&self, startup: &Startup) -> Result<Params, ClientError> {
        let (mut wishes, mut others) = (self.services.tracked.empty(), Vec::new());
        let ignored = &self.config.global.ignore_startup_parameters;
        let ignores = |name: &[u8]| ignored.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
        let mut wish = |name: &[u8], value: &[u8], is_ignored: bool| match self.services.tracked.position(name) {
            Some(position) => wishes.set(position, value),
            None if is_ignored || ignores(name) => {}
            None => others.push((name.to_ascii_lowercase().into(), value.into())),
        };
        for (_, text) in startup.parameters.iter().filter(|(name, _)| name == b"options") {
            options::parse(text)?.iter().for_each(|(name, value)| wish(name, value, ignores(b"options")));
        }
        for (name, value) in &startup.parameters {
            match name.as_slice() {
                b"options" => {}
                b"replication" if is_replication(value) => return Err(ClientError::Replication),
                b"replication" => {}
                name if name.starts_with(b"_pq_.") => {}
                name => wish(name, value, false),
            }
        }
        wishes.set_others(others);
        if self.config.global.application_name_add_host
            && let Some(position) = self.services.tracked.position(b"application_name")
        {
            let name = String::from_utf8_lossy(wishes.get(position).unwrap_or(b"app")).into_owned();
            wishes.set(position, format!("{name} - {}", self.ends.0).as_bytes());
        }
        Ok(wishes)
    }

    fn admit(&self, name: &Arc<str>, user: &Arc<str>, database: Option<&Database>) -> Result<Seat, ClientError> {
        let unknown = Database::default();
        let limits = self.config.client_settings(database.unwrap_or(&unknown), user);
        self.services.clients.admit(name, user, self.config.global.max_client_conn, &limits)?;
        Ok(Seat { services: self.services.clone(), names: Some((name.clone(), user.clone())) })
    }

    async fn authenticate(
        &self,
        wire: &mut Wire,
        (database, database_name, user): (Option<&Database>, &str, &Arc<str>),
        tls: Option<&ClientTls>,
    ) -> Result<Proven, LoginEnd> {
        let is_console = config::CONSOLE_NAMES.contains(&database_name);
        let name = if is_console { database_name.to_owned() } else { String::new() };
        let unknown = Database { name, ..Database::default() };
        let applicant = Applicant {
            services: &self.services,
            config: &self.config,
            database: database.unwrap_or(&unknown),
            database_name,
            user,
            remote: &self.ends.0,
            tls,
        };
        self.desk.turn_of_user(user).await;
        self.services.authenticator.authenticate(wire, &applicant).await
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

    fn presence(&self, mut seat: Seat, startup: &Startup) -> Presence {
        let (database, user) = seat.names.take().unwrap_or_else(|| ("".into(), "".into()));
        let identity = Identity {
            database,
            user,
            remote: self.ends.0.clone(),
            local: self.ends.1.clone(),
            connected_at: self.connected_at,
            tls: self.tls.clone(),
        };
        // Four bytes are all that protocol 3.0 can carry.
        let key: Box<[u8]> =
            if startup.agreed_minor() >= 2 { Box::new(random::bytes::<32>()) } else { Box::new(random::bytes::<4>()) };
        let id = self.services.next_id();
        let handle = self.services.clients.add(random::number, |pid| ClientHandle::new(id, pid, key, identity));
        Presence::new(handle, self.services.clone())
    }

    async fn greet(&self, wire: &mut Wire, statuses: &[u8], handle: &ClientHandle) -> Result<(), LoginEnd> {
        let mut out = Vec::with_capacity(1024);
        messages::authentication(&mut out, Authentication::Ok);
        out.extend_from_slice(statuses);
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
        tls: Option<&ClientTls>,
        (database, user): (Arc<str>, Arc<str>),
    ) -> Result<Outcome, LoginEnd> {
        let global = &self.config.global;
        let is_owner = matches!(self.ends.0, Address::Unix { uid, .. } if uid == rustix::process::geteuid().as_raw());
        let listed = |users: &[String]| users.iter().any(|name| name == "*" || **name == *user);
        let access = if is_owner && &*user == "pgbouncer" {
            Access::Admin
        } else {
            let _: Proven = self.authenticate(wire, (None, &database, &user), tls).await?;
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

/// Goes out with the first request for a proof.
fn negotiate(wire: &mut Wire, startup: &Startup) {
    if startup.needs_negotiation() {
        let mut out = Vec::with_capacity(32);
        messages::negotiate_protocol_version(&mut out, startup.agreed_minor(), &startup.protocol_options());
        wire.queue(&out);
    }
}

/// What a client has proved opens servers for its pool, unless the database says whom it logs in as.
fn remember(pool: &SharedPool, database: &Database, proven: Proven) {
    if database.user.is_some() || (proven.keys.is_none() && proven.secret.is_none()) {
        return;
    }
    let mut credentials = lock(&pool.credentials);
    credentials.proven = proven.keys.or(credentials.proven.take());
    credentials.looked_up = proven.secret.or(credentials.looked_up.take());
}

/// libpq's and PostgreSQL's words for yes, and `database` for logical replication.
fn is_replication(value: &[u8]) -> bool {
    ["database", "true", "yes", "on", "1"].iter().any(|word| word.as_bytes().eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(_: impl FnOnce(Arc<Services>, Arc<Desk>, Peer, Place) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_login_is_small_enough_to_be_moved() {
        let size = size_of_future(serve);
        assert!(size <= 4096, "{size} bytes");
    }
}
