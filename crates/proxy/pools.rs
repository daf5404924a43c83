//! The pools of the process: each is one plain value behind one short lock, and what its commands set in motion.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use arc_swap::ArcSwap;
use config::Config;
use pool::{CheckOut, Claim, CloseReason, Command, Lent, Refused, ScopeId, ServerId, Ticket, WorkerId};
use protocol::AtRest;
use protocol::params::Params;
use protocol::statements::{Catalog, Statement};
use tokio::sync::Notify;

use crate::client::handle::ClientHandle;
use crate::client::rules::Rules;
use crate::clock::Micros;
use crate::error::{ClientError, ServerReport};
use crate::greeting::Greeting;
use crate::pins::Pins;
use crate::server::connection::Server;
use crate::server::target::{Credentials, Target};
use crate::server::{closing, opening};
use crate::services::{Services, lock};
use crate::stats::{Stats, Usage};

type Core = pool::Pool<Box<Server>, Waker>;
type Commands = pool::Commands<Box<Server>, Waker>;

thread_local! {
    /// Kept and used again, so that a hand-over allocates nothing.
    static COMMANDS: Cell<Commands> = const { Cell::new(Commands::new()) };
}

/// Database and user.
pub type PoolKey = (Arc<str>, Arc<str>);

/// The number of a configuration, and the rules it has for each user.
type RulesOfGeneration = (u64, HashMap<Arc<str>, Arc<Rules>>);

/// The servers of one database for one user.
pub struct SharedPool {
    /// Name of the database as clients know it.
    pub database: Arc<str>,
    /// The user its servers log in as.
    pub user: Arc<str>,
    /// Where its servers are, and how to log in there.
    pub target: ArcSwap<Target>,
    /// What is known to prove the user's identity to servers.
    pub credentials: Mutex<Credentials>,
    /// Numbers of database and user in the budget.
    pub scopes: (ScopeId, ScopeId),
    /// Clients that keep a server.
    pub pins: Arc<Pins>,
    inner: Mutex<Inner>,
    greeting: Mutex<Option<Arc<Greeting>>>,
    greeted: Notify,
    failure: Mutex<Option<ServerReport>>,
    noisy: Mutex<Vec<ServerId>>,
    catalog: Mutex<Catalog>,
    rules: Mutex<RulesOfGeneration>,
    review_at: AtomicU64,
    /// Servers opened until then are to be replaced; 0 before any RECONNECT.
    outdated: AtomicU64,
    /// No node is writable, and those who wait have waited too long.
    hopeless: AtomicBool,
    bell: Notify,
    services: Weak<Services>,
}

impl fmt::Debug for SharedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedPool({}, {})", self.database, self.user)
    }
}

struct Inner {
    core: Core,
    stats: Stats,
}

/// A server on loan. Dropping it is always safe and always pessimistic: the server is closed.
#[derive(Debug)]
#[must_use]
pub struct Lease {
    lent: Option<Lent<Box<Server>>>,
    lent_at: Micros,
    pool: Weak<SharedPool>,
}

impl Lease {
    /// The server.
    pub fn server(&mut self) -> &mut Server {
        &mut self.lent.as_mut().expect("only check_in and drop take the server").server
    }

    /// When it was lent.
    pub fn lent_at(&self) -> Micros {
        self.lent_at
    }

    /// Its name within the pool.
    pub fn id(&self) -> Option<ServerId> {
        self.lent.as_ref().map(Lent::id)
    }

    /// Gives the server up, with a reason for the log.
    pub fn close(mut self, reason: &'static str) {
        self.discard(reason);
    }

    fn discard(&mut self, reason: &'static str) {
        let (Some(lent), Some(pool)) = (self.lent.take(), self.pool.upgrade()) else { return };
        pool.with_core(|core, now, out| core.discard(lent, CloseReason::Discarded(reason), now, out));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.discard("client disconnected while the server was busy");
    }
}

/// A place in the queue; dropping it leaves the queue.
struct Queued<'a> {
    pool: &'a Arc<SharedPool>,
    ticket: Option<Ticket>,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.pool.with_core(|core, now, out| core.cancel(ticket, now, out));
        }
    }
}

