//! Finds out on the present primary what has become of a COMMIT whose server was lost. What follows from what is found
//! decides `failover::outcome`.

use std::time::{Duration, Instant};

use failover::Lsn;
use failover::outcome::{Asked, Found, Next, Seen, Status, judge};
use protocol::messages;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{given_up, probing, session, wal};
use crate::pools::SharedPool;
use crate::server::login::LoginError;
use crate::server::opening;
use crate::server::target::Target;
use crate::services::Services;
use crate::wire::Wire;

/// So many look at a time: each may need one of the server's WAL senders.
pub const LOOK_UPS: usize = 4;
/// Between two attempts.
const PACE: Duration = Duration::from_millis(100);
/// For the write-ahead log to show what is behind an acknowledged commit.
const PATIENCE: Duration = Duration::from_secs(5);

/// What has become of a COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was made.
    Committed,
    /// It was not, and never will be.
    RolledBack,
    /// That cannot be told.
    Unknown,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::RolledBack => "rolled back",
            Self::Unknown => "unknown",
        }
    }
}

/// Finds out, waiting for a primary as long as others do (`failover_wait_timeout`). Says in the log what it found.
pub async fn find_out(services: &Services, pool: &SharedPool, asked: &Asked) -> Outcome {
    let limit = services.config.load().global.failover_wait_timeout;
    let began = Instant::now();
    let mut last = "no primary".to_owned();
    let search = async {
        loop {
            match attempt(services, pool, asked).await {
                Ok(Next::Committed) => {
                    break (Outcome::Committed, "its id is committed, and its mark is there".to_owned());
                }
                Ok(Next::RolledBack(why)) => break (Outcome::RolledBack, why.to_owned()),
                Ok(Next::Unknown(why)) => break (Outcome::Unknown, why.to_owned()),
                Ok(Next::Wait(why)) => last = why.to_owned(),
                Ok(Next::ReadHistory | Next::LookForMark) => {}
                Err(Obstacle::Lasting(why)) => break (Outcome::Unknown, why),
                Err(Obstacle::Passing(error)) => last = error.to_string(),
            }
            if pool.is_hopeless() {
                break (Outcome::Unknown, last.clone());
            }
            sleep(PACE).await;
        }
    };
    let found = timeout(limit, search).await;
    let (outcome, why) = found.unwrap_or_else(|_| (Outcome::Unknown, format!("not known in time: {last}")));
    let (database, user, took) = (&pool.database, &pool.user, began.elapsed());
    let word = outcome.word();
    services.commit_outcomes.count(word);
    match outcome {
        Outcome::Unknown => warn!(%database, %user, "COMMIT of {asked}: {word} after {took:.1?}: {why}"),
        Outcome::Committed | Outcome::RolledBack => {
            info!(%database, %user, "COMMIT of {asked}: {word}, found after {took:.1?}: {why}");
        }
    }
    outcome
}

/// Why an attempt has led nowhere.
enum Obstacle {
    /// Another one may lead further.
    Passing(LoginError),
    /// So will all others.
    Lasting(String),
}

impl From<LoginError> for Obstacle {
    fn from(error: LoginError) -> Self {
        Self::Passing(error)
    }
}

async fn attempt(services: &Services, pool: &SharedPool, asked: &Asked) -> Result<Next, Obstacle> {
    let Ok(_turn) = services.look_ups.acquire().await else { return Err(LoginError::GivenUp.into()) };
    let target = pool.target.load_full();
    tokio::select! {
        biased;
        // What was found there does not count if the primary is another one by now.
        () = given_up(services, &target) => Err(LoginError::GivenUp.into()),
        next = examine(services, pool, &target, asked) => next,
    }
}

