//! What the metrics are called: prometheus-community's pgbouncer_exporter's names for what PgBouncer shows, so that
//! dashboards and alerts keep working.

use std::sync::atomic::AtomicU64;

use config::Config;

use crate::console::{DatabaseRow, PoolRow};
use crate::follow::Watched;
use crate::front::door::DoorSnapshot;
use crate::listen::HubSnapshot;
use crate::meter::is_at_ceiling;
use crate::stats::{Histogram, Stats};
use crate::worker::WorkerSnapshot;

/// A gauge: its name, its help, and where its value comes from.
pub struct Gauge<R> {
    /// The name.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// The value.
    pub get: fn(&R) -> f64,
}

const fn gauge<R>(name: &'static str, help: &'static str, get: fn(&R) -> f64) -> Gauge<R> {
    Gauge { name, help, get }
}

/// Of SHOW POOLS; labels `database` and `user`.
pub static POOLS: &[Gauge<PoolRow>] = &[
    gauge("pgbouncer_pools_client_active_connections", "Clients that do not wait for a server", |p| {
        p.clients_active as f64
    }),
    gauge("pgbouncer_pools_client_waiting_connections", "Clients that wait for a server", |p| p.counts.waiting as f64),
    gauge("pgbouncer_pools_client_active_cancel_connections", "Cancel requests on their way to a server", |p| {
        p.servers.cancels as f64
    }),
    gauge("pgbouncer_pools_client_waiting_cancel_connections", "Cancel requests that wait", |_| 0.0),
    gauge("pgbouncer_pools_server_active_connections", "Servers that work for a client", |p| p.active() as f64),
    gauge("pgbouncer_pools_server_active_cancel_connections", "Connections that carry a cancel request", |p| {
        p.servers.cancels as f64
    }),
    gauge("pgbouncer_pools_server_being_canceled_connections", "Servers kept back for a cancel", |p| {
        p.servers.being_canceled as f64
    }),
    gauge("pgbouncer_pools_server_idle_connections", "Servers ready to be lent", |p| p.counts.idle as f64),
    gauge("pgbouncer_pools_server_used_connections", "Servers that need a check before use", |_| 0.0),
    gauge("pgbouncer_pools_server_testing_connections", "Servers being checked or reset", |p| p.servers.tested as f64),
    gauge("pgbouncer_pools_server_login_connections", "Servers in login", |p| p.counts.opening as f64),
    gauge("pgbouncer_pools_client_maxwait_seconds", "How long the first client in line has waited", |p| {
        p.maxwait.as_secs_f64()
    }),
];

/// Of SHOW LISTENERS; labels `database` and `encoding`.
pub static LISTENERS: &[Gauge<HubSnapshot>] = &[
    gauge("pooler_listening_clients", "Clients that a shared connection listens for", |h| h.listeners as f64),
    gauge("pooler_listening_channels", "Channels that it listens to", |h| h.channels as f64),
    gauge("pooler_pending_notification_bytes", "Bytes of notifications that wait for clients", |h| h.pending as f64),
];

/// Of SHOW DATABASES.
pub static DATABASES: &[Gauge<DatabaseRow>] = &[
    gauge("pgbouncer_databases_pool_size", "Servers per pool, 0 for no limit", |d| d.pool_size.into()),
    gauge("pgbouncer_databases_min_pool_size", "Servers kept open per pool", |d| d.min_pool_size.into()),
    gauge("pgbouncer_databases_reserve_pool_size", "More servers per pool, for those who wait long", |d| {
        d.reserve_pool_size.into()
    }),
    gauge("pgbouncer_databases_reserve_pool", "The same under its older name", |d| d.reserve_pool_size.into()),
    gauge("pgbouncer_databases_max_connections", "Servers over all pools, 0 for no limit", |d| {
        d.max_connections.into()
    }),
    gauge("pgbouncer_databases_current_connections", "Servers there are", |d| d.current_connections.into()),
    gauge("pgbouncer_databases_max_client_connections", "Clients allowed, 0 for no limit", |d| {
        d.max_client_connections.into()
    }),
    gauge("pgbouncer_databases_current_client_connections", "Clients there are", |d| {
        d.current_client_connections.into()
    }),
    gauge("pgbouncer_databases_paused", "1 while paused", |d| f64::from(u8::from(d.paused))),
    gauge("pgbouncer_databases_disabled", "1 while disabled", |d| f64::from(u8::from(d.disabled))),
];