impl SharedPool {
    /// A pool with no servers yet.
    pub(crate) fn new(
        services: &Arc<Services>,
        (database, user): &PoolKey,
        scopes: (ScopeId, ScopeId),
        (target, settings, credentials): (Target, pool::Settings, Credentials),
    ) -> Self {
        Self {
            database: database.clone(),
            user: user.clone(),
            target: ArcSwap::from_pointee(target),
            credentials: Mutex::new(credentials),
            scopes,
            pins: Arc::default(),
            inner: Mutex::new(Inner { core: Core::new(settings, Instant::now()), stats: Stats::default() }),
            greeting: Mutex::default(),
            greeted: Notify::new(),
            failure: Mutex::default(),
            noisy: Mutex::default(),
            catalog: Mutex::new(Catalog::new(services.statements.clone())),
            rules: Mutex::default(),
            review_at: AtomicU64::new(u64::MAX),
            outdated: AtomicU64::new(0),
            hopeless: AtomicBool::new(false),
            bell: Notify::new(),
            services: Arc::downgrade(services),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Acts on the pool under its lock, then performs the commands it answered with.
    pub fn with_core<R>(self: &Arc<Self>, act: impl FnOnce(&mut Core, Instant, &mut Commands) -> R) -> R {
        let now = Instant::now();
        self.with_inner(|inner, out| act(&mut inner.core, now, out))
    }

    fn with_inner<R>(self: &Arc<Self>, act: impl FnOnce(&mut Inner, &mut Commands) -> R) -> R {
        let mut commands = COMMANDS.take();
        let answer = act(&mut self.lock(), &mut commands);
        for command in commands.drain() {
            self.perform(command);
        }
        COMMANDS.set(commands);
        answer
    }

    fn perform(self: &Arc<Self>, command: Command<Box<Server>, Waker>) {
        match command {
            Command::Wake(waker) => waker.wake(),
            Command::ReviewAt(at) => {
                self.review_at.fetch_min(Micros::of(at).0, Ordering::AcqRel);
                self.bell.notify_one();
            }
            Command::Open(ticket) => {
                if let Some(services) = self.services.upgrade() {
                    services.house.spawn(opening::open(services.clone(), self.clone(), ticket));
                }
            }
            Command::Close(server, reason) => {
                if let Some(services) = self.services.upgrade() {
                    services.house.spawn(closing::close(services.clone(), self.clone(), server, reason));
                }
            }
        }
    }

    /// A server for a client's next transaction, in its turn; `interrupted` can end the wait.
    ///
    /// The time spent in the queue goes into `usage`.
    ///
    /// # Errors
    /// What `interrupted` says, or why there is no hope of a server.
    pub async fn check_out(
        self: &Arc<Self>,
        client: &ClientHandle,
        worker: WorkerId,
        usage: &mut Usage,
        mut interrupted: impl FnMut(&mut Context<'_>) -> Poll<ClientError>,
    ) -> Result<Lease, ClientError> {
        let mut queued = Queued { pool: self, ticket: None };
        let began = client.requested_at();
        let lent = poll_fn(|cx| {
            if let Some(ready) = queued.try_once(worker, cx) {
                return Poll::Ready(ready);
            }
            interrupted(cx).map(Err)
        })
        .await
        .map_err(|error| match error {
            ClientError::Server(report) => ClientError::ServerLoginFailing(report),
            error => error,
        })?;
        let now = Micros::now();
        usage.totals.server_assignment_count += 1;
        usage.totals.wait_time += now.since(began);
        lent.server.info.lend(client.id, now);
        client.set_server(lent.server.info.id);
        Ok(self.lease(lent, now))
    }

    fn lease(self: &Arc<Self>, lent: Lent<Box<Server>>, lent_at: Micros) -> Lease {
        Lease { lent: Some(lent), lent_at, pool: Arc::downgrade(self) }
    }

    /// Returns a server that is at rest. If it is wanted for a cancel still, it comes back when that has ended.
    pub fn check_in(self: &Arc<Self>, lease: Lease, proof: AtRest, worker: WorkerId, usage: &Usage) {
        let _: AtRest = proof;
        self.put_back(lease, worker, Some(usage));
    }

    fn put_back(self: &Arc<Self>, mut lease: Lease, worker: WorkerId, usage: Option<&Usage>) {
        let Some(mut lent) = lease.lent.take() else { return };
        if !lent.server.info.take_back() {
            self.add_usage(usage);
            lease.lent = Some(lent);
            return self.wait_for_cancels(lease, worker);
        }
        let now = Instant::now();
        if lent.server.is_noisy() {
            self.add_usage(usage);
            lease.lent = Some(lent);
            return lease.close("server sent something unasked");
        }
        lent.server.idle_since = Some(Micros::of(now));
        self.with_inner(|inner, out| {
            if let Some(usage) = usage {
                inner.stats.add(usage);
            }
            inner.core.check_in(lent, worker, now, out);
        });
    }

    fn wait_for_cancels(self: &Arc<Self>, mut lease: Lease, worker: WorkerId) {
        let Some(services) = self.services.upgrade() else { return };
        let pool = self.clone();
        let limit = services.config.load().global.cancel_wait_timeout;
        services.house.spawn(async move {
            let info = lease.server().info.clone();
            match limit {
                None => info.cancels_ended().await,
                Some(limit) => {
                    if tokio::time::timeout(limit, info.cancels_ended()).await.is_err() {
                        return lease.close("cancel_wait_timeout");
                    }
                }
            }
            if info.is_doomed() {
                return lease.close("a cancel may still reach it");
            }
            pool.put_back(lease, worker, None);
        });
    }

    /// Adds up what a lease has used so far.
    pub fn add_usage(&self, usage: Option<&Usage>) {
        if let Some(usage) = usage {
            self.lock().stats.add(usage);
        }
    }

    /// What the configuration of this generation says for a user; none when the database is gone from it.
    pub fn rules(&self, config: &Config, generation: u64, login_user: &Arc<str>) -> Option<Arc<Rules>> {
        let mut known = lock(&self.rules);
        if known.0 != generation {
            *known = (generation, HashMap::new());
        }
        if let Some(rules) = known.1.get(login_user) {
            return Some(rules.clone());
        }
        let rules = Arc::new(Rules::new(config, &self.database, &self.user, login_user)?);
        known.1.insert(login_user.clone(), rules.clone());
        Some(rules)
    }

    /// Whether only the table of pools, its keeper and the caller have this pool: it has no client.
    pub fn is_unused(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) <= 3
    }

    /// The one statement of this pool with this text and these parameter types, for clients with these settings.
    /// None if it would make all statements take more than `most` bytes.
    pub fn statement(&self, params: &Params, body: &[u8], most: usize) -> Option<Arc<Statement>> {
        let (mut catalog, settings) = (lock(&self.catalog), params.meaning());
        catalog.has_room_for(&settings, body, most).then(|| catalog.intern(&settings, body))
    }

    /// What takes the place of a statement that would return other columns than when it was prepared.
    pub fn renew_statement(&self, outdated: &Statement) -> Arc<Statement> {
        lock(&self.catalog).renew(outdated)
    }

    /// Counts a login.
    pub fn count_login(&self) {
        self.lock().stats.totals.client_login_count += 1;
    }

    /// Reads the counters.
    pub fn stats(&self) -> Stats {
        self.lock().stats
    }

    /// Ends a stats period.
    pub fn roll_stats(&self) {
        self.lock().stats.roll();
    }

    /// Where its servers are, in numbers.
    pub fn counts(&self) -> pool::Counts {
        self.lock().core.counts()
    }

    /// Calls the keeper to a server that has something to say.
    pub(crate) fn note_noise(&self, id: ServerId) {
        lock(&self.noisy).push(id);
        self.bell.notify_one();
    }

    /// An idle server that has something to say, for its keeper.
    pub(crate) fn take_noisy(self: &Arc<Self>) -> Option<Lease> {
        loop {
            let id = lock(&self.noisy).pop()?;
            let taken = self.lock().core.take_idle(id);
            if let Some(lent) = taken {
                return Some(self.lease(lent, Micros::now()));
            }
        }
    }

    /// Returns a server that nobody has used, only inspected.
    pub(crate) fn put_back_unused(self: &Arc<Self>, mut lease: Lease) {
        if let Some(lent) = lease.lent.take() {
            let worker = lent.worker();
            self.with_core(|core, now, out| core.check_in(lent, worker, now, out));
        }
    }

    /// Waits until the keeper has something to do, which is at `tick` at the latest.
    pub(crate) async fn keeper_call(&self, tick: tokio::time::Instant) {
        let review = self.review_at.load(Ordering::Acquire);
        let until_review = std::time::Duration::from_micros(review.saturating_sub(Micros::now().0));
        let wake_at = tokio::time::Instant::now().checked_add(until_review).map_or(tick, |at| at.min(tick));
        tokio::select! {
            () = self.bell.notified() => {}
            () = tokio::time::sleep_until(wake_at) => {}
        }
    }

    /// Whether a review is due; asks only once.
    pub(crate) fn take_review(&self) -> bool {
        let due = self.review_at.load(Ordering::Acquire) <= Micros::now().0;
        due && self.review_at.swap(u64::MAX, Ordering::AcqRel) != u64::MAX
    }

    /// What clients are told at login, once a server has told us; a pool with no server opens one for it.
    pub async fn greeting(self: &Arc<Self>) -> Result<Arc<Greeting>, ClientError> {
        loop {
            let greeted = self.greeted.notified();
            if let Some(greeting) = self.known_greeting() {
                return Ok(greeting);
            }
            if self.is_hopeless() {
                return Err(ClientError::LoginNoWritableNode);
            }
            // One who waits makes the pool open a server; the server itself goes back at once.
            let mut queued = Queued { pool: self, ticket: None };
            let first = poll_fn(|cx| match queued.try_once(self.greeter(), cx) {
                Some(ready) => Poll::Ready(ready),
                None => Poll::Pending,
            });
            tokio::select! {
                () = greeted => {}
                lent = first => self.put_back_unused(self.lease(lent?, Micros::now())),
            }
        }
    }

    fn greeter(&self) -> WorkerId {
        self.services.upgrade().map_or(WorkerId(0), |services| services.house_id())
    }

    /// What clients are told at login, if that is known.
    pub fn known_greeting(&self) -> Option<Arc<Greeting>> {
        lock(&self.greeting).clone()
    }

    /// Notes what a server reported at login.
    pub(crate) fn set_greeting(&self, greeting: Greeting) {
        *lock(&self.greeting) = Some(Arc::new(greeting));
        self.greeted.notify_waiters();
    }

    /// Says whether whoever waits for a server, or comes for one, is told that no node is writable.
    pub(crate) fn set_hopeless(&self, hopeless: bool) {
        self.hopeless.store(hopeless, Ordering::Release);
        if hopeless {
            self.greeted.notify_waiters();
        }
    }

    /// Whether no node is writable, and waiting has taken too long.
    pub fn is_hopeless(&self) -> bool {
        self.hopeless.load(Ordering::Acquire)
    }

    /// Forgets the greeting: the next login asks a server again (RECONNECT).
    pub(crate) fn forget_greeting(&self) {
        *lock(&self.greeting) = None;
    }

    /// RECONNECT: the servers that are there now are not lent again, and the next login asks a new one for its greeting.
    pub fn reconnect(self: &Arc<Self>) {
        self.outdated.fetch_max(Micros::now().0, Ordering::AcqRel);
        self.forget_greeting();
        self.with_core(|core, now, out| core.reconnect(now, out));
    }

    /// Whether a server that was opened at this moment is to be closed when it comes back (`close_needed`).
    pub fn is_outdated(&self, connected_at: Micros) -> bool {
        connected_at.0 <= self.outdated.load(Ordering::Acquire)
    }

    /// Notes why servers cannot be opened, or that they can.
    pub(crate) fn set_failure(&self, failure: Option<ServerReport>) {
        *lock(&self.failure) = failure;
    }

    /// Why servers could not be opened at the last attempt.
    pub fn failure(&self) -> Option<ServerReport> {
        lock(&self.failure).clone()
    }

    fn refusal(&self, why: Refused) -> ClientError {
        match why {
            Refused::DatabaseRemoved => ClientError::DatabaseRemoved,
            Refused::DatabaseDisabled => ClientError::DatabaseDisabled(self.database.to_string()),
            Refused::ShuttingDown => ClientError::ServerShuttingDown,
            Refused::OpenFailed => self.failure().map_or(ClientError::ServerCrashed, ClientError::Server),
        }
    }

    /// A waker by which an idle server calls the keeper.
    pub(crate) fn watch(self: &Arc<Self>, id: ServerId) -> Waker {
        Arc::new(Watch { pool: Arc::downgrade(self), id }).into()
    }
}

impl Queued<'_> {
    fn try_once(&mut self, worker: WorkerId, cx: &Context<'_>) -> Option<Result<Lent<Box<Server>>, ClientError>> {
        let waker = || cx.waker().clone();
        let pool = self.pool;
        let refused = |why| Some(Err(pool.refusal(why)));
        match self.ticket.take() {
            None => match pool.with_core(|core, now, out| core.check_out(worker, waker, now, out)) {
                CheckOut::Ready(lent) => return Some(Ok(lent)),
                CheckOut::Queued(ticket) => self.ticket = Some(ticket),
                CheckOut::Refused(why) => return refused(why),
            },
            Some(ticket) => match pool.with_core(|core, now, _| core.claim(ticket, waker, now)) {
                Claim::Ready(lent) => return Some(Ok(lent)),
                Claim::Waiting(ticket) => self.ticket = Some(ticket),
                Claim::Refused(why) => return refused(why),
            },
        }
        None
    }
}

/// Calls the keeper when something arrives on an idle server.
struct Watch {
    pool: Weak<SharedPool>,
    id: ServerId,
}

impl std::task::Wake for Watch {
    fn wake(self: Arc<Self>) {
        if let Some(pool) = self.pool.upgrade() {
            pool.note_noise(self.id);
        }
    }
}
