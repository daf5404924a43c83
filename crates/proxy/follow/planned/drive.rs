//! Coordinating: does what the procedure says, tells it what came of it, and the operator of each step.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use failover::{
    Endpoint, Event, Health, Identity, Input, Order, Outcome, Plan, Procedure, ProcedureId, Said, Who, Word, candidate,
};
use protocol::messages;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tracing::{info, warn};

use super::chair::{Chair, Failed};
use super::history::{Kind, Record};
use super::{Progress, drain, wake};
use crate::clock::Micros;
use crate::follow::probing;
use crate::follow::session::{self, Account};
use crate::follow::watched::{Watched, address};
use crate::random;
use crate::server::login::LoginError;
use crate::services::{Services, lock};

/// Inputs that wait; more do not come up.
const MAX_INPUTS: usize = 64;
/// The others have this long for questions.
const QUESTION: Duration = Duration::from_secs(5);

/// Coordinates a planned failover to its end. Once nobody listens any more it is given up, if that is still possible.
pub async fn run(
    services: Arc<Services>,
    watched: Arc<Watched>,
    plan: Plan,
    progress: mpsc::UnboundedSender<Progress>,
    cancel: Arc<Notify>,
) {
    let (began, procedure) = (Micros::now(), ProcedureId(u64::from_ne_bytes(random::bytes())));
    let (sender, inputs) = mpsc::channel(MAX_INPUTS);
    let mut drive =
        Drive { services, watched, plan, procedure, chair: None, sender, from: None, told: None, held: None };
    let (steps, outcome) = drive.all(inputs, &progress, &cancel).await;
    if *lock(&drive.watched.own_procedure) == Some(procedure) {
        drive.watched.coordinates.store(false, Ordering::Relaxed);
    }
    let formation = drive.watched.name.clone();
    match outcome {
        Outcome::Done | Outcome::Rehearsed => info!("formation {formation}: planned failover: {outcome}"),
        _ => warn!("formation {formation}: planned failover: {outcome}"),
    }
    if !drive.plan.dry_run {
        let present = drive.watched.standing().route.map(|route| route.epoch.identity.endpoint.to_string());
        drive.services.follow.history.add(Record {
            began,
            formation,
            kind: Kind::Planned,
            outcome: outcome.name(),
            from: drive.from.map_or_else(String::new, |from| from.endpoint.to_string()),
            to: present.unwrap_or_default(),
            held: drive.held.or(drive.told.map(|at| at.elapsed())).unwrap_or_default(),
            steps,
        });
    }
    // Who has left is not told.
    let _ = progress.send(Progress::Ended(outcome));
}

struct Drive {
    services: Arc<Services>,
    watched: Arc<Watched>,
    plan: Plan,
    procedure: ProcedureId,
    chair: Option<Chair>,
    sender: mpsc::Sender<Input>,
    /// The primary that is left.
    from: Option<Identity>,
    /// When transactions were stopped here.
    told: Option<Instant>,
    /// For how long they were stopped.
    held: Option<Duration>,
}

impl Drive {
    async fn all(
        &mut self,
        mut inputs: mpsc::Receiver<Input>,
        progress: &mpsc::UnboundedSender<Progress>,
        cancel: &Notify,
    ) -> (Vec<failover::StepDone>, Outcome) {
        let (mut procedure, order) = Procedure::begin(self.plan.clone(), Instant::now());
        let (mut order, mut said, mut is_heard) = (Some(order), 0, true);
        loop {
            let input = match order.take() {
                Some(Order::End { resume }) => {
                    self.end(resume).await;
                    None
                }
                Some(order) => self.perform(order).await,
                None => Some(self.next(&mut inputs, &procedure, cancel, progress, &mut is_heard).await),
            };
            if let Some(input) = input {
                if matches!(input, Input::Opened { who: Who::Here, .. }) {
                    self.held = self.told.map(|at| at.elapsed());
                }
                order = procedure.handle(input, Instant::now());
            }
            for step in &procedure.steps()[said..] {
                info!("formation {}: planned failover: {step}", self.watched.name);
                let _ = progress.send(Progress::Step(step.clone()));
            }
            said = procedure.steps().len();
            match procedure.outcome() {
                Some(outcome) if order.is_none() => return (procedure.steps().to_vec(), outcome.clone()),
                _ => {}
            }
        }
    }

