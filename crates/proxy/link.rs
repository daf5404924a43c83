//! Joining a client and its server: the same worker, a server that is alive, and the client's parameters on it.

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
use crate::error::ClientError;
use crate::pools::Lease;
use crate::server::connection::Answer;
use crate::server::info::ServerState;
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

/// Sets the parameters that differ, with `set_config` and values as values: never as SQL text.
async fn apply(wishes: Wishes<'_>, mut lease: Lease, params: &mut Arc<Params>) -> Result<Option<Lease>, ClientError> {
    let Some(request) = request(wishes.services, params, &lease.server().params) else {
        return Ok(Some(lease));
    };
    match lease.server().ask(wishes.services, &request).await {
        Ok(Answer { status: TxStatus::Idle, error: None, .. }) => {}
        // The client's cancel has met the pooler's own statement.
        Ok(Answer { error: Some(report), .. }) if report.sqlstate == sqlstate::QUERY_CANCELED.0 => {
            lease.close("canceled while parameters were set");
            return Err(ClientError::Canceled);
        }
        Ok(Answer { error: Some(report), .. }) => {
            lease.close("invalid server parameter");
            return Err(ClientError::InvalidServerParameter(report));
        }
        Ok(Answer { error: None, .. }) | Err(_) => {
            info!(server = lease.server().info.id, "server was lost while parameters were set");
            lease.close("server conn crashed?");
            return Ok(None);
        }
    }
    // The server's spelling of a value becomes the client's, or it would be set again and again.
    let server = &lease.server().params;
    let mut settled = (**params).clone();
    let asked: Vec<_> = params.differences(server).map(|(position, _)| position).collect();
    for position in asked {
        if let Some(value) = server.get(position) {
            settled.set(position, value);
        }
    }
    *params = wishes.services.intern(settled);
    wishes.handle.set_params(params.clone());
    Ok(Some(lease))
}

fn request(services: &Services, wanted: &Params, has: &Params) -> Option<Vec<u8>> {
    let mut sql = String::from("select ");
    let mut values: Vec<&[u8]> = Vec::new();
    for (position, value) in wanted.differences(has) {
        let (name, number) = (services.tracked.name(position), values.len());
        if number > 0 {
            sql.push_str(", ");
        }
        sql.push_str(&format!("pg_catalog.set_config(${}, ${}, false)", number + 1, number + 2));
        values.extend([name.as_bytes(), value]);
    }
    if values.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(256);
    messages::extended_query(&mut out, sql.as_bytes(), &values);
    Some(out)
}