/// Of SHOW CONFIG.
pub static CONFIG: &[Gauge<Config>] = &[
    gauge("pgbouncer_config_max_client_connections", "Setting max_client_conn", |c| c.global.max_client_conn.into()),
    gauge("pgbouncer_config_max_user_connections", "Setting max_user_connections, 0 for no limit", |c| {
        c.global.max_user_connections.unwrap_or(0).into()
    }),
];

/// A formation at one moment.
pub struct FormationRow {
    /// Its name in the configuration.
    pub name: String,
    /// The timeline of its last proved primary; 0 for none.
    pub timeline: u32,
    /// Transactions wait.
    pub is_held: bool,
    /// Seconds since the monitor's last word.
    pub monitor_age: f64,
}

/// Of SHOW FORMATIONS; label `formation`.
pub static FORMATIONS: &[Gauge<FormationRow>] = &[
    gauge("pooler_formation_timeline", "Timeline of the last primary that was proved, 0 for none", |f| {
        f.timeline.into()
    }),
    gauge("pooler_formation_held", "1 while transactions wait for a primary", |f| f64::from(u8::from(f.is_held))),
    gauge("pooler_formation_monitor_age_seconds", "Time since the monitor's last word", |f| f.monitor_age),
];

/// Which counter of a formation's.
type Count = fn(&Watched) -> &AtomicU64;

/// Of each formation; label `formation`.
pub static FORMATION_COUNTERS: &[(&str, &str, Count)] = &[
    ("pooler_formation_holds", "How often transactions were stopped", |watched| &watched.holds),
    ("pooler_formation_switches", "How often another primary was followed", |watched| &watched.switches),
    ("pooler_formation_rejected_messages", "Messages about planned failovers that did not count", |watched| {
        &watched.rejected
    }),
];

/// Of SHOW WORKERS; label `worker`.
pub static WORKERS: &[Gauge<WorkerSnapshot>] = &[
    gauge("pooler_worker_clients", "Clients of a worker", |w| w.clients as f64),
    gauge("pooler_worker_busy_ratio", "Share of the last second at work", |w| w.busy_share),
    gauge("pooler_worker_at_ceiling", "1 when it can do no more", |w| f64::from(u8::from(is_at_ceiling(w.busy_share)))),
];

/// Of SHOW WORKERS; label `thread`.
pub static DOOR: &[Gauge<DoorSnapshot>] = &[
    gauge("pooler_front_door_logins_in_flight", "Logins that have begun and not ended", |d| d.in_flight as f64),
    gauge("pooler_front_door_logins_queued", "Those of them that wait for a turn", |d| d.queued as f64),
    gauge("pooler_front_door_busy_ratio", "Share of the last second at work", |d| d.busy_share),
    gauge("pooler_front_door_at_ceiling", "1 when it can do no more", |d| {
        f64::from(u8::from(is_at_ceiling(d.busy_share)))
    }),
];

/// Which histogram of a pool's.
type Pick = fn(&Stats) -> &Histogram;

/// Of each pool; labels `database` and `user`.
pub static HISTOGRAMS: &[(&str, &str, Pick)] = &[
    ("pooler_wait_seconds", "Time clients waited for a server", |stats| &stats.wait),
    ("pooler_query_seconds", "Time of queries", |stats| &stats.query),
    ("pooler_transaction_seconds", "Time clients had a server in a transaction", |stats| &stats.xact),
];

/// Of SHOW LISTS: the row's name, the metric's, and its help.
pub static LISTS: &[(&str, &str, &str)] = &[
    ("databases", "pgbouncer_databases", "Databases"),
    ("users", "pgbouncer_users", "Users"),
    ("pools", "pgbouncer_pools", "Pools"),
    ("free_clients", "pgbouncer_free_clients", "Client slots kept for later"),
    ("used_clients", "pgbouncer_used_clients", "Clients"),
    ("login_clients", "pgbouncer_login_clients", "Clients in login"),
    ("free_servers", "pgbouncer_free_servers", "Servers that work for nobody"),
    ("used_servers", "pgbouncer_used_servers", "Servers that work for a client"),
    ("dns_names", "pgbouncer_cached_dns_names", "Host names in the cache"),
    ("dns_zones", "pgbouncer_cached_dns_zones", "DNS zones in the cache"),
    ("dns_queries", "pgbouncer_in_flight_dns_queries", "DNS queries in flight"),
];
