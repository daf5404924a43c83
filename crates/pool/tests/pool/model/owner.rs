//! The owner of several pools and their budget, and what it knows without asking them: the naive model.

use pool::{
    Budget, Command, Commands, Hold, Lent, OpenTicket, Permit, Pool, Purpose, Scope, ScopeId, ServerId, Settings,
    Ticket,
};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

pub const MS: Duration = Duration::from_millis(1);
pub const LOGIN_RETRY: Duration = Duration::from_millis(200);
pub const RESERVE_TIMEOUT: Duration = Duration::from_millis(300);
pub const WARM_UP_LIMIT: Duration = Duration::from_secs(30);

/// A server connection. Its permit goes with it.
#[derive(Debug)]
pub struct Conn {
    pub id: ServerId,
    pub permit: Permit,
}

pub struct Waiter {
    pub name: u64,
    pub arrived: Instant,
    pub ticket: Ticket,
    pub told: Told,
    pub overtaken: u32,
}

/// What a waiter has heard since it last polled.
#[derive(PartialEq, Eq)]
pub enum Told {
    Nothing,
    /// A server lies in its ticket.
    Woken,
    /// It was woken for a server that was withdrawn, and hears nothing more before it polls: whether it has another one
    /// cannot be seen.
    WokenInVain,
}

/// One pool, and the naive account of it.
pub struct Owned {
    pub pool: Pool<Conn, u64>,
    pub database: ScopeId,
    pub user: ScopeId,
    pub settings: Settings,
    pub openings: Vec<(OpenTicket, Permit)>,
    /// Open, and not told to close.
    pub alive: BTreeSet<ServerId>,
    pub lent: Vec<Lent<Conn>>,
    pub closing: usize,
    /// In order of arrival, those with a server in their ticket included.
    pub waiters: Vec<Waiter>,
    pub refused: Vec<Ticket>,
    /// Present or opening at a RECONNECT or at a move of the epoch.
    pub doomed: BTreeSet<ServerId>,
    pub holds: Vec<Hold>,
    pub epoch: u64,
    pub drained: bool,
    pub failed_at: Option<Instant>,
    pub review_at: Option<Instant>,
    /// How many servers a warm-up may go to, and when it began.
    pub warm_up: Option<(usize, Instant)>,
    /// The most that were lent at once since that was asked last.
    pub peak: usize,
    /// What the total may be: the limit, or what was there when the limit was lowered.
    pub ceiling: usize,
}

impl Owned {
    fn new(database: u32, user: u32, settings: Settings, now: Instant) -> Owned {
        Owned {
            pool: Pool::new(settings.clone(), now),
            database: ScopeId(database),
            user: ScopeId(user),
            settings,
            openings: Vec::new(),
            alive: BTreeSet::new(),
            lent: Vec::new(),
            closing: 0,
            waiters: Vec::new(),
            refused: Vec::new(),
            doomed: BTreeSet::new(),
            holds: Vec::new(),
            epoch: 0,
            drained: false,
            failed_at: None,
            review_at: None,
            warm_up: None,
            peak: 0,
            ceiling: 0,
        }
    }

    pub fn scopes(&self) -> [Scope; 3] {
        [Scope::Database(self.database), Scope::User(self.user), Scope::Process]
    }

    pub fn is_open(&self) -> bool {
        self.holds.is_empty() && !self.drained
    }

    /// Nobody is served, and servers stay.
    pub fn is_suspended(&self) -> bool {
        !self.drained && !self.holds.is_empty() && self.holds.iter().all(|hold| *hold == Hold::Suspicion)
    }

    pub fn total(&self) -> usize {
        self.alive.len() + self.openings.len()
    }

    /// How many servers lie in tickets: what the pool counts as lent and is not with us.
    pub fn handed(&self) -> usize {
        self.pool.counts().lent - self.lent.len()
    }

    pub fn most_servers(&self) -> usize {
        let reserve = self.settings.reserve_pool_timeout.map_or(0, |_| self.settings.reserve_pool_size);
        self.settings.pool_size.map_or(usize::MAX, |size| (size + reserve) as usize)
    }

    /// Everything that exists now is not to be lent again.
    pub fn doom_all(&mut self) {
        self.doomed.extend(self.alive.iter().copied());
        self.doomed.extend(self.openings.iter().map(|(ticket, _)| ticket.id()));
        self.failed_at = None;
        self.withdraw_all();
    }

    /// Servers in tickets are withdrawn.
    pub fn withdraw_all(&mut self) {
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.told == Told::Woken) {
            waiter.told = Told::WokenInVain;
        }
    }

    pub fn refuse_all(&mut self) {
        self.refused.extend(self.waiters.drain(..).map(|waiter| waiter.ticket));
    }
}

pub struct World {
    pub pools: Vec<Owned>,
    pub budget: Budget,
    pub now: Instant,
    pub names: u64,
}

