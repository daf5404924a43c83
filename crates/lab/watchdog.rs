//! A shell that waits for the end of its maker, and then puts away what the maker left.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use crate::{LabError, command};

/// Longer than any script here waits for processes to end (10 s) and for files to go.
const LIMIT: Duration = Duration::from_secs(20);

/// The kernel closes a pipe even after `kill -9` of the process that held it: that is how the shell learns of the end.
const WAIT: &str = "trap '' INT HUP TERM\ndir=$1\ncat >/dev/null\n";

/// Dropping it, or the death of the process that owns it, runs its script.
#[derive(Debug)]
pub struct Watchdog {
    process: Child,
    lifeline: Option<ChildStdin>,
}

impl Watchdog {
    /// `script` is for /bin/sh and finds `directory` in `$dir`. Whatever `held` is stays open until the script has
    /// ended: a file that is locked, for example, stays locked.
    pub fn start(script: &str, directory: &Path, held: Stdio) -> Result<Watchdog, LabError> {
        let script = format!("{WAIT}{script}");
        let mut process = Command::new("/bin/sh")
            .args([OsStr::new("-c"), OsStr::new(&script), OsStr::new("lab-watchdog"), directory.as_os_str()])
            .current_dir("/")
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(held)
            .stderr(Stdio::null())
            .spawn()
            .map_err(LabError::io("start the watchdog"))?;
        let lifeline = process.stdin.take();
        Ok(Watchdog { process, lifeline })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        if !matches!(command::wait(&mut self.process, LIMIT), Ok(Some(_))) {
            command::kill(&mut self.process);
        }
    }
}
