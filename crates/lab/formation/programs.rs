//! pg_auto_failover's programs, and the surroundings they run in.

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use super::layout::Layout;
use crate::{Account, LabError, binaries, template};

/// The monitor's extension, next to the programs of the PostgreSQL it was built for.
const EXTENSION: &str = "../lib/pgautofailover.so";

/// PostgreSQL's programs and pg_autoctl: `$PGBIN`, else the newest PostgreSQL that has the extension; pg_autoctl from
/// there or from the PATH.
pub fn find() -> Result<(PathBuf, PathBuf), LabError> {
    let with_extension = |bin: &Path| bin.join(EXTENSION).is_file();
    let bin = match env::var_os("PGBIN") {
        Some(_) => binaries::find().ok().filter(|bin| with_extension(bin)),
        None => binaries::newest_with(EXTENSION),
    };
    let bin = bin.ok_or(LabError::NoAutoFailover("the extension pgautofailover.so"))?;
    let path = env::var_os("PATH").unwrap_or_default();
    let autoctl = [bin.clone(), "/usr/bin".into()].into_iter().chain(env::split_paths(&path));
    let autoctl = autoctl.map(|directory| directory.join("pg_autoctl")).find(|program| program.is_file());
    Ok((bin, autoctl.ok_or(LabError::NoAutoFailover("the program pg_autoctl"))?))
}

/// A command with an environment that keeps pg_autoctl inside the directory: its files (`XDG_…`; its process id would
/// otherwise go to a directory in /tmp that all users share) and the sockets. With `PG_AUTOCTL_DEBUG` it leaves out a
/// tuning that gives each server a quarter of the machine's memory. A Ctrl-C is not for it but for its maker.
pub fn command(account: &Account, bin: &Path, layout: &Layout, program: impl AsRef<OsStr>) -> Command {
    let (root, sockets) = (layout.root(), layout.sockets());
    let mut command = account.command(program);
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).env("LC_ALL", "C.UTF-8").env("HOME", root);
    for (name, directory) in [("CONFIG_HOME", "config"), ("DATA_HOME", "share"), ("RUNTIME_DIR", "run")] {
        command.env(format!("XDG_{name}"), root.join(directory));
    }
    command.env("PG_REGRESS_SOCK_DIR", &sockets).env("PGHOST", &sockets).env("PG_AUTOCTL_DEBUG", "1");
    command.current_dir(root).process_group(0);
    command
}

/// Makes the directories, the shared settings, and the directory of programs.
pub fn furnish(account: &Account, bin: &Path, layout: &Layout) -> Result<(), LabError> {
    for name in ["config", "share", "run", "sock", "log", "data", "work", "bin"] {
        let path = layout.root().join(name);
        fs::create_dir(&path).map_err(LabError::io(format!("make {}", path.display())))?;
        account.give(&path)?;
    }
    write(&layout.conf(), &conf(layout))?;
    // The first rule that fits decides: the role of poolers has to prove itself.
    let hba = format!("host pg_auto_failover {} samehost scram-sha-256{}", super::sql::POOLER, template::HBA);
    write(&layout.hba(), &hba)?;
    link_programs(bin, layout).map_err(LabError::io("link PostgreSQL's programs"))?;
    let postgres = layout.bin().join("postgres");
    write(&postgres, &wrapper(bin, layout))?;
    fs::set_permissions(&postgres, fs::Permissions::from_mode(0o755))
        .map_err(LabError::io("make a program of the wrapper"))
}

fn link_programs(bin: &Path, layout: &Layout) -> std::io::Result<()> {
    for entry in fs::read_dir(bin)? {
        let entry = entry?;
        if entry.file_name() != "postgres" {
            symlink(entry.path(), layout.bin().join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), LabError> {
    fs::write(path, text).map_err(LabError::io(format!("write {}", path.display())))
}

/// pg_autoctl starts the `postgres` next to the pg_ctl it was given. This one makes the server read our settings and
/// log under its own name.
fn wrapper(bin: &Path, layout: &Layout) -> String {
    let (bin, conf) = (bin.display(), layout.conf());
    let conf = conf.display();
    format!(
        r#"#!/bin/sh
data= previous=
for word do [ "$previous" = -D ] && data=$word; previous=$word; done
[ -n "$data" ] || exec {bin}/postgres "$@"
line="include '{conf}'"
grep -qsxF "$line" "$data/postgresql.conf" || echo "$line" >>"$data/postgresql.conf"
exec {bin}/postgres "$@" -c log_filename="postgres-${{data##*/}}.log"
"#
    )
}

/// Beside the usual settings: pg_rewind wants full pages; no checkpoint is spread over time, because a base backup waits for one; write-ahead log
/// is kept within reason (pg_autoctl asks for 8 GB); a standby whose stream has just ended when it is promoted does
/// not sleep for 5 s first, as it does with PostgreSQL's own wal_retrieve_retry_interval.
fn conf(layout: &Layout) -> String {
    let (hba, logs) = (layout.hba(), layout.logs());
    format!(
        "{usual}
hba_file = '{hba}'
full_page_writes = on
max_connections = 200
shared_buffers = 32MB
wal_keep_size = 256MB
checkpoint_completion_target = 0
wal_retrieve_retry_interval = 200ms
logging_collector = on
log_directory = '{logs}'
log_truncate_on_rotation = off
log_rotation_age = 0
log_rotation_size = 0
",
        usual = template::CONF,
        hba = hba.display(),
        logs = logs.display(),
    )
}
