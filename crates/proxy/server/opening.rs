//! Opening a server connection for a pool: its place in the budget, an endpoint, the login, `connect_query`.

use std::io;
use std::sync::Arc;

use pool::{OpenTicket, Permit, Purpose, Scope};
use protocol::statements::ServerStatements;
use tracing::{info, warn};

use super::connection::Server;
use super::dial::{self, Dialed};
use super::info::{Ends, ServerInfo};
use super::login::{self, Binding, LoggedIn, LoginError};
use super::secure::secure;
use super::target::{Followed, Target};
use crate::address::Endpoint;
use crate::error::ServerReport;
use crate::follow;
use crate::greeting::Greeting;
use crate::pools::SharedPool;
use crate::services::{Services, lock};
use crate::wire::Wire;

/// Longest message of a server during login.
const MAX_LOGIN_MESSAGE: usize = 1 << 16;

/// Opens one server, and tells the pool how it went.
pub async fn open(services: Arc<Services>, pool: Arc<SharedPool>, ticket: OpenTicket) {
    let Some(permit) = take_permit(&services, &pool, &ticket) else {
        return pool.with_core(|core, now, out| core.open_denied(ticket, now, out));
    };
    let target = pool.target.load_full();
    let connected = tokio::select! {
        connected = connect(&services, &pool, &target) => connected,
        () = follow::given_up(&services, &target) => Err(LoginError::GivenUp),
    };
    match connected {
        Ok((endpoint, dialed, found)) => {
            pool.set_failure(None);
            let followed = target.followed.as_ref().map(|followed| followed.at(endpoint));
            let connected = (followed, dialed, found);
            let server = prepare(&services, &pool, &target, ticket.id(), connected, permit).await;
            let home = services.house_id();
            pool.with_core(|core, now, out| core.opened(ticket, server, home, now, out));
        }
        Err(error) => {
            target.first_failed();
            lock(&services.budget).give_back(permit);
            super::closing::review_siblings(&services, &pool);
            follow::opening_failed(&services, &target, &error);
            let fatal = concerns_waiters(&error);
            if matches!(error, LoginError::GivenUp) {
                info!(database = %pool.database, user = %pool.user, "server login ended: {error}");
            } else {
                warn!(database = %pool.database, user = %pool.user, "server login failed: {error}");
                pool.set_failure(Some(report(error)));
            }
            pool.with_core(|core, now, out| core.open_failed(ticket, fatal, now, out));
        }
    }
}

/// A place in the budget; where a limit is reached, an idle sibling may have to give one up.
fn take_permit(services: &Services, pool: &Arc<SharedPool>, ticket: &OpenTicket) -> Option<Permit> {
    let full = match lock(&services.budget).try_take(pool.scopes.0, pool.scopes.1) {
        Ok(permit) => return Some(permit),
        Err(full) => full,
    };
    if ticket.purpose() == Purpose::MinPoolSize {
        return None;
    }
    let shares = |other: &SharedPool| match full {
        Scope::Database(id) => other.scopes.0 == id,
        Scope::User(id) => other.scopes.1 == id,
        Scope::Process => true,
    };
    let siblings = services.pools.all().into_iter().filter(|other| shares(other) && !Arc::ptr_eq(other, pool));
    let idle_since = |other: &Arc<SharedPool>| other.with_core(|core, _, _| core.longest_idle_since());
    let oldest = siblings.filter_map(|other| Some((idle_since(&other)?, other))).min_by_key(|(since, _)| *since)?;
    // Its closing gives the permit back and has us reviewed.
    oldest.1.with_core(|core, now, out| core.evict_idle(now, out));
    None
}

/// Connects and logs in once, and leaves again.
///
/// # Errors
/// What the server says, or why it cannot be reached.
pub async fn attempt(services: &Services, pool: &SharedPool) -> Result<(), ServerReport> {
    let target = pool.target.load_full();
    let (_, mut dialed, _) = connect(services, pool, &target).await.map_err(report)?;
    let mut goodbye = Vec::with_capacity(8);
    protocol::messages::terminate(&mut goodbye);
    // It has answered; how it takes the farewell says nothing more.
    let _ = dialed.socket.send_all(&goodbye).await;
    Ok(())
}

/// A session for a question about this pool's servers, at one of them and admitted like them. It is no server of the pool's.
///
/// # Errors
/// What the server says, or why it cannot be reached.
pub async fn session(services: &Services, pool: &SharedPool, target: &Target) -> Result<(Endpoint, Wire), LoginError> {
    let (endpoint, dialed, _) = connect(services, pool, target).await?;
    Ok((endpoint.clone(), Wire::new(dialed.socket, MAX_LOGIN_MESSAGE)))
}

/// Connects and logs in once, to where the pool's servers are, for a connection that the pool does not count.
///
/// # Errors
/// What the server says, or why it cannot be reached.
pub async fn connect_alone(services: &Services, pool: &SharedPool) -> Result<(Dialed, LoggedIn), ServerReport> {
    let target = pool.target.load_full();
    let connected = tokio::select! {
        connected = connect(services, pool, &target) => connected,
        () = follow::given_up(services, &target) => Err(LoginError::GivenUp),
    };
    connected.map(|(_, dialed, found)| (dialed, found)).map_err(report)
}