    /// Waits for the next thing to happen.
    async fn next(
        &mut self,
        inputs: &mut mpsc::Receiver<Input>,
        procedure: &Procedure,
        cancel: &Notify,
        progress: &mpsc::UnboundedSender<Progress>,
        is_heard: &mut bool,
    ) -> Input {
        let deadline = procedure.deadline().unwrap_or_else(Instant::now);
        let hear = async {
            match &mut self.chair {
                Some(chair) => chair.hear().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = cancel.notified() => Input::Cancel,
            () = progress.closed(), if *is_heard => {
                *is_heard = false;
                Input::Cancel
            }
            input = inputs.recv() => input.unwrap_or(Input::Tick),
            heard = hear => match heard {
                Ok((pooler, said)) => self.heard(pooler, said),
                Err(error) => {
                    self.chair = None;
                    Input::Lost(error.to_string())
                }
            },
            () = sleep_until(deadline.into()) => Input::Tick,
        }
    }

    /// What another pooler says.
    fn heard(&self, pooler: i32, said: Said) -> Input {
        match said {
            Said::Ready { endpoint, timeline } => Input::Ready(pooler, self.agrees(&endpoint, timeline)),
            Said::NotReady { why } => Input::Ready(pooler, Err(why)),
            Said::Paused { active } => Input::Drained(Who::Pooler(pooler), active),
            Said::Opened { endpoint, .. } => {
                let moved = self.from.as_ref().is_none_or(|from| from.endpoint.to_string() != endpoint);
                Input::Opened { who: Who::Pooler(pooler), endpoint, moved }
            }
            Said::Ask | Said::Pause { .. } | Said::Resume | Said::Committed => Input::Tick,
        }
    }

    fn agrees(&self, endpoint: &str, timeline: u32) -> Result<(), String> {
        match &self.from {
            Some(from) if from.endpoint.to_string() == endpoint && from.timeline == timeline => Ok(()),
            _ => Err(format!("its primary is {endpoint} on timeline {timeline}")),
        }
    }

    /// Does what was ordered. What takes its time reports later.
    async fn perform(&mut self, order: Order) -> Option<Input> {
        let done = match order {
            Order::Lock => self.lock().await,
            Order::Check => self.check().await,
            Order::Find => self.find().await,
            Order::Ask => self.tell(Said::Ask, Instant::now() + QUESTION).await,
            Order::Checkpoint => {
                self.checkpoint();
                Ok(None)
            }
            Order::Pause(until) => self.pause(until).await,
            Order::Commit => return Some(self.commit().await),
            Order::Await => self.wait_for_successor().await,
            Order::End { .. } => Ok(None),
        };
        done.unwrap_or_else(|lost| {
            self.chair = None;
            Some(Input::Lost(lost.to_string()))
        })
    }

    async fn lock(&mut self) -> Result<Option<Input>, LoginError> {
        let mut chair = Chair::open(&self.services, &self.watched, self.procedure).await?;
        let is_ours = chair.lock().await?;
        if is_ours {
            *lock(&self.watched.own_procedure) = Some(self.procedure);
            self.watched.coordinates.store(true, Ordering::Relaxed);
        }
        self.chair = Some(chair);
        Ok(Some(Input::Locked(is_ours)))
    }

    async fn check(&mut self) -> Result<Option<Input>, LoginError> {
        let found = candidate(&self.watched.report(), self.plan.to.as_deref());
        let (Ok(_), Some(chair)) = (&found, &mut self.chair) else { return Ok(Some(Input::Checked(found))) };
        self.from = self.watched.standing().route.map(|route| route.epoch.identity.clone());
        match chair.rehearse(self.plan.to.as_deref()).await {
            Ok(()) => Ok(Some(Input::Checked(found))),
            Err(LoginError::Refused(report)) => {
                let advice = match report.sqlstate.as_str() {
                    "42883" | "3F000" | "42501" => " (`pooler monitor-sql` prints what the monitor needs)",
                    _ => "",
                };
                Ok(Some(Input::Checked(Err(format!("the monitor refuses: {}{advice}", report.message)))))
            }
            Err(lost) => Err(lost),
        }
    }

    async fn find(&mut self) -> Result<Option<Input>, LoginError> {
        let own = self.watched.monitor_pid.load(Ordering::Relaxed);
        let Some(chair) = &mut self.chair else { return Ok(None) };
        Ok(Some(Input::Found(chair.others(own).await?)))
    }

    async fn tell(&mut self, said: Said, until: Instant) -> Result<Option<Input>, LoginError> {
        if let Some(chair) = &mut self.chair {
            let deadline = chair.clock_at(until).await?;
            chair.tell(said, deadline).await?;
        }
        Ok(None)
    }

    /// On sessions of their own, so that the operator can end it all meanwhile. An election restarts every standby, too:
    /// so they do the same, after the primary, because they can only write what it has. What one of them leaves undone
    /// takes its time later, and that is all.
    fn checkpoint(&self) {
        let (services, watched, sender) = (self.services.clone(), self.watched.clone(), self.sender.clone());
        let (from, limit) = (self.from.clone(), self.plan.limits.checkpoint);
        let mut standbys = watched.report().nodes;
        standbys.retain(|node| !node.is_target && node.word == Word::InRecovery && node.health == Some(Health::Good));
        tokio::spawn(async move {
            let account = Arc::new(probing::account(&services, &watched.name));
            let write = |node: Endpoint| write_out(services.clone(), account.clone(), node);
            let done = async { write(from.ok_or(LoginError::GivenUp)?.endpoint).await };
            let done = timeout(limit, done).await.unwrap_or(Err(LoginError::Timeout));
            if done.is_ok() && standbys.len() > 1 {
                let all: JoinSet<_> = standbys.into_iter().map(|node| write(node.endpoint)).collect();
                let _ = timeout(limit, all.join_all()).await;
            }
            let done = done.map_err(|error| format!("{error} (as {})", account.user));
            let _ = sender.send(Input::Checkpointed(done)).await;
        });
    }

    async fn pause(&mut self, until: Instant) -> Result<Option<Input>, LoginError> {
        let timeline = self.from.as_ref().map_or(0, |from| from.timeline);
        let drain = self.plan.limits.drain;
        let said = Said::Pause { timeline, drain: u64::try_from(drain.as_millis()).unwrap_or(u64::MAX) };
        self.tell(said, until).await?;
        self.told = Some(Instant::now());
        self.watched.plan(Event::PlannedBegun { until });
        let (services, watched, sender) = (self.services.clone(), self.watched.clone(), self.sender.clone());
        let limit = Instant::now() + drain;
        tokio::spawn(async move {
            let active = drain::drained(&services, &watched, limit.into()).await;
            let _ = sender.send(Input::Drained(Who::Here, active)).await;
        });
        Ok(None)
    }

    async fn commit(&mut self) -> Input {
        let Some(chair) = &mut self.chair else { return Input::Refused("the monitor is lost".to_owned()) };
        match chair.commit(self.plan.to.as_deref()).await {
            Ok(()) => Input::Accepted,
            Err(Failed::Refused(why)) => Input::Refused(format!("the monitor refuses: {why}")),
            Err(Failed::Lost(why)) => {
                self.chair = None;
                Input::Unknown(why)
            }
        }
    }

    async fn wait_for_successor(&mut self) -> Result<Option<Input>, LoginError> {
        let (services, watched, sender) = (self.services.clone(), self.watched.clone(), self.sender.clone());
        let until = Instant::now() + self.plan.limits.expiry;
        if let Some(from) = self.from.clone() {
            tokio::spawn(async move {
                let opened = drain::opened(&watched, &from);
                tokio::pin!(opened);
                let (endpoint, moved) = tokio::select! {
                    opened = &mut opened => opened,
                    woken = wake::keepers(&services, &watched, until.into()) => {
                        if let Err(error) = woken {
                            info!("formation {}: keepers cannot be told again: {error}", watched.name);
                        }
                        opened.await
                    }
                };
                let _ = sender.send(Input::Opened { who: Who::Here, endpoint: endpoint.to_string(), moved }).await;
            });
        }
        self.tell(Said::Committed, Instant::now() + QUESTION).await
    }

    async fn end(&mut self, resume: bool) {
        if resume {
            self.watched.plan(Event::PlannedEnded);
            // Whoever does not hear it resumes when the pause is over.
            let _ = self.tell(Said::Resume, Instant::now() + QUESTION).await;
        }
        if let Some(chair) = self.chair.take() {
            chair.leave().await;
        }
    }
}

/// Has a node write its memory to disk.
async fn write_out(services: Arc<Services>, account: Arc<Account>, node: Endpoint) -> Result<(), LoginError> {
    let mut wire = session::open(&services, &account, &address(&node)).await?;
    let mut request = Vec::new();
    messages::query(&mut request, b"checkpoint");
    session::ask(&mut wire, &request, |_, _| {}).await.map(drop)
}
