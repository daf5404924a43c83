//! The real program, started for one test, and judged at its end.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::thread;

use lab::{Account, Scratch};

use super::config::Setup;
use super::stream::Stream;
use super::wait::until_deadline;
use super::{Address, Client, Console, Login, eventually, until};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_pooler");

/// Lines of the log that are shown when a test fails.
const SHOWN: usize = 60;
const PORT_ATTEMPTS: usize = 5;

/// Tests of this process must not take each other's ports.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A running pooler. Dropping it ends it; unless the test has failed already, its pools must be at rest by then, and
/// its log without a warning that the setup did not allow.
#[derive(Debug)]
pub struct Pooler {
    pub port: u16,
    pub setup: Setup,
    child: Child,
    // After `child`: dropping it removes what the child works in.
    scratch: Scratch,
    account: Account,
    ended: bool,
}

impl Pooler {
    #[track_caller]
    pub(super) fn start(setup: Setup) -> Pooler {
        for _ in 0..PORT_ATTEMPTS {
            let mut pooler = Pooler::launch(setup.clone());
            if pooler.wait_until_listening() {
                return pooler;
            }
            pooler.ended = true;
            let log = pooler.log();
            assert!(log.to_lowercase().contains("in use"), "the pooler did not start:\n{log}");
        }
        panic!("no free port for the pooler");
    }

    /// Starts the program and does not wait for it.
    fn launch(setup: Setup) -> Pooler {
        let account = Account::current().expect("an account to run as");
        let scratch = Scratch::new(&account).expect("a scratch directory");
        let port = port();
        let toml = setup.toml(scratch.path(), port, account.name());
        write_file(&scratch, &account, "pooler.toml", &toml);
        write_file(&scratch, &account, "userlist.txt", &setup.userlist());
        setup.files().for_each(|(name, content)| write_file(&scratch, &account, name, content));
        let log = File::create(scratch.path().join("log")).expect("a log file");
        let mut command = Command::new(PROGRAM);
        command.arg(scratch.path().join("pooler.toml")).env_clear().env("TZ", "UTC").env("RUST_BACKTRACE", "1");
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        let child = scratch.spawn(&mut command).expect("the pooler can be started");
        Pooler { port, setup, child, scratch, account, ended: false }
    }

    /// False when it ended instead.
    fn wait_until_listening(&mut self) -> bool {
        let (address, socket) = (self.address(), self.socket());
        until("the pooler listens or ends", || {
            if self.child.try_wait().expect("the child can be asked").is_some() {
                return Some(false);
            }
            let listens = Stream::connect(&address).is_ok() && Stream::connect(&socket).is_ok();
            listens.then_some(true)
        })
    }

    /// A warning that this test provokes after all: part of its log line.
    pub fn also(mut self, words: &str) -> Pooler {
        self.setup.allowed.push(words.into());
        self
    }

    pub fn address(&self) -> Address {
        Address::local(self.port)
    }

    /// The Unix socket.
    pub fn socket(&self) -> Address {
        Address::Unix(self.scratch.path().join(format!(".s.PGSQL.{}", self.port)))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A file in the pooler's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// How the setup's own role logs in.
    pub fn login(&self) -> Login {
        Login::new(&self.setup.user)
    }

    /// A client of the setup's own role in database `app`.
    #[track_caller]
    pub fn client(&self) -> Client {
        self.login().open(&self.address())
    }

    /// The console, as administrator.
    #[track_caller]
    pub fn console(&self) -> Console {
        Console::with(&self.setup.operator, &self.address())
    }

    /// Replaces the configuration by an edited one; nothing happens before a RELOAD.
    pub fn rewrite(&mut self, edit: impl FnOnce(Setup) -> Setup) {
        self.setup = edit(self.setup.clone());
        let toml = self.setup.toml(self.scratch.path(), self.port, self.account.name());
        self.write("pooler.toml", &toml);
        self.write("userlist.txt", &self.setup.userlist());
        self.setup.files().for_each(|(name, content)| self.write(name, content));
    }

    /// Replaces a file in the pooler's directory, all at once.
    pub fn replace(&self, name: &str, text: &str) {
        let next = format!("{name}.next");
        self.write(&next, text);
        fs::rename(self.path(&next), self.path(name)).expect("files can be renamed");
    }

    /// Writes over a file in the pooler's directory.
    pub fn write(&self, name: &str, text: &str) {
        write_file(&self.scratch, &self.account, name, text);
    }

    /// All it has written to stderr and stdout.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("log")).unwrap_or_default()).into_owned()
    }

    /// Sends it a signal by its number's name, as kill(1) spells it.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let sent = Command::new("/bin/kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "cannot send SIG{name}");
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn ending(&mut self) -> ExitStatus {
        self.ended = true;
        until("the pooler ends", || self.child.try_wait().expect("the child can be asked"))
    }

    /// True while the process is there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child can be asked").is_none()
    }

    /// Waits until every client has gone and no server is lent.
    #[track_caller]
    pub fn rest(&self) {
        self.wait_for_zeroes(&["cl_active", "cl_waiting", "sv_active", "sv_tested", "sv_login", "sv_being_canceled"]);
    }

    /// Waits until no server is lent; clients may be connected.
    #[track_caller]
    pub fn quiet(&self) {
        self.wait_for_zeroes(&["cl_waiting", "sv_active", "sv_tested", "sv_login"]);
    }

    #[track_caller]
    fn wait_for_zeroes(&self, columns: &[&str]) {
        let mut console = self.console();
        let mut rows = Vec::new();
        let resting = until_deadline(|| {
            rows = console.show("POOLS");
            let pools = rows.iter().filter(|row| row["database"] != "pgbouncer");
            pools.flat_map(|row| columns.iter().map(|column| row[*column].as_str())).all(|count| count == "0")
        });
        assert!(resting, "the pools are not at rest: {rows:?}");
    }

    /// Lines of the log that nobody expected.
    fn complaints(&self) -> Vec<String> {
        let loud = ["WARNING", "ERROR", "FATAL", "WARN "];
        let log = self.log();
        let unexpected = log.lines().filter(|line| {
            let allowed = self.setup.allowed.iter().any(|words| line.contains(words));
            line.contains("panicked") || (loud.iter().any(|level| line.contains(level)) && !allowed)
        });
        unexpected.map(str::to_owned).collect()
    }

    fn show_log(&self) {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(SHOWN)..];
        eprintln!("--- the pooler's log ends with:\n{}\n---", shown.join("\n"));
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show_log();
        } else {
            if !self.ended {
                self.rest();
            }
            let complaints = self.complaints();
            assert!(complaints.is_empty(), "unexpected in the log:\n{}", complaints.join("\n"));
        }
        // It may have ended by itself; the scratch directory takes care of the rest.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that no other test of this process has.
pub fn port() -> u16 {
    loop {
        let port = lab::free_port().expect("a free port");
        if TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return port;
        }
    }
}

fn write_file(scratch: &Scratch, account: &Account, name: &str, text: &str) {
    let path = scratch.path().join(name);
    fs::write(&path, text).expect("files can be written");
    // The pooler complains of private keys that others may read.
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("files can be closed");
    account.give(&path).expect("files can be handed over");
}

/// Waits until the log contains these words.
#[track_caller]
pub fn await_log(pooler: &Pooler, words: &str) {
    eventually(&format!("the log says {words:?}"), || pooler.log().contains(words));
}
