//! What the house knows of a formation it follows, and what others tell its watcher.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use failover::{
    Change, Decision, Endpoint, Event, Follower, Identity, Outcome, Probed, ProcedureId, Report, Route, Settings,
    Signal, Step, Truth,
};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::Subject;
use super::planned::{History, Kind, Record};
use super::standbys::Reading;
use crate::clock::Micros;
use crate::services::lock;

/// Most answers of new server connections that wait for the watcher; more say nothing new.
const MAX_ANSWERS: usize = 16;

/// Where the transactions of a formation go.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The last primary that was proved.
    pub route: Option<Arc<Route>>,
    /// Whether transactions may begin.
    pub is_open: bool,
    /// They have waited too long: whoever waits is told.
    pub is_expired: bool,
}

/// One group of one formation.
#[derive(Debug)]
pub struct Watched {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// What the configuration says of it.
    pub subject: Subject,
    /// Setting `failover_wait_timeout`.
    pub wait_timeout: Duration,
    /// How often transactions were stopped.
    pub holds: AtomicU64,
    /// How often another primary was followed.
    pub switches: AtomicU64,
    /// For how long transactions were stopped, all in all, in microseconds.
    pub held_time: AtomicU64,
    /// Told when something lies in the inbox.
    pub told: Notify,
    /// The session that follows the monitor, by its process id there; 0 while there is none.
    pub(super) monitor_pid: AtomicI32,
    /// The planned failover that this process coordinated last.
    pub(super) own_procedure: Mutex<Option<ProcedureId>>,
    /// This process coordinates a planned failover.
    pub(super) coordinates: AtomicBool,
    /// Its nodes that may be read.
    pub(super) standbys: Reading,
    /// Messages of poolers that were not obeyed.
    pub rejected: AtomicU64,
    /// How often another primary was followed, by who wanted it: see [`Kind`].
    pub failovers: [AtomicU64; 3],
    history: Arc<History>,
    /// Who wanted the stop that is in force, and since when.
    stopped: Mutex<Option<(Kind, Micros)>>,
    inbox: Mutex<Inbox>,
    follower: Mutex<Follower>,
    standing: watch::Sender<Standing>,
    task: Mutex<Option<AbortHandle>>,
}

/// What server connections have learned, and planned failovers. It cannot grow: signals of a kind are one, and answers
/// are few.
#[derive(Debug, Default)]
struct Inbox {
    epoch: u64,
    signals: Vec<Signal>,
    answers: VecDeque<Probed>,
    /// The last word of a planned failover, which replaces those before.
    planned: Option<Event>,
    /// An operator's word.
    accepted: Option<Event>,
}

impl Inbox {
    /// Takes a signal, unless an equal one waits already or a later epoch has been heard of: true if it is news.
    fn add(&mut self, epoch: u64, signal: Signal) -> bool {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.signals.clear();
        }
        let is_news = epoch == self.epoch && !self.signals.contains(&signal);
        if is_news {
            self.signals.push(signal);
        }
        is_news
    }

    fn take(&mut self) -> Vec<Event> {
        let epoch = self.epoch;
        let signals = self.signals.drain(..).map(|signal| Event::Signal { epoch, signal });
        let answers = self.answers.drain(..).map(Event::Probed);
        signals.chain(answers).chain(self.planned.take()).chain(self.accepted.take()).collect()
    }
}

impl Watched {
    /// A formation of which nothing is known yet.
    pub fn new(name: &str, subject: Subject, global: &config::Global, history: Arc<History>) -> Self {
        let wait_timeout = global.failover_wait_timeout;
        let settings = Settings {
            formation: subject.formation.formation.as_str().into(),
            group: i32::try_from(subject.formation.group).unwrap_or(i32::MAX),
            truth: if subject.hosts.is_empty() { Truth::Monitor } else { Truth::Hosts(subject.hosts.clone()) },
            early_open: global.failover_early_open,
            wait_timeout: Some(wait_timeout),
        };
        Self {
            name: name.into(),
            subject,
            wait_timeout,
            holds: AtomicU64::new(0),
            switches: AtomicU64::new(0),
            held_time: AtomicU64::new(0),
            told: Notify::new(),
            monitor_pid: AtomicI32::new(0),
            own_procedure: Mutex::default(),
            coordinates: AtomicBool::new(false),
            standbys: Reading::default(),
            rejected: AtomicU64::new(0),
            failovers: Default::default(),
            history,
            stopped: Mutex::default(),
            inbox: Mutex::default(),
            follower: Mutex::new(Follower::new(settings, Instant::now())),
            standing: watch::Sender::default(),
            task: Mutex::default(),
        }
    }

    /// The formation, as the configuration has it.
    pub(super) fn formation(&self) -> &config::Formation {
        &self.subject.formation
    }

    /// Where its transactions go at present.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Says where they go from now on. Its pools have been told, or are told right after.
    pub(super) fn set_standing(&self, standing: Standing) {
        self.standing.send_replace(standing);
    }

    /// Returns when transactions no longer go to this route, for whatever reason.
    pub(super) async fn left(&self, route: &Route) {
        let stays = |standing: &Standing| {
            standing.is_open && standing.route.as_ref().is_some_and(|now| now.epoch.identity == route.epoch.identity)
        };
        // It cannot fail while the sender is here.
        let _ = self.standing.subscribe().wait_for(|standing| !stays(standing)).await;
    }

