//! The threads that relay. The only file that knows how they are made: one runtime of one thread each.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{io, mem, thread};

use config::Scheduling;
use pool::WorkerId;
use protocol::params::Params;
use protocol::statements::ClientStatements;
use slab::Slab;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

use crate::client::handle::ClientHandle;
use crate::client::session::Client;
use crate::clock::Micros;
use crate::kernel;
use crate::meter::{Busy, Meter};
use crate::pools::SharedPool;
use crate::services::{Services, lock};
use crate::socket::Detached;

/// How often deadlines are looked at: time limits are kept to this.
const TICK: Duration = Duration::from_millis(100);
/// The same while there is nobody who could have one.
const REST: Duration = Duration::from_secs(1);
/// Clients that a worker may have to welcome; more wait at the front door, where they are limited.
const INBOX: usize = 64;

/// A client on its way to a worker: the only thing that ever moves.
#[derive(Debug)]
pub struct Parked {
    /// Its connection.
    pub socket: Detached,
    /// What others see of it. Dropping the presence logs it out.
    pub presence: Presence,
    /// The parameters it wants.
    pub params: Arc<Params>,
    /// Where its servers come from.
    pub pool: Arc<SharedPool>,
    /// What it sent behind its login.
    pub early: Vec<u8>,
}

/// A client's places in all lists and counts. Dropping it, also in a panic, frees them.
#[derive(Debug)]
pub struct Presence {
    /// What others see of the client.
    pub handle: Arc<ClientHandle>,
    /// What all share.
    pub services: Arc<Services>,
    seat: Option<Seat>,
}

#[derive(Debug)]
struct Seat {
    worker: Arc<Shared>,
    key: usize,
}

impl Presence {
    /// For a client that is in the list of clients and has its place among the limits.
    pub fn new(handle: Arc<ClientHandle>, services: Arc<Services>) -> Self {
        Self { handle, services, seat: None }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if let Some(Seat { worker, key }) = self.seat.take() {
            lock(&worker.clients).remove(key);
            worker.count.fetch_sub(1, Ordering::Relaxed);
        }
        self.services.clients.remove(self.handle.pid);
        self.services.clients.leave(&self.handle.database, &self.handle.user);
        self.services.state.client_left();
    }
}

/// All workers.
#[derive(Debug)]
pub struct Workers {
    list: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    inbox: mpsc::Sender<Parked>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    clients: Mutex<Slab<Arc<ClientHandle>>>,
    count: AtomicUsize,
    busy: Busy,
}

/// What SHOW WORKERS tells of one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerSnapshot {
    /// Its number.
    pub id: u16,
    /// Clients it has.
    pub clients: usize,
    /// Share of the last second it was at work: 0 to 1.
    pub busy_share: f64,
}

impl Workers {
    /// Starts this many workers. Where the system has no such scheduling they keep the usual one.
    ///
    /// # Errors
    /// When the system gives no thread or no event queue.
    pub fn start(count: usize, scheduling: Scheduling) -> io::Result<Self> {
        let start = |number: usize| {
            let (inbox, parked) = mpsc::channel(INBOX);
            let shared = Arc::new(Shared::default());
            let worker = Worker { inbox, shared: shared.clone() };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let id = WorkerId(number as u16);
            let body = move || {
                if scheduling == Scheduling::Batch
                    && let Err(error) = kernel::schedule_in_batches()
                {
                    info!("a worker keeps the usual scheduling: {error}");
                }
                runtime.block_on(serve(id, shared, parked));
            };
            thread::Builder::new().name(format!("worker-{number}")).spawn(body)?;
            Ok(worker)
        };
        Ok(Self { list: (0..count.max(1)).map(start).collect::<io::Result<_>>()? })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Never: there is always one.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Hands a client to the worker that has the fewest, and waits while that has no time.
    pub async fn park(&self, mut client: Parked) {
        let fewest = self.list.iter().min_by_key(|worker| worker.shared.count.load(Ordering::Relaxed));
        let Some(worker) = fewest else { return };
        worker.shared.count.fetch_add(1, Ordering::Relaxed);
        let key = lock(&worker.shared.clients).insert(client.presence.handle.clone());
        client.presence.seat = Some(Seat { worker: worker.shared.clone(), key });
        if worker.inbox.send(client).await.is_err() {
            error!("a worker has ended");
        }
    }

    /// What SHOW WORKERS tells.
    pub fn snapshot(&self) -> Vec<WorkerSnapshot> {
        let tell = |(number, worker): (usize, &Worker)| WorkerSnapshot {
            id: number as u16,
            clients: worker.shared.count.load(Ordering::Relaxed),
            busy_share: worker.shared.busy.share(),
        };
        self.list.iter().enumerate().map(tell).collect()
    }
}

async fn serve(id: WorkerId, shared: Arc<Shared>, mut inbox: mpsc::Receiver<Parked>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut meter = Meter::start();
    let mut is_resting = false;
    loop {
        tokio::select! {
            parked = inbox.recv() => match parked {
                Some(parked) => {
                    if mem::take(&mut is_resting) {
                        tick.reset_after(TICK);
                    }
                    admit(id, parked);
                }
                None => return,
            },
            _ = tick.tick() => {
                call_late(&shared);
                meter.read(&shared.busy);
                is_resting = shared.count.load(Ordering::Relaxed) == 0;
                if is_resting {
                    tick.reset_after(REST);
                }
            }
        }
    }
}

fn admit(worker: WorkerId, parked: Parked) {
    let Parked { socket, presence, params, pool, early } = parked;
    let services = presence.services.clone();
    let generation = services.generation.load(Ordering::Acquire);
    let Some(rules) = pool.rules(&services.config.load(), generation, &presence.handle.user) else { return };
    let Ok(socket) = socket.attach() else { return };
    let (statements, baseline) = (ClientStatements::default(), params.clone());
    let client = Client {
        socket,
        presence,
        params,
        baseline,
        statements,
        rules,
        generation,
        pool,
        worker,
        early: early.into(),
        bereft: None,
        pin: None,
        listener: None,
    };
    tokio::spawn(Box::new(client).run());
}

/// One look at all deadlines instead of a timer for each.
fn call_late(shared: &Shared) {
    let now = Micros::now();
    for (_, client) in lock(&shared.clients).iter() {
        if client.is_late(now) {
            client.call_late();
        }
    }
}
