//! A replication connection: what a timeline comes from, and what stands at a place of the write-ahead log.

use config::Secret;
use failover::outcome::{Asked, History, Mark, Seen};
use failover::{Answer, Lsn};
use protocol::messages;

use super::probing;
use super::session::{self, Account};
use crate::address::Endpoint;
use crate::pools::SharedPool;
use crate::server::connection::server_report;
use crate::server::login::LoginError;
use crate::services::{Services, lock};
use crate::wire::Wire;

/// Opens one to the node that has given this answer. Whose attribute REPLICATION is needed: whoever probes the formation's
/// nodes; without one, whoever looks up secrets in the database (`auth_user`), or else the pool's own user.
///
/// # Errors
/// What the server says; or that it is another node now.
pub(super) async fn open(
    services: &Services,
    pool: &SharedPool,
    endpoint: &Endpoint,
    node: &Answer,
) -> Result<Wire, LoginError> {
    let account = account(services, pool);
    let mut wire = session::open_with(services, &account, endpoint, Some(("replication", "database"))).await?;
    let rows = ask(&mut wire, "IDENTIFY_SYSTEM").await?;
    let said = rows.first().map(|row| (row.first().cloned().flatten(), row.get(1).cloned().flatten()));
    let expected = (Some(node.system.to_string()), node.timeline.map(|timeline| timeline.to_string()));
    if said == Some(expected) { Ok(wire) } else { Err(LoginError::GivenUp) }
}

fn account(services: &Services, pool: &SharedPool) -> Account {
    if let Some(followed) = &pool.target.load().followed {
        return probing::account(services, &followed.formation);
    }
    let config = services.config.load_full();
    let database = config.find_database(&pool.database);
    let asker = database.as_ref().and_then(|database| config.auth_lookup(database)).map(|lookup| lookup.user);
    let (user, secret): (String, Option<Secret>) = match asker {
        Some(asker) => (asker.to_owned(), config.userlist.get(asker).cloned()),
        None => (pool.user.to_string(), lock(&pool.credentials).secret().cloned()),
    };
    let dbname = database.map_or_else(|| pool.database.to_string(), |database| database.server_dbname().to_owned());
    Account { user, dbname, secret, global: config.global.clone(), tls: services.tls.load().servers.clone() }
}

async fn ask(wire: &mut Wire, command: &str) -> Result<Vec<session::Row>, LoginError> {
    let mut request = Vec::with_capacity(64);
    messages::query(&mut request, command.as_bytes());
    Ok(session::ask(wire, &request, |_, _| {}).await?.1)
}

/// What a timeline comes from; none if that cannot be read.
///
/// Source: manual, "Streaming Replication Protocol".
///
/// # Errors
/// The server's error.
pub(super) async fn history(wire: &mut Wire, timeline: u32) -> Result<Option<History>, LoginError> {
    let rows = ask(wire, &format!("TIMELINE_HISTORY {timeline}")).await?;
    let content = rows.first().and_then(|row| row.get(1)).and_then(Option::as_deref);
    Ok(content.and_then(|content| History::parse(content).ok()))
}

/// What the log has in the place of the mark. The connection is of no more use then.
///
/// # Errors
/// The server's error: that part of the log may be gone.
pub(super) async fn look(wire: &mut Wire, asked: &Asked) -> Result<Seen, LoginError> {
    let mut mark = Mark::before(asked.lsn);
    let mut request = Vec::with_capacity(64);
    let command = format!("START_REPLICATION PHYSICAL {} TIMELINE {}", mark.start(), asked.timeline);
    messages::query(&mut request, command.as_bytes());
    wire.send(&request).await?;
    let seen = loop {
        let (tag, body) = wire.message().await?;
        match tag {
            b'E' => return Err(LoginError::Refused(server_report(body))),
            // The timeline ends there.
            b'c' | b'C' | b'Z' => break Seen::Unclear,
            b'd' => {
                if let Some((at, log)) = log_of(body)
                    && mark.feed(at, log)
                {
                    break mark.look(&asked.token);
                }
            }
            _ => {}
        }
    };
    request.clear();
    messages::terminate(&mut request);
    // How it takes the farewell says nothing more.
    let _ = wire.send(&request).await;
    Ok(seen)
}

/// A piece of the log, and where it stands, in XLogData.
fn log_of(body: &[u8]) -> Option<(Lsn, &[u8])> {
    let (at, rest) = body.strip_prefix(b"w")?.split_first_chunk()?;
    Some((Lsn(u64::from_be_bytes(*at)), rest.get(16..)?))
}
