//! The threads of the front door: each logs in those who were given to it, on a runtime of its own.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use std::{io, thread};

use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

use super::login::{self, Peer};
use super::silence::Silence;
use super::turnstile::Turnstile;
use crate::address::Address;
use crate::clock::Micros;
use crate::meter::{Busy, Meter};
use crate::services::Services;
use crate::socket::Socket;

/// How often a thread looks at how busy it is.
const TICK: Duration = Duration::from_secs(1);
/// The niceness of its threads: a third of the weight of those who relay.
const NICE: i32 = 5;
/// Peers at once who are told that there are too many.
const MAX_TOLD: usize = 1000;
/// Logins of a thread up to which nobody needs to take turns.
const CALM: usize = 16;

/// A connection that was accepted.
#[derive(Debug)]
pub struct Arrival {
    /// Its socket.
    pub fd: OwnedFd,
    /// The peer's end.
    pub remote: Address,
    /// Our end.
    pub local: Address,
}

/// All threads of the front door.
#[derive(Debug)]
pub struct Door {
    threads: Vec<Thread>,
}

#[derive(Debug)]
struct Thread {
    // Bounded: see `Door::admit`.
    inbox: mpsc::UnboundedSender<Arrival>,
    desk: Arc<Desk>,
}

/// What the logins of one thread share.
#[derive(Debug, Default)]
pub struct Desk {
    in_flight: AtomicUsize,
    /// Logins that have ended well.
    logins: AtomicU64,
    /// TLS handshakes that have ended well.
    handshakes: AtomicU64,
    busy: Busy,
    /// Before the handshake nothing is known but where they come from; before the proof it is who they want to be.
    addresses: Turnstile<Option<IpAddr>>,
    users: Turnstile<Arc<str>>,
    /// Of those who have logged in and said nothing yet.
    pub silence: Silence,
}

impl Desk {
    /// A turn for the TLS handshake, of those who come from one address.
    pub async fn turn_of_address(&self, remote: &Address) {
        if self.in_flight.load(Ordering::Relaxed) > CALM {
            self.addresses.turn(remote.ip()).await;
        }
    }

    /// A turn for the proof, of those who want to be one user.
    pub async fn turn_of_user(&self, user: &Arc<str>) {
        if self.in_flight.load(Ordering::Relaxed) > CALM {
            self.users.turn(user.clone()).await;
        }
    }

    /// Counts a TLS handshake.
    pub fn count_handshake(&self) {
        self.handshakes.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a login.
    pub fn count_login(&self) {
        self.logins.fetch_add(1, Ordering::Relaxed);
    }
}

/// What SHOW WORKERS tells of a thread of the front door.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DoorSnapshot {
    /// Its number.
    pub id: u16,
    /// Logins that have begun and not ended.
    pub in_flight: usize,
    /// Those of them that wait for a turn.
    pub queued: usize,
    /// Logins that have ended well, since the start.
    pub logins: u64,
    /// TLS handshakes that have ended well, since the start.
    pub handshakes: u64,
    /// Share of the last second it was at work: 0 to 1.
    pub busy_share: f64,
}

/// A place in the count of a thread's logins, until the login has ended.
#[derive(Debug)]
pub struct Place(Arc<Desk>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Door {
    /// Of `count` threads, which begin with [`Post::open`].
    pub fn new(count: usize) -> (Self, Vec<Post>) {
        let mut posts = Vec::new();
        let mut threads = Vec::new();
        for number in 0..count.max(1) {
            let (inbox, arrivals) = mpsc::unbounded_channel();
            let desk = Arc::new(Desk::default());
            posts.push(Post { number, arrivals, desk: desk.clone() });
            threads.push(Thread { inbox, desk });
        }
        (Self { threads }, posts)
    }

    /// Gives a connection to the thread that has the fewest logins in flight. `limit` is how many may log in at once;
    /// of those above it some are told so, more are cut off without a word.
    pub fn admit(&self, arrival: Arrival, limit: u32) {
        let in_flight = |thread: &Thread| thread.desk.in_flight.load(Ordering::Relaxed);
        if self.threads.iter().map(in_flight).sum::<usize>() >= limit as usize + MAX_TOLD {
            return;
        }
        let Some(thread) = self.threads.iter().min_by_key(|thread| in_flight(thread)) else { return };
        thread.desk.in_flight.fetch_add(1, Ordering::Relaxed);
        if thread.inbox.send(arrival).is_err() {
            error!("a thread of the front door has ended");
        }
    }

    /// What SHOW WORKERS tells.
    pub fn snapshot(&self) -> Vec<DoorSnapshot> {
        let tell = |(number, thread): (usize, &Thread)| DoorSnapshot {
            id: number as u16,
            in_flight: thread.desk.in_flight.load(Ordering::Relaxed),
            queued: thread.desk.addresses.len() + thread.desk.users.len(),
            logins: thread.desk.logins.load(Ordering::Relaxed),
            handshakes: thread.desk.handshakes.load(Ordering::Relaxed),
            busy_share: thread.desk.busy.share(),
        };
        self.threads.iter().enumerate().map(tell).collect()
    }
}

/// A thread of the front door before it begins.
#[derive(Debug)]
pub struct Post {
    number: usize,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    desk: Arc<Desk>,
}

impl Post {
    /// Begins: `besides` runs on the same thread, which is where the first one accepts.
    ///
    /// # Errors
    /// When the system gives no thread or no event queue.
    pub fn open(self, services: Arc<Services>, besides: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let Self { number, arrivals, desk } = self;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let body = move || {
            give_way();
            runtime.block_on(async {
                tokio::spawn(besides);
                let users = desk.clone();
                tokio::spawn(async move { users.users.usher().await });
                let addresses = desk.clone();
                tokio::spawn(async move { addresses.addresses.usher().await });
                let silent = desk.clone();
                tokio::spawn(async move { silent.silence.run().await });
                // A task of its own: to wake the future that the runtime blocks on takes a system call, also from this thread.
                let served = tokio::spawn(serve(services, desk, arrivals)).await;
                if let Err(error) = served {
                    error!("a thread of the front door has ended: {error}");
                }
            });
        };
        thread::Builder::new().name(format!("front-door-{number}")).spawn(body)?;
        Ok(())
    }
}

/// Where there is not enough of the processor, those who are at work go before those who want to log in.
fn give_way() {
    let this = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(this), NICE) {
        info!("the front door keeps its priority: {error}");
    }
}

async fn serve(services: Arc<Services>, desk: Arc<Desk>, mut arrivals: mpsc::UnboundedReceiver<Arrival>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut meter = Meter::start();
    loop {
        tokio::select! {
            arrival = arrivals.recv() => match arrival {
                Some(arrival) => begin(&services, &desk, arrival),
                None => return,
            },
            _ = tick.tick() => meter.read(&desk.busy),
        }
    }
}

fn begin(services: &Arc<Services>, desk: &Arc<Desk>, arrival: Arrival) {
    let place = Place(desk.clone());
    let Arrival { fd, remote, local } = arrival;
    match Socket::new(fd) {
        Ok(socket) => {
            let peer = Peer { socket, remote, local, connected_at: Micros::now() };
            // Boxed: the runtime moves what it is given several times.
            tokio::spawn(Box::pin(login::serve(services.clone(), desk.clone(), peer, place)));
        }
        Err(error) => info!("a connection was lost at once: {error}"),
    }
}
