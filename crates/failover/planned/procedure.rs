//! The planned failover: what happened goes in, what to do next comes out. Before the commit point everything can be
//! undone, and is, whatever goes wrong; after it nothing is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::candidate::Candidate;
use super::plan::{Outcome, Plan, Stage, StepDone};

/// How much longer than they were told others may take to say something.
const GRACE: Duration = Duration::from_secs(1);

/// A pooler that follows the formation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The one that coordinates.
    Here,
    /// Another one, by the process id of its session at the monitor.
    Pooler(i32),
}

/// What to do next. Each is answered by an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Take the formation's lock at the monitor.
    Lock,
    /// Look for somebody to take over, and have the monitor try it in a transaction that is rolled back.
    Check,
    /// Find the other poolers.
    Find,
    /// Ask them whether they are ready.
    Ask,
    /// Have the primary write what it has not written yet.
    Checkpoint,
    /// Begin no transaction from now on and until that moment, here and (if there are others) there.
    Pause(Instant),
    /// Tell the monitor.
    Commit,
    /// Tell the others that the monitor has accepted, and wait for a new primary.
    Await,
    /// Let go of everything. If transactions were stopped and are to go on: say so, here and there.
    End {
        /// Transactions were stopped for nothing.
        resume: bool,
    },
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Whether the lock was free.
    Locked(bool),
    /// Who can take over, or why nobody can.
    Checked(Result<Candidate, String>),
    /// The other poolers that follow the formation, by the process ids of their sessions.
    Found(BTreeSet<i32>),
    /// Another pooler is ready, or says why not.
    Ready(i32, Result<(), String>),
    /// The primary has written, or why not.
    Checkpointed(Result<(), String>),
    /// Nothing begins at that pooler any more, and so many servers are still lent.
    Drained(Who, u32),
    /// The monitor has accepted.
    Accepted,
    /// The monitor has refused: nothing has happened.
    Refused(String),
    /// Nobody knows whether the monitor has accepted.
    Unknown(String),
    /// Transactions begin again at that pooler.
    Opened {
        /// Which one.
        who: Who,
        /// Where they go.
        endpoint: String,
        /// On another primary than before.
        moved: bool,
    },
    /// The operator wants it to end.
    Cancel,
    /// The session at the monitor broke.
    Lost(String),
    /// Nothing but the time.
    Tick,
}

#[derive(Clone, Debug)]
enum State {
    Locking,
    Checking,
    Finding,
    Asking(BTreeSet<i32>),
    Checkpointing,
    /// Who has not said that nothing is lent any more, and what they said last.
    Draining(BTreeMap<Who, Option<u32>>),
    Committing,
    Opening,
    Confirming,
    Ended(Outcome),
}

/// One planned failover. It has no socket and no clock: its owner does what it says, and tells it what came of it.
#[derive(Clone, Debug)]
pub struct Procedure {
    plan: Plan,
    state: State,
    /// The other poolers.
    others: BTreeSet<i32>,
    /// Those of them that have not said that they serve again.
    awaited: BTreeSet<i32>,
    /// When the present step began.
    since: Instant,
    /// When the pause began.
    paused_at: Option<Instant>,
    /// The monitor has said that it accepts.
    is_accepted: bool,
    deadline: Instant,
    steps: Vec<StepDone>,
}

impl Procedure {
    /// Begins one, and says what to do first.
    pub fn begin(plan: Plan, now: Instant) -> (Procedure, Order) {
        let deadline = now + plan.limits.answer;
        let (others, awaited) = (BTreeSet::new(), BTreeSet::new());
        let state = State::Locking;
        let procedure = Procedure {
            plan,
            state,
            others,
            awaited,
            since: now,
            paused_at: None,
            is_accepted: false,
            deadline,
            steps: Vec::new(),
        };
        (procedure, Order::Lock)
    }