impl World {
    pub fn new(setting: &[u32]) -> World {
        let now = Instant::now();
        let mut budget = Budget::new();
        budget.set_limit(Scope::Database(ScopeId(0)), Some(1 + setting[0] % 4));
        budget.set_limit(Scope::User(ScopeId(0)), Some(1 + setting[1] % 4));
        budget.set_limit(Scope::Process, Some(2 + setting[2] % 5));
        // The first two share a database, the outer two a user; the last one lets waiters overtake.
        let pools = [(0, 0, 0), (0, 1, 0), (1, 0, 2)]
            .into_iter()
            .zip(&setting[3..])
            .map(|((database, user, slack), word)| Owned::new(database, user, settings(*word, slack), now))
            .collect();
        World { pools, budget, now, names: 0 }
    }

    /// Runs one call on a pool, then performs what it asks for.
    pub fn call<T>(
        &mut self,
        index: usize,
        f: impl FnOnce(&mut Pool<Conn, u64>, Instant, &mut Commands<Conn, u64>) -> T,
    ) -> T {
        let mut out = Commands::new();
        let answer = f(&mut self.pools[index].pool, self.now, &mut out);
        let mut opens = Vec::new();
        for command in out.drain() {
            let owned = &mut self.pools[index];
            match command {
                Command::Open(ticket) => opens.push(ticket),
                Command::Close(conn, _) => {
                    assert!(owned.alive.remove(&conn.id), "a server is closed once");
                    owned.closing += 1;
                    self.budget.give_back(conn.permit);
                }
                Command::Wake(name) => self.woken(index, name),
                Command::ReviewAt(at) => {
                    owned.review_at = Some(owned.review_at.map_or(at, |due| due.min(at)));
                }
            }
        }
        self.check_opens(index, &opens);
        opens.into_iter().for_each(|ticket| self.open(index, ticket));
        answer
    }

    /// Takes a permit for an opening, at the cost of idle siblings if need be.
    fn open(&mut self, index: usize, ticket: OpenTicket) {
        let (database, user) = (self.pools[index].database, self.pools[index].user);
        loop {
            match self.budget.try_take(database, user) {
                Ok(permit) => return self.pools[index].openings.push((ticket, permit)),
                Err(_) if ticket.purpose() == Purpose::MinPoolSize => break,
                Err(full) if self.evict(full) => {}
                Err(_) => break,
            }
        }
        if ticket.purpose() == Purpose::MinPoolSize {
            self.pools[index].warm_up = None;
        }
        self.call(index, |pool, now, out| pool.open_denied(ticket, now, out));
    }

    /// The pool with the longest idle server of those that share the scope.
    pub fn longest_idle_in(&self, scope: Scope) -> Option<usize> {
        (0..self.pools.len())
            .filter(|index| self.pools[*index].scopes().contains(&scope))
            .filter_map(|index| Some((self.pools[index].pool.longest_idle_since()?, index)))
            .min()
            .map(|(_, index)| index)
    }

    fn evict(&mut self, scope: Scope) -> bool {
        self.longest_idle_in(scope).is_some_and(|index| self.call(index, |pool, now, out| pool.evict_idle(now, out)))
    }

    /// What the owner does after every call: the budget or a sibling may have room for a pool that waits on it.
    pub fn distribute(&mut self) {
        while let Some(index) =
            (0..self.pools.len()).find(|index| self.pools[*index].pool.wants_server() && self.could_get_permit(*index))
        {
            self.call(index, |pool, now, out| pool.review(now, out));
        }
    }

    /// Each of its scopes has room, or an idle server to evict.
    pub fn could_get_permit(&self, index: usize) -> bool {
        let has_room = |scope| !self.budget.is_full(scope) || self.longest_idle_in(scope).is_some();
        self.pools[index].scopes().into_iter().all(has_room)
    }

    /// Time goes by, and reviews are held when they are due.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        for index in 0..self.pools.len() {
            let now = self.now;
            let owned = &mut self.pools[index];
            owned.holds.retain(|hold| match hold {
                Hold::OperatorUntil(until) | Hold::DatabaseUntil(until) | Hold::Failover(until) => now < *until,
                Hold::Operator | Hold::Database | Hold::Shutdown | Hold::NoPrimary | Hold::Suspicion => true,
            });
            while self.pools[index].review_at.is_some_and(|due| due <= self.now) {
                self.pools[index].review_at = None;
                self.call(index, |pool, now, out| pool.review(now, out));
            }
        }
    }
}

/// Random settings of a small pool.
pub fn settings(mut word: u32, slack: u32) -> Settings {
    let mut choose = |n: u32| {
        let choice = word % n;
        word /= n;
        choice
    };
    Settings {
        pool_size: Some(1 + choose(5)).filter(|size| *size < 5),
        min_pool_size: choose(3),
        reserve_pool_size: choose(3),
        reserve_pool_timeout: [None, Some(RESERVE_TIMEOUT)][choose(2) as usize],
        server_lifetime: [3_600_000 * MS, 1000 * MS, Duration::ZERO][choose(3) as usize],
        server_idle_timeout: [None, Some(500 * MS)][choose(2) as usize],
        server_login_retry: LOGIN_RETRY,
        server_round_robin: choose(2) == 1,
        max_opening: 1 + choose(4),
        handover_slack: slack,
    }
}
