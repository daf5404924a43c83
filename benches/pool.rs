//! What a pool's two decisions per transaction cost, that is how long its lock is held.
//!
//! - `check_out_check_in`: 50 idle servers, nobody waits. One worker, which finds the server that it used last.
//! - `hand_over`: 500 clients on 50 servers, 450 of them always in line. A server comes back, its next client is woken,
//!   claims it, and the former one joins the line again: all that one transaction asks of a pool that is short of servers.
//!   It must not depend on the length of the line.
//!
//! The mutex around the pool, the clock and the task that wakes up are not in these numbers. One process can do at most
//! 1 s / `hand_over` transactions on a single pool, whatever the number of cores.

mod measure;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use measure::Measure;
use pool::{CheckOut, Claim, Command, Commands, Lent, Pool, Settings, Ticket, WorkerId};

const SERVERS: u32 = 50;
const WAITERS: usize = 450;
const WORKERS: u16 = 4;

fn main() -> ExitCode {
    measure::run(&[uncontended, queue])
}

fn uncontended(measure: &mut Measure) {
    let mut owner = Owner::with_idle_servers();
    measure.round("check_out_check_in", || {
        let lent = owner.lend(WorkerId(0));
        owner.give_back(lent, WorkerId(0));
    });
}

fn queue(measure: &mut Measure) {
    let mut crowd = Crowd::new();
    measure.round("hand_over", || crowd.hand_over());
}

/// Stands for a task: its waker counts references, as a runtime's do, and wakes nobody.
struct Sleeper;

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {}
}

/// A pool and whoever performs its commands. A server is a pointer, as in production.
struct Owner {
    pool: Pool<Box<u32>, Waker>,
    out: Commands<Box<u32>, Waker>,
    waker: Waker,
    now: Instant,
}

impl Owner {
    fn with_idle_servers() -> Self {
        let now = Instant::now();
        let settings = Settings { pool_size: Some(SERVERS), max_opening: SERVERS, ..Settings::default() };
        let pool = Pool::new(settings, now);
        let mut owner = Self { pool, out: Commands::new(), waker: Arc::new(Sleeper).into(), now };
        let tickets: Vec<_> = (0..SERVERS).map(|_| owner.join(WorkerId(0))).collect();
        owner.open_servers();
        for ticket in tickets {
            let lent = owner.claim(ticket);
            owner.give_back(lent, WorkerId(0));
        }
        owner
    }

    fn open_servers(&mut self) {
        let asked: Vec<_> = self.out.drain().collect();
        for command in asked {
            match command {
                Command::Open(ticket) => {
                    self.pool.opened(ticket, Box::default(), WorkerId(0), self.now, &mut self.out);
                }
                Command::Wake(waker) => waker.wake(),
                Command::Close(..) | Command::ReviewAt(_) => panic!("a new pool only opens servers"),
            }
        }
    }

    fn check_out(&mut self, worker: WorkerId) -> CheckOut<Box<u32>> {
        // So little that no server grows old however long it is measured.
        self.now += Duration::from_nanos(100);
        self.pool.check_out(worker, || self.waker.clone(), self.now, &mut self.out)
    }

    fn lend(&mut self, worker: WorkerId) -> Lent<Box<u32>> {
        match self.check_out(worker) {
            CheckOut::Ready(lent) => lent,
            CheckOut::Queued(_) | CheckOut::Refused(_) => panic!("a server is idle"),
        }
    }

    fn join(&mut self, worker: WorkerId) -> Ticket {
        match self.check_out(worker) {
            CheckOut::Queued(ticket) => ticket,
            CheckOut::Ready(_) | CheckOut::Refused(_) => panic!("no server is idle"),
        }
    }

    fn claim(&mut self, ticket: Ticket) -> Lent<Box<u32>> {
        match self.pool.claim(ticket, || self.waker.clone(), self.now) {
            Claim::Ready(lent) => lent,
            Claim::Waiting(_) | Claim::Refused(_) => panic!("a server was handed over"),
        }
    }

    /// Checks a server in and wakes whoever it goes to.
    fn give_back(&mut self, lent: Lent<Box<u32>>, worker: WorkerId) {
        self.pool.check_in(lent, worker, self.now, &mut self.out);
        for command in self.out.drain() {
            match command {
                Command::Wake(waker) => waker.wake(),
                Command::Open(_) | Command::Close(..) | Command::ReviewAt(_) => panic!("the pool is full"),
            }
        }
    }
}

/// Ten clients for each server; those who wait in order of arrival.
struct Crowd {
    owner: Owner,
    lent: VecDeque<Lent<Box<u32>>>,
    line: VecDeque<Ticket>,
    worker: u16,
}

impl Crowd {
    fn new() -> Self {
        let mut owner = Owner::with_idle_servers();
        let lent = (0..SERVERS).map(|_| owner.lend(WorkerId(0))).collect();
        let line = (0..WAITERS).map(|waiter| owner.join(WorkerId(waiter as u16 % WORKERS))).collect();
        Self { owner, lent, line, worker: 0 }
    }

    /// One client's transaction ends, and the next one's begins.
    fn hand_over(&mut self) {
        let worker = WorkerId(self.worker);
        self.worker = (self.worker + 1) % WORKERS;
        let lent = self.lent.pop_front().expect("all servers are lent");
        self.owner.give_back(lent, worker);
        let first = self.line.pop_front().expect("somebody waits");
        self.lent.push_back(self.owner.claim(first));
        self.line.push_back(self.owner.join(worker));
    }
}
