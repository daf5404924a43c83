//! Who listens to which channels through one connection, and since when.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, oneshot};

use super::ListenError;
use super::mailbox::{Mailbox, Message};
use super::names::{self, Name};
use crate::pools::SharedPool;
use crate::services::lock;

/// A connection that listens for many clients, as they see it.
pub struct Hub {
    /// The database as clients know it.
    pub database: Arc<str>,
    /// The encoding in which notifications come.
    pub encoding: Box<[u8]>,
    marks: Name,
    state: Mutex<State>,
    /// Calls the connection's task.
    pub(super) bell: Notify,
    deliveries: AtomicU64,
    /// Of all connections that listen.
    all_deliveries: Arc<AtomicU64>,
}

#[derive(Default)]
struct State {
    channels: HashMap<Name, Channel>,
    /// Clients whose notifications begin behind a mark, by its number.
    starts: HashMap<u64, Start>,
    /// The process ids that clients were given, by that of the server which notifies for them.
    senders: HashMap<u32, u32>,
    orders: Vec<Order>,
    server: Option<(String, u32)>,
    /// All that was sent before transactions were stopped has come: the connection may be replaced.
    is_sealed: bool,
    /// Where it goes on listening.
    successor: Option<Arc<SharedPool>>,
    /// It does not listen there yet.
    is_behind: bool,
    ended: Option<String>,
}

#[derive(Default)]
struct Channel {
    listeners: Vec<Arc<Mailbox>>,
    /// How many listen, or are about to.
    wanted: usize,
}

struct Start {
    /// A client that is given the notifications of these channels, if it is one.
    client: Option<(Arc<Mailbox>, Vec<Name>)>,
    /// Told when the mark is seen.
    seen: oneshot::Sender<()>,
}

/// What the connection has to do next.
pub(super) enum Order {
    Listen(Name),
    Unlisten(Name),
    /// Sends a mark of its own.
    Mark(u64),
    /// Says when what was ordered before is done.
    Tell(oneshot::Sender<()>),
}

/// Channels that the connection listens to, for a client that is not given their notifications yet.
#[derive(Debug)]
pub struct Reserved {
    hub: Arc<Hub>,
    names: Vec<Name>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.hub.lock().release(&std::mem::take(&mut self.names));
        self.hub.bell.notify_one();
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hub({})", self.database)
    }
}

/// What SHOW LISTENERS tells of one.
#[derive(Clone, Debug)]
pub struct HubSnapshot {
    /// The database as clients know it.
    pub database: Arc<str>,
    /// The encoding in which notifications come.
    pub encoding: Box<[u8]>,
    /// The server's end and its process id; none before it is connected.
    pub server: Option<(String, u32)>,
    /// Clients.
    pub listeners: usize,
    /// Channels it listens to.
    pub channels: usize,
    /// Notifications given to clients, counted once for each.
    pub deliveries: u64,
    /// Bytes that wait for clients.
    pub pending: usize,
}

impl Hub {
    pub(super) fn new(database: Arc<str>, encoding: Box<[u8]>, (marks, all): (Name, Arc<AtomicU64>)) -> Self {
        let (state, bell) = (Mutex::default(), Notify::new());
        Self { database, encoding, marks, state, bell, deliveries: AtomicU64::new(0), all_deliveries: all }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Has the connection listen to these channels, of which there may be `most` in all; returns when it does.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn reserve(self: &Arc<Self>, names: &[Name], most: usize) -> Result<Reserved, ListenError> {
        let (tell, told) = oneshot::channel();
        let reserved = {
            let mut state = self.lock();
            if state.ended.is_some() {
                return Err(ListenError::Ended);
            }
            let unknown = names.iter().filter(|name| !state.channels.contains_key(*name)).count();
            if state.channels.len() + unknown > most {
                return Err(ListenError::TooManyChannels);
            }
            for name in names {
                let channel = state.channels.entry(name.clone()).or_default();
                channel.wanted += 1;
                if channel.wanted == 1 {
                    state.orders.push(Order::Listen(name.clone()));
                }
            }
            state.orders.push(Order::Tell(tell));
            Reserved { hub: self.clone(), names: names.to_vec() }
        };
        self.bell.notify_one();
        let is_done = told.await.is_ok();
        let why = self.lock().ended.clone();
        match why {
            Some(why) => Err(ListenError::Lost(why)),
            None if is_done => Ok(reserved),
            None => Err(ListenError::Lost("the connection was lost".to_owned())),
        }
    }

    /// From the mark of this number on the client is given the notifications of these channels. Says when it is seen.
    pub fn start_at(
        &self,
        mark: u64,
        mut reserved: Reserved,
        mailbox: &Arc<Mailbox>,
    ) -> (Vec<Name>, oneshot::Receiver<()>) {
        let names = std::mem::take(&mut reserved.names);
        let (seen, told) = oneshot::channel();
        let mut state = self.lock();
        match state.ended {
            Some(_) => mailbox.lose(),
            None => drop(state.starts.insert(mark, Start { client: Some((mailbox.clone(), names.clone())), seen })),
        }
        (names, told)
    }

    /// Says when the mark of this number is seen.
    pub fn await_mark(&self, mark: u64) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        self.lock().starts.insert(mark, Start { client: None, seen: tell });
        told
    }