    /// Returns when transactions go somewhere.
    pub(super) async fn opened(&self) {
        let _ = self.standing.subscribe().wait_for(|standing| standing.is_open).await;
    }

    /// Tells the follower of an event, and logs what it makes of it.
    pub(super) fn handle(&self, event: Event) -> Decision {
        let Step { decision, evidence } = lock(&self.follower).handle(event, Instant::now());
        if let Some(evidence) = evidence {
            self.count(&evidence.change);
            if evidence.change.is_warning() { warn!("{evidence}") } else { info!("{evidence}") }
        }
        decision
    }

    fn count(&self, change: &Change) {
        let held = match change {
            Change::Held(why) => {
                self.holds.fetch_add(1, Ordering::Relaxed);
                *lock(&self.stopped) = Some((Kind::of(why), Micros::now()));
                return;
            }
            Change::Switched { held, to, .. } => {
                self.switches.fetch_add(1, Ordering::Relaxed);
                self.remember(&to.endpoint, *held);
                held
            }
            Change::Resumed(_, held) => held,
            _ => return,
        };
        self.held_time.fetch_add(held.as_micros() as u64, Ordering::Relaxed);
    }

    /// Notes a failover, unless it is the first primary, or whoever coordinates it does so.
    fn remember(&self, to: &Endpoint, held: Duration) {
        let Some((kind, began)) = lock(&self.stopped).take() else { return };
        self.failovers[kind as usize].fetch_add(1, Ordering::Relaxed);
        let from = self.standing().route.map(|route| route.epoch.identity.endpoint.to_string());
        if kind == Kind::Planned && self.coordinates.load(Ordering::Relaxed) {
            return;
        }
        self.history.add(Record {
            began,
            formation: self.name.clone(),
            kind,
            outcome: Outcome::Done.name(),
            from: from.unwrap_or_default(),
            to: to.to_string(),
            held,
            steps: Vec::new(),
        });
    }

    /// After a RELOAD.
    pub(super) fn open_early(&self, early_open: bool) {
        lock(&self.follower).reconfigure(early_open, Some(self.wait_timeout));
    }

    /// What the follower wants to be asked next.
    pub(super) fn agenda(&self) -> failover::Agenda {
        lock(&self.follower).agenda(Instant::now())
    }

    /// Its nodes that may be read at present, by at most so many bytes of WAL behind.
    pub(super) fn readable(&self, max_lag: Option<u64>, now: Instant) -> Vec<failover::Standby> {
        lock(&self.follower).readable(max_lag, now)
    }

    /// Everything known of it, for people.
    pub fn report(&self) -> Report {
        lock(&self.follower).report(Instant::now())
    }

    /// A server connection that was opened to `route` learned something.
    pub fn signal(&self, route: &Route, signal: Signal) {
        let present = self.standing.borrow().route.clone();
        // By identity: a follower that was made anew by a RELOAD counts from one again.
        if let Some(present) = present.filter(|present| present.epoch.identity == route.epoch.identity)
            && lock(&self.inbox).add(present.epoch.number, signal)
        {
            self.told.notify_one();
        }
    }

    /// A new server connection, not the watcher's own, asked the node.
    pub(super) fn answered(&self, probed: Probed) {
        let mut inbox = lock(&self.inbox);
        if inbox.answers.len() < MAX_ANSWERS {
            inbox.answers.push_back(probed);
            self.told.notify_one();
        }
    }

    /// A planned failover begins, or was given up.
    pub(super) fn plan(&self, event: Event) {
        lock(&self.inbox).planned = Some(event);
        self.told.notify_one();
    }

    /// An operator accepts the primary that is refused at present; none if there is none.
    pub(super) fn accept(&self) -> Option<Identity> {
        let refused = lock(&self.follower).refused().cloned()?;
        lock(&self.inbox).accepted = Some(Event::Accept(refused.clone()));
        self.told.notify_one();
        Some(refused)
    }

    /// What has come since this was asked last.
    pub(super) fn take_inbox(&self) -> Vec<Event> {
        lock(&self.inbox).take()
    }

    /// Notes what does the watching.
    pub(super) fn set_task(&self, task: AbortHandle) {
        *lock(&self.task) = Some(task);
    }

    /// Watches no more.
    pub(super) fn end(&self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

/// Where a node is to be reached.
pub(crate) fn address(endpoint: &Endpoint) -> crate::address::Endpoint {
    match endpoint.host.starts_with('/') {
        true => crate::address::Endpoint::Unix(endpoint.host.as_ref().into(), endpoint.port),
        false => crate::address::Endpoint::Tcp(endpoint.host.clone(), endpoint.port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_signals_are_one_and_those_of_an_older_epoch_are_none() {
        let mut inbox = Inbox::default();
        assert!(inbox.add(2, Signal::Eof) && !inbox.add(2, Signal::Eof));
        assert!(inbox.add(2, Signal::Reset) && !inbox.add(1, Signal::Refused));
        assert_eq!(inbox.take().len(), 2);
        assert!(inbox.add(2, Signal::Eof), "it was taken");
        assert!(inbox.add(3, Signal::Refused));
        let taken = inbox.take();
        assert!(matches!(taken[..], [Event::Signal { epoch: 3, signal: Signal::Refused }]), "{taken:?}");
        assert!(inbox.take().is_empty());
    }
}
