//! Cancel requests: from a client's key to the server that works for it, and to no other query.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use tracing::{debug, info};

use crate::client::handle::Doing;
use crate::server::info::{CancelMark, ServerInfo};
use crate::server::{dial, secure};
use crate::services::Services;

/// How long dialing a server for a cancel may take, where `server_connect_timeout` sets no limit.
const PATIENCE: Duration = Duration::from_secs(15);

/// Cancels what the owner of this key has running, or its wait in the queue. Answers when the server has heard of it.
///
/// An unknown key is ignored in silence, as PostgreSQL does.
pub async fn cancel_client(services: &Arc<Services>, pid: u32, key: &[u8]) {
    let client = services.clients.by_pid(pid).filter(|client| verify_slices_are_equal(&client.key, key).is_ok());
    let Some(client) = client else {
        return debug!(pid, "cancel request with an unknown key");
    };
    info!(client = client.id, database = %client.database, user = %client.user, "cancel request");
    let server = services.servers.by_id(client.server());
    match server.and_then(|server| server.begin_cancel(client.id)) {
        Some(mark) => {
            // In a task of its own: whoever asked may not be patient enough to wait for the end.
            let _ = services.house.spawn(deliver(services.clone(), mark)).await;
        }
        None if client.doing() == Doing::Waiting => client.cancel_wait(),
        None => {}
    }
}

/// Cancels what a server has running for a client that is gone.
pub fn cancel_server(services: &Arc<Services>, server: &Arc<ServerInfo>, client: u64) {
    if let Some(mark) = server.begin_cancel(client) {
        services.house.spawn(deliver(services.clone(), mark));
    }
}

/// Sends the cancel over a connection of its own, and holds the mark until the server has closed that.
async fn deliver(services: Arc<Services>, mark: CancelMark) {
    let config = services.config.load_full();
    let limit = config.global.server_connect_timeout.unwrap_or(PATIENCE);
    let delivered = tokio::time::timeout(limit, async {
        let mut dialed = dial::connect(mark.server().reached.clone(), &config.global).await?;
        if let Some(tls) = &mark.server().tls {
            secure::secure(&services, &mut dialed.socket, &tls.host).await?;
        }
        let mut request = Vec::with_capacity(16);
        protocol::messages::cancel_request(&mut request, mark.server().pid, &mark.server().key);
        dialed.socket.send_all(&request).await?;
        let mut rest = Vec::with_capacity(64);
        // The server closes when it has sent the signal: only then is it sure that no later query is hit.
        while dialed.socket.recv(&mut rest).await? > 0 {
            rest.clear();
        }
        std::io::Result::Ok(())
    })
    .await;
    if !matches!(delivered, Ok(Ok(()))) {
        mark.doom();
        info!(server = mark.server().id, "cancel request could not be delivered");
    }
}
