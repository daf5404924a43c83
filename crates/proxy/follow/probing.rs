//! Probes: a task for each node, which keeps one connection to it and asks at the pace that is wanted.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{Config, Database};
use failover::{Answer, Endpoint, Errand, Event, Failure, NodeId, Probed};
use protocol::messages;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};
use tracing::info;

use super::hosts;
use super::session::{self, Account};
use super::watched::{Watched, address};
use crate::server::login::LoginError;
use crate::services::Services;
use crate::wire::{Wire, WireError};

/// How long a probe may take, be it with or without connecting.
const LIMIT: Duration = Duration::from_secs(1);

/// The probers of one formation. Dropping them ends them.
#[derive(Debug)]
pub struct Probers {
    services: Arc<Services>,
    watched: Arc<Watched>,
    events: mpsc::Sender<Event>,
    running: HashMap<NodeId, Running>,
}

#[derive(Debug)]
struct Running {
    endpoint: Endpoint,
    every: watch::Sender<Duration>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Probers {
    /// None yet; they will report here.
    pub fn new(services: Arc<Services>, watched: Arc<Watched>, events: mpsc::Sender<Event>) -> Self {
        Self { services, watched, events, running: HashMap::new() }
    }

    /// Has these nodes probed, each at its pace, and no others.
    pub fn arrange(&mut self, errands: &[Errand]) {
        let wanted = |id: &NodeId, running: &mut Running| {
            let is_wanted = |errand: &Errand| errand.node == *id && errand.endpoint == running.endpoint;
            !running.task.is_finished() && errands.iter().any(is_wanted)
        };
        self.running.retain(wanted);
        for errand in errands {
            match self.running.get(&errand.node) {
                Some(running) => {
                    running.every.send_if_modified(|every| std::mem::replace(every, errand.every) != errand.every);
                }
                None => self.begin(errand),
            }
        }
    }

    fn begin(&mut self, errand: &Errand) {
        let (every, pace) = watch::channel(errand.every);
        let prober = Prober {
            services: self.services.clone(),
            watched: self.watched.clone(),
            node: errand.node,
            endpoint: errand.endpoint.clone(),
            wire: None,
            complaint: String::new(),
        };
        let task = tokio::spawn(prober.run(pace, self.events.clone()));
        self.running.insert(errand.node, Running { endpoint: errand.endpoint.clone(), every, task });
    }
}

struct Prober {
    services: Arc<Services>,
    watched: Arc<Watched>,
    node: NodeId,
    endpoint: Endpoint,
    wire: Option<Wire>,
    /// What was logged last, so that it is said once.
    complaint: String,
}

impl Prober {
    async fn run(mut self, mut pace: watch::Receiver<Duration>, events: mpsc::Sender<Event>) {
        loop {
            let (asked_at, outcome) = self.probe().await;
            let outcome = outcome.map_err(|error| self.failure(&error));
            if outcome.is_ok() {
                self.complaint.clear();
            }
            let probed = Probed { node: self.node, endpoint: self.endpoint.clone(), asked_at, outcome };
            if events.send(Event::Probed(probed)).await.is_err() {
                return;
            }
            loop {
                let due = asked_at + *pace.borrow_and_update();
                tokio::select! {
                    () = sleep_until(due.into()) => break,
                    changed = pace.changed() => if changed.is_err() { return },
                }
            }
        }
    }

    /// Asks on the connection that is there. If that one turns out to be broken it says little: what a new one finds counts.
    async fn probe(&mut self) -> (Instant, Result<Answer, LoginError>) {
        let asked_at = Instant::now();
        if let Some(wire) = self.wire.take() {
            match timeout(LIMIT, ask(wire)).await {
                Ok(Ok((wire, answer))) => {
                    self.wire = Some(wire);
                    return (asked_at, Ok(answer));
                }
                Ok(Err(_)) => {}
                Err(_) => return (asked_at, Err(LoginError::Timeout)),
            }
        }
        let asked_at = Instant::now();
        let asking = async {
            let account = account(&self.services, &self.watched.name);
            ask(session::open(&self.services, &account, &address(&self.endpoint)).await?).await
        };
        match timeout(LIMIT, asking).await {
            Ok(Ok((wire, answer))) => {
                self.wire = Some(wire);
                (asked_at, Ok(answer))
            }
            Ok(Err(error)) => (asked_at, Err(error)),
            Err(_) => (asked_at, Err(LoginError::Timeout)),
        }
    }

    /// What the follower is told; the log has the words.
    fn failure(&mut self, error: &LoginError) -> Failure {
        let words = error.to_string();
        if self.complaint != words {
            info!("formation {}: probe of {} at {}: {words}", self.watched.name, self.node, self.endpoint);
            self.complaint = words;
        }
        failure(error)
    }
}

async fn ask(mut wire: Wire) -> Result<(Wire, Answer), LoginError> {
    let answer = answer(&mut wire, |_, _| {}).await?;
    Ok((wire, answer))
}

/// Asks a node about itself.
///
/// # Errors
/// The node's error, an answer that cannot be read, or that the connection broke.
pub async fn answer(wire: &mut Wire, aside: impl FnMut(u8, &[u8])) -> Result<Answer, LoginError> {
    let mut request = Vec::with_capacity(1024);
    messages::query(&mut request, Answer::QUERY.as_bytes());
    let (_, rows) = session::ask(wire, &request, aside).await?;
    let answer = rows.first().and_then(session::columns).and_then(|row| Answer::parse(&row).ok());
    answer.ok_or(LoginError::Violation(b'D'))
}

/// What an error says about the node.
pub(super) fn failure(error: &LoginError) -> Failure {
    match error {
        LoginError::Timeout => Failure::Timeout,
        LoginError::Refused(report) if report.sqlstate == "57P03" => Failure::NotReady,
        LoginError::Refused(report) if ["57P01", "57P02"].contains(&report.sqlstate.as_str()) => Failure::Reset,
        LoginError::Wire(WireError::Closed) => Failure::Reset,
        LoginError::Wire(WireError::Io(error)) | LoginError::Tls(error) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => Failure::Refused,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => Failure::Reset,
            ErrorKind::TimedOut => Failure::Timeout,
            _ => Failure::Other,
        },
        _ => Failure::Other,
    }
}

