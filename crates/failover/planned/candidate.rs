//! Whether a formation can change its primary now, and who takes over.

use crate::{Gate, Health, Monitor, NodeReport, NodeState, Report, Word};

/// Bytes of WAL that a successor may lack: what pg_auto_failover itself asks of one. Commits wait for it in any case.
const MAX_LAG: u64 = 16 << 20;

/// Who is to take over from whom.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The present primary.
    pub from: NodeReport,
    /// The nodes one of which becomes the next one: the wanted one, or those of which the monitor chooses.
    pub to: Vec<NodeReport>,
}

/// Looks for somebody to take over; a certain node, if one is wanted.
///
/// # Errors
/// Why nobody can, in words.
pub fn candidate(report: &Report, wanted: Option<&str>) -> Result<Candidate, String> {
    match report.monitor {
        Some(Monitor::Heard(_)) => {}
        None => return Err("there is no monitor".to_owned()),
        Some(Monitor::NeverHeard | Monitor::Silent(_)) => return Err("the monitor is silent".to_owned()),
    }
    if report.gate != Gate::Open {
        let why = report.why.as_ref().map(ToString::to_string).unwrap_or_default();
        return Err(format!("transactions wait already: {why}"));
    }
    let from = report.nodes.iter().find(|node| node.is_target).ok_or("there is no primary")?;
    if let Some(moving) = report.nodes.iter().find(|node| node.reported != node.goal) {
        return Err(format!("{}: it is on its way to another state", shown(moving)));
    }
    if from.reported != Some(NodeState::Primary) || from.health != Some(Health::Good) {
        return Err(format!("{}: the primary has no standby in sync, or is not healthy", shown(from)));
    }
    let to = match wanted {
        Some(name) => vec![named(report, name)?.clone()],
        None => report.nodes.iter().filter(|node| !node.is_target && obstacle(node).is_none()).cloned().collect(),
    };
    if to.is_empty() {
        let others = report.nodes.iter().filter(|node| !node.is_target);
        let why: Vec<_> =
            others.map(|node| format!("{}: {}", shown(node), obstacle(node).unwrap_or_default())).collect();
        return Err(format!("no node can take over: {}", why.join("; ")));
    }
    Ok(Candidate { from: from.clone(), to })
}

fn named<'a>(report: &'a Report, name: &str) -> Result<&'a NodeReport, String> {
    let found = report.nodes.iter().find(|node| *node.name == *name);
    let node = found.ok_or_else(|| {
        let names: Vec<_> = report.nodes.iter().map(|node| &*node.name).collect();
        format!("there is no node {name:?}, but {}", names.join(", "))
    })?;
    match obstacle(node) {
        _ if node.is_target => Err(format!("{name} is the primary already")),
        Some(obstacle) => Err(format!("{} cannot take over: {obstacle}", shown(node))),
        None => Ok(node),
    }
}

/// Why this one cannot take over.
fn obstacle(node: &NodeReport) -> Option<String> {
    if node.reported != Some(NodeState::Secondary) {
        return Some("it is no standby in sync".to_owned());
    }
    if node.health != Some(Health::Good) {
        return Some("the monitor does not find it healthy".to_owned());
    }
    if node.candidate_priority.is_none_or(|priority| priority <= 0) {
        return Some("its candidate priority is 0".to_owned());
    }
    match (node.word, node.lag) {
        (Word::InRecovery, Some(lag)) if lag <= MAX_LAG => None,
        (Word::InRecovery, Some(lag)) => Some(format!("it is {lag} bytes behind")),
        (Word::InRecovery, None) => Some("how far it is behind cannot be told".to_owned()),
        (word, _) => Some(format!("it {word}")),
    }
}

fn shown(node: &NodeReport) -> String {
    let state = |state: &Option<NodeState>| state.as_ref().map_or("unknown", NodeState::name).to_owned();
    match node.reported == node.goal {
        true => format!("{} ({})", node.name, state(&node.reported)),
        false => format!("{} ({} -> {})", node.name, state(&node.reported), state(&node.goal)),
    }
}
