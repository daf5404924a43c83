//! The Prometheus page, and two pages for those who watch over processes.

mod collector;
mod formations;
mod names;

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tracing::{debug, error, warn};

use crate::services::Services;
use crate::state::Shutdown;
use collector::Collector;

/// Connections served at once; more wait in the kernel.
const MAX_CONNECTIONS: usize = 16;
/// Bytes of a request's head.
const MAX_HEAD: usize = 1 << 14;
/// How long a request's head may take.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may last. Prometheus opens another.
const MAX_AGE: Duration = Duration::from_secs(300);
/// How long accepting rests when it fails.
const REST: Duration = Duration::from_millis(100);

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves `/metrics`, `/healthz` and `/readyz` until the process ends.
pub async fn serve(services: Arc<Services>, listener: TcpListener) {
    let listening = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    let listener = match listening {
        Ok(listener) => listener,
        Err(error) => return error!("the metrics page cannot be served: {error}"),
    };
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let services = services.clone();
                tokio::spawn(async move {
                    converse(services, stream).await;
                    drop(seat);
                });
            }
            Err(error) => {
                warn!("accept failed at the metrics page: {error}");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

async fn converse(services: Arc<Services>, stream: tokio::net::TcpStream) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let response = respond(&services, request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).max_buf_size(MAX_HEAD);
    let connection = http.serve_connection(TokioIo::new(stream), answer);
    match tokio::time::timeout(MAX_AGE, connection).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => debug!("metrics page: {error}"),
    }
}

fn respond(services: &Arc<Services>, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return page(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match path {
        "/metrics" => metrics(services),
        "/healthz" => page(StatusCode::OK, "alive\n"),
        "/readyz" => match why_not_ready(services) {
            None => page(StatusCode::OK, "ready\n"),
            Some(why) => page(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        _ => page(StatusCode::NOT_FOUND, "try /metrics, /healthz or /readyz\n"),
    }
}

fn page(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}

fn metrics(services: &Arc<Services>) -> Response<Full<Bytes>> {
    let mut response = match text(services) {
        Ok(text) => page(StatusCode::OK, text),
        Err(error) => page(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    };
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(OPENMETRICS));
    response
}

/// The page, from snapshots taken now.
fn text(services: &Arc<Services>) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Collector::new(services.clone())));
    let mut text = String::with_capacity(1 << 14);
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// Why no clients should be sent here; none if all is well.
fn why_not_ready(services: &Services) -> Option<String> {
    if services.state.shutdown() != Shutdown::No {
        return Some("shutting down".to_owned());
    }
    let broken = |pool: &Arc<crate::pools::SharedPool>| {
        let counts = pool.counts();
        let failure = pool.failure().filter(|_| counts.idle + counts.lent == 0)?;
        Some(format!("no server for {}/{}: {}", pool.database, pool.user, failure.message))
    };
    services.pools.all().iter().find_map(broken)
}

#[cfg(test)]
mod tests;
