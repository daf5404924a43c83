//! A pool with somebody at the desk: performs commands as an owner would, and keeps what the tests ask about.

use pool::{
    CheckOut, Claim, CloseReason, Command, Commands, Lent, OpenTicket, Pool, Purpose, Settings, Ticket, WorkerId,
};
use std::time::{Duration, Instant};

pub const MS: Duration = Duration::from_millis(1);
pub const SECOND: Duration = Duration::from_secs(1);

/// Most tests are about one worker.
pub const HERE: WorkerId = WorkerId(0);
pub const ELSEWHERE: WorkerId = WorkerId(1);

/// Servers and waiters are numbers, from 1 in the order in which they came.
pub struct Desk {
    pub pool: Pool<u32, u32>,
    pub out: Commands<u32, u32>,
    pub now: Instant,
    pub opens: Vec<OpenTicket>,
    pub closed: Vec<(u32, CloseReason)>,
    pub woken: Vec<u32>,
    pub reviews: Vec<Instant>,
    servers: u32,
    waiters: u32,
}

pub fn small(pool_size: u32) -> Settings {
    Settings { pool_size: Some(pool_size), ..Settings::default() }
}

impl Desk {
    pub fn new(settings: Settings) -> Desk {
        let now = Instant::now();
        Desk {
            pool: Pool::new(settings, now),
            out: Commands::new(),
            now,
            opens: Vec::new(),
            closed: Vec::new(),
            woken: Vec::new(),
            reviews: Vec::new(),
            servers: 0,
            waiters: 0,
        }
    }

    /// A pool with `count` idle servers, 1 to `count`, last used on `HERE` in that order.
    pub fn with_idle(settings: Settings, count: u32) -> Desk {
        let mut desk = Desk::new(settings);
        let tickets: Vec<_> = (0..count).map(|_| desk.queue(HERE)).collect();
        while !desk.opens.is_empty() {
            desk.arrive();
        }
        let lent: Vec<_> = tickets.into_iter().map(|ticket| desk.claim(ticket)).collect();
        lent.into_iter().for_each(|lent| desk.give_back(lent));
        desk.woken.clear();
        desk
    }

    /// Runs one call on the pool and takes its commands.
    pub fn call<T>(&mut self, f: impl FnOnce(&mut Pool<u32, u32>, Instant, &mut Commands<u32, u32>) -> T) -> T {
        let answer = f(&mut self.pool, self.now, &mut self.out);
        for command in self.out.drain() {
            match command {
                Command::Open(ticket) => self.opens.push(ticket),
                Command::Close(server, reason) => self.closed.push((server, reason)),
                Command::Wake(waiter) => self.woken.push(waiter),
                Command::ReviewAt(at) => self.reviews.push(at),
            }
        }
        answer
    }

    pub fn check_out(&mut self, worker: WorkerId) -> CheckOut<u32> {
        self.waiters += 1;
        let waiter = self.waiters;
        self.call(|pool, now, out| pool.check_out(worker, || waiter, now, out))
    }

    #[track_caller]
    pub fn lend(&mut self, worker: WorkerId) -> Lent<u32> {
        match self.check_out(worker) {
            CheckOut::Ready(lent) => lent,
            other => panic!("not ready: {other:?}"),
        }
    }

    #[track_caller]
    pub fn queue(&mut self, worker: WorkerId) -> Ticket {
        match self.check_out(worker) {
            CheckOut::Queued(ticket) => ticket,
            other => panic!("not queued: {other:?}"),
        }
    }

    #[track_caller]
    pub fn claim(&mut self, ticket: Ticket) -> Lent<u32> {
        match self.pool.claim(ticket, || 0, self.now) {
            Claim::Ready(lent) => lent,
            other => panic!("not ready: {other:?}"),
        }
    }

    #[track_caller]
    pub fn still_waits(&mut self, ticket: Ticket, waiter: u32) -> Ticket {
        match self.pool.claim(ticket, || waiter, self.now) {
            Claim::Waiting(ticket) => ticket,
            other => panic!("not waiting: {other:?}"),
        }
    }

    /// The opening asked for first succeeds.
    pub fn arrive(&mut self) -> u32 {
        self.servers += 1;
        let (server, ticket) = (self.servers, self.opens.remove(0));
        self.call(|pool, now, out| pool.opened(ticket, server, HERE, now, out));
        server
    }

    /// The opening asked for first fails.
    pub fn fail(&mut self, fatal: bool) {
        let ticket = self.opens.remove(0);
        self.call(|pool, now, out| pool.open_failed(ticket, fatal, now, out));
    }

    pub fn give_back(&mut self, lent: Lent<u32>) {
        self.give_back_on(lent, HERE);
    }

    pub fn give_back_on(&mut self, lent: Lent<u32>, worker: WorkerId) {
        self.call(|pool, now, out| pool.check_in(lent, worker, now, out));
    }

    pub fn tick(&mut self) {
        self.call(|pool, now, out| pool.tick(now, out));
    }

    pub fn review(&mut self) {
        self.call(|pool, now, out| pool.review(now, out));
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    pub fn purposes(&self) -> Vec<Purpose> {
        self.opens.iter().map(OpenTicket::purpose).collect()
    }
}
