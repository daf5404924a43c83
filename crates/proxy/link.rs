//! Joining a client and its server: the same worker, a server that is alive, and the client's settings on it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use pool::WorkerId;
use protocol::backend::TxStatus;
use protocol::params::Params;
use protocol::{messages, sqlstate};
use tracing::info;

use crate::client::handle::ClientHandle;
use crate::client::rules::Rules;
use crate::clock::Micros;
use crate::error::{ClientError, ServerReport};
use crate::pools::Lease;
use crate::server::connection::{Answer, Server};
use crate::server::info::ServerState;
use crate::server::opening;
use crate::services::Services;
use crate::worker::Presence;

/// What a client brings to its server.
#[derive(Clone, Copy, Debug)]
pub struct Wishes<'a> {
    /// What the configuration says.
    pub rules: &'a Rules,
    /// What all share.
    pub services: &'a Arc<Services>,
    /// What others see of the client.
    pub handle: &'a Arc<ClientHandle>,
    /// The client's worker.
    pub worker: WorkerId,
}

impl<'a> Wishes<'a> {
    /// Of a client that is logged in, and works under these rules.
    pub fn new(presence: &'a Presence, rules: &'a Rules, worker: WorkerId) -> Self {
        Self { rules, services: &presence.services, handle: &presence.handle, worker }
    }
}

