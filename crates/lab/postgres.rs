//! One throw-away PostgreSQL server: start, ask, stop, restart, crash.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::authority::CERTIFIED_ROLE;
use crate::{Account, Authority, LabError, Options, PASSWORD, Scratch, binaries, command, free_port, template};

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const PSQL_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);
/// A free port can be lost to another process before the server binds it.
const PORT_ATTEMPTS: usize = 5;

/// A running (or stopped) PostgreSQL. Dropping it ends the server at once and removes its data; so does the death of
/// the process that owns it.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    account: Account,
    port: u16,
    server: Option<Child>,
    authority: Option<Authority>,
    // After `server`: it is dropped last, with the directory everything lives in.
    scratch: Scratch,
}

impl Postgres {
    /// Makes a server with the roles and databases named at the top of this crate, and waits until it accepts
    /// connections.
    pub fn start(options: Options) -> Result<Postgres, LabError> {
        let account = Account::current()?;
        let bin = binaries::find()?;
        let template = template::ensure(&account, &bin)?;
        let scratch = Scratch::new(&account)?;
        template::copy(&account, &template, &scratch.path().join("data"))?;
        let mut postgres = Postgres { bin, account, port: 0, server: None, authority: None, scratch };
        postgres.configure(&options)?;
        for _ in 0..PORT_ATTEMPTS {
            postgres.port = free_port()?;
            match postgres.launch() {
                Err(LabError::NotReady { log }) if log.contains("Address already in use") => {}
                ended => return ended.map(|()| postgres),
            }
        }
        Err(LabError::NoPort)
    }

    /// The port on 127.0.0.1; it stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the Unix socket, for `host=`. Only the account the server runs under (and root) may enter it.
    pub fn socket_dir(&self) -> &Path {
        self.scratch.path()
    }

    /// A connection string for one of the lab's roles and databases, over TCP.
    pub fn url(&self, user: &str, database: &str) -> String {
        let password = if user.starts_with("app_") { format!(":{PASSWORD}") } else { String::new() };
        format!("postgres://{user}{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// The directory that holds psql, pgbench and the other programs of this server.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The account the server runs under; a pooler that is started as root can use it for its setting `user`.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The certificates of a server that was started with [`Options::tls`]; they live as long as the server.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// The postmaster's process id; None while the server is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// What the server has logged since it was made.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Runs SQL as superuser in database `app`; see [`psql_as`](Postgres::psql_as).
    pub fn psql(&self, sql: &str) -> Result<String, LabError> {
        self.psql_as("postgres", "app", sql)
    }

    /// Runs SQL through psql, directly on this server and as one transaction if it is several statements. Returns
    /// the values as `psql -At` prints them, without the last newline; an error carries the server's message.
    pub fn psql_as(&self, user: &str, database: &str, sql: &str) -> Result<String, LabError> {
        let mut psql = self.account.command(self.bin.join("psql"));
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.url(user, database)]);
        psql.env("PGCONNECT_TIMEOUT", "10");
        let output = command::run(psql.current_dir("/"), PSQL_LIMIT)?;
        Ok(output.trim_end_matches('\n').to_owned())
    }

    /// True when the server has ended although nobody here stopped it.
    pub fn has_ended(&mut self) -> Result<bool, LabError> {
        match self.server.as_mut() {
            Some(server) => Ok(server.try_wait().map_err(LabError::io("wait for postgres"))?.is_some()),
            None => Ok(false),
        }
    }

    /// Stops the server in fast mode: sessions are ended with 57P01, transactions rolled back. Stopping a stopped
    /// server changes nothing.
    pub fn stop(&mut self) -> Result<(), LabError> {
        self.end(Signal::INT)
    }

    /// Stops the server as a crash would: sessions see 57P02 or a mere end of file, and the next start recovers.
    pub fn crash(&mut self) -> Result<(), LabError> {
        self.end(Signal::QUIT)
    }

    /// Stops the server in fast mode, unless it is stopped, and starts it again on the same port and data.
    pub fn restart(&mut self) -> Result<(), LabError> {
        self.stop()?;
        self.launch()
    }

    /// Kills one backend with SIGKILL, upon which PostgreSQL ends all others and recovers. Refuses any process that
    /// is not a child of this server.
    pub fn kill_9_backend(&self, pid: u32) -> Result<(), LabError> {
        let postmaster = self.pid().ok_or(LabError::Stopped)?;
        if parent_of(pid) != Some(postmaster) {
            return Err(LabError::NotABackend(pid));
        }
        signal(pid, Signal::KILL)
    }

    fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.scratch.path().join("log")
    }

    fn configure(&mut self, options: &Options) -> Result<(), LabError> {
        let data = self.data();
        let mut conf = format!("max_connections = {}\n", options.max_connections);
        let mut hba = options.hba.clone();
        if options.tls {
            let directory = self.scratch.path().join("tls");
            fs::create_dir(&directory).map_err(LabError::io("make the directory of certificates"))?;
            self.account.give(&directory)?;
            let made = self.authority.insert(Authority::make(&directory, &self.account)?);
            conf.push_str(&tls_conf(made));
            hba.push(format!("hostssl all {CERTIFIED_ROLE} samehost cert"));
        }
        options.conf.iter().for_each(|line| conf.extend([line, "\n"]));
        template::append(&data.join("postgresql.conf"), &conf)?;
        if !hba.is_empty() {
            let path = data.join("pg_hba.conf");
            let usual = fs::read_to_string(&path).map_err(LabError::io("read pg_hba.conf"))?;
            let lines = format!("{}\n{usual}", hba.join("\n"));
            fs::write(&path, lines).map_err(LabError::io("write pg_hba.conf"))?;
        }
        for (name, content) in &options.files {
            let path = data.join(name);
            fs::write(&path, content).map_err(LabError::io(format!("write {name}")))?;
            // PostgreSQL refuses a private key that others may read.
            fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(LabError::io(format!("close {name}")))?;
            self.account.give(&path)?;
        }
        Ok(())
    }

    fn launch(&mut self) -> Result<(), LabError> {
        let log = File::options().create(true).append(true).open(self.log_path());
        let log = log.map_err(LabError::io("open the server's log"))?;
        let errors = log.try_clone().map_err(LabError::io("open the server's log"))?;
        let mut server = self.account.command(self.bin.join("postgres"));
        server.arg("-D").arg(self.data()).arg("-k").arg(self.scratch.path()).args(["-p", &self.port.to_string()]);
        self.server = Some(self.scratch.spawn(server.stdout(Stdio::from(log)).stderr(Stdio::from(errors)))?);
        self.wait_until_ready()
    }

    /// A server that does not get ready is ended, so that its port and data can be used again.
    fn wait_until_ready(&mut self) -> Result<(), LabError> {
        let deadline = Instant::now() + START_LIMIT;
        while let Some(server) = self.server.as_mut() {
            let ended = server.try_wait().map_err(LabError::io("wait for postgres"))?.is_some();
            let pid = server.id();
            if ended || Instant::now() >= deadline {
                self.end(Signal::QUIT)?;
                return Err(LabError::NotReady { log: last_lines(&self.log(), 10) });
            }
            if is_ready(&self.data(), pid) {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        Err(LabError::Stopped)
    }

    /// Ends the server with a signal, and with ruder ones if that takes too long.
    fn end(&mut self, first: Signal) -> Result<(), LabError> {
        let Some(mut server) = self.server.take() else {
            return Ok(());
        };
        for kind in [first, Signal::QUIT] {
            if server.try_wait().map_err(LabError::io("wait for postgres"))?.is_some() {
                return Ok(());
            }
            signal(server.id(), kind)?;
            if command::wait(&mut server, STOP_LIMIT).map_err(LabError::io("wait for postgres"))?.is_some() {
                return Ok(());
            }
        }
        command::kill(&mut server);
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Whatever this could not end, the scratch directory's watchdog does.
        let _ = self.end(Signal::QUIT);
    }
}

fn tls_conf(authority: &Authority) -> String {
    let Authority { ca, server_cert, server_key, .. } = authority;
    let files = [("ssl_ca_file", ca), ("ssl_cert_file", server_cert), ("ssl_key_file", server_key)];
    let lines = files.map(|(setting, path)| format!("{setting} = '{}'\n", path.display()));
    format!("ssl = on\n{}", lines.concat())
}

/// The eighth line of postmaster.pid is the server's own word for its state; the first must be the server we started
/// and not its predecessor.
fn is_ready(data: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    lines.next() == Some(pid.to_string().as_str()) && lines.nth(6) == Some("ready")
}

fn signal(pid: u32, signal: Signal) -> Result<(), LabError> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(LabError::NotABackend(pid))?;
    kill_process(pid, signal)
        .map_err(|error| LabError::io(format!("signal process {}", pid.as_raw_nonzero()))(error.into()))
}

/// The fourth field of /proc/PID/stat; the second is a name in parentheses that may contain anything.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

/// The end of a log.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
