//! The coordinator's own session at the monitor. It holds the formation's lock, and with its end the lock is free.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use config::monitor_sql::{KEEPER, PROMOTE, SWITCHOVER};
use failover::{ControlKey, Message, ProcedureId, Said, channel};
use protocol::messages;
use tokio::time::timeout;

use crate::follow::monitor;
use crate::follow::session::{self, Row};
use crate::follow::watched::Watched;
use crate::server::login::LoginError;
use crate::services::Services;
use crate::wire::Wire;

/// How long an answer may take: longer than the server itself lets a statement take.
const ANSWER_LIMIT: Duration = Duration::from_secs(8);
/// So that the server gives up first, and says so: else nobody would know what has become of a statement.
const BEGIN: &str =
    "set statement_timeout = '4s'; set lock_timeout = '4s'; set idle_in_transaction_session_timeout = '10s'";
/// A monitor that was just talking to a keeper may refuse with a deadlock; asking again helps.
const DEADLOCK: &str = "40P01";
const ATTEMPTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(200);

/// The pair of numbers of an advisory lock: what it is for, and the formation with its group.
macro_rules! lock_key {
    ($purpose:literal) => {
        concat!("pg_catalog.hashtext('pooler/", $purpose, "'), pg_catalog.hashtext($1 || '/' || $2)")
    };
}

/// The locks of that kind in this database, as `pg_locks` shows them.
macro_rules! locks {
    ($purpose:literal) => {
        concat!(
            "pg_catalog.pg_locks where locktype = 'advisory' and granted and objsubid = 2 and database = (select oid \
             from pg_catalog.pg_database where datname = pg_catalog.current_database()) and classid::bigint = \
             (pg_catalog.hashtext('pooler/",
            $purpose,
            "')::bigint & 4294967295) and objid::bigint = (pg_catalog.hashtext($1 || '/' || $2)::bigint & 4294967295)"
        )
    };
}

const LOCK: &str =
    concat!("select pg_catalog.pg_try_advisory_lock(", lock_key!("failover"), "), pg_catalog.pg_backend_pid()");
/// Who follows a formation holds a lock of this kind, which any number may share.
pub const ANNOUNCE: &str =
    concat!("select pg_catalog.pg_try_advisory_lock_shared(", lock_key!("present"), "), pg_catalog.pg_backend_pid()");
const PRESENT: &str = concat!("select distinct pid from ", locks!("present"), " and mode = 'ShareLock'");
/// The monitor's clock in microseconds, and whether that session holds the lock.
pub const WITNESS: &str = concat!(
    "select (extract(epoch from pg_catalog.clock_timestamp()) * 1000000)::bigint, exists (select from ",
    locks!("failover"),
    " and mode = 'ExclusiveLock' and pid::text = $3)"
);

/// Why the monitor was not told, or may have been.
#[derive(Debug)]
pub enum Failed {
    /// The server said no: nothing has happened.
    Refused(String),
    /// The session broke.
    Lost(String),
}

impl From<LoginError> for Failed {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Refused(report) if !report.sqlstate.starts_with("57P") => Self::Refused(report.message),
            error => Self::Lost(error.to_string()),
        }
    }
}

/// The session.
#[derive(Debug)]
pub struct Chair {
    wire: Wire,
    key: Option<ControlKey>,
    formation: String,
    group: i32,
    channel: String,
    is_keeper: bool,
    pid: i32,
    procedure: ProcedureId,
    number: u32,
    heard: VecDeque<(i32, String)>,
}

