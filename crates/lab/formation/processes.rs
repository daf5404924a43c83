//! The processes of a member: found, signalled, killed, and what they leave behind.
//!
//! They are known by the directory they work in. Their names do not help (pg_autoctl's helpers and the backends rename
//! themselves), nor do their parents (the helpers survive a killed supervisor).

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Layout, Member};
use crate::{Account, LabError, command};

const POLL: Duration = Duration::from_millis(5);
const SIGNAL_LIMIT: Duration = Duration::from_secs(10);
const IPCRM_LIMIT: Duration = Duration::from_secs(10);

/// Ends, for the watchdog, what works in the formation's directory, frozen first as in [`kill`]; then removes the
/// semaphores and the shared memory that killed processes leave in the kernel, and the directory.
pub const CLEAN_UP: &str = r#"
ours() {
    for cwd in $(find /proc/[0-9]*/cwd -maxdepth 0 -lname "$dir/*"); do
        process=${cwd%/cwd}
        case $(readlink "$cwd") in
            "$dir"/work/*) echo "${process#/proc/}";;
            "$dir"/data/*) case $(readlink "$process/exe") in */postgres*) echo "${process#/proc/}";; esac;;
        esac
    done
}
rounds=0
while pids=$(ours); [ -n "$pids" ] && [ "$rounds" -lt 200 ]; do
    kill -STOP $pids; kill -KILL $pids
    sleep 0.05; rounds=$((rounds + 1))
done
find "$dir/run" -name pg_autoctl.pid | while read -r file; do ipcrm -s "$(sed -n 5p "$file")"; done
for file in "$dir"/data/*/postmaster.pid; do ipcrm -m "$(sed -n 7p "$file" | awk '{ print $2 }')"; done
rm -rf "$dir" || { sleep 1; rm -rf "$dir"; }
"#;

/// Which of a member's processes are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All: the machine.
    All,
    /// pg_autoctl and what it runs, except the server.
    Keeper,
    /// The server: postmaster and backends.
    Postgres,
    /// The postmaster alone. With the keeper frozen as well, the backends go on, unseen by the others.
    Postmaster,
}

/// The ids of the live processes; one that has ended but was not reaped does not count.
pub fn pids(layout: &Layout, member: Member, part: Part) -> Vec<Pid> {
    if part == Part::Postmaster {
        return postmaster(layout, member).into_iter().collect();
    }
    let (work, data) = (layout.work(member), layout.data(member));
    let wanted = |process: &Path| {
        let cwd = fs::read_link(process.join("cwd")).ok()?;
        let keeper = part != Part::Postgres && cwd.starts_with(&work);
        let server = part != Part::Keeper && cwd.starts_with(&data) && is_postgres(process);
        (keeper || server).then_some(())
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| {
            let pid = Pid::from_raw(process.file_name().to_str()?.parse().ok()?)?;
            wanted(&process.path()).map(|()| pid)
        })
        .collect()
}

/// In a data directory somebody's shell may be at work as well.
fn is_postgres(process: &Path) -> bool {
    let program = fs::read_link(process.join("exe")).unwrap_or_default();
    program.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"postgres"))
}

/// The process that runs everything else of a member, if it lives.
pub fn supervisor(layout: &Layout, member: Member) -> Option<Pid> {
    first_line_pid(&layout.autoctl("run", member).join("pg_autoctl.pid"), &layout.work(member))
}

/// The parent of the backends, if it lives.
pub fn postmaster(layout: &Layout, member: Member) -> Option<Pid> {
    let data = layout.data(member);
    first_line_pid(&data.join("postmaster.pid"), &data)
}

/// The process id in the first line of a file, unless it belongs to somebody else by now, who works elsewhere.
fn first_line_pid(file: &Path, cwd: &Path) -> Option<Pid> {
    let text = fs::read_to_string(file).ok()?;
    let pid = text.lines().next()?.trim().parse().ok()?;
    let works_in = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    (works_in == cwd).then(|| Pid::from_raw(pid)).flatten()
}

/// Whether a process is stopped by a signal: the third field of /proc/PID/stat, after a name that may contain anything.
pub fn is_frozen(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, after_name)| after_name.trim_start().starts_with('T'))
}

/// Sends a signal to each; who has ended meanwhile needs none.
pub fn signal(pids: &[Pid], signal: Signal) -> Result<(), LabError> {
    for pid in pids {
        match kill_process(*pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(LabError::io(format!("signal process {}", pid.as_raw_nonzero()))(error.into())),
        }
    }
    Ok(())
}

/// Ends all at one moment, as the death of a machine would: they are frozen first, because a postmaster that sees its
/// children die still tells the clients (57P02), which a dead machine does not.
pub fn kill(layout: &Layout, member: Member, part: Part) -> Result<(), LabError> {
    until_none(&format!("the end of {member}"), || pids(layout, member, part), &[Signal::STOP, Signal::KILL])
}

/// Freezes all, also those that are born meanwhile.
pub fn freeze(layout: &Layout, member: Member, part: Part) -> Result<(), LabError> {
    let awake = || pids(layout, member, part).into_iter().filter(|pid| !is_frozen(*pid)).collect();
    until_none(&format!("the freezing of {member}"), awake, &[Signal::STOP])
}

/// Once is not enough: a process may be born between the look and the signal.
fn until_none(what: &str, find: impl Fn() -> Vec<Pid>, signals: &[Signal]) -> Result<(), LabError> {
    let deadline = Instant::now() + SIGNAL_LIMIT;
    loop {
        let found = find();
        if found.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let seen = format!("processes {found:?}");
            return Err(LabError::NotYet { what: what.to_owned(), limit: SIGNAL_LIMIT, seen });
        }
        for kind in signals {
            signal(&found, *kind)?;
        }
        thread::sleep(POLL);
    }
}

/// Removes what killed processes leave behind: semaphore and shared memory in the kernel, and the files with their
/// process ids. Such a file is believed as long as its process is a zombie or its id has been used again: by a server
/// that then refuses to start, and by pg_autoctl for ever. Only for a member of which nothing runs.
pub fn clear(account: &Account, layout: &Layout, member: Member, port: u16) -> Result<(), LabError> {
    let autoctl = layout.autoctl("run", member).join("pg_autoctl.pid");
    let server = layout.data(member).join("postmaster.pid");
    // The fifth line of the one; the seventh of the other: a key, and the id.
    let semaphore = word(&autoctl, 5, 1);
    let memory = word(&server, 7, 2);
    for (kind, id) in [("-s", semaphore), ("-m", memory)] {
        if let Some(id) = id {
            // Gone already is gone; somebody else's is refused, because this does not run as root.
            let _ = command::run(account.command("ipcrm").args([kind, &id]), IPCRM_LIMIT);
        }
    }
    let socket = layout.sockets().join(format!(".s.PGSQL.{port}.lock"));
    for file in [autoctl, server, socket] {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(LabError::io(format!("remove {}", file.display()))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A number in a file, by line and place, both from 1.
fn word(file: &Path, line: usize, place: usize) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let word = text.lines().nth(line - 1)?.split_whitespace().nth(place - 1)?;
    word.parse::<u32>().ok().map(|number| number.to_string())
}
