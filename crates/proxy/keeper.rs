//! The task of each pool that looks after it: maintenance, reviews, and servers that speak unasked.

use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use protocol::exchange::Reply;
use protocol::{Exchange, Header};
use thiserror::Error;
use tokio::time::Instant;
use tracing::info;

use crate::error::ServerReport;
use crate::follow;
use crate::pools::{Lease, SharedPool};
use crate::server::connection::{Server, server_report};
use crate::services::Services;

/// PgBouncer's interval of maintenance.
const TICK: Duration = Duration::from_millis(333);
/// Most bytes a server may send unasked before it is closed.
const MAX_NOISE: usize = 1 << 16;

/// Starts the keeper of a new pool. It ends with the process, or when nobody else has the pool any more.
pub fn start(services: &Arc<Services>, pool: &Arc<SharedPool>) {
    services.house.spawn(keep(Arc::downgrade(services), Arc::downgrade(pool)));
    pool.with_core(|core, now, out| core.tick(now, out));
}

async fn keep(services: Weak<Services>, pool: Weak<SharedPool>) {
    let mut next_tick = Instant::now() + TICK;
    loop {
        let (Some(services), Some(pool)) = (services.upgrade(), pool.upgrade()) else { return };
        pool.keeper_call(next_tick).await;
        while let Some(lease) = pool.take_noisy() {
            listen(&services, &pool, lease);
        }
        if pool.take_review() {
            pool.with_core(|core, now, out| core.review(now, out));
        }
        if Instant::now() >= next_tick {
            next_tick = Instant::now() + TICK;
            pool.with_core(|core, now, out| core.tick(now, out));
            let gone = services.pools.get(&pool.database, &pool.user).is_none_or(|known| !Arc::ptr_eq(&known, &pool));
            if gone && pool.with_core(|core, _, _| core.is_drained()) {
                return;
            }
        }
    }
}

/// Hears what an idle server has to say, and keeps it if that is harmless.
fn listen(services: &Services, pool: &Arc<SharedPool>, mut lease: Lease) {
    match noise(services, lease.server()) {
        Ok(()) => {
            // Registers the keeper's interest anew; what has arrived meanwhile calls it again.
            let again = lease.server().is_noisy().then(|| lease.id()).flatten();
            pool.put_back_unused(lease);
            again.into_iter().for_each(|id| pool.note_noise(id));
        }
        Err(why) => {
            if let Noise::Ended(last_words) = &why {
                follow::lost(services, &lease.server().info, last_words.as_ref());
            }
            info!(server = lease.server().info.id, "idle server is closed: {why}");
            lease.close("server conn crashed?");
        }
    }
}

/// Why an idle server is closed.
#[derive(Debug, Error)]
enum Noise {
    #[error("{}", .0.as_ref().map_or("it closed the connection", |report| &report.message))]
    Ended(Option<ServerReport>),
    #[error("it sent {0} unasked")]
    Unasked(&'static str),
}

fn noise(services: &Services, server: &mut Server) -> Result<(), Noise> {
    let mut received = Vec::with_capacity(512);
    let mut exchange = Exchange::default();
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match server.socket.poll_recv(&mut cx, &mut received) {
            Poll::Pending if received.is_empty() => return Ok(()),
            Poll::Pending => return Err(Noise::Unasked("part of a message")),
            Poll::Ready(Ok(0) | Err(_)) => return Err(Noise::Ended(None)),
            Poll::Ready(Ok(_)) if received.len() > MAX_NOISE => return Err(Noise::Unasked("too much")),
            Poll::Ready(Ok(_)) => {}
        }
        let mut used = 0;
        while let Ok(Some(header)) = Header::peek(&received[used..]) {
            let Some(body) = received.get(used + Header::SIZE..used + header.total_len()) else { break };
            match exchange.reply(header, body) {
                Ok(Reply::Parameter) => server.note_parameter(services, body),
                Ok(Reply::Forward) if header.tag == b'N' => {}
                Ok(Reply::Fatal | Reply::Error | Reply::NoRoom(_)) => {
                    return Err(Noise::Ended(Some(server_report(body))));
                }
                Ok(Reply::Notification) => return Err(Noise::Unasked("a notification")),
                Ok(Reply::Forward | Reply::Ready(_) | Reply::NeedBody(_) | Reply::Drop | Reply::Deallocated)
                | Err(_) => {
                    return Err(Noise::Unasked("an answer"));
                }
            }
            used += header.total_len();
        }
        received.drain(..used);
        if received.len() == received.capacity() {
            received.reserve(512);
        }
    }
}
