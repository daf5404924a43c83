//! What ends the primary: the console's FAILOVER, or a command.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Instant;

use config::Config;

use super::standing::Node;
use super::subject::{Cause, Subject};
use super::verdict::End;
use crate::failover::{LOCKED, NOT_POSSIBLE, UNCONFIRMED, Wish, drive};

/// What a shell answers for a program that it cannot execute, or does not find.
const NO_PROGRAM: [i32; 2] = [126, 127];

/// What ends the primary, under way.
pub enum Running {
    /// The console's FAILOVER: its exit code as `pooler failover` has it, and what is to be said about it.
    Planned(Receiver<(u8, Option<String>)>),
    /// A command.
    Command(Child),
    /// It is over.
    Over,
}

/// What became of it.
pub enum Done {
    /// It did what it could.
    Well,
    /// It did, but says this.
    Noted(String),
    /// It went wrong after it had begun.
    Badly(String),
    /// Nothing was touched.
    NotAtAll(End),
}

/// Begins it.
///
/// # Errors
/// It cannot be begun.
pub fn begin(config: &Arc<Config>, subject: &Arc<Subject>, primary: &Node, began: Instant) -> Result<Running, End> {
    match &subject.cause {
        Cause::Planned => {
            let (config, subject) = (Arc::clone(config), Arc::clone(subject));
            let (tell, told) = mpsc::channel();
            thread::spawn(move || {
                let wish = Wish { formation: Some(&subject.formation), to: None, dry_run: false, force: false };
                tell.send(drive(&config, &wish, began))
            });
            Ok(Running::Planned(told))
        }
        Cause::Killed(command) => {
            let mut shell = Command::new("/bin/sh");
            shell.arg("-c").arg(command).stdin(Stdio::null()).env("POOLER_DRILL_FORMATION", &subject.formation);
            shell.env("POOLER_DRILL_NODE", &primary.name).env("POOLER_DRILL_HOST", &primary.host);
            shell.env("POOLER_DRILL_PORT", &primary.port);
            shell.spawn().map(Running::Command).map_err(|error| End::Missing(format!("/bin/sh: {error}")))
        }
    }
}

impl Running {
    /// What became of it, once.
    pub fn poll(&mut self) -> Option<Done> {
        let done = match self {
            Self::Planned(told) => match told.try_recv() {
                Err(TryRecvError::Empty) => return None,
                Ok((code, why)) => judge_console(code, why),
                Err(TryRecvError::Disconnected) => Done::Badly("nobody hears the console".to_owned()),
            },
            Self::Command(child) => match child.try_wait() {
                Ok(None) => return None,
                Ok(Some(status)) => judge_command(status.code()),
                Err(error) => Done::Badly(error.to_string()),
            },
            Self::Over => return None,
        };
        *self = Self::Over;
        Some(done)
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }
}

/// A command that is cut off from what it has killed may wait for ever.
impl Drop for Running {
    fn drop(&mut self) {
        if let Self::Command(child) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn judge_console(code: u8, why: Option<String>) -> Done {
    let why = why.unwrap_or_default();
    match code {
        0 => Done::Well,
        UNCONFIRMED => Done::Noted("some pooler has not confirmed".to_owned()),
        NOT_POSSIBLE | LOCKED => Done::NotAtAll(End::NotBegun(why)),
        _ => Done::Badly(why),
    }
}

/// A connection to a machine that dies under it does not end well: only what a shell says of itself is certain.
fn judge_command(code: Option<i32>) -> Done {
    match code {
        Some(0) => Done::Well,
        Some(code) if NO_PROGRAM.contains(&code) => {
            Done::NotAtAll(End::Missing(format!("the shell cannot run the command (exit {code})")))
        }
        Some(code) => Done::Noted(format!("the command ended with {code}")),
        None => Done::Noted("the command was ended by a signal".to_owned()),
    }
}
