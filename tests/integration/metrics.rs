//! The page for Prometheus, and the answers for load balancers.

use std::io::{Read, Write};

use crate::harness::stream::{Address, Stream};
use crate::harness::{Pooler, Setup, eventually};

fn pooler() -> (Pooler, Address) {
    let port = crate::harness::pooler::port();
    let pooler =
        Setup::new().set("metrics_listen_addr", "127.0.0.1").set("metrics_listen_port", i64::from(port)).start();
    (pooler, Address::local(port))
}

/// Status and body of a GET.
#[track_caller]
pub fn get(address: &Address, path: &str) -> (u16, String) {
    let mut stream = Stream::connect(address).expect("somebody listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: pooler\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, answer)
}

#[test]
fn the_page_has_the_exporters_names() {
    let (pooler, address) = pooler();
    pooler.client().rows("select 1");
    let (status, page) = get(&address, "/metrics");
    assert_eq!(status, 200);
    for name in [
        "pgbouncer_up",
        "pgbouncer_version_info",
        "pgbouncer_config_max_client_connections",
        "pgbouncer_databases_current_connections",
        "pgbouncer_databases_max_connections",
        "pgbouncer_databases_paused",
        "pgbouncer_databases_disabled",
        "pgbouncer_databases_pool_size",
        "pgbouncer_pools_client_active_connections",
        "pgbouncer_pools_client_waiting_connections",
        "pgbouncer_pools_client_maxwait_seconds",
        "pgbouncer_pools_server_active_connections",
        "pgbouncer_pools_server_idle_connections",
        "pgbouncer_pools_server_login_connections",
        "pgbouncer_pools_server_used_connections",
        "pgbouncer_pools_server_testing_connections",
        "pgbouncer_stats_totals_queries_pooled_total",
        "pgbouncer_stats_totals_sql_transactions_pooled_total",
        "pgbouncer_stats_totals_queries_duration_seconds_total",
        "pgbouncer_stats_totals_client_wait_seconds_total",
        "pgbouncer_stats_totals_server_in_transaction_seconds_total",
        "pgbouncer_stats_totals_received_bytes_total",
        "pgbouncer_stats_totals_sent_bytes_total",
    ] {
        assert!(page.lines().any(|line| line.starts_with(name)), "no {name} on the page:\n{page}");
    }
}

#[test]
fn the_numbers_are_the_consoles() {
    let (pooler, address) = pooler();
    let mut client = pooler.client();
    (0..9).for_each(|_| drop(client.rows("select 1")));
    client.rows("begin");
    let (_, page) = get(&address, "/metrics");
    let value = |name: &str, label: &str| {
        let mut lines = page.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
        let line = lines.next().unwrap_or_else(|| panic!("no {name} with {label}:\n{page}"));
        line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number")
    };
    let user = format!("user=\"{}\"", pooler.setup.user);
    assert_eq!(value("pgbouncer_pools_client_active_connections", &user), 1.0);
    assert_eq!(value("pgbouncer_pools_server_active_connections", &user), 1.0);
    assert!(value("pgbouncer_stats_totals_queries_pooled_total", "database=\"app\"") >= 9.0);
    client.rows("commit");
}

#[test]
fn health_and_readiness_follow_the_life_of_the_process() {
    let (mut pooler, address) = pooler();
    let mut client = pooler.client();
    client.rows("begin");
    assert_eq!((get(&address, "/healthz").0, get(&address, "/readyz").0), (200, 200));
    assert_eq!(get(&address, "/nothing").0, 404);
    pooler.signal("TERM");
    eventually("it is no longer ready", || get(&address, "/readyz").0 == 503);
    assert_eq!(get(&address, "/healthz").0, 200);
    client.rows("commit");
    client.bye();
    assert!(pooler.ending().success());
}
