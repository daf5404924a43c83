//! The task that watches one formation: events in, decisions out to its pools.

use std::sync::Arc;
use std::time::Duration;

use failover::{Decision, Event};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::error;

use super::apply;
use super::monitor::{self, Reading};
use super::probing::Probers;
use super::standbys;
use super::watched::Watched;
use crate::services::Services;

/// Events on their way to the follower; who brings more waits.
const MAX_EVENTS: usize = 64;
/// The follower is told the time at least this often.
const TICK: Duration = Duration::from_secs(1);

/// Ends with its owner.
struct Ends<T>(JoinHandle<T>);

impl<T> Drop for Ends<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Watches until it is aborted. A formation that nobody watches would be served as it was last: whoever dies is replaced.
pub async fn keep_watching(services: Arc<Services>, watched: Arc<Watched>) {
    loop {
        let mut watching = Ends(tokio::spawn(watch(services.clone(), watched.clone())));
        if let Err(died) = (&mut watching.0).await {
            error!("formation {}: its watcher begins again: {died}", watched.name);
        }
        tokio::time::sleep(TICK).await;
    }
}

async fn watch(services: Arc<Services>, watched: Arc<Watched>) {
    let (sender, mut events) = mpsc::channel(MAX_EVENTS);
    let reading = Arc::new(Reading { now: Notify::new(), every: watch::Sender::new(TICK) });
    let monitor = || monitor::keep(services.clone(), watched.clone(), reading.clone(), sender.clone());
    let _monitor = watched.subject.hosts.is_empty().then(|| Ends(tokio::spawn(monitor())));
    let mut probers = Probers::new(services.clone(), watched.clone(), sender);
    let mut applied = None;
    loop {
        let agenda = watched.agenda();
        probers.arrange(&agenda.probes);
        reading.every.send_if_modified(|every| std::mem::replace(every, agenda.read_every) != agenda.read_every);
        if agenda.read_now {
            reading.now.notify_one();
        }
        let tick = Instant::now() + TICK;
        let wake_at = agenda.wake_at.map_or(tick, |at| tick.min(at.into()));
        let happened = tokio::select! {
            biased;
            () = watched.told.notified() => watched.take_inbox(),
            event = events.recv() => event.into_iter().collect(),
            () = sleep_until(wake_at) => vec![Event::Tick],
        };
        for event in happened {
            let decision = watched.handle(event);
            let gist = Gist::of(&decision);
            if applied != Some(gist) {
                applied = Some(gist);
                apply::decision(&services, &watched, &decision);
            }
        }
        standbys::review(&services, &watched);
    }
}

/// What a decision means to pools: they are told only when this changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gist {
    Held { is_expired: bool, is_suspicion: bool },
    Open { epoch: u64, early: bool },
}

impl Gist {
    fn of(decision: &Decision) -> Self {
        match decision {
            Decision::Hold(hold) => Self::Held { is_expired: hold.expired, is_suspicion: hold.why.is_suspicion() },
            Decision::Keep(route) | Decision::Switch(route) => {
                Self::Open { epoch: route.epoch.number, early: route.early }
            }
        }
    }
}
