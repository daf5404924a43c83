//! What is done when a transaction may have left something in its server's session: the server is asked, once, before
//! anybody else may have it. What is set becomes the client's, and follows it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use config::Hidden;
use protocol::messages::{self, Severity};
use protocol::params::{Other, Params};
use protocol::sqlstate;
use protocol::traces::{Kinds, Traces};
use tracing::warn;

use super::session::{Client, Farewell};
use crate::error::ClientError;
use crate::flow::LentDesk;
use crate::link;
use crate::pins;
use crate::pools::Lease;
use crate::server::connection::{Server, ServerFailure};
use crate::server::info::ServerInfo;
use crate::server::question::{self, Findings, Question};
use crate::services::Services;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long something may take that waits for commits of others: a NOTIFY does, while they wait for a standby.
const COMMIT_PATIENCE: Duration = Duration::from_secs(60);

impl Client {
    /// What the server must be asked before it may go back, if anything.
    pub(super) fn to_settle(&self, desk: &LentDesk) -> Option<Question> {
        let traces = desk.exchange.traces();
        let is_suspected = !traces.kinds.is_none() && self.rules.settles;
        is_suspected.then(|| self.question(traces)).filter(|question| !question.is_empty())
    }

    /// Finds out what the client has left in the session of a server that is at rest.
    pub(super) async fn settle(
        &mut self,
        desk: &mut LentDesk,
        mut lease: Lease,
        question: Question,
    ) -> Result<Lease, Farewell> {
        lease.server().heard = question.channels.then(Vec::new);
        let settled = match self.ask(&mut lease, &question).await {
            Ok(mut findings) => {
                let channels = findings.channels.take();
                match (self.heed(desk, &mut lease, &question, findings).await, channels) {
                    (Ok(()), Some(found)) => self.take_over(desk, &mut lease, found).await,
                    (heeded, _) => heeded.map_err(|failure| (failure, ClientError::ServerCrashed)),
                }
            }
            Err(failure) => Err((failure.to_string(), ClientError::ServerCrashed)),
        };
        match settled {
            Ok(()) => Ok(lease),
            Err((failure, error)) => Err(self.unsettled(desk, lease, &failure, error).await),
        }
    }

    /// The server cannot be asked what was left: nobody must have it, and its client cannot go on.
    pub(super) async fn unsettled(
        &mut self,
        desk: &mut LentDesk,
        mut lease: Lease,
        failure: &str,
        error: ClientError,
    ) -> Farewell {
        let is_cut = lease.server().info.is_cut();
        warn!(server = lease.server().info.id, "cannot find out what was left in a session: {failure}");
        lease.close("what was left in its session is not known");
        let left = (desk.down.take_cleared(), false);
        self.dismiss(left, if is_cut { ClientError::PrimaryMoved } else { error }).await
    }

    /// What has to be found out: what is suspected, and what is held of old if it may have been given up.
    fn question(&self, traces: &Traces) -> Question {
        let pinned = self.pin.as_ref().map_or(Kinds::NONE, |pin| pin.kinds()).without(Kinds::HIDDEN);
        let mut held = traces.kinds.within(Kinds::FIXED);
        let mut settings = traces.kinds.has(Kinds::SETTINGS);
        if !held.is_none() || traces.kinds.has(Kinds::ENDS) {
            held |= pinned;
        }
        if traces.kinds.has(Kinds::EXECUTES) && held.and(pinned).has(Kinds::PREPARED) {
            // What was prepared is not known any more.
            (held, settings) = (Kinds::FIXED, true);
        }
        let mut names = Vec::new();
        if settings {
            let known = self.params.others().iter().map(|(name, _)| name).filter(|name| name.contains(&b'.'));
            names.extend(known.cloned());
            names.extend(traces.names.iter().filter(|name| self.params.other(name).is_none()).cloned());
        }
        let channels = held.has(Kinds::CHANNELS) && self.is_served();
        if channels {
            held = held.without(Kinds::CHANNELS);
        }
        Question { settings, names, held, channels }
    }

    /// Makes what was found the client's settings, and keeps the server for what cannot move.
    async fn heed(
        &mut self,
        desk: &mut LentDesk,
        lease: &mut Lease,
        question: &Question,
        findings: Findings,
    ) -> Result<(), String> {
        let services = self.presence.services.clone();
        let server = lease.server();
        if let Some(found) = findings.settings {
            self.params = settled(&services, server, &self.baseline, found);
            self.handle().set_params(self.params.clone());
            self.tell_changes(desk, server);
        }
        let traces = desk.exchange.traces();
        let may_be_set = traces.is_unclear || traces.kinds.has(Kinds::EXECUTES) || server.has_connect_query;
        let is_unclear = may_be_set || self.pin.as_ref().is_some_and(|pin| pin.is_unclear);
        let asked = question.held.and(if question.channels { Kinds::CHANNELS } else { Kinds::NONE });
        if !asked.is_none() {
            self.keep_for(desk, asked, findings.held);
        }
        match &mut self.pin {
            Some(pin) => pin.is_unclear = is_unclear,
            None if is_unclear => server.is_unclear(&services),
            None => {}
        }
        if self.pin.is_some() && !Arc::ptr_eq(&self.params, &server.params) {
            // Nobody joins the two again before the client goes on.
            self.params = link::set(&services, server, &self.params).await.map_err(|unset| format!("{unset:?}"))?;
        }
        Ok(())
    }