    /// Reads up to a mark of its own. From then on, until transactions begin again, another connection may take its place.
    pub async fn seal(&self, mark: u64) {
        let seen = self.await_mark(mark);
        self.lock().orders.push(Order::Mark(mark));
        self.bell.notify_one();
        if seen.await.is_ok() {
            self.lock().is_sealed = true;
        }
    }

    /// Its primary has moved. Where all has come from the former one, it goes on with this pool's; else it ends.
    pub(super) fn follow(&self, pool: &Arc<SharedPool>, why: &str) {
        let mut state = self.lock();
        if state.is_sealed {
            (state.successor, state.is_behind) = (Some(pool.clone()), true);
        } else {
            state.ended.get_or_insert_with(|| why.to_owned());
        }
        drop(state);
        self.bell.notify_one();
    }

    /// Transactions are about to begin again: tells when it listens, if it does not.
    pub(super) fn unseal(&self, pool: &Arc<SharedPool>) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        if std::mem::take(&mut state.is_sealed) && state.server.is_none() && !state.is_behind {
            (state.successor, state.is_behind) = (Some(pool.clone()), true);
        }
        if !state.is_behind {
            return None;
        }
        let (tell, told) = oneshot::channel();
        state.orders.push(Order::Tell(tell));
        drop(state);
        self.bell.notify_one();
        Some(told)
    }

    /// It listens to all that was wanted.
    pub(super) fn has_caught_up(&self) {
        self.lock().is_behind = false;
    }

    /// Whether it may, or has to, go on with another connection.
    pub(super) fn may_go_on(&self) -> bool {
        let state = self.lock();
        state.ended.is_none() && (state.is_sealed || state.successor.is_some())
    }

    /// Whether it is to go on elsewhere.
    pub(super) fn has_successor(&self) -> bool {
        self.lock().successor.is_some()
    }

    /// Where it is to go on: from here on all that is wanted has to be listened to again.
    pub(super) fn take_successor(&self) -> Option<Arc<SharedPool>> {
        let mut state = self.lock();
        let pool = state.successor.take()?;
        state.orders.retain(|order| matches!(order, Order::Tell(_)));
        let wanted: Vec<Order> = state.channels.keys().cloned().map(Order::Listen).collect();
        state.orders.extend(wanted);
        Some(pool)
    }

    /// A client does not listen to these channels any more.
    pub fn leave<'a>(&self, names: impl Iterator<Item = &'a Name>, mailbox: &Arc<Mailbox>) {
        let names: Vec<Name> = names.cloned().collect();
        let mut state = self.lock();
        state.starts.retain(|_, start| match &mut start.client {
            Some((own, starting)) if Arc::ptr_eq(own, mailbox) => {
                starting.retain(|name| !names.contains(name));
                !starting.is_empty()
            }
            _ => !start.seen.is_closed(),
        });
        for name in &names {
            if let Some(channel) = state.channels.get_mut(name) {
                channel.listeners.retain(|listener| !Arc::ptr_eq(listener, mailbox));
            }
        }
        state.release(&names);
        drop(state);
        self.bell.notify_one();
    }

    /// What the server of this process id notifies, this client does; nobody in particular, if none.
    pub fn set_sender(&self, server: u32, client: Option<u32>) {
        let mut state = self.lock();
        match client {
            Some(client) => drop(state.senders.insert(server, client)),
            None => drop(state.senders.remove(&server)),
        }
    }

    /// Gives a notification to those whom it is for.
    pub(super) fn deliver(&self, body: &[u8]) {
        let Some(name) = names::channel(body) else { return };
        let mut state = self.lock();
        if *name == *self.marks {
            let number = names::payload(body).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
            return number.into_iter().for_each(|number| state.start(number));
        }
        let Some(channel) = state.channels.get(name) else { return };
        let sender = names::pid(body).and_then(|pid| state.senders.get(&pid).copied());
        let message: Message = names::message(body, sender).into();
        channel.listeners.iter().for_each(|mailbox| mailbox.put(&message));
        let count = channel.listeners.len() as u64;
        self.deliveries.fetch_add(count, Ordering::Relaxed);
        self.all_deliveries.fetch_add(count, Ordering::Relaxed);
    }

    /// What is to be done next.
    pub(super) fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut self.lock().orders)
    }

    /// Ends it if nobody listens: true if so.
    pub(super) fn ends_unused(&self) -> bool {
        let mut state = self.lock();
        let is_unused = state.channels.is_empty() && state.orders.is_empty();
        if is_unused {
            state.ended = Some("nobody listens".to_owned());
        }
        is_unused
    }

    /// Whether it is to end, and why.
    pub(super) fn ended(&self) -> Option<String> {
        self.lock().ended.clone()
    }

    /// Notes where it listens.
    pub(super) fn set_server(&self, server: Option<(String, u32)>) {
        self.lock().server = server;
    }

    /// Has it end.
    pub(super) fn end(&self, why: &str) {
        self.lock().ended.get_or_insert_with(|| why.to_owned());
        self.bell.notify_one();
    }

    /// It has ended: how many clients must go with it.
    pub(super) fn close(&self, why: &str) -> usize {
        let mut state = self.lock();
        state.ended.get_or_insert_with(|| why.to_owned());
        let listeners = state.listeners();
        listeners.iter().for_each(|mailbox| mailbox.lose());
        let ended = state.ended.take();
        *state = State { ended, ..State::default() };
        listeners.len()
    }

    /// What SHOW LISTENERS tells.
    pub fn snapshot(&self) -> HubSnapshot {
        let state = self.lock();
        let listeners = state.listeners();
        HubSnapshot {
            database: self.database.clone(),
            encoding: self.encoding.clone(),
            server: state.server.clone(),
            listeners: listeners.len(),
            channels: state.channels.len(),
            deliveries: self.deliveries.load(Ordering::Relaxed),
            pending: listeners.iter().map(|mailbox| mailbox.bytes()).sum(),
        }
    }
}

impl State {
    fn start(&mut self, mark: u64) {
        let Some(Start { client, seen }) = self.starts.remove(&mark) else { return };
        if let Some((mailbox, names)) = client {
            for name in names {
                self.channels.entry(name).or_default().listeners.push(mailbox.clone());
            }
        }
        // Who has given up waiting does not hear of it.
        let _ = seen.send(());
    }

    /// One less wants these channels.
    fn release(&mut self, names: &[Name]) {
        for name in names {
            let Some(channel) = self.channels.get_mut(name) else { continue };
            channel.wanted = channel.wanted.saturating_sub(1);
            if channel.wanted == 0 {
                self.channels.remove(name);
                self.orders.push(Order::Unlisten(name.clone()));
            }
        }
    }

    fn listeners(&self) -> Vec<Arc<Mailbox>> {
        let mut seen = HashSet::new();
        let started = self.channels.values().flat_map(|channel| &channel.listeners);
        let starting = self.starts.values().filter_map(|start| Some(&start.client.as_ref()?.0));
        let all = started.chain(starting);
        all.filter(|mailbox| seen.insert(Arc::as_ptr(mailbox))).cloned().collect()
    }
}
