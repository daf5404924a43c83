//! The session with a monitor: its notifications, and its table again and again, which is also how its silence is noticed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use config::monitor_sql::{KEEPER, NODE_COLUMNS, TABLES, VIEW, select_nodes};
use config::{Host, MonitorHost};
use failover::{Event, Hint, Node, Snapshot, Timeouts};
use protocol::messages;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::planned::Attendant;
use super::session::{self, Account, Row};
use super::watched::Watched;
use crate::address::Endpoint;
use crate::server::login::LoginError;
use crate::services::Services;
use crate::wire::Wire;

/// How long connecting and logging in may take at one host.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// The least time from one reading of the table to the next.
const BREATH: Duration = Duration::from_millis(10);
/// The pause before another attempt: the first one, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How often the table is to be read.
#[derive(Debug)]
pub struct Reading {
    /// At once.
    pub now: Notify,
    /// In any case.
    pub every: watch::Sender<Duration>,
}

/// Keeps a session with the monitor, and reports what it says. Ends with the watcher.
pub async fn keep(
    services: Arc<Services>,
    watched: Arc<Watched>,
    reading: Arc<Reading>,
    events: mpsc::Sender<Event>,
) -> Infallible {
    let is_keeper = watched.formation().monitor.user == KEEPER;
    let attendant = Attendant::new(services.clone(), watched.clone());
    let mut visit = Visit { services, watched, reading, events, attendant, reads_view: !is_keeper, answered: false };
    let (mut pause, mut complaint) = (PAUSES.0, String::new());
    loop {
        let lost = visit.any_host().await;
        visit.attendant.leave();
        visit.report(Event::MonitorLost).await;
        let name = &visit.watched.name;
        if std::mem::take(&mut visit.answered) {
            (pause, complaint) = (PAUSES.0, String::new());
        }
        if is_no_view(&lost) && !is_keeper {
            visit.reads_view = !visit.reads_view;
        }
        let lost = lost.to_string();
        if complaint != lost {
            warn!("formation {name}: the monitor is lost: {lost}");
            complaint = lost;
        }
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(PAUSES.1);
    }
}

struct Visit {
    services: Arc<Services>,
    watched: Arc<Watched>,
    reading: Arc<Reading>,
    events: mpsc::Sender<Event>,
    /// Hears what coordinators of planned failovers say.
    attendant: Attendant,
    /// The view that `pooler monitor-sql` makes, or else the tables behind it.
    reads_view: bool,
    /// A table has been read since this was asked last.
    answered: bool,
}

impl Visit {
    /// Tries one host after the other, and stays with the first that answers: returns why it is lost.
    async fn any_host(&mut self) -> LoginError {
        let mut last = LoginError::Timeout;
        let account = account(&self.services, &self.watched);
        for host in &self.watched.clone().formation().monitor.hosts {
            last = match open(&self.services, &account, host).await {
                Ok(wire) => match self.follow(wire).await {
                    Ok(never) => match never {},
                    Err(lost) => lost,
                },
                Err(error) => error,
            };
            if self.answered {
                break;
            }
        }
        last
    }

