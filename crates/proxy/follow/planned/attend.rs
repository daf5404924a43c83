//! Being told: what coordinators of planned failovers say to this process, through the session that follows the monitor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use failover::{ControlKey, Event, Guard, Message, Rejected, Said, Witness, channel};
use protocol::messages;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::chair::{self, ANNOUNCE, WITNESS};
use super::drain;
use crate::follow::session::{self, Row};
use crate::follow::watched::Watched;
use crate::services::{Services, lock};

/// Messages that wait to be judged; more are dropped, and whoever sent them hears no answer.
const MAX_HEARD: usize = 64;
/// Answers that wait to be sent.
const MAX_REPLIES: usize = 16;
/// How often a coordinator is looked for while transactions wait for it.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a message that does not count is worth a line in the log.
const COMPLAINT_EVERY: Duration = Duration::from_secs(1);

/// Listens for one formation, over all its sessions at the monitor.
#[derive(Debug)]
pub struct Attendant {
    services: Arc<Services>,
    watched: Arc<Watched>,
    formation: String,
    group: i32,
    channel: String,
    guard: Guard,
    heard: VecDeque<(i32, String)>,
    /// What the monitor is asked about.
    judged: Option<Judged>,
    replies: (mpsc::Sender<Reply>, mpsc::Receiver<Reply>),
    number: u32,
    pausing: Option<Pausing>,
    complained_at: Option<Instant>,
}

/// What the monitor is asked about.
#[derive(Debug)]
enum Judged {
    /// A message, and the session it came from.
    Message(i32, Message),
    /// Whether the coordinator of the pause is still there.
    Coordinator,
}

/// A pause that a coordinator wanted.
#[derive(Debug)]
struct Pausing {
    coordinator: i32,
    /// Waits for transactions to end, and to begin again.
    task: JoinHandle<()>,
    looked_at: Instant,
}

/// An answer to a message.
#[derive(Debug)]
struct Reply {
    to: Message,
    said: Said,
}

impl Drop for Attendant {
    fn drop(&mut self) {
        self.stop_pausing();
    }
}

impl Attendant {
    /// For one formation.
    pub fn new(services: Arc<Services>, watched: Arc<Watched>) -> Self {
        let (formation, group) = chair::of_monitor(&watched);
        Self {
            services,
            watched,
            channel: channel(&formation, group),
            formation,
            group,
            guard: Guard::default(),
            heard: VecDeque::new(),
            judged: None,
            replies: mpsc::channel(MAX_REPLIES),
            number: 0,
            pausing: None,
            complained_at: None,
        }
    }

    /// What a session at the monitor begins with.
    pub fn listen(&self) -> String {
        format!("listen {}", self.channel)
    }

    /// How a session shows to coordinators that a pooler follows the formation.
    pub fn announcement(&self) -> Vec<u8> {
        self.request(ANNOUNCE, &[])
    }

    /// What the monitor said to that.
    pub fn announced(&self, rows: &[Row]) {
        let row = rows.first().and_then(session::columns::<2>);
        let pid = row.and_then(|row| row[1]?.parse().ok()).unwrap_or(0);
        self.watched.monitor_pid.store(pid, Ordering::Relaxed);
        if row.is_none_or(|row| row[0] != Some("t")) {
            warn!("formation {}: cannot announce itself to other poolers: somebody holds its lock", self.watched.name);
        }
    }

    /// The session is over.
    pub fn leave(&mut self) {
        self.watched.monitor_pid.store(0, Ordering::Relaxed);
        self.judged = None;
    }

    /// Takes a message of the session, whatever it is.
    pub fn hear(&mut self, tag: u8, body: &[u8]) {
        if let Some(heard) = chair::control(tag, body, &self.channel).filter(|_| self.heard.len() < MAX_HEARD) {
            self.heard.push_back(heard);
        }
    }

    /// The next thing to ask the monitor, about something that was heard.
    pub fn question(&mut self) -> Option<Vec<u8>> {
        while let Some((sender, payload)) = self.heard.pop_front() {
            let key = ControlKey::new(self.services.config.load().global.control_secret.reveal());
            let message = key.and_then(|key| key.open(&payload));
            let judgement = match &message {
                None => Err(Rejected::Forged),
                Some(message) => self.guard.is_plausible(message, sender),
            };
            match (judgement, message) {
                (Ok(()), Some(message)) if self.is_ours(&message) => {
                    self.judged = Some(Judged::Message(sender, message));
                    return Some(self.request(WITNESS, &[&sender.to_string()]));
                }
                (Err(why), _) => self.reject(why),
                (Ok(()), _) => {}
            }
        }
        let is_due = |pausing: &&mut Pausing| !pausing.task.is_finished() && pausing.looked_at.elapsed() >= LOOK_EVERY;
        let pausing = self.pausing.as_mut().filter(is_due)?;
        pausing.looked_at = Instant::now();
        let coordinator = pausing.coordinator.to_string();
        self.judged = Some(Judged::Coordinator);
        Some(self.request(WITNESS, &[&coordinator]))
    }

