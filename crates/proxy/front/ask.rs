//! A question that the pooler asks a server about a user, on a connection of `auth_user`'s.

use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use config::{AuthLookup, Database, Secret};
use protocol::backend::TxStatus;
use protocol::fields::data_row;
use protocol::{Exchange, messages};
use thiserror::Error;
use tokio::sync::oneshot;

use super::auth::Applicant;
use super::auth::lookup::Found;
use crate::address::Address;
use crate::client::handle::{ClientHandle, Identity};
use crate::clock::Micros;
use crate::control;
use crate::error::ClientError;
use crate::pools::SharedPool;
use crate::server::connection::Answer;
use crate::services::Services;
use crate::stats::Usage;

/// How long a question may take. Whoever asks has `client_login_timeout` to wait for it.
pub const LONGEST: Duration = Duration::from_secs(60);
/// Dead servers after which no other one is tried.
const ATTEMPTS: usize = 3;
/// What clients may have left behind on a connection must not change what the query finds.
const CLEAN: &[u8] = b"DISCARD ALL";
/// All roles that a role is in, directly or not, and itself.
const GROUPS: &str = "WITH RECURSIVE mine (oid) AS (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1 \
    UNION SELECT roleid FROM pg_catalog.pg_auth_members JOIN mine ON member = mine.oid) \
    SELECT rolname FROM pg_catalog.pg_roles JOIN mine USING (oid)";

/// What is asked about a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Its secret (`auth_query`).
    Secret,
    /// The groups it is in, for `+group` in HBA rules.
    Groups,
}

/// Why there is no answer.
#[derive(Clone, Debug, Error)]
pub enum AskError {
    /// No server can be had.
    #[error("{0}")]
    Unavailable(ClientError),
    /// The configuration is wrong, or the server refuses the query.
    #[error("{0}")]
    Useless(String),
    /// DISABLE is in force for the database to ask in.
    #[error("authentication database \"{0}\" is disabled")]
    Disabled(String),
}

impl AskError {
    /// What the client is told: no details of the server's.
    pub fn to_client(&self) -> ClientError {
        match self {
            Self::Unavailable(error) => error.clone(),
            Self::Useless(_) => ClientError::BouncerConfig,
            Self::Disabled(name) => ClientError::AuthDatabaseDisabled(name.clone()),
        }
    }
}

/// Asks a server, and waits no longer than `limit` for the answer; the server is left in peace to give it.
///
/// # Errors
/// See [`AskError`].
pub async fn server(applicant: &Applicant<'_>, question: Question, limit: Duration) -> Result<Found, AskError> {
    let Applicant { services, config, database, user, .. } = applicant;
    let lookup = config.auth_lookup(database).ok_or_else(|| AskError::Useless("there is no auth_user".into()))?;
    let pool = pool(services, &lookup)?;
    let sql = if question == Question::Secret { lookup.query } else { GROUPS }.to_owned();
    let (services, user) = (Arc::clone(services), (*user).to_owned());
    // The house can use servers without taking them from a worker, and goes on when this client leaves.
    let house = services.house.clone();
    let (mut waits, answer) = oneshot::channel();
    house.spawn(async move {
        let asking = rows(&services, &pool, &sql, &user, &mut waits);
        if let Ok(rows) = tokio::time::timeout(LONGEST, asking).await {
            // Nobody may want to hear it any more.
            let _ = waits.send(rows);
        }
    });
    let rows = match tokio::time::timeout(limit, answer).await {
        Ok(Ok(rows)) => rows?,
        Ok(Err(_)) | Err(_) => return Err(AskError::Unavailable(ClientError::LoginTimeoutServerDown)),
    };
    match question {
        Question::Secret => secret(&rows),
        Question::Groups => Ok(Found::Groups(rows.iter().filter_map(|row| text(row.first()?.as_deref())).collect())),
    }
}

