//! SHOW FORMATIONS: each node of each formation that is followed.

use failover::{Monitor, NodeReport, Report};

use super::table::{Answer, Table, int4, maybe, text};
use crate::services::Services;

/// One node; a formation of which no node is known has a row without one.
#[derive(Debug)]
pub(super) struct NodeRow {
    name: String,
    formation: Report,
    node: Option<NodeReport>,
}

pub(super) static FORMATIONS: Table<NodeRow> = Table {
    columns: &[
        text("name", |r| r.name.clone()),
        text("formation", |r| r.formation.formation.to_string()),
        int4("group", |r| r.formation.group.try_into().unwrap_or(0)),
        text("gate", |r| r.formation.gate.name().to_owned()),
        maybe("why", |r| r.formation.why.as_ref().map(ToString::to_string)),
        int4("epoch", |r| r.formation.route.as_ref().map_or(0, |route| route.epoch.number)),
        text("monitor", |r| monitor(r.formation.monitor).to_owned()),
        maybe("monitor_age_ms", |r| age_ms(r.formation.monitor)),
        maybe("node", |r| r.of_node(|node| node.name.to_string())),
        maybe("host", |r| r.of_node(|node| node.endpoint.host.to_string())),
        maybe("port", |r| r.of_node(|node| node.endpoint.port.to_string())),
        maybe("target", |r| r.of_node(|node| if node.is_target { "yes" } else { "no" }.to_owned())),
        maybe("reported", |r| r.node.as_ref()?.reported.as_ref().map(|state| state.name().to_owned())),
        maybe("goal", |r| r.node.as_ref()?.goal.as_ref().map(|state| state.name().to_owned())),
        maybe("health", |r| r.node.as_ref()?.health.map(|health| health.name().to_owned())),
        maybe("says", |r| r.of_node(|node| node.word.to_string())),
        maybe("timeline", |r| r.node.as_ref()?.timeline.map(|timeline| timeline.to_string())),
        maybe("lsn", |r| r.node.as_ref()?.lsn.map(|lsn| lsn.to_string())),
        maybe("lag", |r| r.node.as_ref()?.lag.map(|lag| lag.to_string())),
        maybe("priority", |r| r.node.as_ref()?.candidate_priority.map(|priority| priority.to_string())),
    ],
};

impl NodeRow {
    fn of_node(&self, get: impl FnOnce(&NodeReport) -> String) -> Option<String> {
        self.node.as_ref().map(get)
    }
}

pub(super) fn formations(services: &Services) -> Answer {
    let mut rows = Vec::new();
    for watched in services.follow.all() {
        let mut report = watched.report();
        let nodes = std::mem::take(&mut report.nodes);
        let nodes = if nodes.is_empty() { vec![None] } else { nodes.into_iter().map(Some).collect() };
        let row = |node| NodeRow { name: watched.name.to_string(), formation: report.clone(), node };
        rows.extend(nodes.into_iter().map(row));
    }
    FORMATIONS.answer(rows.into_iter())
}

fn monitor(monitor: Option<Monitor>) -> &'static str {
    match monitor {
        None => "none",
        Some(Monitor::NeverHeard) => "never heard",
        Some(Monitor::Heard(_)) => "heard",
        Some(Monitor::Silent(_)) => "silent",
    }
}

fn age_ms(monitor: Option<Monitor>) -> Option<String> {
    match monitor? {
        Monitor::NeverHeard => None,
        Monitor::Heard(age) | Monitor::Silent(age) => Some(age.as_millis().to_string()),
    }
}
