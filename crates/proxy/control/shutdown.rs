//! SHUTDOWN, in its three forms.

use std::sync::Arc;

use pool::Refused;
use tracing::info;

use crate::pools::SharedPool;
use crate::services::{Services, lock};
use crate::state::Shutdown;

/// SHUTDOWN: begins to end, and does not wait. There is no way back, only a faster one.
///
/// Listeners close by themselves. With WAIT_FOR_SERVERS servers go as they come to rest, and who needs one is disconnected.
pub fn shutdown(services: &Services, how: Shutdown) {
    info!("shutting down: {how:?}");
    let _whole = lock(&services.state.acting);
    services.state.set_shutdown(how);
    match how {
        Shutdown::No | Shutdown::WaitForClients | Shutdown::Immediate => {}
        Shutdown::WaitForServers => {
            services.state.pause(None, None);
            services.pools.all().iter().for_each(drain);
        }
    }
}

/// Refuses whoever waits for a server of this pool, or comes for one.
pub(super) fn drain(pool: &Arc<SharedPool>) {
    pool.with_core(|core, now, out| core.drain(Refused::ShuttingDown, now, out));
}
