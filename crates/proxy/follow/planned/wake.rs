//! Repeating what the monitor has notified, for keepers that sleep over it.
//!
//! A keeper that has just changed its state takes the notification of its next one together with that of the last, and
//! sleeps for a second all the same. So does, more often than not, the winner of an election. A notification that comes
//! while it sleeps wakes it, and all that it does then is what it would have done a second later: ask the monitor. So what
//! is repeated is taken from the monitor's table, by the monitor itself, and nobody has to believe it. It is repeated
//! seldom: it wakes all keepers, and keepers that ask the monitor at one moment can deadlock there.

use std::time::Duration;

use config::monitor_sql::{KEEPER, TABLES, VIEW};
use protocol::messages;
use tokio::time::{Instant, sleep, timeout_at};

use super::chair::of_monitor;
use crate::follow::watched::Watched;
use crate::follow::{monitor, session};
use crate::server::login::LoginError;
use crate::services::Services;

/// How often the table is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The pause before it is repeated once more.
const PATIENCE: Duration = Duration::from_millis(200);

/// The monitor's own words about the node that is to be promoted, and has had the time to hear them. On the way to a
/// writable state nothing is repeated: poolers that serve already would take it for a reason to stop.
const AWAITED: &str = "goalstate::text in ('prepare_promotion', 'fast_forward') and \
    reportedstate::text <> goalstate::text and statechangetime < pg_catalog.clock_timestamp() - interval '60 ms'";

/// Repeats it until that moment; the owner ends it earlier, as soon as there is a successor. Without it a failover takes
/// its time, and that is all: so errors end it.
///
/// # Errors
/// The monitor's, or that it is lost.
pub async fn keepers(services: &Services, watched: &Watched, until: Instant) -> Result<(), LoginError> {
    let account = monitor::account(services, watched);
    let (formation, group) = of_monitor(watched);
    let mut request = Vec::with_capacity(1024);
    let sql = notify(if account.user == KEEPER { TABLES } else { VIEW });
    messages::extended_query(&mut request, sql.as_bytes(), &[formation.as_bytes(), group.to_string().as_bytes()]);
    for host in &watched.formation().monitor.hosts {
        let Ok(mut wire) = monitor::open(services, &account, host).await else { continue };
        while Instant::now() < until {
            let asking = session::ask(&mut wire, &request, |_, _| {});
            let (_, repeated) = timeout_at(until, asking).await.unwrap_or(Err(LoginError::Timeout))?;
            sleep(if repeated.is_empty() { LOOK } else { PATIENCE }).await;
        }
        return Ok(());
    }
    Err(LoginError::Timeout)
}

fn notify(from: &str) -> String {
    format!(
        "select pg_catalog.pg_notify('state', pg_catalog.json_build_object('type', 'state', 'formation', formationid, \
         'groupId', groupid, 'nodeId', nodeid, 'name', nodename, 'host', nodehost, 'port', nodeport, 'reportedState', \
         reportedstate::text, 'goalState', goalstate::text, 'health', \
         case health when 1 then 'good' when 0 then 'bad' else 'unknown' end)::text) \
         from {from} where formationid::text = $1 and groupid = $2 and {AWAITED}"
    )
}
