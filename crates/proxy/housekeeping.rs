//! What is done regularly for all pools: statistics periods, and forgetting pools that nobody uses.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::Config;
use tokio::time::MissedTickBehavior;
use tracing::info;

use crate::control;
use crate::pools::SharedPool;
use crate::services::Services;
use crate::stats::Totals;

/// How often pools are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Since when pools have had neither client nor server, by database and user.
type Unused = HashMap<(Arc<str>, Arc<str>), Instant>;

/// Makes the pools that need no client, then keeps house until the process ends.
pub async fn housekeeping(services: Arc<Services>) {
    control::warm_up(&services);
    let period = Duration::from_secs(services.config.load().global.stats_period.into());
    let mut unused = Unused::new();
    let mut next_period = tokio::time::Instant::now() + period;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = tick.tick().await;
        forget_unused(&services, &mut unused);
        if now >= next_period {
            next_period += period;
            end_period(&services, period);
        }
    }
}

fn forget_unused(services: &Services, unused: &mut Unused) {
    let config = services.config.load_full();
    let now = Instant::now();
    let mut still = Unused::new();
    for pool in services.pools.all() {
        let is_unused = pool.is_unused();
        keep_minimum(&config, &pool, !is_unused);
        let counts = pool.counts();
        if !is_unused || counts.idle + counts.lent + counts.opening + counts.closing > 0 {
            continue;
        }
        let key = (pool.database.clone(), pool.user.clone());
        let since = unused.get(&key).copied().unwrap_or(now);
        let over = limit(&config, &pool).is_some_and(|limit| now.duration_since(since) >= limit);
        if over && services.pools.remove_unused(&pool) {
            info!(database = %pool.database, user = %pool.user, "pool is forgotten: nobody has used it");
        } else {
            still.insert(key, since);
        }
    }
    *unused = still;
}

/// `min_pool_size` is kept for pools that have a client or a forced user.
fn keep_minimum(config: &Config, pool: &Arc<SharedPool>, has_client: bool) {
    let Some(database) = config.find_database(&pool.database) else { return };
    let mut settings = control::pool_settings(config, &database, &pool.user);
    if !has_client && database.user.is_none() {
        settings.min_pool_size = 0;
    }
    pool.with_core(|core, now, out| {
        if core.settings().min_pool_size != settings.min_pool_size {
            core.reconfigure(settings, now, out);
        }
    });
}

/// After how long unused a pool is forgotten; those of `*` with their database.
fn limit(config: &Config, pool: &SharedPool) -> Option<Duration> {
    let is_auto = !config.databases.contains_key(&*pool.database);
    let auto = config.global.autodb_idle_timeout.filter(|_| is_auto);
    auto.into_iter().chain(config.global.pool_idle_timeout).min()
}

fn end_period(services: &Services, period: Duration) {
    let pools = services.pools.all();
    pools.iter().for_each(|pool| pool.roll_stats());
    if services.config.load().global.log_stats {
        let total = pools.iter().fold(Totals::default(), |total, pool| total + pool.stats().last());
        info!("{}", stats_line(&total, period.as_secs().max(1)));
    }
}

/// The line that log analysers look for. Source: PgBouncer's `log_stats`.
fn stats_line(total: &Totals, seconds: u64) -> String {
    let each = |time: u64, count: u64| time.checked_div(count).unwrap_or(0);
    format!(
        "stats: {} xacts/s, {} queries/s, {} client parses/s, {} server parses/s, {} binds/s, {} client logins/s, \
         in {} B/s, out {} B/s, xact {} us, query {} us, wait {} us",
        total.xact_count / seconds,
        total.query_count / seconds,
        total.client_parse_count / seconds,
        total.server_parse_count / seconds,
        total.bind_count / seconds,
        total.client_login_count / seconds,
        total.bytes_received / seconds,
        total.bytes_sent / seconds,
        each(total.xact_time, total.xact_count),
        each(total.query_time, total.query_count),
        each(total.wait_time, total.server_assignment_count),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_statistics_has_rates_and_means() {
        let total =
            Totals { xact_count: 120, xact_time: 2400, query_count: 60, bytes_received: 6000, ..Totals::default() };
        let line = stats_line(&total, 60);
        assert!(line.starts_with("stats: 2 xacts/s, 1 queries/s, "), "{line}");
        assert!(line.ends_with("in 100 B/s, out 0 B/s, xact 20 us, query 0 us, wait 0 us"), "{line}");
    }
}