    /// What the monitor said about it. The question was sent at that moment.
    pub fn answered(&mut self, asked_at: Instant, rows: &[Row]) {
        let row = rows.first().and_then(session::columns::<2>);
        let Some(now) = row.and_then(|row| row[0]?.parse().ok()) else { return };
        let holds_lock = row.is_some_and(|row| row[1] == Some("t"));
        match self.judged.take() {
            Some(Judged::Message(sender, message)) => {
                match self.guard.admit(&message, &Witness { sender, holds_lock, now }) {
                    Ok(left) => self.obey(message, asked_at + left),
                    Err(why) => self.reject(why),
                }
            }
            Some(Judged::Coordinator) if !holds_lock => {
                info!("formation {}: the coordinator of the planned failover is gone", self.watched.name);
                self.resume();
            }
            Some(Judged::Coordinator) | None => {}
        }
    }

    /// The next answer to be sent, as a request. May be given up at any time.
    pub async fn reply(&mut self) -> Vec<u8> {
        loop {
            let Some(Reply { to, said }) = self.replies.1.recv().await else { return std::future::pending().await };
            let sender = self.watched.monitor_pid.load(Ordering::Relaxed);
            if let Some(key) = ControlKey::new(self.services.config.load().global.control_secret.reveal()) {
                self.number = self.number.wrapping_add(1);
                let message = Message { sender, number: self.number, said, ..to };
                return chair::notification(&self.channel, &key.seal(&message));
            }
        }
    }

    /// Not of another formation, and not of a failover that this very process coordinates.
    fn is_ours(&self, message: &Message) -> bool {
        let is_own = *lock(&self.watched.own_procedure) == Some(message.procedure);
        !is_own && message.formation == self.formation && message.group == self.group
    }

    fn reject(&mut self, why: Rejected) {
        // What others answer to a coordinator.
        if why == Rejected::NoCoordinator {
            return;
        }
        self.watched.rejected.fetch_add(1, Ordering::Relaxed);
        if self.complained_at.is_none_or(|at| at.elapsed() >= COMPLAINT_EVERY) {
            self.complained_at = Some(Instant::now());
            warn!("formation {}: a message about a planned failover does not count: {why}", self.watched.name);
        }
    }

    fn obey(&mut self, message: Message, until: Instant) {
        info!("formation {}: a coordinator says {:?}", self.watched.name, message.said);
        match message.said {
            Said::Ask => {
                let said = self.readiness(None);
                self.say(message, said);
            }
            Said::Pause { timeline, drain } => match self.readiness(Some(timeline)) {
                Said::Ready { .. } => self.pause(message, until, Duration::from_millis(drain)),
                said => self.say(message, said),
            },
            Said::Resume => self.resume(),
            Said::Committed => {}
            Said::Ready { .. } | Said::NotReady { .. } | Said::Paused { .. } | Said::Opened { .. } => {}
        }
    }

    /// Where transactions go, if they go somewhere, and to that timeline.
    fn readiness(&self, timeline: Option<u32>) -> Said {
        let standing = self.watched.standing();
        match standing.route.filter(|_| standing.is_open) {
            Some(route) if timeline.is_none_or(|timeline| route.epoch.identity.timeline == timeline) => {
                let identity = &route.epoch.identity;
                Said::Ready { endpoint: identity.endpoint.to_string(), timeline: identity.timeline }
            }
            Some(route) => Said::NotReady { why: format!("its primary is {}", route.epoch.identity) },
            None => {
                let why = self.watched.report().why;
                Said::NotReady { why: why.map_or_else(|| "no primary is known".to_owned(), |why| why.to_string()) }
            }
        }
    }

    fn say(&self, to: Message, said: Said) {
        // A coordinator that hears nothing gives it up.
        let _ = self.replies.0.try_send(Reply { to, said });
    }

    /// Goes on as before, if nothing has happened meanwhile: that is for the follower to find out.
    fn resume(&mut self) {
        self.stop_pausing();
        self.watched.plan(Event::PlannedEnded);
    }

    fn pause(&mut self, message: Message, until: Instant, drain: Duration) {
        self.stop_pausing();
        self.watched.plan(Event::PlannedBegun { until });
        let (services, watched, replies) = (self.services.clone(), self.watched.clone(), self.replies.0.clone());
        let Some(route) = watched.standing().route else { return };
        let limit = until.min(Instant::now() + drain);
        let coordinator = message.sender;
        let task = tokio::spawn(async move {
            let began = Instant::now();
            let say = async |said: Said| drop(replies.send(Reply { to: message.clone(), said }).await);
            let active = drain::drained(&services, &watched, limit.into()).await;
            say(Said::Paused { active }).await;
            let opened = drain::opened(&watched, &route.epoch.identity);
            tokio::pin!(opened);
            let (endpoint, _) = tokio::select! {
                0 = drain::drained(&services, &watched, until.into()), if active > 0 => {
                    say(Said::Paused { active: 0 }).await;
                    opened.await
                }
                opened = &mut opened => opened,
            };
            let held = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            say(Said::Opened { endpoint: endpoint.to_string(), held }).await;
        });
        self.pausing = Some(Pausing { coordinator, task, looked_at: Instant::now() });
    }

    fn stop_pausing(&mut self) {
        if let Some(pausing) = self.pausing.take() {
            pausing.task.abort();
        }
    }

    /// With the formation and the group as the first two values.
    fn request(&self, sql: &str, more: &[&str]) -> Vec<u8> {
        let (group, mut request) = (self.group.to_string(), Vec::with_capacity(1024));
        let mut values = vec![self.formation.as_bytes(), group.as_bytes()];
        values.extend(more.iter().map(|value| value.as_bytes()));
        messages::extended_query(&mut request, sql.as_bytes(), &values);
        request
    }
}
