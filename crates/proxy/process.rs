//! The whole process: its threads, its sockets, its signals, and its end.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use config::Config;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info};

use crate::encryption::Encryption;
use crate::front::accept;
use crate::front::door::Door;
use crate::front::listen::Listeners;
use crate::services::Services;
use crate::state::Shutdown;
use crate::worker::Workers;
use crate::{control, encryption, follow, housekeeping, metrics, warm};

/// How often the end of a shutdown is looked for, besides when something changes.
const LOOK: Duration = Duration::from_millis(333);

/// A pooler whose sockets are open and which has yet to run.
#[derive(Debug)]
pub struct Process {
    /// The configuration to begin with.
    pub config: Config,
    /// Where clients connect.
    pub listeners: Listeners,
    /// Where Prometheus does.
    pub metrics: Option<TcpListener>,
    tls: Encryption,
    house: Runtime,
    signals: Signals,
}

impl Process {
    /// Opens all sockets of the configuration.
    ///
    /// # Errors
    /// The socket that cannot be opened, in words.
    pub fn prepare(config: Config) -> Result<Self, String> {
        let house = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let house = house.map_err(|error| format!("no event queue: {error}"))?;
        // Before any socket: whoever can connect may also send a signal.
        let signals = house.block_on(async { Signals::new() }).map_err(|error| format!("no signals: {error}"))?;
        let tls = Encryption::load(&config).map_err(|error| error.to_string())?;
        let listeners = Listeners::open(&config.global).map_err(|error| error.to_string())?;
        let global = &config.global;
        let metrics = if global.metrics_listen_addr.is_empty() {
            None
        } else {
            let address = (global.metrics_listen_addr.as_str(), global.metrics_listen_port);
            let listener = TcpListener::bind(address);
            Some(listener.map_err(|error| format!("cannot listen on {}:{}: {error}", address.0, address.1))?)
        };
        Ok(Self { config, listeners, metrics, tls, house, signals })
    }

    /// Serves until a shutdown has ended. `reloaded` is told of each new configuration, `ready` that clients can connect.
    ///
    /// # Errors
    /// When the system gives no threads or event queues.
    pub fn run(self, reloaded: fn(&Config), ready: impl FnOnce()) -> io::Result<()> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let or_else = |count: u32, otherwise: usize| if count == 0 { otherwise } else { count as usize };
        let global = &self.config.global;
        let workers = Workers::start(or_else(global.workers, (cores / 2).max(1)), global.worker_scheduling)?;
        let (door, posts) = Door::new(or_else(global.login_threads, (cores / 2).max(1)));
        let Self { house, signals, .. } = self;
        let services = Services::new(self.config, self.tls, house.handle().clone(), workers, door);
        let _ = services.reloaded.set(reloaded);
        follow::obey(&services, &services.config.load());
        let Listeners { tcp, unix } = self.listeners;
        // The Unix socket itself stays here, so that it is removed before the process ends.
        let unix_listener = unix.as_ref().map(|socket| Ok::<_, io::Error>((socket.listener.try_clone()?, socket.port)));
        let mut accepting = Some(accept_all(services.clone(), tcp, unix_listener.transpose()?));
        for post in posts {
            match accepting.take() {
                Some(accepting) => post.open(services.clone(), accepting)?,
                None => post.open(services.clone(), std::future::ready(()))?,
            }
        }
        house.block_on(async {
            if let Some(listener) = self.metrics {
                tokio::spawn(metrics::serve(services.clone(), listener));
            }
            tokio::spawn(housekeeping::housekeeping(services.clone()));
            tokio::spawn(encryption::watch(services.clone()));
            let memory = tokio::spawn(warm::keep(services.clone()));
            let signals = tokio::spawn(obey_signals(services.clone(), signals));
            ready();
            until_shutdown(&services).await;
            signals.abort();
            // It has said itself why it could not write; a disk that does not answer is not waited for.
            let _ = tokio::time::timeout(warm::PATIENCE, memory).await;
        });
        info!("got shutdown, exiting");
        house.shutdown_background();
        Ok(())
    }
}

async fn accept_all(services: Arc<Services>, tcp: Vec<TcpListener>, unix: Option<(UnixListener, u16)>) {
    for listener in tcp {
        tokio::spawn(report("listener", accept::tcp(services.clone(), listener)));
    }
    if let Some((listener, port)) = unix {
        tokio::spawn(report("unix socket", accept::unix(services.clone(), listener, port)));
    }
}

async fn report(what: &str, task: impl Future<Output = io::Result<()>>) {
    if let Err(error) = task.await {
        error!("{what} failed: {error}");
    }
}

async fn until_shutdown(services: &Services) {
    services.state.shutdown_begins().await;
    loop {
        let changed = services.state.changed.notified();
        let servers = || services.pools.all().iter().any(|pool| !pool.with_core(|core, _, _| core.is_drained()));
        let done = match services.state.shutdown() {
            Shutdown::No => false,
            Shutdown::WaitForClients => services.clients.counts().0 == 0,
            Shutdown::WaitForServers => !servers(),
            Shutdown::Immediate => true,
        };
        if done {
            return;
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

#[derive(Debug)]
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }
}

/// PgBouncer's signals: HUP reloads, USR1 pauses, USR2 resumes, TERM waits for clients, INT for servers, QUIT for nobody.
async fn obey_signals(services: Arc<Services>, mut signals: Signals) {
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => reload(&services),
            _ = signals.terminate.recv() => shut_down(&services, Shutdown::WaitForClients),
            _ = signals.interrupt.recv() => shut_down(&services, Shutdown::WaitForServers),
            _ = signals.quit.recv() => shut_down(&services, Shutdown::Immediate),
            _ = signals.user1.recv() => {
                info!("got SIGUSR1, pausing");
                let services = services.clone();
                tokio::spawn(async move {
                    if let Err(error) = control::pause(&services, None, None).await {
                        info!("PAUSE: {error}");
                    }
                });
            }
            _ = signals.user2.recv() => {
                info!("got SIGUSR2, resuming");
                if let Err(error) = control::resume(&services, None) {
                    info!("RESUME: {error}");
                }
            }
        }
    }
}

fn reload(services: &Arc<Services>) {
    info!("got SIGHUP, re-reading config");
    if let Err(problems) = control::reload(services) {
        error!("RELOAD failed, the running configuration stays:\n{problems}");
    }
}

/// A second signal ends the process at once.
fn shut_down(services: &Arc<Services>, how: Shutdown) {
    let how = if services.state.shutdown() == Shutdown::No { how } else { Shutdown::Immediate };
    info!("got a signal to shut down: {how:?}");
    control::shutdown(services, how);
}
