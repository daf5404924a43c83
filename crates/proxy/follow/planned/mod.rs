//! Planned failovers: the sockets and tasks around `failover::Procedure`, here as coordinator and there as one of those
//! who are told.

mod attend;
mod chair;
mod drain;
mod drive;
mod history;
mod wake;

use std::sync::Arc;

use failover::{Limits, Outcome, Plan, StepDone};
use tokio::sync::{Notify, mpsc};

pub(super) use attend::Attendant;
pub use history::{History, Kind, Record};

use super::watched::Watched;
use crate::services::Services;

/// What an operator asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The formation, by its name in the configuration; needed if there are several.
    pub formation: Option<String>,
    /// The node that is to become the primary.
    pub to: Option<String>,
    /// Look whether it is possible, and do nothing.
    pub dry_run: bool,
    /// Go on although transactions do not end, or another pooler cannot be told.
    pub force: bool,
}

/// What is heard of a failover under way.
#[derive(Debug)]
pub enum Progress {
    /// A step was taken.
    Step(StepDone),
    /// It is over.
    Ended(Outcome),
}

/// A failover under way. Dropping it gives it up, if that is still possible.
#[derive(Debug)]
pub struct Running {
    progress: mpsc::UnboundedReceiver<Progress>,
    cancel: Arc<Notify>,
}

impl Running {
    /// What happens next; none after its end.
    pub async fn next(&mut self) -> Option<Progress> {
        self.progress.recv().await
    }

    /// Gives it up, if that is still possible; else a step says that it is not.
    pub fn cancel(&self) {
        self.cancel.notify_one();
    }
}

/// Begins a planned failover.
///
/// # Errors
/// There is no such formation, in words.
pub fn begin(services: &Arc<Services>, wish: Wish) -> Result<Running, String> {
    let watched = chosen(services, wish.formation.as_deref())?;
    if !watched.subject.hosts.is_empty() {
        return Err(format!("{} has no monitor that could move its primary", watched.name));
    }
    let config = services.config.load_full();
    let plan = Plan {
        to: wish.to.map(String::into_boxed_str),
        dry_run: wish.dry_run,
        force: wish.force,
        can_tell: !config.global.control_secret.reveal().is_empty(),
        limits: Limits::within(config.failover_pause()),
    };
    let (sender, progress) = mpsc::unbounded_channel();
    let cancel = Arc::new(Notify::new());
    services.house.spawn(drive::run(services.clone(), watched, plan, sender, cancel.clone()));
    Ok(Running { progress, cancel })
}

/// The formation of this name, or the only one.
///
/// # Errors
/// There is none, or more than one, in words.
pub(super) fn chosen(services: &Services, name: Option<&str>) -> Result<Arc<Watched>, String> {
    let mut all = services.follow.all();
    match name {
        Some(name) => services.follow.of(name).ok_or_else(|| format!("there is no formation {name:?}")),
        None if all.len() == 1 => Ok(all.remove(0)),
        None if all.is_empty() => Err("no formation is followed".to_owned()),
        None => {
            let names: Vec<_> = all.iter().map(|watched| &*watched.name).collect();
            Err(format!("name one of the formations: {}", names.join(", ")))
        }
    }
}
