//! The page as Prometheus gets it.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use config::Config;

use super::*;
use crate::control;
use crate::control::tests::services as shared;

fn with_pool() -> (Arc<Services>, TcpListener) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = Config::default();
    config.databases.insert("a\"b".into(), control::tests::database("a\"b", &server));
    let services = shared(config);
    control::pool_for(&services, &services.config.load().databases["a\"b"], "alice");
    (services, server)
}

#[tokio::test]
async fn the_page_has_the_exporters_names_and_ours() {
    let (services, _server) = with_pool();
    services.errors.count("53300");
    let page = text(&services).unwrap();
    for line in [
        "pgbouncer_up 1.0",
        "pgbouncer_pools_client_active_connections{database=\"a\\\"b\",user=\"app\"} 0.0",
        "pgbouncer_pools_client_active_connections{database=\"pgbouncer\",user=\"pgbouncer\"} 0.0",
        "pgbouncer_stats_queries_pooled_total{database=\"a\\\"b\"} 0",
        "pgbouncer_stats_totals_queries_duration_seconds_total{database=\"a\\\"b\"} 0.0",
        "pgbouncer_databases 2.0",
        "pgbouncer_config_max_client_connections 100.0",
        "pooler_client_errors_total{sqlstate=\"53300\"} 1",
        "pooler_query_seconds_bucket{le=\"0.0001\",database=\"a\\\"b\",user=\"app\"} 0",
        "pooler_query_seconds_bucket{le=\"+Inf\",database=\"a\\\"b\",user=\"app\"} 0",
        "pooler_worker_clients{worker=\"0\"} 0.0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\nis missing in\n{page}");
    }
    assert!(page.ends_with("# EOF\n"));
}

#[tokio::test]
async fn every_metric_is_described_once() {
    let (services, _server) = with_pool();
    let page = text(&services).unwrap();
    let types: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let once: HashSet<_> = types.iter().collect();
    assert_eq!(types.len(), once.len(), "{types:?}");
}

/// Asks over a connection of its own, and gives the status and the whole answer.
async fn get(address: SocketAddr, request: &'static str) -> (u16, String) {
    let asking = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = asking.await.unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer)
}

#[tokio::test]
async fn pages_are_served_over_http() {
    let (services, _server) = with_pool();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(services.clone(), listener));
    let (status, page) = get(address, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(status == 200 && page.contains(OPENMETRICS) && page.contains("pgbouncer_up 1.0"), "{page}");
    let ready = "GET /readyz HTTP/1.0\r\n\r\n";
    assert_eq!(get(address, ready).await.0, 200);
    assert_eq!(get(address, "GET /healthz HTTP/1.0\r\n\r\n").await.0, 200);
    assert_eq!(get(address, "GET / HTTP/1.0\r\n\r\n").await.0, 404);
    assert_eq!(get(address, "POST /metrics HTTP/1.0\r\n\r\n").await.0, 405);
    control::shutdown(&services, Shutdown::WaitForClients);
    let (status, page) = get(address, ready).await;
    assert!(status == 503 && page.ends_with("shutting down\n"), "{page}");
}