async fn connect<'a>(
    services: &Services,
    pool: &SharedPool,
    target: &'a Target,
) -> Result<(&'a Endpoint, Dialed, LoggedIn), LoginError> {
    let attempt = async {
        let mut last = None;
        for endpoint in target.order() {
            match connect_to(services, pool, target, endpoint).await {
                Ok((dialed, found)) => return Ok((endpoint, dialed, found)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(LoginError::GivenUp))
    };
    match target.connect_timeout {
        None => attempt.await,
        Some(limit) => tokio::time::timeout(limit, attempt).await.unwrap_or(Err(LoginError::Timeout)),
    }
}

async fn connect_to(
    services: &Services,
    pool: &SharedPool,
    target: &Target,
    endpoint: &Endpoint,
) -> Result<(Dialed, LoggedIn), LoginError> {
    let config = services.config.load_full();
    let dialed = dial::dial(&services.dns, target.ttls, endpoint, &config.global).await;
    let Dialed { mut socket, reached, remote, local, .. } = dialed.map_err(|error| LoginError::Wire(error.into()))?;
    // Unix sockets have no TLS.
    let tls = match endpoint {
        Endpoint::Tcp(host, _) => secure(services, &mut socket, host).await.map_err(LoginError::Tls)?,
        Endpoint::Unix(..) => None,
    };
    let mut wire = Wire::new(socket, MAX_LOGIN_MESSAGE);
    let binding = Binding::new(config.global.server_channel_binding, tls.as_ref());
    let credentials = lock(&pool.credentials).clone();
    let mut found = login::log_in(&mut wire, &target.startup, &pool.user, &credentials, binding).await?;
    if let Some(keys) = found.derived.take() {
        lock(&pool.credentials).derived = Some(keys);
    }
    if let Some(followed) = &target.followed {
        follow::admit(services, &mut wire, followed, &mut found).await?;
    }
    let (socket, _) = wire.into_parts();
    Ok((Dialed { socket, reached, remote, local, tls }, found))
}

async fn prepare(
    services: &Services,
    pool: &Arc<SharedPool>,
    target: &Target,
    id: pool::ServerId,
    (followed, dialed, found): (Option<Followed>, Dialed, LoggedIn),
    permit: Permit,
) -> Box<Server> {
    let mut params = services.tracked.empty();
    for (name, value) in &found.parameters {
        if let Some(position) = services.tracked.position(name) {
            params.set(position, value);
        }
    }
    let names = (pool.database.clone(), pool.user.clone());
    let Dialed { socket, reached, remote, local, tls } = dialed;
    let ends = Ends { reached, remote, local, tls };
    let info = ServerInfo::new(services.next_id(), (found.pid, found.key), names, ends);
    let info = Arc::new(info.following(followed));
    info!(server = info.id, database = %pool.database, user = %pool.user, "new connection to server {} (from {})", info.remote, info.local);
    services.servers.add(info.clone());
    let mut server = Box::new(Server {
        info,
        socket,
        home: services.house_id(),
        params: services.intern(params),
        statements: ServerStatements::default(),
        has_connect_query: target.connect_query.is_some(),
        was_used: false,
        idle_since: None,
        permit,
        watch: pool.watch(id),
        heard: None,
    });
    if pool.known_greeting().is_none() {
        pool.set_greeting(Greeting::new(found.parameters));
    }
    if let Some(query) = &target.connect_query {
        run_connect_query(services, &mut server, query).await;
    }
    if server.is_noisy() {
        pool.note_noise(id);
    }
    server
}

/// Its errors are only logged, as PgBouncer does.
pub async fn run_connect_query(services: &Services, server: &mut Server, query: &str) {
    let mut request = Vec::with_capacity(query.len() + 8);
    protocol::messages::query(&mut request, query.as_bytes());
    let failed = match server.ask(services, &request).await {
        Ok(answer) => answer.error.map(|error| error.message),
        Err(error) => Some(error.to_string()),
    };
    if let Some(failed) = failed {
        warn!(server = server.info.id, "connect_query failed: {failed}");
    }
}

/// Whether those who wait are told at once: the server is there and says no. While it starts up they wait on.
fn concerns_waiters(error: &LoginError) -> bool {
    match error {
        LoginError::Refused(report) => !matches!(report.sqlstate.as_str(), "57P03" | "53300" | "57P01"),
        LoginError::WrongPasswordType
        | LoginError::UnknownRequest(_)
        | LoginError::Scram(_)
        | LoginError::NoChannelBinding => true,
        // A refusal or a certificate, and not a connection that broke.
        LoginError::Tls(error) => matches!(error.kind(), io::ErrorKind::Other | io::ErrorKind::InvalidData),
        LoginError::Wire(_) | LoginError::Timeout | LoginError::Violation(_) => false,
        LoginError::Unfit(_) | LoginError::GivenUp => false,
    }
}

fn report(error: LoginError) -> ServerReport {
    match error {
        LoginError::Refused(report) => report,
        other => ServerReport { sqlstate: "08006".to_owned(), message: other.to_string() },
    }
}
