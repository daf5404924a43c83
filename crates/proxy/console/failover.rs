//! FAILOVER, a NOTICE for each step, and SHOW FAILOVERS.

use std::sync::Arc;

use failover::{Outcome, StepDone};
use protocol::messages::{self, Severity};
use protocol::sqlstate::SqlState;

use super::error::ConsoleError;
use super::execute::Waited;
use super::moment;
use super::table::{Answer, Table, int8, maybe, text};
use super::{Console, Failure};
use crate::follow::{self, Progress, Record, Wish};
use crate::services::Services;

/// Done, but not everybody has said so.
const WARNING: SqlState = SqlState("01000");

impl Console {
    /// Until it is over. A cancel gives it up, if that is still possible; so does an operator who leaves.
    pub(super) async fn failover(&mut self, services: &Arc<Services>, wish: &Wish) -> Result<(), Failure> {
        self.handle.take_canceled();
        let mut running = follow::begin_failover(services, wish.clone()).map_err(ConsoleError::NoFailover)?;
        loop {
            match self.wait_on(running.next()).await? {
                Waited::Canceled => running.cancel(),
                Waited::Done(Some(Progress::Step(step))) => self.notice(&step.to_string(), ""),
                Waited::Done(Some(Progress::Ended(outcome))) => return Ok(self.ended(outcome)?),
                Waited::Done(None) => return Err(ConsoleError::FailoverStranded("nobody coordinates it".into()).into()),
            }
        }
    }

    fn ended(&mut self, outcome: Outcome) -> Result<(), ConsoleError> {
        let words = outcome.to_string();
        match outcome {
            Outcome::Done | Outcome::Rehearsed => Ok(()),
            Outcome::Unconfirmed(_) => {
                messages::report(&mut self.unsent, Severity::Notice, WARNING, &words, "");
                Ok(())
            }
            Outcome::NotPossible(_) => Err(ConsoleError::NoFailover(words)),
            Outcome::Locked => Err(ConsoleError::FailoverLocked(words)),
            Outcome::Aborted(_) => Err(ConsoleError::FailoverAborted(words)),
            Outcome::Stranded(_) => Err(ConsoleError::FailoverStranded(words)),
        }
    }
}

/// A failover and one of its steps; one whose steps are not known has a row without.
type Row = (Arc<Record>, Option<StepDone>);

pub(super) static FAILOVERS: Table<Row> = Table {
    columns: &[
        text("began", |r| moment::format(r.0.began.wall())),
        text("formation", |r| r.0.formation.to_string()),
        text("kind", |r| r.0.kind.name().to_owned()),
        text("outcome", |r| r.0.outcome.to_owned()),
        text("from", |r| r.0.from.clone()),
        text("to", |r| r.0.to.clone()),
        int8("held_ms", |r| r.0.held.as_millis() as u64),
        maybe("step", |r| r.1.as_ref().map(|step| step.stage.name().to_owned())),
        maybe("step_ms", |r| r.1.as_ref().map(|step| step.took.as_millis().to_string())),
        maybe("text", |r| r.1.as_ref().map(|step| step.text.clone())),
    ],
};

pub(super) fn failovers(services: &Services) -> Answer {
    let rows = services.follow.history().into_iter().flat_map(|record| {
        let record = Arc::new(record);
        let steps: Vec<Option<StepDone>> = match record.steps.is_empty() {
            true => vec![None],
            false => record.steps.iter().cloned().map(Some).collect(),
        };
        steps.into_iter().map(move |step| (record.clone(), step)).collect::<Vec<Row>>()
    });
    FAILOVERS.answer(rows.collect::<Vec<_>>().into_iter())
}
