//! SHOW STATS and its relatives, and the same counters for the metrics page.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::table::{Answer, Cell, Field, Kind};
use crate::services::Services;
use crate::stats::Totals;
use Mean::{PerEach, PerSecond};

/// A counter under all its names; the order is that of [`Totals`].
#[derive(Debug)]
pub struct Counter {
    /// In SHOW STATS_TOTALS.
    pub name: &'static str,
    /// In SHOW STATS: behind `total_`, and behind `avg_`.
    in_stats: (&'static str, &'static str),
    /// In SHOW STATS_AVERAGES.
    in_averages: &'static str,
    /// In SHOW TOTALS, behind `total_` or `avg_`.
    in_totals: &'static str,
    mean: Mean,
    /// On the metrics page, without `_total`: the name that prometheus-community's pgbouncer_exporter gives it.
    pub metric: &'static str,
    /// What the metrics page says about it.
    pub help: &'static str,
}

/// What an average is of.
#[derive(Debug)]
enum Mean {
    /// How many a second.
    PerSecond,
    /// How many microseconds each of these took.
    PerEach(fn(&Totals) -> u64),
}

impl Counter {
    /// Whether it counts microseconds.
    pub fn is_time(&self) -> bool {
        matches!(self.mean, PerEach(_))
    }

    /// Its average over a period.
    fn average(&self, value: u64, period: &Totals, seconds: u64) -> u64 {
        match self.mean {
            PerSecond => value / seconds.max(1),
            PerEach(count) => value.checked_div(count(period)).unwrap_or(0),
        }
    }
}

macro_rules! counters {
    ($($name:literal | $total:literal | $avg:literal | $averages:literal | $totals:literal | $mean:expr;
        $metric:literal: $help:literal)*) => {
        /// All counters, in the order of [`Totals`].
        pub static COUNTERS: [Counter; Totals::NAMES.len()] = [$(Counter {
            name: $name,
            in_stats: ($total, $avg),
            in_averages: $averages,
            in_totals: $totals,
            mean: $mean,
            metric: $metric,
            help: $help,
        },)*];
    };
}

counters! {
    "server_assignment_count" | "server_assignment_count" | "server_assignment_count" | "server_assignment_count" | "server_assignment_count" | PerSecond;
        "server_assignments": "Times a client was given a server"
    "xact_count" | "xact_count" | "xact_count" | "xact_count" | "xact_count" | PerSecond;
        "sql_transactions_pooled": "Transactions"
    "query_count" | "query_count" | "query_count" | "query_count" | "query_count" | PerSecond;
        "queries_pooled": "Queries"
    "bytes_received" | "received" | "recv" | "bytes_received" | "client_bytes" | PerSecond;
        "received_bytes": "Bytes received from clients"
    "bytes_sent" | "sent" | "sent" | "bytes_sent" | "server_bytes" | PerSecond;
        "sent_bytes": "Bytes sent to clients"
    "xact_time" | "xact_time" | "xact_time" | "xact_time" | "xact_time" | PerEach(|t| t.xact_count);
        "server_in_transaction_seconds": "Time clients had a server in a transaction"
    "query_time" | "query_time" | "query_time" | "query_time" | "query_time" | PerEach(|t| t.query_count);
        "queries_duration_seconds": "Time servers worked on queries"
    "wait_time" | "wait_time" | "wait_time" | "wait_time" | "wait_time" | PerEach(|t| t.server_assignment_count);
        "client_wait_seconds": "Time clients waited for a server"
    "client_parse_count" | "client_parse_count" | "client_parse_count" | "avg_client_parse_count" | "ps_client_parse_count" | PerSecond;
        "client_parses": "Prepared statements that clients made"
    "server_parse_count" | "server_parse_count" | "server_parse_count" | "avg_server_parse_count" | "ps_server_parse_count" | PerSecond;
        "server_parses": "Prepared statements that were made on servers"
    "bind_count" | "bind_count" | "bind_count" | "avg_bind_count" | "ps_bind_count" | PerSecond;
        "binds": "Times a prepared statement was bound"
    "client_login_count" | "client_login_count" | "client_login_count" | "avg_client_login_count" | "client_login_count" | PerSecond;
        "client_logins": "Logins"
}