    /// Listens first and reads then, so that nothing is missed in between.
    async fn follow(&mut self, mut wire: Wire) -> Result<Infallible, LoginError> {
        self.ask(&mut wire, "listen state").await?;
        let listen = self.attendant.listen();
        self.ask(&mut wire, &listen).await?;
        let announcement = self.attendant.announcement();
        let (_, rows) = self.try_read(&mut wire, &announcement).await?;
        self.attendant.announced(&rows);
        self.report(Event::MonitorBack).await;
        let (_, rows) = self.ask(&mut wire, Timeouts::QUERY).await?;
        let timeouts = rows.first().and_then(session::columns).and_then(|row| Timeouts::parse(&row).ok());
        let request = self.request();
        let mut every = self.reading.every.subscribe();
        loop {
            let (asked_at, rows) = self.read(&mut wire, &request).await?;
            let nodes = nodes(&rows).map_err(|why| {
                info!("formation {}: the monitor's table cannot be read: {why}", self.watched.name);
                LoginError::Violation(b'D')
            })?;
            self.answered = true;
            self.report(Event::Snapshot(Snapshot { asked_at, nodes, timeouts })).await;
            loop {
                while let Some(question) = self.attendant.question() {
                    let (asked_at, rows) = self.try_read(&mut wire, &question).await?;
                    self.attendant.answered(asked_at, &rows);
                }
                let due = Instant::from_std(asked_at) + *every.borrow_and_update();
                tokio::select! {
                    message = wire.message() => {
                        let (tag, body) = message?;
                        if tag == b'E' {
                            return Err(LoginError::Refused(crate::server::connection::server_report(body)));
                        }
                        self.attendant.hear(tag, body);
                        if let Some(hint) = hint(tag, body) {
                            self.report(Event::Hint(hint)).await;
                        }
                    }
                    reply = self.attendant.reply() => {
                        self.try_read(&mut wire, &reply).await?;
                    }
                    () = self.reading.now.notified() => {
                        // However much happens, the monitor is not asked without end.
                        tokio::time::sleep_until(Instant::from_std(asked_at) + BREATH).await;
                        break;
                    }
                    _ = every.changed() => {}
                    () = tokio::time::sleep_until(due) => break,
                }
            }
        }
    }

    async fn ask(&mut self, wire: &mut Wire, sql: &str) -> Result<(std::time::Instant, Vec<Row>), LoginError> {
        let mut request = Vec::with_capacity(512);
        messages::query(&mut request, sql.as_bytes());
        self.read(wire, &request).await
    }

    async fn read(&mut self, wire: &mut Wire, request: &[u8]) -> Result<(std::time::Instant, Vec<Row>), LoginError> {
        let (mut hints, attendant) = (Vec::new(), &mut self.attendant);
        let aside = |tag: u8, body: &[u8]| {
            attendant.hear(tag, body);
            hints.extend(hint(tag, body));
        };
        let asking = session::ask(wire, request, aside);
        let answer = timeout(ANSWER_LIMIT, asking).await.unwrap_or(Err(LoginError::Timeout));
        for hint in hints {
            self.report(Event::Hint(hint)).await;
        }
        answer
    }

    /// For what only planned failovers need: a refusal is no reason not to follow.
    async fn try_read(
        &mut self,
        wire: &mut Wire,
        request: &[u8],
    ) -> Result<(std::time::Instant, Vec<Row>), LoginError> {
        match self.read(wire, request).await {
            Err(LoginError::Refused(report)) => {
                info!("formation {}: the monitor refuses: {}", self.watched.name, report.message);
                Ok((std::time::Instant::now(), Vec::new()))
            }
            answer => answer,
        }
    }

    fn request(&self) -> Vec<u8> {
        let formation = self.watched.formation();
        let from = if self.reads_view { VIEW } else { TABLES };
        let sql = format!("{} where formationid::text = $1 and groupid = $2 order by nodeid", select_nodes(from));
        let mut request = Vec::with_capacity(1024);
        let values = [formation.formation.clone(), formation.group.to_string()];
        messages::extended_query(&mut request, sql.as_bytes(), &[values[0].as_bytes(), values[1].as_bytes()]);
        request
    }

    async fn report(&self, event: Event) {
        // The watcher ends this task before it closes the channel.
        let _ = self.events.send(event).await;
    }
}

/// Who asks the monitor.
pub(super) fn account(services: &Services, watched: &Watched) -> Account {
    let config = services.config.load_full();
    let formation = watched.formation();
    let tls = services.tls.load().monitors.get(&*watched.name).cloned();
    Account {
        user: formation.monitor.user.clone(),
        dbname: formation.monitor.dbname.clone(),
        secret: config.monitor_secret(formation).cloned(),
        global: formation.monitor.server_settings(&config.global),
        tls,
    }
}