async fn examine(services: &Services, pool: &SharedPool, target: &Target, asked: &Asked) -> Result<Next, Obstacle> {
    let (endpoint, mut wire) = opening::session(services, pool, target).await?;
    let node = probing::answer(&mut wire, |_, _| {}).await?;
    let status = status(&mut wire, asked).await?;
    let first = judge(asked, &Found { node: &node, status, history: None, seen: None });
    if !matches!(first, Next::ReadHistory | Next::LookForMark) {
        return Ok(first);
    }
    let mut replication = wal::open(services, pool, &endpoint, &node)
        .await
        .map_err(|error| lasting("cannot read the write-ahead log", error))?;
    let history = match (first, node.timeline) {
        (Next::ReadHistory, Some(timeline)) => {
            let history =
                wal::history(&mut replication, timeline).await.map_err(|error| lasting("no history", error))?;
            Some(history.ok_or_else(|| Obstacle::Lasting("the timeline's history cannot be read".to_owned()))?)
        }
        _ => None,
    };
    let second = judge(asked, &Found { node: &node, status, history: history.as_ref(), seen: None });
    if second != Next::LookForMark {
        return Ok(second);
    }
    let seen = if commit_behind(&mut wire).await? < asked.lsn {
        Seen::Nothing
    } else {
        let seen = timeout(PATIENCE, wal::look(&mut replication, asked)).await.unwrap_or(Err(LoginError::Timeout));
        seen.map_err(|error| lasting("cannot look for its mark", error))?
    };
    Ok(judge(asked, &Found { node: &node, status, history: history.as_ref(), seen: Some(seen) }))
}

/// An error that others like it will follow: the server is there and says no.
fn lasting(what: &str, error: LoginError) -> Obstacle {
    match error {
        LoginError::Refused(report) if !["57", "53"].contains(&report.sqlstate.get(..2).unwrap_or_default()) => {
            Obstacle::Lasting(format!("{what}: {}", report.message))
        }
        LoginError::WrongPasswordType | LoginError::UnknownRequest(_) | LoginError::Scram(_) => {
            Obstacle::Lasting(format!("{what}: {error}"))
        }
        error => Obstacle::Passing(error),
    }
}

async fn status(wire: &mut Wire, asked: &Asked) -> Result<Status, Obstacle> {
    match ask(wire, &Status::query(asked.xid)).await {
        Ok(rows) => {
            let text = rows.first().and_then(|row| row.first()).ok_or(LoginError::Violation(b'D'))?;
            Ok(Status::parse(text.as_deref()).map_err(|_| LoginError::Violation(b'D'))?)
        }
        Err(LoginError::Refused(report)) if report.sqlstate == Status::FUTURE => Ok(Status::Future),
        Err(error) => Err(error.into()),
    }
}

/// Commits something behind it, and waits for the standbys that commits wait for: what somebody has kept from waiting for
/// them is as good as others then, and in the log that standbys may read. Where that log ends.
async fn commit_behind(wire: &mut Wire) -> Result<Lsn, Obstacle> {
    let sql = "begin read write; set local synchronous_commit = on; set local client_min_messages = warning; \
               select pg_catalog.pg_logical_emit_message(true, 'pooler'::pg_catalog.text, ''::pg_catalog.text); \
               commit; select pg_catalog.pg_current_wal_flush_lsn()";
    let mut request = Vec::with_capacity(256);
    messages::query(&mut request, sql.as_bytes());
    let mut is_warned = false;
    let (_, rows) = session::ask(wire, &request, |tag, _| is_warned |= tag == b'N').await?;
    let end = rows.last().and_then(|row| row.first()?.as_deref()?.parse().ok());
    match end {
        Some(end) if !is_warned => Ok(end),
        _ => Err(LoginError::GivenUp.into()),
    }
}

async fn ask(wire: &mut Wire, sql: &str) -> Result<Vec<session::Row>, LoginError> {
    let mut request = Vec::with_capacity(128);
    messages::query(&mut request, sql.as_bytes());
    Ok(session::ask(wire, &request, |_, _| {}).await?.1)
}
