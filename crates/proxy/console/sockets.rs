//! SHOW CLIENTS, SERVERS, SOCKETS and WAITING.

use std::collections::HashMap;
use std::sync::Arc;

use pool::Hold;

use super::moment;
use super::table::{Answer, Column, Table, int4, text};
use crate::address::Address;
use crate::client::handle::{ClientHandle, Doing};
use crate::clock::Micros;
use crate::pins;
use crate::pools::SharedPool;
use crate::server::info::{ServerInfo, ServerState};
use crate::services::Services;

/// A client or a server.
#[derive(Debug)]
pub(super) struct SocketRow {
    kind: &'static str,
    user: Arc<str>,
    database: Arc<str>,
    state: &'static str,
    remote: Address,
    local: Address,
    connected_at: Micros,
    requested_at: Micros,
    wait_micros: u64,
    close_needed: bool,
    id: u64,
    link: u64,
    remote_pid: u64,
    tls: Option<Arc<str>>,
    application_name: String,
    pinned: String,
}

macro_rules! socket_columns {
    ($($more:expr,)*) => {
        &[
            text("type", |s: &SocketRow| s.kind.to_owned()),
            text("user", |s| s.user.to_string()),
            text("database", |s| s.database.to_string()),
            text("replication", |_| "none".to_owned()),
            text("state", |s| s.state.to_owned()),
            text("addr", |s| s.remote.host()),
            int4("port", |s| s.remote.port().into()),
            text("local_addr", |s| s.local.host()),
            int4("local_port", |s| s.local.port().into()),
            text("connect_time", |s| moment::format(s.connected_at.wall())),
            text("request_time", |s| moment::format(s.requested_at.wall())),
            int4("wait", |s| s.wait_micros / 1_000_000),
            int4("wait_us", |s| s.wait_micros % 1_000_000),
            int4("close_needed", |s| s.close_needed.into()),
            text("ptr", |s| pointer(s.id)),
            text("link", |s| pointer(s.link)),
            int4("remote_pid", |s| s.remote_pid),
            text("tls", |s: &SocketRow| s.tls.as_deref().unwrap_or_default().to_owned()),
            text("application_name", |s| s.application_name.clone()),
            int4("prepared_statements", |_| 0),
            int4("id", |s| s.id),
            $($more,)*
        ]
    };
}

const SOCKET_COLUMNS: &[Column<SocketRow>] = socket_columns!(text("pinned", |s| s.pinned.clone()),);

pub(super) static CLIENTS: Table<SocketRow> = Table { columns: SOCKET_COLUMNS };

// Who is idle owns no buffer, and buffers belong to workers: there is nothing to tell of them.
pub(super) static SOCKETS: Table<SocketRow> = Table {
    columns: socket_columns!(
        int4("recv_pos", |_| 0),
        int4("pkt_pos", |_| 0),
        int4("pkt_remain", |_| 0),
        int4("send_pos", |_| 0),
        int4("send_remain", |_| 0),
        int4("pkt_avail", |_| 0),
        int4("send_avail", |_| 0),
    ),
};

/// Names a connection as PgBouncer's pointers do: equal in `ptr` and `link`, and otherwise without a meaning.
fn pointer(id: u64) -> String {
    if id == 0 { String::new() } else { format!("0x{id:x}") }
}

pub(super) fn clients(services: &Arc<Services>) -> Answer {
    CLIENTS.answer(client_rows(services, |state| state))
}

pub(super) fn servers(services: &Arc<Services>) -> Answer {
    CLIENTS.answer(server_rows(services, |state| state))
}

pub(super) fn sockets(services: &Arc<Services>) -> Answer {
    let client = |state| if state == "waiting" { "cl_waiting" } else { "cl_active" };
    let server = |state| match state {
        "idle" => "sv_idle",
        "tested" => "sv_tested",
        _ => "sv_active",
    };
    SOCKETS.answer(client_rows(services, client).chain(server_rows(services, server)))
}

pub(super) fn active_sockets() -> Answer {
    SOCKETS.answer(std::iter::empty())
}

