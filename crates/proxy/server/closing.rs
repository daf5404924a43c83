//! The end of a server connection: Terminate, and the wait for its end of file.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use pool::CloseReason;
use tracing::info;

use super::connection::Server;
use crate::clock::Micros;
use crate::pools::SharedPool;
use crate::services::{Services, lock};

/// How long a server may take to end after Terminate. One that is at work ends when it looks at its socket again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends a connection and tells the pool when it has ended: at end of file the server's process is gone.
pub async fn close(services: Arc<Services>, pool: Arc<SharedPool>, server: Box<Server>, reason: CloseReason) {
    let age = Micros::now().since(server.info.connected_at) / 1_000_000;
    info!(server = server.info.id, database = %pool.database, user = %pool.user, "closing because: {} (age={age}s)", words(reason));
    let Server { info, mut socket, permit, .. } = *server;
    services.servers.remove(info.id);
    lock(&services.budget).give_back(permit);
    review_siblings(&services, &pool);
    let _ = tokio::time::timeout(PATIENCE, async {
        let mut terminate = Vec::with_capacity(8);
        protocol::messages::terminate(&mut terminate);
        if socket.send_all(&terminate).await.is_err() {
            return;
        }
        let mut rest = Vec::with_capacity(1024);
        while matches!(poll_fn(|cx| socket.poll_recv(cx, &mut rest)).await, Ok(received) if received > 0) {
            rest.clear();
        }
    })
    .await;
    drop(socket);
    pool.with_core(|core, _, _| core.closed());
    services.state.changed.notify_waiters();
}

/// A limit across pools has room again: whoever waits for it may open a server.
pub fn review_siblings(services: &Services, pool: &Arc<SharedPool>) {
    for sibling in services.pools.all() {
        let shares = sibling.scopes.0 == pool.scopes.0 || sibling.scopes.1 == pool.scopes.1;
        if shares {
            sibling.with_core(|core, now, out| {
                if core.wants_server() {
                    core.review(now, out);
                }
            });
        }
    }
}

fn words(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Lifetime => "server_lifetime",
        CloseReason::IdleTimeout => "server_idle_timeout",
        CloseReason::Held => "pool paused",
        CloseReason::Reconnect => "RECONNECT",
        CloseReason::Epoch => "the primary has moved",
        CloseReason::Surplus => "pool_size was reduced",
        CloseReason::Evicted => "evicted",
        CloseReason::Drained => "database removed",
        CloseReason::Discarded(why) => why,
    }
}
