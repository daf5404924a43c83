//! A private directory that disappears with its maker, together with the processes that were started in it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::watchdog::Watchdog;
use crate::{Account, LabError};

/// Where the process ids of what runs in the directory are listed, for the watchdog.
const PIDS: &str = "pids";
/// A data directory with pgbench's tables and its write-ahead log must fit into the memory behind /dev/shm.
const ENOUGH_MEMORY: u64 = 2 << 30;

/// Ends what was started in the directory, and removes it. A listed process is only touched while it still works inside
/// the directory, so a reused process id is nobody's harm.
const CLEAN_UP: &str = r#"
inside() { case $(readlink "/proc/$1/cwd") in "$dir"|"$dir"/*) true;; *) false;; esac; }
signal() { for pid in $(cat "$dir/pids"); do if inside "$pid"; then kill "-$1" "$pid"; alive=1; fi; done; }
rounds=0 alive=
signal QUIT
while [ -n "$alive" ] && [ "$rounds" -lt 200 ]; do
    sleep 0.05; alive= rounds=$((rounds + 1)); signal 0
done
signal KILL
rm -rf "$dir" || { sleep 1; rm -rf "$dir"; }
"#;

/// A directory in memory where possible, private to its [`Account`]. Dropping it sends SIGQUIT to the processes that
/// [`spawn`](Scratch::spawn) started and that still run, kills them ten seconds later, and removes the directory.
/// The same happens when the owner is killed.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    pids: File,
    _watchdog: Watchdog,
}

impl Scratch {
    /// Makes the directory and starts its watchdog.
    pub fn new(account: &Account) -> Result<Scratch, LabError> {
        let path = new_directory("pooler-lab-", account)?;
        let pids = OpenOptions::new().create(true).append(true).open(path.join(PIDS));
        let pids = pids.map_err(LabError::io("write the list of processes"))?;
        let watchdog = Watchdog::start(CLEAN_UP, &path, Stdio::null())?;
        Ok(Scratch { path, pids, _watchdog: watchdog })
    }

    /// The directory, without symbolic links on the way.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts a program that ends, at the latest, with the directory. It works in the directory and must stay there,
    /// and has a process group of its own: a Ctrl-C is for its maker, who decides in which order things end.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, LabError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.current_dir(&self.path).process_group(0).stdin(Stdio::null()).spawn();
        let child = child.map_err(LabError::io(format!("run {program}")))?;
        writeln!(&self.pids, "{}", child.id()).map_err(LabError::io("write the list of processes"))?;
        Ok(child)
    }
}

/// Makes a private directory for somebody who will remove it; the path is without symbolic links, because processes are
/// recognised by it: /proc/PID/cwd never contains one.
pub fn new_directory(prefix: &str, account: &Account) -> Result<PathBuf, LabError> {
    let made = tempfile::Builder::new()
        .prefix(prefix)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(root())
        .map_err(LabError::io("make a temporary directory"))?;
    let path = made.path().canonicalize().map_err(LabError::io("find the temporary directory"))?;
    account.give(&path)?;
    let _ = made.keep();
    Ok(path)
}

/// Where temporary directories go: the memory behind /dev/shm if there is enough of it (a container often has 64 MB),
/// else the usual place.
pub fn root() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize));
    let writable = rustix::fs::access(memory, rustix::fs::Access::WRITE_OK).is_ok();
    if writable && free >= ENOUGH_MEMORY { memory.to_owned() } else { std::env::temp_dir() }
}

/// Makes a directory that only `account` may enter, or checks that the one that is there is such a directory. Several
/// processes may do so at once: what one has made and not given away yet, another gives away.
pub fn private_directory(path: &Path, account: &Account) -> Result<(), LabError> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let made = fs::DirBuilder::new().mode(0o700).create(path);
    if let Err(error) = made
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(LabError::io(format!("make {}", path.display()))(error));
    }
    // Not following links: in a directory that everybody may write to, anybody may have put one there.
    let found = fs::symlink_metadata(path).map_err(LabError::io(format!("look at {}", path.display())))?;
    let is_ours = [account.uid(), rustix::process::geteuid().as_raw()].contains(&found.uid());
    if !(found.is_dir() && is_ours && found.mode() & 0o077 == 0) {
        return Err(LabError::ForeignDirectory(path.to_owned()));
    }
    account.give(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a machine without templates the tests of all crates make their directory at once. One of them found it made
    /// and not given away yet, and took it for somebody else's.
    #[test]
    fn a_private_directory_may_be_made_by_several_at_once() {
        let account = Account::current().expect("an account");
        let scratch = tempfile::tempdir().expect("a temporary directory");
        for round in 0..50 {
            let path = scratch.path().join(round.to_string());
            std::thread::scope(|scope| {
                let makers = [(); 4].map(|()| scope.spawn(|| private_directory(&path, &account)));
                for maker in makers {
                    maker.join().expect("no panic").expect("made by one, and found by the others");
                }
            });
        }
    }
}
