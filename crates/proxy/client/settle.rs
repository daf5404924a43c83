//! What is done when a transaction may have left something in its server's session: the server is asked, once, before
//! anybody else may have it. What is set becomes the client's, and follows it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use config::PoolMode;
use protocol::messages;
use protocol::params::{Other, Params};
use protocol::traces::{Kinds, Traces};
use tracing::warn;

use super::session::{Client, Farewell};
use crate::error::ClientError;
use crate::flow::LentDesk;
use crate::pools::Lease;
use crate::server::connection::{Server, ServerFailure};
use crate::server::question::{self, Findings, Question};
use crate::services::Services;
use crate::socket::LAST_WORDS;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

impl Client {
    /// Whether the server must be asked before it may go back.
    pub(super) fn must_settle(&self, desk: &LentDesk) -> bool {
        let traces = desk.exchange.traces();
        // A server that is reset after each transaction keeps nothing.
        !traces.is_empty() && self.rules.mode != PoolMode::Session && !self.rules.reset_always
    }

    /// Finds out what the client has left in the session of a server that is at rest.
    pub(super) async fn settle(&mut self, desk: &mut LentDesk, mut lease: Lease) -> Result<Lease, Farewell> {
        // The client does not have to wait for this. If it is gone, that shows soon enough.
        poll_fn(|cx| {
            let _ = desk.down.poll_send(cx, &mut self.socket);
            Poll::Ready(())
        })
        .await;
        let question = question(desk.exchange.traces(), &self.params);
        match self.ask(&mut lease, &question).await {
            Ok(findings) => {
                let server = lease.server();
                if let Some(found) = findings.settings {
                    let services = self.presence.services.clone();
                    let wanted = settled(&services, server, &self.baseline, found);
                    self.tell_changes(desk, &wanted, server);
                    self.params = wanted;
                    self.handle().set_params(self.params.clone());
                }
                Ok(lease)
            }
            Err(failure) => {
                let is_cut = lease.server().info.is_cut();
                warn!(server = lease.server().info.id, "cannot find out what was left in a session: {failure}");
                lease.close("what was left in its session is not known");
                let left = desk.down.take_cleared();
                let sent = tokio::time::timeout(LAST_WORDS, self.socket.send_all(&left)).await;
                let error = if is_cut { ClientError::PrimaryMoved } else { ClientError::ServerCrashed };
                Err(if matches!(sent, Ok(Ok(()))) { Farewell::Told(error) } else { Farewell::Silent("server lost") })
            }
        }
    }

    async fn ask(&self, lease: &mut Lease, question: &Question) -> Result<Findings, ServerFailure> {
        let services = &*self.presence.services;
        let info = lease.server().info.clone();
        let mut work = Box::pin(tokio::time::timeout(PATIENCE, question::ask(services, lease.server(), question)));
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(answer.unwrap_or(Err(ServerFailure::Closed))),
            Poll::Pending if info.is_cut() => Poll::Ready(Err(ServerFailure::Closed)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// What the client's parameters are from now on, and its server does not report: what they were at login, after a
    /// RESET.
    fn tell_changes(&self, desk: &mut LentDesk, wanted: &Params, server: &Server) {
        let mut told = Vec::new();
        for (position, value) in wanted.differences(&server.params) {
            messages::parameter_status(&mut told, self.presence.services.tracked.name(position).as_bytes(), value);
        }
        desk.down.insert(&told);
    }
}

fn question(traces: &Traces, params: &Params) -> Question {
    let settings = traces.kinds.has(Kinds::SETTINGS);
    let mut names = Vec::new();
    if settings {
        let known = params.others().iter().map(|(name, _)| name).filter(|name| name.contains(&b'.'));
        names.extend(known.cloned());
        names.extend(traces.names.iter().filter(|name| params.other(name).is_none()).cloned());
    }
    Question { settings, names, held: Kinds::NONE }
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
