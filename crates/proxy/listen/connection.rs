//! The connection itself: it listens to what is wanted, and reads what comes.

use std::sync::Arc;
use std::time::Duration;

use protocol::{Header, messages};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{info, warn};

use super::hub::{Hub, Order};
use super::names;
use crate::pools::SharedPool;
use crate::server::connection::server_report;
use crate::server::opening;
use crate::services::Services;
use crate::socket::Socket;

/// How often it looks whether the server is there, and how long it stays when nobody listens.
const LOOK: Duration = Duration::from_secs(5);
/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long there may be no server to listen at while the primary is moved on command.
const INTERIM: Duration = Duration::from_secs(120);
/// Longest message that is read.
const MAX_MESSAGE: usize = 1 << 20;
/// Received at a time.
const CHUNK: usize = 1 << 16;

/// Nothing of the database's or the role's may end it.
const SETTINGS: &str = "select pg_catalog.set_config('application_name', $1, false), \
    pg_catalog.set_config('client_encoding', $2, false), pg_catalog.set_config('synchronous_commit', 'off', false), \
    (select pg_catalog.max(pg_catalog.set_config(name, '0', false)) from pg_catalog.pg_settings where \
    name operator(pg_catalog.=) any (array['statement_timeout', 'lock_timeout', 'idle_session_timeout', \
    'idle_in_transaction_session_timeout', 'transaction_timeout']))";

struct Connection<'a> {
    hub: &'a Hub,
    marks: &'a [u8],
    socket: Socket,
    inbox: Vec<u8>,
    /// When it was asked for what it has not answered yet.
    asked_at: Option<Instant>,
    /// ReadyForQuery that are due.
    due: usize,
    /// It was told what to listen to.
    has_obeyed: bool,
    tells: Vec<oneshot::Sender<()>>,
}

/// Listens for as long as somebody wants it; then, or when the connection is lost, those for whom it did must go.
pub(super) async fn listen(services: Arc<Services>, pool: Arc<SharedPool>, hub: Arc<Hub>) {
    let mut ended = work(&services, &pool, &hub).await;
    drop(pool);
    while let Err(why) = &ended
        && hub.may_go_on()
    {
        info!(database = %hub.database, "the listening connection leaves its server: {why}");
        hub.set_server(None);
        ended = go_on(&services, &hub).await;
    }
    services.listening.part_with(&hub);
    let why = ended.err().unwrap_or_else(|| "nobody listens".to_owned());
    match hub.close(&why) {
        0 => info!(database = %hub.database, "the listening connection is closed: {why}"),
        lost => warn!(database = %hub.database, clients = lost, "the listening connection is lost: {why}"),
    }
}

/// Goes on at the server that takes the place of the former one.
async fn go_on(services: &Arc<Services>, hub: &Hub) -> Result<(), String> {
    let pool = tokio::time::timeout(INTERIM, async {
        loop {
            if let Some(pool) = hub.take_successor() {
                return pool;
            }
            hub.bell.notified().await;
        }
    });
    let pool = pool.await.map_err(|_| "no other server takes its place".to_owned())?;
    work(services, &pool, hub).await
}

async fn work(services: &Arc<Services>, pool: &SharedPool, hub: &Hub) -> Result<(), String> {
    let (dialed, found) = opening::connect_alone(services, pool).await.map_err(|report| report.message)?;
    info!(database = %hub.database, user = %pool.user, pid = found.pid, "listening connection to server {}", dialed.remote);
    hub.set_server(Some((dialed.remote.to_string(), found.pid)));
    let (inbox, tells) = (Vec::with_capacity(CHUNK), Vec::new());
    let mut connection = Connection {
        hub,
        marks: services.listening.marks(),
        socket: dialed.socket,
        inbox,
        asked_at: None,
        due: 0,
        has_obeyed: false,
        tells,
    };
    connection.begin().await?;
    let outcome = connection.run().await;
    if outcome.is_ok() {
        let mut goodbye = Vec::new();
        messages::terminate(&mut goodbye);
        let _ = connection.socket.send_all(&goodbye).await;
    }
    outcome
}

