//! Reads everything at each scrape, and writes it down.

use std::fmt::{self, Error};
use std::sync::Arc;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::names::{self, Gauge};
use crate::console::{self, COUNTERS};
use crate::errors_seen::ErrorCounts;
use crate::pins;
use crate::pools::SharedPool;
use crate::services::Services;
use crate::stats::{BUCKETS, Histogram, Stats};

/// Reads everything at each scrape.
pub struct Collector {
    services: Arc<Services>,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

impl Collector {
    /// Of these services.
    pub fn new(services: Arc<Services>) -> Self {
        Self { services }
    }
}

impl prometheus_client::collector::Collector for Collector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut page = Page { encoder };
        page.process(&self.services)?;
        page.pools(&self.services)?;
        page.databases(&self.services)?;
        page.stats(&self.services)?;
        page.histograms(&self.services)?;
        page.workers(&self.services)?;
        page.logins(&self.services)?;
        page.listeners(&self.services)?;
        page.formations(&self.services)
    }
}

pub(super) struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Page<'_> {
    /// One metric: its description, then what `values` encodes.
    pub(super) fn metric(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        values: impl FnOnce(MetricEncoder<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        values(self.encoder.encode_descriptor(name, help, None, kind)?)
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> Result<(), Error> {
        self.metric(name, help, MetricType::Gauge, |mut metric| metric.encode_gauge(&value))
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        self.metric(name, help, MetricType::Counter, |mut metric| {
            metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
        })
    }

    /// A gauge for each row.
    pub(super) fn gauges<R, L: EncodeLabelSet>(
        &mut self,
        gauge: &Gauge<R>,
        rows: &[R],
        labels: impl Fn(&R) -> L,
    ) -> Result<(), Error> {
        self.metric(gauge.name, gauge.help, MetricType::Gauge, |mut metric| {
            rows.iter().try_for_each(|row| metric.encode_family(&labels(row))?.encode_gauge(&(gauge.get)(row)))
        })
    }

    fn process(&mut self, services: &Services) -> Result<(), Error> {
        self.gauge("pgbouncer_up", "1 when this page is served", 1.0)?;
        self.metric("pgbouncer_version_info", "The version", MetricType::Gauge, |mut metric| {
            metric.encode_family(&[("version", console::VERSION)])?.encode_gauge(&1.0)
        })?;
        let config = services.config.load();
        for gauge in names::CONFIG {
            self.gauge(gauge.name, gauge.help, (gauge.get)(&config))?;
        }
        let sizes = console::list_sizes(services);
        for (list, name, help) in names::LISTS {
            let size = sizes.iter().find(|(known, _)| known == list).map_or(0, |(_, size)| *size);
            self.gauge(name, help, size as f64)?;
        }
        self.counter(
            "pooler_accepted_connections",
            "Connections that clients have opened",
            services.clients.accepted(),
        )?;
        self.counts("pooler_client_errors", "Errors given to clients", "sqlstate", &services.errors)
    }

    fn pools(&mut self, services: &Services) -> Result<(), Error> {
        let rows = console::pools(services);
        for gauge in names::POOLS {
            self.gauges(gauge, &rows, |pool| {
                [("database", pool.database.to_string()), ("user", pool.user.to_string())]
            })?;
        }
        self.pins(services)
    }

    /// Who keeps a server, and what for.
    fn pins(&mut self, services: &Services) -> Result<(), Error> {
        let pools = services.pools.all();
        self.metric("pooler_pinned_clients", "Clients that keep a server", MetricType::Gauge, |mut metric| {
            pools.iter().flat_map(|pool| pins::KINDS.iter().map(move |kind| (pool, kind))).try_for_each(
                |(pool, kind)| {
                    let labels = [("database", &*pool.database), ("user", &*pool.user), ("reason", kind.name)];
                    metric.encode_family(&labels)?.encode_gauge(&(pool.pins.of(kind.kind) as f64))
                },
            )
        })
    }

    fn databases(&mut self, services: &Services) -> Result<(), Error> {
        let rows = console::databases(services);
        for gauge in names::DATABASES {
            self.gauges(gauge, &rows, |database| {
                [
                    ("name", database.name.clone()),
                    ("host", database.host.clone().unwrap_or_default()),
                    ("port", database.port.to_string()),
                    ("database", database.database.clone()),
                    ("force_user", database.force_user.clone().unwrap_or_default()),
                    ("pool_mode", database.pool_mode.unwrap_or_default().to_owned()),
                ]
            })?;
        }
        Ok(())
    }

    /// The counters, under the exporter's present and its former prefix.
    fn stats(&mut self, services: &Services) -> Result<(), Error> {
        let databases = console::by_database(services);
        for prefix in ["pgbouncer_stats", "pgbouncer_stats_totals"] {
            for (position, counter) in COUNTERS.iter().enumerate() {
                let name = format!("{prefix}_{}", counter.metric);
                self.metric(&name, counter.help, MetricType::Counter, |mut metric| {
                    databases.iter().try_for_each(|(database, stats)| {
                        let labels = [("database", &**database)];
                        let mut series = metric.encode_family(&labels)?;
                        let value = stats.totals.values()[position];
                        match counter.is_time() {
                            true => series.encode_counter::<NoLabelSet, _, f64>(&(value as f64 / 1e6), None),
                            false => series.encode_counter::<NoLabelSet, _, f64>(&value, None),
                        }
                    })
                })?;
            }
        }
        Ok(())
    }

    fn histograms(&mut self, services: &Services) -> Result<(), Error> {
        let pools: Vec<(Arc<SharedPool>, Stats)> =
            services.pools.all().into_iter().map(|pool| (pool.clone(), pool.stats())).collect();
        for (name, help, get) in names::HISTOGRAMS {
            self.metric(name, help, MetricType::Histogram, |mut metric| {
                pools.iter().try_for_each(|(pool, stats)| {
                    let labels = [("database", &*pool.database), ("user", &*pool.user)];
                    encode_histogram(metric.encode_family(&labels)?, get(stats))
                })
            })?;
        }
        Ok(())
    }

    fn workers(&mut self, services: &Services) -> Result<(), Error> {
        let workers = services.workers.snapshot();
        for gauge in names::WORKERS {
            self.gauges(gauge, &workers, |worker| [("worker", worker.id.to_string())])?;
        }
        Ok(())
    }

    fn listeners(&mut self, services: &Services) -> Result<(), Error> {
        let hubs: Vec<_> = services.listening.all().iter().map(|hub| hub.snapshot()).collect();
        for gauge in names::LISTENERS {
            self.gauges(gauge, &hubs, |hub| {
                [
                    ("database", hub.database.to_string()),
                    ("encoding", String::from_utf8_lossy(&hub.encoding).into_owned()),
                ]
            })?;
        }
        let (name, help) =
            ("pooler_notifications", "Notifications given to clients that a shared connection listens for");
        self.counter(name, help, services.listening.deliveries())
    }

    fn logins(&mut self, services: &Services) -> Result<(), Error> {
        let door = services.door.snapshot();
        for gauge in names::DOOR {
            self.gauges(gauge, &door, |thread| [("thread", thread.id.to_string())])?;
        }
        self.counter("pooler_logins", "Logins that ended well", door.iter().map(|thread| thread.logins).sum())?;
        let handshakes = door.iter().map(|thread| thread.handshakes).sum();
        self.counter("pooler_tls_handshakes", "TLS handshakes with clients that ended well", handshakes)?;
        self.counts("pooler_auth_failures", "Logins that failed, by reason", "reason", &services.auth_failures)?;
        let (name, help) = ("pooler_commit_outcomes", "COMMITs whose outcome was looked for after a loss, by outcome");
        self.counts(name, help, "outcome", &services.commit_outcomes)?;
        let (name, help) = ("pooler_certificate_expiry_timestamp_seconds", "When a certificate in use expires");
        self.metric(name, help, MetricType::Gauge, |mut metric| {
            services.tls.load().expiries().try_for_each(|expiry| {
                let labels = [("setting", expiry.setting), ("subject", &expiry.subject)];
                metric.encode_family(&labels)?.encode_gauge(&(expiry.not_after as f64))
            })
        })
    }

    fn counts(&mut self, name: &str, help: &str, label: &str, counts: &ErrorCounts) -> Result<(), Error> {
        self.metric(name, help, MetricType::Counter, |mut metric| {
            counts.all().iter().try_for_each(|(value, count)| {
                metric.encode_family(&[(label, &**value)])?.encode_counter::<NoLabelSet, _, f64>(count, None)
            })
        })
    }
}

fn encode_histogram(mut series: MetricEncoder<'_>, histogram: &Histogram) -> Result<(), Error> {
    let bound = |bucket| Histogram::bound(bucket).unwrap_or(f64::INFINITY);
    let buckets: Vec<_> = (0..BUCKETS).map(|bucket| (bound(bucket), histogram.buckets[bucket])).collect();
    series.encode_histogram::<NoLabelSet>(histogram.sum as f64 / 1e6, histogram.count(), &buckets, None)
}