    /// When it wants to be told the time; none once it has ended.
    pub fn deadline(&self) -> Option<Instant> {
        self.outcome().is_none().then_some(self.deadline)
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            State::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Whether the commit point is passed, or may be: there is no way back.
    pub fn is_committed(&self) -> bool {
        matches!(self.state, State::Committing | State::Opening | State::Confirming)
    }

    /// The steps taken so far.
    pub fn steps(&self) -> &[StepDone] {
        &self.steps
    }

    /// Takes what happened; answers what to do about it, if anything.
    pub fn handle(&mut self, input: Input, now: Instant) -> Option<Order> {
        match input {
            _ if self.outcome().is_some() => None,
            Input::Cancel if self.is_committed() => {
                self.say("there is no way back: the monitor has been told", now);
                None
            }
            Input::Cancel => Some(self.give_up("the operator wanted it to end".to_owned(), now)),
            Input::Lost(why) => self.lost(&why, now),
            Input::Tick if now < self.deadline => None,
            Input::Tick => self.late(now),
            input => self.advance(input, now),
        }
    }

    /// One step after the other. What does not belong to the present one comes too late, or too early, and says nothing.
    fn advance(&mut self, input: Input, now: Instant) -> Option<Order> {
        match (&mut self.state, input) {
            (State::Locking, Input::Locked(true)) => {
                let next = (State::Checking, Order::Check, self.plan.limits.answer);
                Some(self.step("nobody else is doing the same".to_owned(), next, now))
            }
            (State::Locking, Input::Locked(false)) => Some(self.end(Outcome::Locked, false, now)),
            (State::Checking, Input::Checked(Ok(candidate))) => {
                let next = (State::Finding, Order::Find, self.plan.limits.answer);
                Some(self.step(words(&candidate), next, now))
            }
            (State::Checking, Input::Checked(Err(why))) => Some(self.give_up(why, now)),
            (State::Finding, Input::Found(others)) => Some(self.found(others, now)),
            (State::Asking(_) | State::Draining(_), Input::Ready(pooler, Err(why))) => {
                self.not_ready(pooler, &why, now)
            }
            (State::Asking(waiting), Input::Ready(pooler, Ok(()))) => {
                waiting.remove(&pooler);
                let everybody = waiting.is_empty();
                everybody.then(|| self.asked(now))
            }
            (State::Checkpointing, Input::Checkpointed(done)) => Some(self.checkpointed(done, now)),
            (State::Draining(waiting), Input::Drained(who, active)) => {
                match active {
                    0 => drop(waiting.remove(&who)),
                    _ => drop(waiting.get_mut(&who).map(|said| *said = Some(active))),
                }
                let everybody = waiting.is_empty();
                let said = waiting.values().all(Option::is_some);
                match (everybody, said && now >= self.drained_by()) {
                    (true, _) => Some(self.drained(now)),
                    (false, true) => self.late(now),
                    (false, false) => None,
                }
            }
            // What a pooler that resumed by itself says while others are waited for.
            (State::Draining(_), Input::Opened { .. }) => {
                Some(self.give_up("transactions began again".to_owned(), now))
            }
            (State::Committing, Input::Accepted) => {
                self.is_accepted = true;
                Some(self.opening("the monitor has accepted; there is no way back".to_owned(), now))
            }
            (State::Committing, Input::Refused(why)) => Some(self.give_up(why, now)),
            (State::Committing, Input::Unknown(why)) => {
                Some(self.opening(format!("nobody knows whether the monitor has accepted: {why}"), now))
            }
            (_, Input::Opened { who: Who::Pooler(pooler), moved, .. }) => {
                if moved {
                    self.awaited.remove(&pooler);
                }
                (matches!(self.state, State::Confirming) && self.awaited.is_empty()).then(|| self.confirmed(now))
            }
            (State::Opening, Input::Opened { who: Who::Here, endpoint, moved }) => self.opened(&endpoint, moved, now),
            _ => None,
        }
    }

    /// When transactions that have begun are to be at their end.
    fn drained_by(&self) -> Instant {
        self.since + self.plan.limits.drain
    }

    fn found(&mut self, others: BTreeSet<i32>, now: Instant) -> Order {
        self.others = others;
        let count = self.others.len();
        if count == 0 {
            return self.poolers("no other pooler follows it".to_owned(), now);
        }
        if self.plan.can_tell {
            self.state = State::Asking(self.others.clone());
            self.deadline = now + self.plan.limits.answer;
            return Order::Ask;
        }
        let why = format!(
            "{}, and cannot be told without control_secret",
            counted(count, "other pooler follows it", "other poolers follow it")
        );
        if !self.plan.force {
            return self.give_up(why, now);
        }
        self.others.clear();
        self.poolers(format!("{why}: only this one pauses"), now)
    }

    fn not_ready(&mut self, pooler: i32, why: &str, now: Instant) -> Option<Order> {
        if !self.others.contains(&pooler) {
            return None;
        }
        let why = format!("the pooler of session {pooler} is not ready: {why}");
        if !self.plan.force {
            return Some(self.give_up(why, now));
        }
        self.leave_out(pooler, &why, now);
        match &self.state {
            State::Asking(waiting) if waiting.is_empty() => Some(self.asked(now)),
            State::Draining(waiting) if waiting.is_empty() => Some(self.drained(now)),
            _ => None,
        }
    }

    /// By force: it goes on without that one.
    fn leave_out(&mut self, pooler: i32, why: &str, now: Instant) {
        self.others.remove(&pooler);
        match &mut self.state {
            State::Asking(waiting) => drop(waiting.remove(&pooler)),
            State::Draining(waiting) => drop(waiting.remove(&Who::Pooler(pooler))),
            _ => {}
        }
        self.say(&format!("goes on without it by force: {why}"), now);
    }

    fn asked(&mut self, now: Instant) -> Order {
        let ready = counted(self.others.len(), "other pooler is ready", "other poolers are ready");
        self.poolers(ready, now)
    }

    fn poolers(&mut self, text: String, now: Instant) -> Order {
        if self.plan.dry_run {
            self.note(text, now);
            return self.end(Outcome::Rehearsed, false, now);
        }
        self.step(text, (State::Checkpointing, Order::Checkpoint, self.plan.limits.checkpoint), now)
    }

    fn checkpointed(&mut self, done: Result<(), String>, now: Instant) -> Order {
        let text = match done {
            Ok(()) => "the primary has written its memory to disk".to_owned(),
            Err(why) => format!("left out, so the old primary may take longer to stop: {why}"),
        };
        let poolers = self.others.iter().map(|pooler| Who::Pooler(*pooler));
        let waiting = poolers.chain([Who::Here]).map(|who| (who, None)).collect();
        self.paused_at = Some(now);
        let limit = self.plan.limits.drain + GRACE;
        self.step(text, (State::Draining(waiting), Order::Pause(now + self.plan.limits.expiry), limit), now)
    }

    fn drained(&mut self, now: Instant) -> Order {
        self.commit("no transaction is in progress".to_owned(), now)
    }

    fn commit(&mut self, text: String, now: Instant) -> Order {
        if now >= self.expires_at() {
            return self.give_up("the pause is over".to_owned(), now);
        }
        self.step(text, (State::Committing, Order::Commit, self.plan.limits.expiry), now)
    }

    /// When those who pause take the coordinator for lost.
    fn expires_at(&self) -> Instant {
        self.paused_at.unwrap_or(self.since) + self.plan.limits.expiry
    }

    fn opening(&mut self, text: String, now: Instant) -> Order {
        self.awaited = self.others.clone();
        let left = self.expires_at().saturating_duration_since(now) + GRACE;
        self.step(text, (State::Opening, Order::Await, left), now)
    }

    fn opened(&mut self, endpoint: &str, moved: bool, now: Instant) -> Option<Order> {
        if !moved {
            let still = if self.is_accepted { "" } else { "; it may still do so, if it has heard of it" };
            let why = format!("the monitor has not moved the primary from {endpoint}{still}");
            return Some(self.end(Outcome::Aborted(why), false, now));
        }
        let pause = self.paused_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let text = format!("transactions go to {endpoint}, after a pause of {} ms", pause.as_millis());
        self.note(text, now);
        (self.since, self.state) = (now, State::Confirming);
        self.deadline = now + self.plan.limits.confirm;
        self.awaited.is_empty().then(|| self.confirmed(now))
    }

    fn confirmed(&mut self, now: Instant) -> Order {
        if !self.others.is_empty() {
            self.note(counted(self.others.len(), "other pooler follows, too", "other poolers follow, too"), now);
        }
        self.end(Outcome::Done, false, now)
    }

    /// The time for the present step is over.
    fn late(&mut self, now: Instant) -> Option<Order> {
        match self.state.clone() {
            State::Locking | State::Checking | State::Finding => {
                Some(self.give_up("the monitor does not answer".to_owned(), now))
            }
            State::Asking(waiting) => self.silent(waiting.iter().copied().collect(), "does not answer", now),
            State::Checkpointing => {
                let seconds = self.plan.limits.checkpoint.as_secs();
                Some(self.checkpointed(Err(format!("not done within {seconds} s")), now))
            }
            State::Draining(waiting) => Some(self.undrained(&waiting, now)),
            // The owner has a time limit of its own for it; whatever happened to that, the outcome is not known.
            State::Committing => Some(self.opening("nobody knows whether the monitor has accepted".to_owned(), now)),
            State::Opening => {
                let why = "no writable node was found before the pause was over".to_owned();
                Some(self.end(Outcome::Stranded(why), false, now))
            }
            State::Confirming => {
                let why = format!("{} of {} other poolers have not said so", self.awaited.len(), self.others.len());
                Some(self.end(Outcome::Unconfirmed(why), false, now))
            }
            State::Ended(_) => None,
        }
    }

    fn silent(&mut self, poolers: Vec<i32>, what: &str, now: Instant) -> Option<Order> {
        let all: Vec<_> = poolers.iter().map(ToString::to_string).collect();
        let why = format!("the pooler of session {} {what}", all.join(", "));
        if !self.plan.force {
            return Some(self.give_up(why, now));
        }
        poolers.into_iter().for_each(|pooler| self.leave_out(pooler, &why, now));
        Some(self.asked(now))
    }

    fn undrained(&mut self, waiting: &BTreeMap<Who, Option<u32>>, now: Instant) -> Order {
        let one = |(who, active): (&Who, &Option<u32>)| {
            let who = match who {
                Who::Here => "here".to_owned(),
                Who::Pooler(pooler) => format!("at the pooler of session {pooler}"),
            };
            match active {
                Some(active) => {
                    let servers = counted(*active as usize, "server is", "servers are");
                    format!("{servers} still in use {who}")
                }
                None => format!("nothing was heard of transactions {who}"),
            }
        };
        let why = waiting.iter().map(one).collect::<Vec<_>>().join("; ");
        match self.plan.force {
            true => self.commit(format!("goes on by force although {why}"), now),
            false => self.give_up(why, now),
        }
    }

    fn lost(&mut self, why: &str, now: Instant) -> Option<Order> {
        let why = format!("the monitor is lost: {why}");
        match self.state {
            State::Committing => self.advance(Input::Unknown(why), now),
            State::Opening | State::Confirming => {
                self.say(&why, now);
                None
            }
            _ => Some(self.give_up(why, now)),
        }
    }

    /// Before the commit point, or when the monitor has refused: everything is undone.
    fn give_up(&mut self, why: String, now: Instant) -> Order {
        match self.paused_at {
            Some(_) => self.end(Outcome::Aborted(why), true, now),
            None => self.end(Outcome::NotPossible(why), false, now),
        }
    }

    fn end(&mut self, outcome: Outcome, resume: bool, now: Instant) -> Order {
        if outcome != Outcome::Done {
            self.note(outcome.to_string(), now);
        }
        self.state = State::Ended(outcome);
        Order::End { resume }
    }

    fn step(&mut self, text: String, (next, order, limit): (State, Order, Duration), now: Instant) -> Order {
        self.note(text, now);
        (self.state, self.since, self.deadline) = (next, now, now + limit);
        order
    }

    fn say(&mut self, text: &str, now: Instant) {
        self.note(text.to_owned(), now);
    }

    fn note(&mut self, text: String, now: Instant) {
        let stage = match &self.state {
            State::Locking => Stage::Lock,
            State::Checking => Stage::Check,
            State::Finding | State::Asking(_) => Stage::Poolers,
            State::Checkpointing => Stage::Checkpoint,
            State::Draining(_) => Stage::Pause,
            State::Committing => Stage::Commit,
            State::Opening => Stage::Open,
            State::Confirming | State::Ended(_) => Stage::Confirm,
        };
        self.steps.push(StepDone { stage, text, took: now.saturating_duration_since(self.since) });
    }
}

fn counted(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

fn words(candidate: &Candidate) -> String {
    let shown = |node: &crate::NodeReport| format!("{} at {}", node.name, node.endpoint);
    let to: Vec<_> = candidate.to.iter().map(shown).collect();
    format!("{} can take over from {}, and the monitor would let it", to.join(" or "), shown(&candidate.from))
}