/// Rows are made one by one: there may be very many clients.
fn client_rows(
    services: &Arc<Services>,
    word: fn(&'static str) -> &'static str,
) -> impl Iterator<Item = SocketRow> + Send + use<> {
    let name = services.tracked.position(b"application_name");
    let now = Micros::now();
    services.clients.all().into_iter().map(move |client| {
        let row = client_row(&client, name, now);
        SocketRow { state: word(row.state), ..row }
    })
}

fn client_row(client: &ClientHandle, name: Option<usize>, now: Micros) -> SocketRow {
    let link = client.server();
    let (state, at_work) = match client.doing() {
        Doing::Waiting => ("waiting", true),
        Doing::Query => ("active", true),
        Doing::Idle | Doing::Holding | Doing::Pinned => (if link == 0 { "idle" } else { "active" }, false),
    };
    let params = client.params();
    let application_name = params.as_deref().zip(name).and_then(|(params, name)| params.get(name));
    SocketRow {
        kind: "C",
        user: client.user.clone(),
        database: client.database.clone(),
        state,
        remote: client.remote.clone(),
        local: client.local.clone(),
        connected_at: client.connected_at,
        requested_at: client.requested_at(),
        wait_micros: if at_work { now.since(client.requested_at()) } else { 0 },
        close_needed: false,
        id: client.id,
        link,
        remote_pid: u64::try_from(client.remote.pid()).unwrap_or(0),
        tls: client.tls.clone(),
        application_name: String::from_utf8_lossy(application_name.unwrap_or_default()).into_owned(),
        pinned: pins::names(client.pinned()),
    }
}

fn server_rows(
    services: &Arc<Services>,
    word: fn(&'static str) -> &'static str,
) -> impl Iterator<Item = SocketRow> + Send + use<> {
    let services = services.clone();
    let now = Micros::now();
    services.servers.all().into_iter().map(move |server| {
        let pool = services.pools.get(&server.database, &server.user);
        let row = server_row(&server, pool.as_deref(), now);
        SocketRow { state: word(row.state), ..row }
    })
}

fn server_row(server: &ServerInfo, pool: Option<&SharedPool>, now: Micros) -> SocketRow {
    let (state, at_work) = match server.state() {
        ServerState::Idle => ("idle", false),
        ServerState::Active => ("active", true),
        ServerState::Tested => ("tested", true),
        ServerState::BeingCanceled => ("being_canceled", true),
    };
    let unix_pid = u64::try_from(server.remote.pid()).unwrap_or(0);
    SocketRow {
        kind: "S",
        user: server.user.clone(),
        database: server.database.clone(),
        state,
        remote: server.remote.clone(),
        local: server.local.clone(),
        connected_at: server.connected_at,
        requested_at: server.requested_at(),
        wait_micros: if at_work { now.since(server.requested_at()) } else { 0 },
        close_needed: pool.is_none_or(|pool| pool.is_outdated(server.connected_at)),
        id: server.id,
        link: server.client(),
        remote_pid: if unix_pid > 0 { unix_pid } else { server.pid.into() },
        tls: server.tls.as_ref().map(|tls| tls.words.clone()),
        application_name: String::new(),
        pinned: String::new(),
    }
}

/// A client in the queue.
#[derive(Debug)]
pub(super) struct WaitingRow {
    client: Arc<ClientHandle>,
    waited_micros: u64,
    why: String,
}

pub(super) static WAITING: Table<WaitingRow> = Table {
    columns: &[
        text("database", |w| w.client.database.to_string()),
        text("user", |w| w.client.user.to_string()),
        text("addr", |w| w.client.remote.host()),
        int4("port", |w| w.client.remote.port().into()),
        int4("wait", |w| w.waited_micros / 1_000_000),
        int4("wait_us", |w| w.waited_micros % 1_000_000),
        text("why", |w| w.why.clone()),
        int4("id", |w| w.client.id),
    ],
};

pub(super) fn waiting(services: &Arc<Services>) -> Answer {
    let now = Micros::now();
    let mut clients = services.clients.all();
    clients.retain(|client| client.doing() == Doing::Waiting);
    clients.sort_by_key(|client| client.requested_at());
    let config = services.config.load_full();
    let mut reasons: HashMap<(Arc<str>, Arc<str>), String> = HashMap::new();
    let mut rows = Vec::with_capacity(clients.len());
    for client in clients {
        let database = config.find_database(&client.database);
        let user: Arc<str> = database.and_then(|found| found.user).map_or_else(|| client.user.clone(), Arc::from);
        let reason = reasons.entry((client.database.clone(), user.clone()));
        let why =
            reason.or_insert_with(|| reason_to_wait(services, services.pools.get(&client.database, &user))).clone();
        rows.push(WaitingRow { waited_micros: now.since(client.requested_at()), client, why });
    }
    WAITING.answer(rows.into_iter())
}

/// Why the clients of a pool wait; a console that waits has no pool.
fn reason_to_wait(services: &Services, pool: Option<Arc<SharedPool>>) -> String {
    let Some(pool) = pool else { return "command in progress".to_owned() };
    let hold = pool.with_core(|core, _, _| core.holds().first().copied());
    match hold {
        Some(Hold::Operator | Hold::OperatorUntil(_)) => "paused".to_owned(),
        Some(Hold::Database | Hold::DatabaseUntil(_)) => "database is paused".to_owned(),
        Some(Hold::Shutdown) => "shutting down".to_owned(),
        Some(Hold::NoPrimary | Hold::Suspicion) => {
            let target = pool.target.load();
            if target.followed.as_ref().is_some_and(|followed| followed.standbys.is_some()) {
                return "no node may be read".to_owned();
            }
            let watched = target.followed.as_ref().and_then(|followed| services.follow.of(&followed.formation));
            let why = watched.and_then(|watched| watched.report().why);
            why.map_or_else(|| "no writable node".to_owned(), |why| why.to_string())
        }
        Some(Hold::Failover(_)) => "failover".to_owned(),
        None => pool.failure().map_or_else(|| "all servers are busy".to_owned(), |failure| failure.message),
    }
}
