//! Doing what a command says.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use protocol::messages::{self, Severity};
use protocol::sqlstate;
use tracing::{error, info};

use super::command::Command;
use super::error::ConsoleError;
use super::show::{self, Show};
use super::table::Answer;
use super::{Access, Console, End, Failure, various};
use crate::client::handle::{ClientHandle, Cut, Doing};
use crate::clock::Micros;
use crate::control;
use crate::follow;
use crate::services::Services;
use crate::state::Shutdown;
use crate::wire::{Wire, WireError};

/// Most bytes received from an operator while a command waits; what is more waits in the kernel.
const MAX_AHEAD: usize = 1 << 14;

impl Console {
    /// The rows of a command; none if it has none. What it sends on the way is a NOTICE.
    pub(super) async fn execute(&mut self, command: &Command) -> Result<Option<Answer>, Failure> {
        if self.access != Access::Admin && !command.only_looks() {
            return Err(ConsoleError::AdminNeeded.into());
        }
        self.handle.set_requested_at(Micros::now());
        match command {
            Command::Show(show) => return self.show(*show),
            Command::ShowParameter(name, value) => return Ok(Some(various::parameter(name, value))),
            Command::SetParameter => self.notice("SET ignored", ""),
            command => {
                let ClientHandle { id, database, user, .. } = &*self.handle;
                info!(client = id, database = %database, user = %user, "{} command issued", command.tag());
                self.act(command).await?;
            }
        }
        Ok(None)
    }

    fn show(&mut self, show: Show) -> Result<Option<Answer>, Failure> {
        match show {
            Show::Fds => Err(ConsoleError::NotAvailable("SHOW FDS").into()),
            Show::Help => {
                self.notice("Console usage", &show::help());
                Ok(None)
            }
            table => Ok(table.answer(&self.services)),
        }
    }

    async fn act(&mut self, command: &Command) -> Result<(), Failure> {
        let services = self.services.clone();
        match command {
            Command::Show(_) | Command::ShowParameter(..) | Command::SetParameter => {}
            Command::Set(key, value) => control::set(&services, key, value)?,
            Command::Reload => reload(services).await?,
            Command::Pause(database, limit) => {
                let pausing = control::begin_pause(&services, database.as_deref(), *limit)?;
                match self.wait(pausing.complete()).await? {
                    Waited::Done(done) => done?,
                    Waited::Canceled => {
                        pausing.undo();
                        return Err(ConsoleError::Canceled.into());
                    }
                }
            }
            Command::Resume(database) => control::resume(&services, database.as_deref())?,
            Command::Suspend => return Err(ConsoleError::NotAvailable("SUSPEND").into()),
            Command::Kill(database) => control::kill(&services, database.as_deref())?,
            Command::KillClient(id) => control::kill_client(&services, id)?,
            Command::Disable(database) => control::disable(&services, database.as_deref())?,
            Command::Enable(database) => control::enable(&services, database.as_deref())?,
            Command::Reconnect(database) => control::reconnect(&services, database.as_deref())?,
            Command::WaitClose(database) => match self.wait(control::wait_close(&services, database.as_deref())).await?
            {
                Waited::Done(done) => done?,
                Waited::Canceled => return Err(ConsoleError::Canceled.into()),
            },
            Command::Failover(wish) => self.failover(&services, wish).await?,
            Command::Accept(formation) => match self.wait(follow::accept(&services, formation.as_deref())).await? {
                Waited::Done(Ok(primary)) => self.notice(&format!("follows {primary}"), ""),
                Waited::Done(Err(why)) => return Err(ConsoleError::NotAccepted(why).into()),
                Waited::Canceled => return Err(ConsoleError::Canceled.into()),
            },
            Command::Shutdown(how) => {
                control::shutdown(&services, *how);
                if *how == Shutdown::Immediate {
                    return Err(End::Exit.into());
                }
            }
        }
        Ok(())
    }

    pub(super) fn notice(&mut self, text: &str, detail: &str) {
        messages::report(&mut self.unsent, Severity::Notice, sqlstate::SUCCESSFUL_COMPLETION, text, detail);
    }

    /// Waits for something that takes its time, unless the operator leaves, must go, or cancels.
    async fn wait<T>(&mut self, done: impl Future<Output = T>) -> Result<Waited<T>, End> {
        self.handle.take_canceled();
        self.wait_on(done).await
    }

    /// The same for what is waited for again and again: a cancel in between counts.
    pub(super) async fn wait_on<T>(&mut self, done: impl Future<Output = T>) -> Result<Waited<T>, End> {
        self.handle.set_doing(Doing::Waiting, None);
        self.send().await?;
        let waited = tokio::select! {
            done = done => Ok(Waited::Done(done)),
            interruption = interrupted(&self.handle) => match interruption {
                Interruption::Cut(cut) => Err(End::Cut(cut)),
                Interruption::Canceled => Ok(Waited::Canceled),
            },
            error = lost(&mut self.wire) => Err(error.into()),
        };
        self.handle.set_doing(Doing::Idle, None);
        waited
    }
}

/// RELOAD reads files, which may take longer than others may be kept waiting.
async fn reload(services: Arc<Services>) -> Result<(), ConsoleError> {
    let reloading = tokio::task::spawn_blocking(move || control::reload(&services));
    match reloading.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(problems)) => {
            error!("RELOAD failed, the running configuration stays:\n{problems}");
            Err(problems.into())
        }
        Err(died) => Err(ConsoleError::ReloadFailed(died.to_string())),
    }
}

/// How a wait has ended.
pub(super) enum Waited<T> {
    Done(T),
    Canceled,
}

enum Interruption {
    Cut(Cut),
    Canceled,
}

/// Returns when somebody wants the wait, or the session, to end.
async fn interrupted(handle: &ClientHandle) -> Interruption {
    poll_fn(|cx| {
        handle.set_waker(cx.waker());
        if let Some(cut) = handle.is_cut() {
            return Poll::Ready(Interruption::Cut(cut));
        }
        if handle.take_canceled() { Poll::Ready(Interruption::Canceled) } else { Poll::Pending }
    })
    .await
}

/// Returns when the connection has ended. What comes before is for later.
async fn lost(wire: &mut Wire) -> WireError {
    while wire.unused().len() < MAX_AHEAD {
        if let Err(error) = wire.receive().await {
            return error;
        }
    }
    std::future::pending().await
}
