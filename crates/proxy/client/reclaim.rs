//! What becomes of a server whose client is gone: rolled back and returned when that is provably clean, else closed.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use config::{Hidden, PoolMode};
use pool::WorkerId;
use protocol::backend::TxStatus;
use protocol::exchange::{Reply, WayBack};
use protocol::statements::ClientStatements;
use protocol::traces::Kinds;
use protocol::{AtRest, Header, messages};
use tracing::info;

use super::relay::MAX_WHOLE_MESSAGE;
use crate::cancel;
use crate::flow::{Desk, LentDesk};
use crate::link::Wishes;
use crate::pools::{Lease, SharedPool};
use crate::server::connection::{Answer, Server};
use crate::server::info::ServerState;
use crate::services::Services;
use crate::stats::Usage;

/// How long a server may take to come to rest, where `cancel_wait_timeout` sets no limit.
const PATIENCE: Duration = Duration::from_secs(10);

/// Brings an abandoned server to rest in a task of its own. What its client has kept it for is discarded.
pub fn start(wishes: Wishes<'_>, pool: Arc<SharedPool>, mut lease: Lease, desk: LentDesk, was_pinned: bool) {
    wishes.handle.set_server(0);
    if desk.up.has_cleared() || desk.up.is_inside_message() {
        return lease.close("client disconnected in the middle of a message");
    }
    let (services, worker) = (wishes.services.clone(), wishes.worker);
    let client = wishes.handle.id;
    // Whatever the client has left behind, it is not needed any more.
    let traces = desk.exchange.traces();
    let hides = traces.hides && wishes.rules.hidden != Hidden::Ignore;
    let leaves = was_pinned || hides || !traces.kinds.without(Kinds::ENDS).is_none();
    let is_discarded = leaves && wishes.rules.mode != PoolMode::Session;
    let reset = if is_discarded { Some(discard_all()) } else { wishes.rules.reset_after_session() };
    let limit = services.config.load().global.cancel_wait_timeout.unwrap_or(PATIENCE);
    tokio::spawn(async move {
        let mut desk = desk;
        let ended = tokio::time::timeout(limit, calm(&services, lease.server(), client, &mut desk)).await;
        match ended {
            Ok(Some(proof)) => give_back(&services, &pool, lease, proof, worker, &desk.usage, reset.as_deref()).await,
            Ok(None) => lease.close("client disconnected and the server cannot be brought to rest"),
            Err(_) => lease.close("client disconnected while the server was busy"),
        }
    });
}

/// Resets a server that is at rest before anybody else gets it (`server_reset_query`).
pub fn reset(wishes: Wishes<'_>, pool: Arc<SharedPool>, lease: Lease, proof: AtRest, usage: &Usage) {
    let query = wishes.rules.reset.clone();
    reset_by(query, wishes, pool, lease, proof, usage);
}

/// Discards all that may be left in the session of a server that is at rest.
pub fn discard(wishes: Wishes<'_>, pool: Arc<SharedPool>, lease: Lease, proof: AtRest, usage: &Usage) {
    reset_by(Some(discard_all()), wishes, pool, lease, proof, usage);
}

fn reset_by(
    query: Option<Vec<u8>>,
    wishes: Wishes<'_>,
    pool: Arc<SharedPool>,
    lease: Lease,
    proof: AtRest,
    usage: &Usage,
) {
    let (services, worker, usage) = (wishes.services.clone(), wishes.worker, *usage);
    tokio::spawn(async move { give_back(&services, &pool, lease, proof, worker, &usage, query.as_deref()).await });
}

fn discard_all() -> Vec<u8> {
    let mut query = Vec::new();
    messages::query(&mut query, b"DISCARD ALL");
    query
}

async fn give_back(
    services: &Services,
    pool: &Arc<SharedPool>,
    mut lease: Lease,
    proof: AtRest,
    worker: WorkerId,
    usage: &Usage,
    reset: Option<&[u8]>,
) {
    if let Some(query) = reset {
        lease.server().info.set_state(ServerState::Tested);
        let answer = tokio::time::timeout(PATIENCE, lease.server().ask(services, query)).await;
        if !matches!(answer, Ok(Ok(Answer { status: TxStatus::Idle, error: None, .. }))) {
            pool.add_usage(Some(usage));
            return lease.close("server_reset_query failed");
        }
        lease.server().is_reset(services, query == discard_all());
    }
    pool.check_in(lease, proof, worker, usage);
}

/// Goes all the steps of the way back; none if there is no way.
async fn calm(services: &Arc<Services>, server: &mut Server, client: u64, desk: &mut Desk) -> Option<AtRest> {
    let mut canceled = false;
    loop {
        judge_all(services, server, desk)?;
        let mut request = Vec::new();
        match desk.exchange.way_back() {
            WayBack::Done if desk.down.is_empty() => return desk.exchange.at_rest(),
            WayBack::None => return None,
            WayBack::Done | WayBack::Wait => {
                if !canceled && desk.exchange.is_safe_to_cancel() {
                    canceled = true;
                    info!(server = server.info.id, "canceling the query of a client that is gone");
                    cancel::cancel_server(services, &server.info, client);
                }
                let received = poll_fn(|cx| desk.down.poll_recv(cx, &mut server.socket)).await.ok()?;
                (received > 0).then_some(())?;
            }
            WayBack::CopyFail { sync } => {
                messages::copy_fail(&mut request, "client disconnected");
                if sync {
                    messages::sync(&mut request);
                }
            }
            WayBack::Sync => messages::sync(&mut request),
            WayBack::Rollback => messages::query(&mut request, b"ROLLBACK"),
        }
        send(server, desk, &request).await?;
    }
}

async fn send(server: &mut Server, desk: &mut Desk, request: &[u8]) -> Option<()> {
    let mut rest = request;
    while let Ok(Some(header)) = Header::peek(rest) {
        let (message, behind) = rest.split_at_checked(header.total_len())?;
        desk.exchange.request(header, &message[Header::SIZE..]).ok()?;
        rest = behind;
    }
    server.socket.send_all(request).await.ok()
}

/// Judges what has come, and throws it away.
fn judge_all(services: &Services, server: &mut Server, desk: &mut Desk) -> Option<()> {
    loop {
        desk.down.discard_cleared();
        desk.exchange.undo(&mut ClientStatements::default(), &mut server.statements);
        while desk.exchange.own_answer().is_some() {}
        let unjudged = desk.down.unjudged();
        let Some(header) = Header::peek(unjudged).ok()? else { return Some(()) };
        let body = &unjudged[Header::SIZE..unjudged.len().min(header.total_len())];
        match desk.exchange.reply(header, body).ok()? {
            Reply::NeedBody(needed) if needed > MAX_WHOLE_MESSAGE => return None,
            Reply::NeedBody(needed) => {
                desk.down.make_room(Header::SIZE + needed);
                return Some(());
            }
            Reply::Parameter => server.note_parameter(services, body),
            Reply::Fatal | Reply::Notification => return None,
            Reply::Deallocated => server.statements.clear(),
            Reply::Forward | Reply::Ready(_) | Reply::Error | Reply::NoRoom(_) | Reply::Drop => {}
        }
        desk.down.clear(header.total_len());
    }
}
