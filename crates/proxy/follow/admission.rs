//! The node's half of rule one on the very connection that will carry transactions, and what such connections learn.

use std::time::Instant;

use failover::{Answer, Probed, Route, Signal, Unfit};
use protocol::messages;

use super::session;
use super::{early, probing, standbys};
use crate::error::ServerReport;
use crate::server::connection::split_parameter;
use crate::server::info::ServerInfo;
use crate::server::login::{LoggedIn, LoginError};
use crate::server::target::{Followed, Target};
use crate::services::Services;
use crate::wire::{Wire, WireError};

/// Whether the session is read-only by its role's or its database's own wish, and not by the node's.
const OWN_WISH: &str = "select source in ('user', 'database', 'database user') from pg_catalog.pg_settings \
                        where name = 'default_transaction_read_only'";

/// Asks a server that has just been logged in to whether it is the primary that was proved, or a standby.
///
/// # Errors
/// It is not, which the follower has been told; or it gives no answer.
pub async fn admit(
    services: &Services,
    wire: &mut Wire,
    followed: &Followed,
    found: &mut LoggedIn,
) -> Result<(), LoginError> {
    let asked_at = Instant::now();
    let note = |tag: u8, body: &[u8]| {
        if let Some((name, value)) = split_parameter(body).filter(|_| tag == b'S') {
            found.parameters.retain(|(known, _)| known != name);
            found.parameters.push((name.to_vec(), value.to_vec()));
        }
    };
    let answer = probing::answer(wire, note).await?;
    if followed.standbys.is_some() {
        return standbys::admit(services, followed, &answer);
    }
    let Some(route) = &followed.route else { return Err(LoginError::GivenUp) };
    match route.admits(&answer) {
        Ok(()) if route.early => early::admit(wire).await,
        Ok(()) => Ok(()),
        Err(Unfit::ReadOnly) if is_own_wish(wire).await? => Ok(()),
        Err(unfit) => {
            tell(services, followed, route, &unfit, asked_at, answer);
            Err(LoginError::Unfit(unfit))
        }
    }
}

async fn is_own_wish(wire: &mut Wire) -> Result<bool, LoginError> {
    let mut request = Vec::with_capacity(256);
    messages::query(&mut request, OWN_WISH.as_bytes());
    let (_, rows) = session::ask(wire, &request, |_, _| {}).await?;
    Ok(rows.first().and_then(session::columns::<1>) == Some([Some("t")]))
}

fn tell(services: &Services, followed: &Followed, route: &Route, unfit: &Unfit, asked_at: Instant, answer: Answer) {
    let Some(watched) = services.follow.of(&followed.formation) else { return };
    match unfit {
        // Its session's own settings may say so, which is not the node's word: the node is asked at once.
        Unfit::ReadOnly => watched.signal(route, Signal::ReadOnly),
        Unfit::InRecovery | Unfit::System(_) | Unfit::Timeline(_) => watched.answered(Probed {
            node: route.node,
            endpoint: route.epoch.identity.endpoint.clone(),
            asked_at,
            outcome: Ok(answer),
        }),
    }
}

/// Returns when there is no use in opening servers there any more; never for servers that are not followed.
pub async fn given_up(services: &Services, target: &Target) {
    let Some(followed) = &target.followed else { return std::future::pending().await };
    let Some(watched) = services.follow.of(&followed.formation) else { return };
    match (&followed.route, &followed.standbys) {
        (_, Some(standbys)) => watched.standbys.left(standbys).await,
        (Some(route), None) => watched.left(route).await,
        (None, None) => {}
    }
}

/// A server could not be opened: what that says about the primary.
pub fn opening_failed(services: &Services, target: &Target, error: &LoginError) {
    use failover::Failure;
    let signal = match (error, probing::failure(error)) {
        (LoginError::Refused(report), _) => of_report(report),
        (LoginError::Wire(WireError::Closed), _) => Some(Signal::Eof),
        (_, Failure::Refused) => Some(Signal::Refused),
        (_, Failure::Reset) => Some(Signal::Reset),
        (_, Failure::Timeout | Failure::NotReady | Failure::Other) => None,
    };
    note(services, target.followed.as_ref(), signal);
}

/// A server connection ended without being asked to: by this error, or else without a word.
pub fn lost(services: &Services, server: &ServerInfo, last_words: Option<&ServerReport>) {
    let signal = match last_words {
        Some(report) => of_report(report),
        None => Some(Signal::Eof),
    };
    note(services, server.followed.as_ref(), signal);
}

/// A server answered with an error and goes on.
pub fn error(services: &Services, server: &ServerInfo, body: &[u8]) {
    if server.followed.is_some() && protocol::fields::Fields::parse(body).sqlstate == b"25006" {
        note(services, server.followed.as_ref(), Some(Signal::ReadOnly));
    }
}

fn of_report(report: &ServerReport) -> Option<Signal> {
    Some(match report.sqlstate.as_str() {
        "57P01" => Signal::AdminShutdown,
        "57P02" => Signal::CrashShutdown,
        "57P03" => Signal::CannotConnectNow,
        _ => return None,
    })
}

fn note(services: &Services, followed: Option<&Followed>, signal: Option<Signal>) {
    if let (Some(Followed { formation, route: Some(route), .. }), Some(signal)) = (followed, signal)
        && let Some(watched) = services.follow.of(formation)
    {
        watched.signal(route, signal);
    }
}