/// What a database has counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct DatabaseStats {
    /// Since its pools were made.
    pub totals: Totals,
    /// In the last whole stats period.
    pub period: Totals,
}

/// Counters by database, in alphabetical order; the console counts nothing.
pub fn by_database(services: &Services) -> BTreeMap<Arc<str>, DatabaseStats> {
    let mut databases = BTreeMap::from([("pgbouncer".into(), DatabaseStats::default())]);
    for pool in services.pools.all() {
        let stats = pool.stats();
        let sum: &mut DatabaseStats = databases.entry(pool.database.clone()).or_default();
        sum.totals = sum.totals + stats.totals;
        sum.period = sum.period + stats.last();
    }
    databases
}

pub(super) fn stats(services: &Services) -> Answer {
    let names = COUNTERS.iter().map(|counter| format!("total_{}", counter.in_stats.0));
    let averages = COUNTERS.iter().map(|counter| format!("avg_{}", counter.in_stats.1));
    per_database(services, names.chain(averages), |stats, seconds| {
        stats.totals.values().into_iter().chain(average_values(&stats.period, seconds)).collect()
    })
}

pub(super) fn totals(services: &Services) -> Answer {
    let names = COUNTERS.iter().map(|counter| counter.name.to_owned());
    per_database(services, names, |stats, _| stats.totals.values().into())
}

pub(super) fn averages(services: &Services) -> Answer {
    let names = COUNTERS.iter().map(|counter| counter.in_averages.to_owned());
    per_database(services, names, |stats, seconds| average_values(&stats.period, seconds).collect())
}

/// SHOW TOTALS: one row for each counter and one for each average, over all databases.
pub(super) fn grand_totals(services: &Services) -> Answer {
    let seconds = period_seconds(services);
    let mut sum = DatabaseStats::default();
    for stats in by_database(services).values() {
        sum.totals = sum.totals + stats.totals;
        sum.period = sum.period + stats.period;
    }
    let name = |kind: &str, counter: &Counter| Cell::Text(format!("{kind}_{}", counter.in_totals));
    let totals = COUNTERS
        .iter()
        .zip(sum.totals.values())
        .map(|(counter, value)| vec![name("total", counter), Cell::Number(value)]);
    let averages = COUNTERS.iter().zip(average_values(&sum.period, seconds));
    let averages = averages.map(|(counter, value)| vec![name("avg", counter), Cell::Number(value)]);
    let rows: Vec<_> = totals.chain(averages).collect();
    let fields =
        vec![Field { name: "name".into(), kind: Kind::Text }, Field { name: "value".into(), kind: Kind::Numeric }];
    Answer { fields, rows: Box::new(rows.into_iter()) }
}

fn per_database(
    services: &Services,
    names: impl Iterator<Item = String>,
    values: impl Fn(&DatabaseStats, u64) -> Vec<u64>,
) -> Answer {
    let seconds = period_seconds(services);
    let numbers = names.map(|name| Field { name: name.into(), kind: Kind::Numeric });
    let fields = std::iter::once(Field { name: "database".into(), kind: Kind::Text }).chain(numbers).collect();
    let row = |(name, stats): (Arc<str>, DatabaseStats)| -> Vec<Cell> {
        let numbers = values(&stats, seconds).into_iter().map(Cell::Number);
        std::iter::once(Cell::Text(name.to_string())).chain(numbers).collect()
    };
    let rows: Vec<_> = by_database(services).into_iter().map(row).collect();
    Answer { fields, rows: Box::new(rows.into_iter()) }
}

fn average_values(period: &Totals, seconds: u64) -> impl Iterator<Item = u64> {
    let average = move |(counter, value): (&Counter, u64)| counter.average(value, period, seconds);
    COUNTERS.iter().zip(period.values()).map(average)
}

fn period_seconds(services: &Services) -> u64 {
    services.config.load().global.stats_period.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_stands_at_its_place() {
        assert_eq!(COUNTERS.iter().map(|counter| counter.name).collect::<Vec<_>>(), Totals::NAMES);
    }

    #[test]
    fn times_are_averaged_per_event_and_counts_per_second() {
        let period = Totals { query_count: 120, query_time: 2_400, ..Totals::default() };
        let averages: Vec<_> = average_values(&period, 60).collect();
        assert_eq!((averages[2], averages[6], averages[5]), (2, 20, 0));
    }
}
