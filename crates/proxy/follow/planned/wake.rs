//! Repeating what the monitor has notified, for keepers that sleep over it.
//!
//! A keeper that has just changed its state takes the notification of its next one together with that of the last, and
//! sleeps for a second all the same. Elections are full of such moments. One that comes while it sleeps wakes it, and all
//! that it does then is what it would have done a second later: ask the monitor. So what is repeated is taken from the
//! monitor's table, by the monitor itself, and nobody has to believe it.

use std::time::Duration;

use config::monitor_sql::{KEEPER, TABLES, VIEW};
use protocol::messages;
use tokio::time::{Instant, sleep, timeout_at};

use super::chair::of_monitor;
use crate::follow::watched::Watched;
use crate::follow::{monitor, session};
use crate::server::login::LoginError;
use crate::services::Services;

/// How often it is repeated to the one that is to be promoted, which sleeps most often and is waited for most: half of it
/// is lost on average.
const EVERY: Duration = Duration::from_millis(20);
/// The others are told at each so many of these moments: they are rarely asleep, and log all that they hear.
const OTHERS: u32 = 8;

/// What the one that is to be promoted is to be.
const FIRST: &str = "('prepare_promotion')";
/// The states that a successor waits for. Others are no hurry; and on the way to a writable one poolers that serve already
/// would take a notification for a reason to stop.
const AWAITED: &str = "('draining', 'prepare_maintenance', 'report_lsn', 'fast_forward', 'prepare_promotion')";

/// Repeats it until that moment; the owner ends it earlier, as soon as there is a successor. Without it a failover takes
/// its time, and that is all: so errors end it.
///
/// # Errors
/// The monitor's, or that it is lost.
pub async fn keepers(services: &Services, watched: &Watched, until: Instant) -> Result<(), LoginError> {
    let account = monitor::account(services, watched);
    let (formation, group) = of_monitor(watched);
    let requests = [FIRST, AWAITED].map(|goals| {
        let mut request = Vec::with_capacity(1024);
        let sql = notify(if account.user == KEEPER { TABLES } else { VIEW }, goals);
        messages::extended_query(&mut request, sql.as_bytes(), &[formation.as_bytes(), group.to_string().as_bytes()]);
        request
    });
    for host in &watched.formation().monitor.hosts {
        let Ok(mut wire) = monitor::open(services, &account, host).await else { continue };
        for round in (1..).take_while(|_| Instant::now() < until) {
            let request = &requests[usize::from(round % OTHERS == 0)];
            let asking = session::ask(&mut wire, request, |_, _| {});
            timeout_at(until, asking).await.unwrap_or(Err(LoginError::Timeout))?;
            sleep(EVERY).await;
        }
        return Ok(());
    }
    Err(LoginError::Timeout)
}

/// The monitor's own words about every node that is on its way to one of these states.
fn notify(from: &str, goals: &str) -> String {
    format!(
        "select pg_catalog.pg_notify('state', pg_catalog.json_build_object('type', 'state', 'formation', formationid, \
         'groupId', groupid, 'nodeId', nodeid, 'name', nodename, 'host', nodehost, 'port', nodeport, 'reportedState', \
         reportedstate::text, 'goalState', goalstate::text, 'health', \
         case health when 1 then 'good' when 0 then 'bad' else 'unknown' end)::text) \
         from {from} where formationid::text = $1 and groupid = $2 and reportedstate::text <> goalstate::text \
         and goalstate::text in {goals}"
    )
}