/// The pool of `auth_user`, who is itself even in a database that forces another user on its clients.
fn pool(services: &Arc<Services>, lookup: &AuthLookup) -> Result<Arc<SharedPool>, AskError> {
    let config = services.config.load();
    let database = config.find_database(lookup.dbname).ok_or_else(|| {
        AskError::Useless(format!("there is no database {:?} to ask in (auth_dbname)", lookup.dbname))
    })?;
    if services.state.is_disabled(&database.name) {
        return Err(AskError::Disabled(database.name));
    }
    let own = database.user.as_deref() == Some(lookup.user);
    let database = if own { database } else { Database { user: None, password: None, ..database } };
    Ok(control::pool_for(services, &database, lookup.user))
}

type Rows = Vec<Vec<Option<Vec<u8>>>>;

/// Whoever is gone waits for no server; but a query that has begun is let finish, so that its server can be used again.
async fn rows(
    services: &Arc<Services>,
    pool: &Arc<SharedPool>,
    sql: &str,
    user: &str,
    waits: &mut oneshot::Sender<Result<Rows, AskError>>,
) -> Result<Rows, AskError> {
    let nobody = asker(pool);
    let worker = services.house_id();
    for _ in 0..ATTEMPTS {
        let mut usage = Usage::default();
        let gone = |cx: &mut Context<'_>| waits.poll_closed(cx).map(|()| ClientError::ClientLeft);
        let lent = pool.check_out(&nobody, worker, &mut usage, gone).await;
        let mut lease = lent.map_err(AskError::Unavailable)?;
        let server = lease.server();
        if server.is_noisy() || server.rehome(worker).is_err() {
            lease.close("server sent something unasked");
            continue;
        }
        let mut request = Vec::with_capacity(512);
        let is_cleaned = std::mem::take(&mut server.was_used);
        if is_cleaned {
            messages::query(&mut request, CLEAN);
        }
        messages::extended_query(&mut request, sql.as_bytes(), &[user.as_bytes()]);
        let mut exchange = Exchange::default();
        match server.converse(services, &mut exchange, &request).await {
            Ok(Answer { error: Some(error), .. }) => {
                lease.close("auth_query failed");
                return Err(AskError::Useless(error.message));
            }
            Ok(Answer { status: TxStatus::Idle, rows, error: None, .. }) => {
                if is_cleaned {
                    server.is_reset(services, true);
                }
                if let Some(proof) = exchange.at_rest() {
                    pool.check_in(lease, proof, worker, &usage);
                }
                return rows.iter().map(|row| data_row(row)).collect::<Option<Rows>>().ok_or_else(malformed);
            }
            Ok(_) => lease.close("auth_query left a transaction open"),
            Err(_) => lease.close("server conn crashed?"),
        }
    }
    Err(AskError::Unavailable(ClientError::ServerCrashed))
}

fn asker(pool: &SharedPool) -> ClientHandle {
    let here = Address::Unix { pid: 0, uid: 0, port: 0 };
    let identity = Identity {
        database: pool.database.clone(),
        user: pool.user.clone(),
        remote: here.clone(),
        local: here,
        connected_at: Micros::now(),
        tls: None,
    };
    ClientHandle::new(0, 0, Box::default(), identity)
}

/// Two columns, name and secret, in one row or none.
fn secret(rows: &Rows) -> Result<Found, AskError> {
    match rows.as_slice() {
        [] => Ok(Found::Nobody),
        [row] => match row.as_slice() {
            // What a function with OUT parameters answers when it finds nobody.
            [None, _] => Ok(Found::Nobody),
            [Some(_), None] => Ok(Found::Secret(None)),
            [Some(_), Some(secret)] => match std::str::from_utf8(secret) {
                Ok(secret) => Ok(Found::Secret(Some(Secret::parse(secret)))),
                Err(_) => Err(AskError::Useless("the secret is not UTF-8".into())),
            },
            other => Err(AskError::Useless(format!("expected 2 columns, found {}", other.len()))),
        },
        several => Err(AskError::Useless(format!("expected one row, found {}", several.len()))),
    }
}

fn text(bytes: Option<&[u8]>) -> Option<String> {
    String::from_utf8(bytes?.to_vec()).ok()
}

fn malformed() -> AskError {
    AskError::Useless("the server sent a malformed row".into())
}
