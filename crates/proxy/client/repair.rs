//! A statement whose server refuses it because its tables have changed is parsed anew, and its batch judged again: where
//! the client cannot take one column for another, it hears nothing. What is allowed decides `protocol::outdated`.

use std::time::Duration;

use config::PoolMode;
use protocol::messages;
use protocol::outdated::{Outdated, last_batch};
use protocol::statements::{Statement, server_name};
use tracing::debug;

use super::session::Client;
use crate::flow::{Desk, LentDesk};
use crate::pools::Lease;
use crate::server::connection::{Answer, Server, ServerFailure};
use crate::services::Services;

/// How long a server may take to parse a statement.
const PATIENCE: Duration = Duration::from_secs(10);

/// What has come of it.
pub(super) enum Repair {
    /// What the client has sent is to be judged again, for this server.
    Again,
    /// The client is told the error.
    None,
    /// The same, and the server is of no more use.
    Lost,
}

impl Client {
    /// Tries to spare the client the error that its server at rest has just answered with.
    pub(super) async fn repair(&mut self, desk: &mut LentDesk, lease: &mut Lease) -> Repair {
        let is_free = !desk.exchange.traces().hides
            && self.rules.mode != PoolMode::Session
            && self.pin.is_none()
            && self.to_settle(desk).is_none();
        if !is_free || desk.is_repaired {
            return Repair::None;
        }
        let Some((len, answered)) = rewind(desk) else { return Repair::None };
        let repair = self.try_repair(&desk.up.unjudged()[answered..len], desk.down.unheard(), lease).await;
        let Ok(Some(defined)) = repair else {
            desk.up.skip(len);
            return if repair.is_ok() { Repair::None } else { Repair::Lost };
        };
        defined.iter().for_each(|name| drop(self.statements.forget(name)));
        desk.up.skip(answered);
        desk.down.withdraw_unheard();
        self.pool.add_usage(Some(&desk.usage));
        desk.next_conversation();
        (desk.is_repaired, desk.leaving) = (true, false);
        Repair::Again
    }

    /// The names that the batch gives to statements, if the server has parsed the statement anew and its client may have
    /// the rows.
    async fn try_repair(
        &self,
        batch: &[u8],
        unheard: Option<&[u8]>,
        lease: &mut Lease,
    ) -> Result<Option<Vec<Box<[u8]>>>, ServerFailure> {
        let Some(outdated) = unheard.and_then(|answer| Outdated::read(batch, answer)) else { return Ok(None) };
        let Some(statement) = self.statements.get(outdated.name) else { return Ok(None) };
        let (services, most) = (&*self.presence.services, self.rules.max_prepared);
        let is_known = lease.server().statements.touch(statement.id);
        let described = describe(services, lease.server(), statement, (!is_known).then_some(most));
        let answer = tokio::time::timeout(PATIENCE, described).await.unwrap_or(Err(ServerFailure::Closed))?;
        match answer.error {
            None => {}
            Some(_) if is_known => return Ok(None),
            // It may have the statement, or not.
            Some(error) => return Err(ServerFailure::Fatal(error)),
        }
        let told = self.statements.told(outdated.name);
        let is_allowed = outdated.may_return(&answer.columns.unwrap_or_default(), told);
        debug!(server = lease.server().info.id, is_allowed, "a statement was outdated, and has been parsed anew");
        Ok(is_allowed.then(|| outdated.defined.iter().map(|name| (*name).into()).collect()))
    }
}

/// Has all that the client has sent since the server was at rest judged again: how many bytes that is, and those of them
/// that are answered.
fn rewind(desk: &mut Desk) -> Option<(usize, usize)> {
    let len = desk.up.rewind()?;
    let answered = desk.up.unjudged().get(..len).and_then(last_batch);
    if answered.is_none() {
        desk.up.skip(len);
    }
    Some((len, answered?))
}

/// Has a server at rest describe a statement, and parse it before where it is one of at `most` so many that it may know.
async fn describe(
    services: &Services,
    server: &mut Server,
    statement: &Statement,
    most: Option<usize>,
) -> Result<Answer, ServerFailure> {
    let mut request = Vec::new();
    if let Some(most) = most {
        if let Some(goes) = server.statements.add(statement.id, most) {
            about(&mut request, b'C', &server_name(goes));
        }
        statement.write_parse(&mut request);
    }
    about(&mut request, b'D', statement.server_name());
    messages::sync(&mut request);
    server.ask(services, &request).await
}

/// A Close or a Describe of a statement.
fn about(out: &mut Vec<u8>, tag: u8, name: &[u8]) {
    messages::message(out, tag, |out| {
        out.push(b'S');
        messages::cstr(out, name);
    });
}