impl Connection<'_> {
    async fn begin(&mut self) -> Result<(), String> {
        let mut request = Vec::new();
        let name = format!("pooler: listens for {}", self.hub.database);
        messages::extended_query(&mut request, SETTINGS.as_bytes(), &[name.as_bytes(), &self.hub.encoding]);
        let mut marks = Vec::new();
        names::add_statement(&mut marks, "listen", self.marks);
        messages::query(&mut request, &marks);
        self.ask(&request, 2).await
    }

    async fn ask(&mut self, request: &[u8], due: usize) -> Result<(), String> {
        self.due += due;
        self.asked_at = Some(Instant::now());
        self.socket.send_all(request).await.map_err(|error| error.to_string())
    }

    async fn run(&mut self) -> Result<(), String> {
        let mut looked_at = Instant::now();
        loop {
            if let Some(why) = self.hub.ended() {
                return Err(why);
            }
            if self.hub.has_successor() {
                return Err("the primary has moved".to_owned());
            }
            if self.due == 0 {
                self.obey().await?;
            }
            tokio::select! {
                received = self.socket.recv(&mut self.inbox) => match received {
                    Ok(0) => return Err("server closed the connection".to_owned()),
                    Ok(_) => self.read()?,
                    Err(error) => return Err(error.to_string()),
                },
                () = self.hub.bell.notified() => {}
                () = tokio::time::sleep_until(looked_at + LOOK) => {
                    if self.asked_at.is_some_and(|asked_at| asked_at.elapsed() >= PATIENCE) {
                        return Err("the server does not answer".to_owned());
                    }
                    if self.hub.ends_unused() {
                        return Ok(());
                    }
                    looked_at = Instant::now();
                    if self.due == 0 {
                        let mut ping = Vec::new();
                        messages::query(&mut ping, b"");
                        self.ask(&ping, 1).await?;
                    }
                }
            }
        }
    }

    /// Sends what was ordered.
    async fn obey(&mut self) -> Result<(), String> {
        let orders = self.hub.take_orders();
        self.has_obeyed = true;
        let mut sql = Vec::new();
        for order in orders {
            match order {
                Order::Listen(name) => names::add_statement(&mut sql, "listen", &name),
                Order::Unlisten(name) => names::add_statement(&mut sql, "unlisten", &name),
                Order::Mark(number) => names::add_mark(&mut sql, self.marks, number),
                Order::Tell(tell) => self.tells.push(tell),
            }
        }
        if sql.is_empty() {
            self.tell();
            return Ok(());
        }
        let mut request = Vec::with_capacity(sql.len() + 8);
        messages::query(&mut request, &sql);
        self.ask(&request, 1).await
    }

    /// What was ordered is done.
    fn tell(&mut self) {
        if self.has_obeyed {
            self.hub.has_caught_up();
        }
        for tell in self.tells.drain(..) {
            // Who has gone away meanwhile does not hear of it.
            let _ = tell.send(());
        }
    }

    fn read(&mut self) -> Result<(), String> {
        let mut used = 0;
        while let Some(header) = Header::peek(&self.inbox[used..]).map_err(|error| error.to_string())? {
            if header.total_len() > MAX_MESSAGE {
                return Err("the server sent a message that is too long".to_owned());
            }
            let Some(body) = self.inbox.get(used + Header::SIZE..used + header.total_len()) else { break };
            match header.tag {
                b'A' => self.hub.deliver(body),
                b'E' => return Err(server_report(body).message),
                b'Z' => self.due = self.due.saturating_sub(1),
                _ => {}
            }
            if header.tag == b'Z' && self.due == 0 {
                self.asked_at = None;
                self.tell();
            }
            used += header.total_len();
        }
        self.inbox.drain(..used);
        if self.inbox.capacity() - self.inbox.len() < CHUNK / 4 {
            self.inbox.reserve(CHUNK);
        }
        Ok(())
    }
}
