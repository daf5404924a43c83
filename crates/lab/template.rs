//! A ready-made data directory to copy: initdb takes a second or two, copying its result a few milliseconds.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::scratch::{private_directory, root};
use crate::{Account, LabError, command};

const LIMIT: Duration = Duration::from_secs(120);

/// Nothing here has to survive a crash of the machine, so nothing waits for a disk; a crash of PostgreSQL must lose
/// nothing, so synchronous_commit stays on. Shared memory goes into the data directory, where a killed server cannot
/// leave it behind.
pub const CONF: &str = "
listen_addresses = '127.0.0.1'
fsync = off
full_page_writes = off
max_wal_size = 512MB
dynamic_shared_memory_type = mmap
log_line_prefix = '%m [%p] %q%u@%d '
log_timezone = 'UTC'
timezone = 'UTC'
";

/// Who may log in, and how: the table at the top of this crate.
pub const HBA: &str = "
local all app_scram           scram-sha-256
host  all app_scram samehost  scram-sha-256
local all app_md5             md5
host  all app_md5   samehost  md5
local all app_plain           password
host  all app_plain samehost  password
local all app_cert            reject
host  all app_cert  samehost  reject
local all all                 trust
host  all all       samehost  trust
local replication all           trust
host  replication all samehost  trust
";

/// One statement a line: that is how a single-user server reads them. The other roles are members of `app`,
/// so that each may read and replace the tables of the others.
pub const ROLES: &str = "\
set password_encryption = 'scram-sha-256'
create role app login
create role app_cert login in role app
create role app_scram login in role app password 'secret'
create role app_plain login in role app password 'secret'
set password_encryption = 'md5'
create role app_md5 login in role app password 'secret'
";

/// The databases, likewise.
const DATABASES: &str = "\
create database app owner app
create database other owner app
";

/// The template for these binaries; made by the first process that asks, while the others wait. It stays for the
/// next run, and its name changes with whatever went into it.
pub fn ensure(account: &Account, bin: &Path) -> Result<PathBuf, LabError> {
    let home = root().join(format!("pooler-lab-templates-{}", account.uid()));
    private_directory(&home, account)?;
    let version = command::run(account.command(bin.join("postgres")).arg("--version"), LIMIT)?;
    let mut hasher = DefaultHasher::new();
    (bin, version, CONF, HBA, ROLES, DATABASES).hash(&mut hasher);
    let template = home.join(format!("{:016x}", hasher.finish()));
    if template.exists() {
        return Ok(template);
    }
    let lock = File::create(home.join("lock")).map_err(LabError::io("create the lock file of the templates"))?;
    account.give(&home.join("lock"))?;
    lock.lock().map_err(LabError::io("lock the templates"))?;
    if !template.exists() {
        build(account, bin, &home, &template)?;
    }
    Ok(template)
}

/// Copies the template to `data`, which must not exist.
pub fn copy(account: &Account, template: &Path, data: &Path) -> Result<(), LabError> {
    command::run(account.command("cp").arg("-a").arg(template).arg(data), LIMIT).map(drop)
}

fn build(account: &Account, bin: &Path, home: &Path, template: &Path) -> Result<(), LabError> {
    let workshop = tempfile::tempdir_in(home).map_err(LabError::io("make a temporary directory"))?;
    account.give(workshop.path())?;
    let data = workshop.path().join("data");
    let mut initdb = account.command(bin.join("initdb"));
    initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]).arg(&data);
    command::run(initdb.current_dir(workshop.path()), LIMIT)?;
    append(&data.join("postgresql.conf"), CONF)?;
    fs::write(data.join("pg_hba.conf"), HBA).map_err(LabError::io("write pg_hba.conf"))?;

    let script = workshop.path().join("roles.sql");
    fs::write(&script, [ROLES, DATABASES].concat()).map_err(LabError::io("write roles.sql"))?;
    let script = File::open(&script).map_err(LabError::io("open roles.sql"))?;
    let mut single = account.command(bin.join("postgres"));
    single.arg("--single").args(["-c", "exit_on_error=on", "-D"]).arg(&data).arg("postgres");
    command::run_with(single.current_dir(workshop.path()), Stdio::from(script), LIMIT)?;
    // Renamed only when complete: a template that exists is a good one.
    fs::rename(&data, template).map_err(LabError::io("keep the template"))
}

/// Appends to a file of PostgreSQL's, whose owner stays who it is.
pub fn append(path: &Path, text: &str) -> Result<(), LabError> {
    use std::io::Write;
    let file = File::options().append(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(LabError::io(format!("append to {}", path.display())))
}
