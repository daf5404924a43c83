//! The numbers of formations that are followed.

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use failover::{Gate, Monitor, Report};
use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::MetricType;

use super::collector::Page;
use super::names::{self, FormationRow};
use crate::follow::{Kind, Watched};
use crate::services::Services;

impl Page<'_> {
    pub(super) fn formations(&mut self, services: &Services) -> Result<(), Error> {
        let watched = services.follow.all();
        let rows: Vec<_> = watched.iter().map(|watched| row(watched, &watched.report())).collect();
        for gauge in names::FORMATIONS {
            self.gauges(gauge, &rows, |row| [("formation", row.name.clone())])?;
        }
        self.nodes(&watched)?;
        for (name, help, get) in names::FORMATION_COUNTERS {
            self.metric(name, help, MetricType::Counter, |mut metric| {
                watched.iter().try_for_each(|watched| {
                    let labels = [("formation", &*watched.name)];
                    let mut series = metric.encode_family(&labels)?;
                    series.encode_counter::<NoLabelSet, _, f64>(&read(get(watched)), None)
                })
            })?;
        }
        let (name, help) = ("pooler_formation_failovers", "Failovers that were followed, by who wanted them");
        self.metric(name, help, MetricType::Counter, |mut metric| {
            watched.iter().flat_map(|watched| Kind::ALL.map(|kind| (watched, kind))).try_for_each(|(watched, kind)| {
                let labels = [("formation", &*watched.name), ("kind", kind.name())];
                let mut series = metric.encode_family(&labels)?;
                series.encode_counter::<NoLabelSet, _, f64>(&read(&watched.failovers[kind as usize]), None)
            })
        })?;
        let (name, help) = ("pooler_formation_hold_seconds", "Time for which transactions were held, all in all");
        self.metric(name, help, MetricType::Counter, |mut metric| {
            watched.iter().try_for_each(|watched| {
                let labels = [("formation", &*watched.name)];
                let mut series = metric.encode_family(&labels)?;
                let seconds = read(&watched.held_time) as f64 / 1e6;
                series.encode_counter::<NoLabelSet, _, f64>(&seconds, None)
            })
        })
    }

    /// One series for each node, in its present states.
    fn nodes(&mut self, watched: &[Arc<Watched>]) -> Result<(), Error> {
        let (name, help) = ("pooler_formation_node", "1 for each node, with its states as the monitor has them");
        self.metric(name, help, MetricType::Gauge, |mut metric| {
            watched.iter().try_for_each(|watched| {
                watched.report().nodes.iter().try_for_each(|node| {
                    let state = |state: &Option<failover::NodeState>| {
                        state.as_ref().map_or_else(String::new, |state| state.name().to_owned())
                    };
                    let labels = [
                        ("formation", watched.name.to_string()),
                        ("node", node.name.to_string()),
                        ("reported", state(&node.reported)),
                        ("goal", state(&node.goal)),
                        ("target", if node.is_target { "yes" } else { "no" }.to_owned()),
                    ];
                    metric.encode_family(&labels)?.encode_gauge(&1.0)
                })
            })
        })
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn row(watched: &Watched, report: &Report) -> FormationRow {
    FormationRow {
        name: watched.name.to_string(),
        timeline: report.route.as_ref().map_or(0, |route| route.epoch.identity.timeline),
        is_held: report.gate != Gate::Open,
        monitor_age: match report.monitor {
            Some(Monitor::Heard(age) | Monitor::Silent(age)) => age.as_secs_f64(),
            Some(Monitor::NeverHeard) | None => f64::INFINITY,
        },
    }
}
