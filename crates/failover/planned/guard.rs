//! Which messages of a coordinator count: those of the session that holds the formation's lock, before their deadline,
//! each once, and none of a failover that is over.

use std::collections::VecDeque;
use std::time::Duration;

use thiserror::Error;

use super::message::{Message, ProcedureId, Said};

/// How many failovers that are over are remembered: none of them outlives its deadline for long.
const REMEMBERED: usize = 16;

/// Why a message is not obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Rejected {
    /// It was not sealed with our secret, or is no message at all.
    #[error("it is not sealed with control_secret")]
    Forged,
    /// It was sealed for another session, and copied.
    #[error("another session sent it before")]
    Copied,
    /// Its sender has no right to coordinate.
    #[error("its sender does not hold the lock of the formation")]
    NoLock,
    /// Its time is over.
    #[error("its deadline has passed")]
    Late,
    /// It, or a later one, was heard before.
    #[error("it was heard before")]
    Repeated,
    /// It asks for nothing that a coordinator may ask for.
    #[error("it does not come from a coordinator")]
    NoCoordinator,
}

/// What the monitor's server says about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The process id of the session that notified.
    pub sender: i32,
    /// That session holds the formation's lock.
    pub holds_lock: bool,
    /// The monitor's clock, in microseconds since 1970, read after the message came.
    pub now: i64,
}

/// Remembers what was heard.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    present: Option<(ProcedureId, u32)>,
    over: VecDeque<ProcedureId>,
}

impl Guard {
    /// Whether a message is worth asking the monitor about.
    ///
    /// # Errors
    /// Why it is not.
    pub fn is_plausible(&self, message: &Message, sender: i32) -> Result<(), Rejected> {
        if message.sender != sender {
            return Err(Rejected::Copied);
        }
        match message.said {
            Said::Ask | Said::Pause { .. } | Said::Resume | Said::Committed => {}
            Said::Ready { .. } | Said::NotReady { .. } | Said::Paused { .. } | Said::Opened { .. } => {
                return Err(Rejected::NoCoordinator);
            }
        }
        let is_old = self.present.is_some_and(|(id, number)| id == message.procedure && message.number <= number);
        match is_old || self.over.contains(&message.procedure) {
            true => Err(Rejected::Repeated),
            false => Ok(()),
        }
    }

    /// Takes a message that is to be obeyed; answers how much of its time is left.
    ///
    /// # Errors
    /// Why it is not to be obeyed.
    pub fn admit(&mut self, message: &Message, witness: &Witness) -> Result<Duration, Rejected> {
        self.is_plausible(message, witness.sender)?;
        if !witness.holds_lock {
            return Err(Rejected::NoLock);
        }
        let left = message.deadline.saturating_sub(witness.now);
        let left = u64::try_from(left).ok().filter(|left| *left > 0).ok_or(Rejected::Late)?;
        match self.present {
            Some((id, _)) if id != message.procedure => self.end(id),
            _ => {}
        }
        self.present = Some((message.procedure, message.number));
        if message.said == Said::Resume {
            self.end(message.procedure);
        }
        Ok(Duration::from_micros(left))
    }

    /// A failover is over: nothing that is said of it counts any more.
    fn end(&mut self, procedure: ProcedureId) {
        self.present = self.present.filter(|(id, _)| *id != procedure);
        self.over.push_back(procedure);
        if self.over.len() > REMEMBERED {
            self.over.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(procedure: u64, number: u32, said: Said) -> Message {
        let procedure = ProcedureId(procedure);
        Message { procedure, formation: "default".into(), group: 0, sender: 7, number, deadline: 5_000_000, said }
    }

    const PAUSE: Said = Said::Pause { timeline: 5, drain: 1 };
    const GOOD: Witness = Witness { sender: 7, holds_lock: true, now: 1_000_000 };

    #[test]
    fn the_holder_of_the_lock_is_obeyed_for_as_long_as_its_message_says() {
        let mut guard = Guard::default();
        assert_eq!(guard.admit(&message(1, 1, Said::Ask), &GOOD), Ok(Duration::from_secs(4)));
        assert_eq!(guard.admit(&message(1, 2, PAUSE), &GOOD), Ok(Duration::from_secs(4)));
        assert_eq!(guard.admit(&message(1, 3, Said::Committed), &GOOD), Ok(Duration::from_secs(4)));
    }

    #[test]
    fn what_comes_from_another_session_without_the_lock_or_too_late_is_rejected() {
        let pause = message(1, 1, PAUSE);
        for (witness, expected) in [
            (Witness { sender: 8, ..GOOD }, Rejected::Copied),
            (Witness { holds_lock: false, ..GOOD }, Rejected::NoLock),
            (Witness { now: 5_000_000, ..GOOD }, Rejected::Late),
            (Witness { now: i64::MAX, ..GOOD }, Rejected::Late),
        ] {
            let mut guard = Guard::default();
            assert_eq!(guard.admit(&pause, &witness), Err(expected));
            assert!(guard.admit(&pause, &GOOD).is_ok(), "what was rejected has left no trace");
        }
    }

    #[test]
    fn a_message_counts_once_and_none_after_the_end() {
        let mut guard = Guard::default();
        let pause = message(1, 2, PAUSE);
        assert!(guard.admit(&pause, &GOOD).is_ok());
        assert_eq!(guard.admit(&pause, &GOOD), Err(Rejected::Repeated));
        assert_eq!(guard.admit(&message(1, 1, Said::Ask), &GOOD), Err(Rejected::Repeated));
        assert!(guard.admit(&message(1, 3, Said::Resume), &GOOD).is_ok());
        assert_eq!(guard.admit(&message(1, 4, PAUSE), &GOOD), Err(Rejected::Repeated));
    }

    #[test]
    fn another_coordinator_ends_the_failover_before() {
        let mut guard = Guard::default();
        assert!(guard.admit(&message(1, 1, PAUSE), &GOOD).is_ok());
        assert!(guard.admit(&message(2, 1, Said::Ask), &GOOD).is_ok());
        assert_eq!(guard.admit(&message(1, 9, Said::Resume), &GOOD), Err(Rejected::Repeated));
    }

    #[test]
    fn what_is_said_to_a_coordinator_is_no_order() {
        let guard = Guard::default();
        let answer = message(1, 1, Said::Paused { active: 0 });
        assert_eq!(guard.is_plausible(&answer, 7), Err(Rejected::NoCoordinator));
    }
}
