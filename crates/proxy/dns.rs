//! Host names and their addresses, kept for `dns_max_ttl`; failures for `dns_nxdomain_ttl`.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::services::lock;

/// Names kept at most; the oldest answers go first.
const MAX_NAMES: usize = 1024;

/// The cache of host names.
#[derive(Debug, Default)]
pub struct Dns {
    names: Mutex<HashMap<Arc<str>, Entry>>,
}

#[derive(Clone, Debug)]
struct Entry {
    answer: Result<Vec<IpAddr>, String>,
    asked_at: Instant,
    turn: usize,
}

/// How long answers are kept.
#[derive(Clone, Copy, Debug)]
pub struct Ttls {
    /// Setting `dns_max_ttl`.
    pub found: Duration,
    /// Setting `dns_nxdomain_ttl`.
    pub failed: Duration,
}

impl Dns {
    /// The addresses of a host, beginning with another one each time.
    ///
    /// # Errors
    /// What the system's resolver says.
    pub async fn lookup(&self, host: &Arc<str>, ttls: Ttls) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        if let Some(answer) = self.cached(host, ttls) {
            return answer;
        }
        let answer = tokio::net::lookup_host((&**host, 0)).await;
        let answer =
            answer.map(|found| found.map(|address| address.ip()).collect::<Vec<_>>()).map_err(|e| e.to_string());
        self.remember(host, answer.clone());
        result(answer)
    }

    fn cached(&self, host: &Arc<str>, ttls: Ttls) -> Option<io::Result<Vec<IpAddr>>> {
        let mut names = lock(&self.names);
        let entry = names.get_mut(host)?;
        let ttl = if entry.answer.is_ok() { ttls.found } else { ttls.failed };
        if entry.asked_at.elapsed() >= ttl {
            return None;
        }
        entry.turn += 1;
        let turn = entry.turn;
        Some(result(entry.answer.clone().map(|mut found| {
            let turn = turn % found.len().max(1);
            found.rotate_left(turn);
            found
        })))
    }

    fn remember(&self, host: &Arc<str>, answer: Result<Vec<IpAddr>, String>) {
        let mut names = lock(&self.names);
        if names.len() >= MAX_NAMES
            && let Some(oldest) = names.iter().min_by_key(|(_, entry)| entry.asked_at).map(|(name, _)| name.clone())
        {
            names.remove(&oldest);
        }
        names.insert(host.clone(), Entry { answer, asked_at: Instant::now(), turn: 0 });
    }

    /// All names, with the time left and the addresses.
    pub fn all(&self, ttls: Ttls) -> Vec<(Arc<str>, Duration, Vec<IpAddr>)> {
        let names = lock(&self.names);
        let row = |(name, entry): (&Arc<str>, &Entry)| {
            let ttl = if entry.answer.is_ok() { ttls.found } else { ttls.failed };
            let left = ttl.saturating_sub(entry.asked_at.elapsed());
            (name.clone(), left, entry.answer.clone().unwrap_or_default())
        };
        let mut rows: Vec<_> = names.iter().map(row).collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows
    }
}

fn result(answer: Result<Vec<IpAddr>, String>) -> io::Result<Vec<IpAddr>> {
    answer.map_err(|error| io::Error::other(format!("DNS lookup failed: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTLS: Ttls = Ttls { found: Duration::from_secs(15), failed: Duration::from_secs(15) };

    #[tokio::test]
    async fn an_address_is_its_own_answer_and_is_not_kept() {
        let dns = Dns::default();
        assert_eq!(dns.lookup(&"::1".into(), TTLS).await.unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
        assert!(dns.all(TTLS).is_empty());
    }

    #[test]
    fn answers_take_turns_until_they_are_too_old() {
        let dns = Dns::default();
        let host: Arc<str> = "db.internal".into();
        dns.remember(&host, Ok(vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()]));
        let first = |ttls| dns.cached(&host, ttls).map(|answer| answer.unwrap()[0].to_string());
        assert_eq!(first(TTLS).as_deref(), Some("10.0.0.2"));
        assert_eq!(first(TTLS).as_deref(), Some("10.0.0.1"));
        assert_eq!(first(Ttls { found: Duration::ZERO, ..TTLS }), None);
    }
}