/// Who asks the nodes: whoever is certain to be let in. That is the user whom a database of the formation forces on its
/// clients, or who runs its `auth_query`; else the monitor's own user, who then needs to be a role of the nodes, too, or
/// without a monitor the first of `auth_file`. None of them may be read-only by its own default: a node that says so of a
/// probe is taken at its word.
pub(super) fn account(services: &Services, formation: &str) -> Account {
    let config = services.config.load_full();
    let (user, dbname, secret) = whom(&config, formation);
    let global = config.global.clone();
    Account { user, dbname, secret, global, tls: services.tls.load().servers.clone() }
}

fn whom(config: &Config, formation: &str) -> (String, String, Option<config::Secret>) {
    let is_follower = |database: &Database| hosts::followed_as(database).as_deref() == Some(formation);
    let followers = config.databases.values().filter(|database| is_follower(database));
    let named: Vec<_> =
        followers.clone().filter(|database| database.name != "*" || database.dbname.is_some()).collect();
    let forced = named.iter().find_map(|database| {
        let user = database.user.clone()?;
        let secret = database.password.clone().or_else(|| config.userlist.get(&user).cloned());
        Some((user, database.server_dbname().to_owned(), secret))
    });
    let asking = || {
        named.iter().find_map(|database| {
            let lookup = config.auth_lookup(database)?;
            let secret = config.userlist.get(lookup.user).cloned();
            let other = config.find_database(lookup.dbname).filter(is_follower);
            let dbname = other.as_ref().unwrap_or(database).server_dbname().to_owned();
            Some((lookup.user.to_owned(), dbname, secret))
        })
    };
    let others = || {
        let dbname = named.first().map_or("postgres", |database| database.server_dbname()).to_owned();
        match config.formations.get(formation) {
            Some(found) => (found.monitor.user.clone(), dbname, config.monitor_secret(found).cloned()),
            None => {
                let (user, secret) = config.userlist.iter().next().unzip();
                (user.cloned().unwrap_or_else(|| "postgres".to_owned()), dbname, secret.cloned())
            }
        }
    };
    forced.or_else(asking).unwrap_or_else(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whom_of(databases: &str) -> (String, String, Option<String>) {
        let text = format!("{databases}\n[formations.main]\nmonitor = 'postgres://watcher:word@m'\n");
        let loaded = Config::from_text(std::path::Path::new("x.toml"), &text);
        let (user, dbname, secret) = whom(&loaded.unwrap_or_else(|problems| panic!("{problems}")).config, "main");
        (user, dbname, secret.map(|secret| secret.reveal().to_owned()))
    }

    #[test]
    fn the_nodes_are_asked_by_somebody_they_know() {
        let expected = |user: &str, dbname: &str, secret: Option<&str>| {
            (user.to_owned(), dbname.to_owned(), secret.map(str::to_owned))
        };
        let plain = "[databases.a]\nformation = 'main'\n";
        assert_eq!(whom_of(plain), expected("watcher", "a", Some("word")));
        assert_eq!(whom_of("[databases.'*']\nformation = 'main'\n"), expected("watcher", "postgres", Some("word")));
        let asked = format!("{plain}auth_user = 'asker'\ndbname = 'other'\n");
        assert_eq!(whom_of(&asked), expected("asker", "other", None));
        let forced = format!("{asked}[databases.b]\nformation = 'main'\nuser = 'app'\npassword = 'x'\n");
        assert_eq!(whom_of(&forced), expected("app", "b", Some("x")));
        let list = "[databases.a]\nhost = 'x,y'\ntarget_session_attrs = 'read-write'\n";
        let loaded = Config::from_text(std::path::Path::new("x.toml"), list);
        let mut config = loaded.unwrap_or_else(|problems| panic!("{problems}")).config;
        assert_eq!(whom(&config, "x,y:5432"), ("postgres".to_owned(), "a".to_owned(), None));
        config.userlist.insert("first".to_owned(), config::Secret::parse("word"));
        assert_eq!(whom(&config, "x,y:5432").0, "first");
        let elsewhere = format!("{plain}[databases.b]\nhost = 'h'\nuser = 'app'\npassword = 'x'\n");
        assert_eq!(whom_of(&elsewhere), expected("watcher", "a", Some("word")));
    }

    #[test]
    fn an_error_says_what_the_node_is_doing() {
        let refused = |sqlstate: &str| {
            LoginError::Refused(crate::error::ServerReport { sqlstate: sqlstate.into(), message: String::new() })
        };
        let io = |kind: ErrorKind| LoginError::Wire(WireError::Io(kind.into()));
        assert_eq!(failure(&refused("57P03")), Failure::NotReady);
        assert_eq!(failure(&refused("57P01")), Failure::Reset);
        assert_eq!(failure(&refused("28P01")), Failure::Other);
        assert_eq!(failure(&io(ErrorKind::ConnectionRefused)), Failure::Refused);
        assert_eq!(failure(&io(ErrorKind::ConnectionReset)), Failure::Reset);
        assert_eq!(failure(&LoginError::Wire(WireError::Closed)), Failure::Reset);
    }
}