impl Chair {
    /// Logs in at the first of the monitor's hosts that lets us in.
    ///
    /// # Errors
    /// Why none does.
    pub async fn open(services: &Services, watched: &Watched, procedure: ProcedureId) -> Result<Self, LoginError> {
        let account = monitor::account(services, watched);
        let mut last = LoginError::Timeout;
        for host in &watched.formation().monitor.hosts {
            match monitor::open(services, &account, host).await {
                Ok(wire) => return Self::begin(services, watched, procedure, wire).await,
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn begin(
        services: &Services,
        watched: &Watched,
        procedure: ProcedureId,
        wire: Wire,
    ) -> Result<Self, LoginError> {
        let (formation, group) = of_monitor(watched);
        let mut chair = Self {
            wire,
            key: ControlKey::new(services.config.load().global.control_secret.reveal()),
            channel: channel(&formation, group),
            formation,
            group,
            is_keeper: watched.formation().monitor.user == KEEPER,
            pid: 0,
            procedure,
            number: 0,
            heard: VecDeque::new(),
        };
        chair.run(BEGIN).await?;
        let listen = format!("listen {}", chair.channel);
        chair.run(&listen).await?;
        Ok(chair)
    }

    /// Takes the formation's lock, unless somebody else has it.
    ///
    /// # Errors
    /// The server's, or that it is lost.
    pub async fn lock(&mut self) -> Result<bool, LoginError> {
        let rows = self.ask(LOCK, &[]).await?;
        let row = rows.first().and_then(session::columns::<2>).ok_or(LoginError::Violation(b'D'))?;
        self.pid = row[1].and_then(|pid| pid.parse().ok()).ok_or(LoginError::Violation(b'D'))?;
        Ok(row[0] == Some("t"))
    }

    /// Has the monitor try it in a transaction that is rolled back.
    ///
    /// # Errors
    /// The monitor's, or that it is lost.
    pub async fn rehearse(&mut self, to: Option<&str>) -> Result<(), LoginError> {
        self.run("begin").await?;
        let tried = self.perform(to).await;
        self.run("rollback").await?;
        tried.map(drop)
    }

    /// Tells the monitor. Once it has answered there is no way back.
    ///
    /// # Errors
    /// It has refused, or is lost.
    pub async fn commit(&mut self, to: Option<&str>) -> Result<(), Failed> {
        match self.perform(to).await? {
            true => Ok(()),
            false => Err(Failed::Refused("nothing to do: it is the primary already".to_owned())),
        }
    }

    /// By the functions that `pooler monitor-sql` makes for poolers; pg_auto_failover's own role needs none. False if the
    /// node is the primary already.
    async fn perform(&mut self, to: Option<&str>) -> Result<bool, LoginError> {
        let names = [[SWITCHOVER, PROMOTE], ["pgautofailover.perform_failover", "pgautofailover.perform_promotion"]];
        let [ours, theirs] = names.map(|[any, one]| match to {
            None => format!("select {any}($1, $2::int)"),
            Some(_) => format!("select {one}($1, $3) from (select $2::int) unused"),
        });
        let more = to.map(|name| vec![name]).unwrap_or_default();
        let sql = if self.is_keeper { theirs } else { ours };
        let mut attempts = 1;
        loop {
            match self.ask(&sql, &more).await {
                Err(LoginError::Refused(report)) if report.sqlstate == DEADLOCK && attempts < ATTEMPTS => {
                    attempts += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                answered => return answered.map(|rows| rows != [[Some("f".to_owned())]]),
            }
        }
    }

    /// The other poolers that follow the formation, by the process ids of their sessions.
    ///
    /// # Errors
    /// The server's, or that it is lost.
    pub async fn others(&mut self, own: i32) -> Result<BTreeSet<i32>, LoginError> {
        let rows = self.ask(PRESENT, &[]).await?;
        let pids = rows.iter().filter_map(|row| row.first()?.as_deref()?.parse().ok());
        Ok(pids.filter(|pid| *pid != own).collect())
    }

    /// What the monitor's clock will show at that moment, in microseconds, or a little less.
    ///
    /// # Errors
    /// The server's, or that it is lost.
    pub async fn clock_at(&mut self, moment: Instant) -> Result<i64, LoginError> {
        let left = moment.saturating_duration_since(Instant::now());
        let rows = self.ask(WITNESS, &["0"]).await?;
        let row = rows.first().and_then(session::columns::<2>).ok_or(LoginError::Violation(b'D'))?;
        let now: i64 = row[0].and_then(|now| now.parse().ok()).ok_or(LoginError::Violation(b'D'))?;
        Ok(now.saturating_add(i64::try_from(left.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Tells the others something that is worth something until `deadline`, by the monitor's clock.
    ///
    /// # Errors
    /// The server's, or that it is lost.
    pub async fn tell(&mut self, said: Said, deadline: i64) -> Result<(), LoginError> {
        self.number += 1;
        let Some(key) = &self.key else { return Ok(()) };
        let message = Message {
            procedure: self.procedure,
            formation: self.formation.clone(),
            group: self.group,
            sender: self.pid,
            number: self.number,
            deadline,
            said,
        };
        let request = notification(&self.channel, &key.seal(&message));
        self.read(&request).await.map(drop)
    }

    /// The next thing that another pooler says about this failover, and its session. May be given up at any time.
    ///
    /// # Errors
    /// The session is lost.
    pub async fn hear(&mut self) -> Result<(i32, Said), LoginError> {
        loop {
            while let Some((sender, payload)) = self.heard.pop_front() {
                let message = self.key.as_ref().and_then(|key| key.open(&payload));
                let is_ours = |message: &Message| message.procedure == self.procedure && message.sender == sender;
                if let Some(message) = message.filter(is_ours).filter(|_| sender != self.pid) {
                    return Ok((sender, message.said));
                }
            }
            let (tag, body) = self.wire.message().await?;
            if tag == b'E' {
                return Err(LoginError::Refused(crate::server::connection::server_report(body)));
            }
            self.heard.extend(control(tag, body, &self.channel));
        }
    }

    /// Frees the lock at once, and says good-bye.
    pub async fn leave(mut self) {
        let _ = self.run("select pg_catalog.pg_advisory_unlock_all()").await;
        let mut bye = Vec::new();
        messages::terminate(&mut bye);
        let _ = timeout(PAUSE, self.wire.send(&bye)).await;
    }

    async fn run(&mut self, sql: &str) -> Result<Vec<Row>, LoginError> {
        let mut request = Vec::with_capacity(256);
        messages::query(&mut request, sql.as_bytes());
        self.read(&request).await
    }

    /// With the formation and the group as the first two values.
    async fn ask(&mut self, sql: &str, more: &[&str]) -> Result<Vec<Row>, LoginError> {
        let (group, mut request) = (self.group.to_string(), Vec::with_capacity(1024));
        let mut values = vec![self.formation.as_bytes(), group.as_bytes()];
        values.extend(more.iter().map(|value| value.as_bytes()));
        messages::extended_query(&mut request, sql.as_bytes(), &values);
        self.read(&request).await
    }

    async fn read(&mut self, request: &[u8]) -> Result<Vec<Row>, LoginError> {
        let Self { heard, channel, wire, .. } = self;
        let asking = session::ask(wire, request, |tag, body| heard.extend(control(tag, body, channel)));
        Ok(timeout(ANSWER_LIMIT, asking).await.unwrap_or(Err(LoginError::Timeout))?.1)
    }
}

/// The formation's name and group in the monitor's words.
pub fn of_monitor(watched: &Watched) -> (String, i32) {
    let formation = watched.formation();
    (formation.formation.clone(), i32::try_from(formation.group).unwrap_or(i32::MAX))
}

/// The request that notifies the others.
pub fn notification(channel: &str, payload: &str) -> Vec<u8> {
    let mut request = Vec::with_capacity(1024);
    let sql = "select pg_catalog.pg_notify($1, $2)";
    messages::extended_query(&mut request, sql.as_bytes(), &[channel.as_bytes(), payload.as_bytes()]);
    request
}

/// The sender and the payload of a notification of poolers; none for any other message.
pub fn control(tag: u8, body: &[u8], channel: &str) -> Option<(i32, String)> {
    let (pid, words) = body.split_first_chunk::<4>().filter(|_| tag == b'A')?;
    let mut words = words.split(|byte| *byte == 0);
    let payload = words.next().filter(|name| *name == channel.as_bytes()).and_then(|_| words.next())?;
    Some((i32::from_be_bytes(*pid), std::str::from_utf8(payload).ok()?.to_owned()))
}