    /// Keeps the server, or not any more. Of the kinds that were `asked` for, `held` are there.
    fn keep_for(&mut self, desk: &mut LentDesk, asked: Kinds, held: Kinds) {
        let before = self.pin.as_ref().map_or(Kinds::NONE, |pin| pin.kinds());
        let kinds = before.without(asked).and(held);
        self.handle().set_pinned(kinds);
        if kinds.is_none() {
            self.pin = None;
            return;
        }
        self.pin.get_or_insert_with(|| Box::new(self.pool.pins.add())).set(kinds);
        let warned = kinds.without(before).within(self.rules.warned);
        if !warned.is_none() {
            let (handle, what) = (&self.presence.handle, pins::names(warned));
            let text = format!("a server connection is kept for this client: {what}");
            warn!(client = handle.id, database = %handle.database, user = %handle.user, peer = %handle.remote, "{text}");
            let mut warning = Vec::new();
            messages::report(&mut warning, Severity::Warning, sqlstate::WARNING, &text, "");
            desk.down.insert_before_ready(&warning);
        }
    }

    /// Keeps the server up to the end of the session for what may be hidden there, if that is what the database `says`.
    /// For a reset it is asked after all else: nothing is discarded under what the server is kept for.
    pub(super) fn keep_hidden(&mut self, desk: &LentDesk, says: Hidden) {
        // Who was refused has no place: the refusal itself looks as if it hid something.
        if self.rules.hidden == says
            && desk.exchange.traces().hides
            && let Some(pin) = &mut self.pin
        {
            pin.set(pin.kinds().and(Kinds::HIDDEN));
            self.presence.handle.set_pinned(pin.kinds());
        }
    }

    async fn ask(&self, lease: &mut Lease, question: &Question) -> Result<Findings, ServerFailure> {
        let services = &*self.presence.services;
        let info = lease.server().info.clone();
        patiently(PATIENCE, info, question::ask(services, lease.server(), question)).await
    }

    /// Has the server do something of our own.
    pub(super) async fn act(&self, lease: &mut Lease, sql: &[u8]) -> Result<(), ServerFailure> {
        let services = &*self.presence.services;
        let info = lease.server().info.clone();
        patiently(COMMIT_PATIENCE, info, question::act(services, lease.server(), sql)).await
    }

    /// What the client's parameters are from now on, and its server does not report: what they were at login, after a
    /// RESET.
    fn tell_changes(&self, desk: &mut LentDesk, server: &Server) {
        let mut told = Vec::new();
        for (position, value) in self.params.differences(&server.params) {
            messages::parameter_status(&mut told, self.presence.services.tracked.name(position).as_bytes(), value);
        }
        desk.down.insert_before_ready(&told);
    }
}

/// Waits for a server as long as it may take. Where that was in vain it must be closed.
async fn patiently<T>(
    patience: Duration,
    info: Arc<ServerInfo>,
    work: impl Future<Output = Result<T, ServerFailure>>,
) -> Result<T, ServerFailure> {
    let mut work = Box::pin(tokio::time::timeout(patience, work));
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(answer.unwrap_or(Err(ServerFailure::Closed))),
        Poll::Pending if info.is_cut() => Poll::Ready(Err(ServerFailure::Closed)),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// What a client's settings are now that `found` is set on its server. What it had at login and is not set any more was
/// reset, and is what it was at login.
fn settled(services: &Services, server: &mut Server, baseline: &Params, found: Vec<Other>) -> Arc<Params> {
    let mut params = (*server.params).clone();
    let is_reported = |name: &[u8]| services.tracked.position(name).filter(|at| server.params.get(*at).is_some());
    let (reported, others): (Vec<Other>, Vec<Other>) =
        found.into_iter().partition(|(name, _)| is_reported(name).is_some());
    params.set_others(others);
    let mut wanted = params.clone();
    server.params = services.intern(params);
    for (position, value) in baseline.reported_by(&server.params) {
        if !reported.iter().any(|(name, _)| services.tracked.position(name) == Some(position)) {
            wanted.set(position, value);
        }
    }
    // A name with a dot cannot be unset: empty is as good as reset.
    let is_reset = |(name, value): &Other| value.is_empty() && name.contains(&b'.') && baseline.other(name).is_some();
    let set = server.params.others().iter().filter(|other| !is_reset(other));
    wanted.set_others(baseline.others().iter().chain(set).cloned());
    services.intern(wanted)
}
