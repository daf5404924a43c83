//! A primary that cannot follow the last one by itself, as after a restore from a backup: an operator accepts it.

use std::time::Duration;

use failover::Identity;
use tracing::warn;

use super::planned::chosen;
use crate::services::Services;

/// The monitor and the node have agreed already: a moment is enough.
const LIMIT: Duration = Duration::from_secs(5);

/// Accepts the primary that a formation refuses at present, and no other; which one it is.
///
/// # Errors
/// There is no such formation, nobody is refused, or transactions wait for another reason now: in words.
pub async fn accept(services: &Services, formation: Option<&str>) -> Result<Identity, String> {
    let watched = chosen(services, formation)?;
    let name = &watched.name;
    let primary = watched.accept().ok_or_else(|| format!("formation {name} refuses no primary"))?;
    warn!("formation {name}: an operator accepts {primary}");
    match tokio::time::timeout(LIMIT, watched.opened()).await {
        Ok(()) => Ok(primary),
        Err(_) => {
            let why = watched.report().why.map(|why| format!(": {why}")).unwrap_or_default();
            Err(format!("transactions still wait{why}"))
        }
    }
}
