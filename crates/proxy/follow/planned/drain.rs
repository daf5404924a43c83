//! Waiting for transactions that have begun, after a planned failover has stopped those that have not.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::follow::apply;
use crate::follow::watched::Watched;
use crate::services::Services;

/// How soon a change is seen that nobody tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Returns when no server of the formation is left, with 0; or at the time limit, with how many are still lent.
pub async fn drained(services: &Services, watched: &Watched, limit: Instant) -> u32 {
    loop {
        let changed = services.state.changed.notified();
        let pools = apply::pools(services, &services.config.load(), &watched.name);
        let is_held = !watched.standing().is_open;
        if is_held && pools.iter().all(|pool| pool.with_core(|core, _, _| core.is_drained())) {
            services.listening.seal(services, &pools).await;
            if watched.standing().is_open {
                // It was given up meanwhile.
                drop(services.listening.unseal(&pools));
            }
            return 0;
        }
        let now = Instant::now();
        if now >= limit {
            let lent: usize = pools.iter().map(|pool| pool.counts().lent).sum();
            // Not lent, and not ended either: somebody takes long to say good-bye.
            return u32::try_from(lent).unwrap_or(u32::MAX).max(1);
        }
        let _ = timeout_at(limit.min(now + LOOK_AGAIN), changed).await;
    }
}

/// Returns when transactions begin again: where they go, and whether that is another primary than `from`.
pub async fn opened(watched: &Arc<Watched>, from: &failover::Identity) -> (failover::Endpoint, bool) {
    watched.opened().await;
    let route = watched.standing().route;
    let identity = route.map_or_else(|| from.clone(), |route| route.epoch.identity.clone());
    let moved = identity != *from;
    (identity.endpoint, moved)
}