/// Logs in at one of a monitor's hosts, in time.
///
/// # Errors
/// Why not.
pub(super) async fn open(services: &Services, account: &Account, host: &MonitorHost) -> Result<Wire, LoginError> {
    let endpoint = endpoint(host);
    timeout(CONNECT_LIMIT, session::open(services, account, &endpoint)).await.unwrap_or(Err(LoginError::Timeout))
}

/// Where a monitor listens.
fn endpoint(host: &MonitorHost) -> Endpoint {
    match &host.host {
        Host::Tcp(name) => Endpoint::Tcp(name.as_str().into(), host.port),
        Host::Unix(directory) => Endpoint::Unix(directory.clone(), host.port),
    }
}

/// There is no such view, or it is not for us: perhaps the tables are.
fn is_no_view(error: &LoginError) -> bool {
    matches!(error, LoginError::Refused(report) if ["42P01", "3F000", "42501"].contains(&report.sqlstate.as_str()))
}

/// What a NotificationResponse says; none for any other message.
fn hint(tag: u8, body: &[u8]) -> Option<Hint> {
    let (_, words) = body.split_first_chunk::<4>().filter(|_| tag == b'A')?;
    let mut words = words.split(|byte| *byte == 0);
    let payload = words.next().filter(|channel| *channel == b"state").and_then(|_| words.next())?;
    Hint::parse(std::str::from_utf8(payload).ok()?)
}

/// The table, whose columns come in an order of their own.
fn nodes(rows: &[Row]) -> Result<Vec<Node>, String> {
    const WANTED: [&str; 11] = [
        "nodeid",
        "nodename",
        "nodehost",
        "nodeport",
        "sysidentifier",
        "reportedstate",
        "goalstate",
        "health",
        "reportedtli",
        "reportedlsn",
        "candidatepriority",
    ];
    let place = |name: &str| NODE_COLUMNS.iter().position(|(column, _)| *column == name);
    let node = |row: &Row| {
        let columns = WANTED.map(|name| place(name).and_then(|place| row.get(place)?.as_deref()));
        Node::parse(&columns).map_err(|why| why.to_string())
    };
    rows.iter().map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_view_becomes_a_node_whatever_the_order_of_its_columns() {
        let value = |name: &str| match name {
            "nodename" => "node1",
            "nodehost" => "127.0.0.1",
            "reportedstate" | "goalstate" => "primary",
            "reportedlsn" => "0/3000060",
            "nodeport" => "17501",
            _ => "1",
        };
        let row: Row = NODE_COLUMNS.iter().map(|(name, _)| Some(value(name).to_owned())).collect();
        let found = nodes(std::slice::from_ref(&row)).expect("it can be read");
        assert_eq!((found[0].endpoint.port, found[0].is_assigned(), found[0].timeline), (17501, true, 1));
        let mut short = row;
        short.truncate(3);
        assert!(nodes(&[short]).is_err_and(|why| why.contains("nodehost")));
    }

    #[test]
    fn only_notifications_of_the_channel_state_are_hints() {
        let payload = r#"{"type": "state", "formation": "default", "groupId": 0, "nodeId": 2, "name": "node2", "host": "127.0.0.1", "port": 17502, "reportedState": "primary", "goalState": "draining", "health":"good"}"#;
        let body = |channel: &str| [&[0, 0, 0, 9][..], channel.as_bytes(), &[0], payload.as_bytes(), &[0]].concat();
        assert!(hint(b'A', &body("state")).is_some_and(|hint| hint.node.0 == 2));
        assert_eq!(hint(b'A', &body("log")), None);
        assert_eq!(hint(b'N', &body("state")), None);
        assert_eq!(hint(b'A', b"\0\0"), None);
    }
}