/// Makes a server fit for a client. None if it was dead.
///
/// # Errors
/// The server refuses the client's parameters.
pub async fn join(
    wishes: Wishes<'_>,
    mut lease: Lease,
    params: &mut Arc<Params>,
    mut interrupted: impl FnMut(&mut Context<'_>) -> Poll<ClientError>,
) -> Result<Option<Lease>, ClientError> {
    if !lease.server().socket.is_quiet() && lease.server().is_noisy() {
        lease.close("server sent something unasked");
        return Ok(None);
    }
    if lease.server().rehome(wishes.worker).is_err() {
        lease.close("cannot be moved to another worker");
        return Ok(None);
    }
    lease.server().was_used = true;
    let is_due = wishes.rules.check.is_some() && is_due_for_check(wishes.rules, &mut lease);
    if !is_due && Arc::ptr_eq(params, &lease.server().params) {
        return Ok(Some(lease));
    }
    // Boxed: rare and large, it must not make every idle client larger.
    let info = lease.server().info.clone();
    let mut work = Box::pin(prepare(wishes, lease, params, is_due));
    poll_fn(|cx| match interrupted(cx) {
        _ if info.is_cut() => Poll::Ready(Ok(None)),
        Poll::Ready(error) => Poll::Ready(Err(error)),
        Poll::Pending => work.as_mut().poll(cx),
    })
    .await
}

async fn prepare(
    wishes: Wishes<'_>,
    mut lease: Lease,
    params: &mut Arc<Params>,
    is_due: bool,
) -> Result<Option<Lease>, ClientError> {
    if is_due {
        lease.server().info.set_state(ServerState::Tested);
        if !passes_check(wishes, &mut lease).await {
            lease.close("server_check_query failed");
            return Ok(None);
        }
        lease.server().info.set_state(ServerState::Active);
    }
    if Arc::ptr_eq(params, &lease.server().params) { Ok(Some(lease)) } else { apply(wishes, lease, params).await }
}

fn is_due_for_check(rules: &Rules, lease: &mut Lease) -> bool {
    // One that has just been opened has never been idle.
    let idle_since = lease.server().idle_since;
    idle_since.is_some_and(|since| Micros::now().since(since) >= rules.server_check_delay.as_micros() as u64)
}

async fn passes_check(wishes: Wishes<'_>, lease: &mut Lease) -> bool {
    let Some(check) = &wishes.rules.check else { return true };
    let answer = lease.server().ask(wishes.services, check).await;
    matches!(answer, Ok(Answer { status: TxStatus::Idle, error: None, .. }))
}

/// Makes the client's settings the server's: with `set_config` and values as values, never as SQL text.
async fn apply(wishes: Wishes<'_>, mut lease: Lease, params: &mut Arc<Params>) -> Result<Option<Lease>, ClientError> {
    let before = lease.server().params.clone();
    match set(wishes.services, lease.server(), params).await {
        Ok(settled) => {
            if !Arc::ptr_eq(params, &settled) {
                *params = settled;
                wishes.handle.set_params(params.clone());
            }
            Ok(Some(lease))
        }
        // The time limit of the client before has met the reset: another server will do.
        Err(Unset::Refused(report)) if is_canceled(&report) && has_limits(&before) => {
            lease.close("settings could not be reset in the time they set");
            Ok(None)
        }
        // The client's cancel has met the pooler's own statement.
        Err(Unset::Refused(report)) if is_canceled(&report) => {
            lease.close("canceled while parameters were set");
            Err(ClientError::Canceled)
        }
        Err(Unset::Refused(report)) => {
            lease.close("invalid server parameter");
            Err(ClientError::InvalidServerParameter(report))
        }
        Err(Unset::Lost) => {
            info!(server = lease.server().info.id, "server was lost while parameters were set");
            lease.close("server conn crashed?");
            Ok(None)
        }
    }
}

fn is_canceled(report: &ServerReport) -> bool {
    report.sqlstate == sqlstate::QUERY_CANCELED.0
}

/// Whether settings may end a statement of the pooler's own.
fn has_limits(params: &Params) -> bool {
    ["statement_timeout", "lock_timeout", "transaction_timeout"]
        .iter()
        .any(|name| params.other(name.as_bytes()).is_some())
}

/// Why a server does not have a client's settings.
#[derive(Debug)]
pub enum Unset {
    /// It refuses them.
    Refused(ServerReport),
    /// It is of no more use.
    Lost,
}

/// Makes `wanted` the server's settings. What it returns is the same in the server's spelling, which becomes the
/// client's, or it would be set again and again.
///
/// # Errors
/// See [`Unset`]. The server must be closed then.
pub async fn set(services: &Services, server: &mut Server, wanted: &Arc<Params>) -> Result<Arc<Params>, Unset> {
    let has = server.params.clone();
    let mut request = Vec::new();
    // Whatever others are set is reset first, so that nobody meets another's.
    let is_reset = !has.others().is_empty();
    if is_reset {
        messages::query(&mut request, RESET);
        if let Some(query) = connect_query(services, server) {
            ask(services, server, &std::mem::take(&mut request)).await?;
            opening::run_connect_query(services, server, &query).await;
        }
    }
    add_settings(&mut request, services, wanted, &has, is_reset);
    if !request.is_empty() {
        ask(services, server, &request).await?;
    }
    let mut settled = (**wanted).clone();
    for (position, _) in wanted.differences(&has) {
        if let Some(value) = server.params.get(position) {
            settled.set(position, value);
        }
    }
    server.set_others(services, wanted.others().iter().cloned());
    Ok(services.intern(settled))
}

async fn ask(services: &Services, server: &mut Server, request: &[u8]) -> Result<(), Unset> {
    match server.ask(services, request).await {
        Ok(Answer { status: TxStatus::Idle, error: None, .. }) => Ok(()),
        Ok(Answer { error: Some(report), .. }) => Err(Unset::Refused(report)),
        Ok(Answer { error: None, .. }) | Err(_) => Err(Unset::Lost),
    }
}

/// What the operator has each server begin with.
fn connect_query(services: &Services, server: &Server) -> Option<String> {
    let info = server.has_connect_query.then_some(&server.info)?;
    services.pools.get(&info.database, &info.user)?.target.load().connect_query.clone()
}

/// In that order, because only who the server was opened for may do all that. Of what was left in the session nothing
/// limits what follows.
const RESET: &[u8] = b"RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL";

/// Settings that take rights away are set last.
const LAST: [&[u8]; 2] = [b"session_authorization", b"role"];

fn add_settings(out: &mut Vec<u8>, services: &Services, wanted: &Params, has: &Params, is_reset: bool) {
    let named = |(position, value)| (services.tracked.name(position).as_bytes(), value);
    let mut values: Vec<(&[u8], &[u8])> = if is_reset {
        wanted.reported_by(has).map(named).collect()
    } else {
        wanted.differences(has).map(named).collect()
    };
    if !wanted.others().is_empty() {
        // The others' values are in the client's encoding.
        let encoding = values.extract_if(.., |(name, _)| *name == b"client_encoding");
        set_all(out, &encoding.collect::<Vec<_>>());
    }
    let is_last = |name: &[u8]| LAST.contains(&name);
    let others = || wanted.others().iter().map(|(name, value)| (&**name, &**value));
    values.extend(others().filter(|(name, _)| !is_last(name)));
    values.extend(LAST.iter().filter_map(|last| others().find(|(name, _)| name == last)));
    set_all(out, &values);
}

fn set_all(out: &mut Vec<u8>, settings: &[(&[u8], &[u8])]) {
    if settings.is_empty() {
        return;
    }
    let calls = (0..settings.len()).map(|at| format!("pg_catalog.set_config(${}, ${}, false)", 2 * at + 1, 2 * at + 2));
    let sql = format!("select {}", calls.collect::<Vec<_>>().join(", "));
    let values: Vec<&[u8]> = settings.iter().flat_map(|(name, value)| [*name, *value]).collect();
    messages::extended_query(out, sql.as_bytes(), &values);
}
