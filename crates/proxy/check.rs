//! `pooler check --connect`: whether each database's server can be reached and logged in to.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use config::Config;

use crate::control;
use crate::encryption::Encryption;
use crate::error::ServerReport;
use crate::follow;
use crate::front::door::Door;
use crate::pools::SharedPool;
use crate::server::opening;
use crate::services::Services;
use crate::worker::Workers;

/// How long formations may take to show a primary.
const PATIENCE: Duration = Duration::from_secs(5);

/// How one database fared.
#[derive(Debug)]
pub struct Report {
    database: Arc<str>,
    user: Arc<str>,
    endpoints: String,
    failure: Option<ServerReport>,
}

impl Report {
    /// Whether its server was reached and let us in.
    pub fn is_good(&self) -> bool {
        self.failure.is_none()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { database, user, endpoints, failure } = self;
        match failure {
            None => write!(f, "database {database:?}, user {user:?} at {endpoints}: ok"),
            Some(report) => {
                write!(
                    f,
                    "database {database:?}, user {user:?} at {endpoints}: {} ({})",
                    report.message, report.sqlstate
                )?;
                match advice(report) {
                    Some(advice) => write!(f, "\n  {advice}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// What an operator can do about the usual refusals.
fn advice(report: &ServerReport) -> Option<&'static str> {
    match report.sqlstate.as_str() {
        "28000" => Some("the server's pg_hba.conf needs a line for this database, user and address"),
        "28P01" => Some("the password in auth_file, or of the database, is not the one the server knows"),
        "3D000" => Some("the server has no database of this name: see dbname"),
        "42501" => Some("the role needs: GRANT CONNECT ON DATABASE … TO …"),
        _ => None,
    }
}

/// Tries each database of the configuration: as its forced user, else as the first user of `auth_file`.
///
/// # Errors
/// When the system gives no event queue.
pub fn reach(config: Config, tls: Encryption) -> io::Result<Vec<Report>> {
    let house = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let users: Vec<String> = config.userlist.keys().cloned().collect();
    let databases: Vec<_> = config.databases.values().filter(|database| database.name != "*").cloned().collect();
    let services = Services::new(
        config,
        tls,
        house.handle().clone(),
        Workers::start(1, config::Scheduling::Other)?,
        Door::new(1).0,
    );
    house.block_on(async {
        follow::obey(&services, &services.config.load());
        follow::settle(&services, PATIENCE).await;
        let mut reports = Vec::new();
        for database in databases {
            let user =
                database.user.clone().or_else(|| users.first().cloned()).unwrap_or_else(|| "postgres".to_owned());
            let pool = control::pool_for(&services, &database, &user);
            reports.push(try_pool(&services, &pool).await);
        }
        Ok(reports)
    })
}

async fn try_pool(services: &Services, pool: &SharedPool) -> Report {
    let failure = match no_node(services, pool) {
        Some(message) => Some(ServerReport { sqlstate: "57P03".to_owned(), message }),
        None => opening::attempt(services, pool).await.err(),
    };
    let endpoints: Vec<_> = pool.target.load().endpoints.iter().map(ToString::to_string).collect();
    Report { database: pool.database.clone(), user: pool.user.clone(), endpoints: endpoints.join(", "), failure }
}

/// Why a database that follows a formation has no node.
fn no_node(services: &Services, pool: &SharedPool) -> Option<String> {
    let target = pool.target.load();
    let followed = target.followed.as_ref().filter(|_| target.endpoints.is_empty())?;
    let watched = services.follow.of(&followed.formation);
    if followed.standbys.is_some() && watched.as_ref().is_some_and(|watched| watched.standing().is_open) {
        return Some(format!("formation {}: no node may be read", followed.formation));
    }
    let why = watched.and_then(|watched| watched.report().why);
    let why = why.map_or_else(|| "is not followed".to_owned(), |why| why.to_string());
    Some(format!("formation {}: {why}", followed.formation))
}
