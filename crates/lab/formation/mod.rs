//! A real pg_auto_failover formation on this machine: a monitor, a primary and its standbys, until they are dropped.
//!
//! ```no_run
//! let formation = lab::Formation::start(lab::FormationOptions::default())?;
//! let moved = formation.switchover(None)?;
//! println!("{} took over from {} after {:?}", moved.to, moved.from, moved.writable_after);
//! # Ok::<(), lab::LabError>(())
//! ```

mod accidents;
mod birth;
mod layout;
mod member;
mod processes;
mod profile;
mod programs;
mod running;
mod sql;
mod states;
mod switchover;

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub use member::Member;
pub use processes::Part;
pub use profile::Profile;
pub use states::NodeState;
pub use switchover::Switchover;

use self::layout::{Layout, State};
use crate::postgres::last_lines;
use crate::watchdog::Watchdog;
use crate::{Account, LabError, Login, PASSWORD, command, scratch};

/// Between two looks at something that is waited for.
const POLL: Duration = Duration::from_millis(20);
/// For questions to a server, which may be frozen, or merely slow on a machine that has much to do.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
const PROGRAM_LIMIT: Duration = Duration::from_secs(120);

/// How to start a [`Formation`].
#[derive(Debug, Clone)]
pub struct FormationOptions {
    /// How many data nodes: at least one.
    pub nodes: u8,
    /// How soon a dead primary is replaced.
    pub profile: Profile,
    /// Where everything goes, and goes away from at the end: absent, or left behind by an earlier formation, or empty
    /// and private to the account the servers run under. By default a new one, in memory where possible.
    pub directory: Option<PathBuf>,
}

impl Default for FormationOptions {
    fn default() -> FormationOptions {
        FormationOptions { nodes: 2, profile: Profile::default(), directory: None }
    }
}

/// A running formation. Dropping the value that started it ends every process and removes every file, and so does the
/// death of the process that owns it. A value from [`attach`](Formation::attach) only visits.
#[derive(Debug)]
pub struct Formation {
    layout: Layout,
    state: State,
    account: Account,
    /// Only the owner's.
    _watchdog: Option<Watchdog>,
}

impl Formation {
    /// Makes a formation with the roles and databases named at the top of this crate, and waits until it is stable.
    /// Ports are free ones. The formation's name is `default`.
    pub fn start(options: FormationOptions) -> Result<Formation, LabError> {
        let (bin, autoctl) = programs::find()?;
        let account = Account::current()?;
        let (layout, watchdog) = claim(options.directory, &account)?;
        programs::furnish(&account, &bin, &layout)?;
        let state = State { bin, autoctl, profile: options.profile, ports: Default::default() };
        let mut formation = Formation { layout, state, account, _watchdog: Some(watchdog) };
        formation.make_monitor()?;
        for _ in 0..options.nodes.max(1) {
            formation.make_node(&[])?;
        }
        formation.wait_stable(birth::LIMIT)?;
        Ok(formation)
    }

    /// A formation that another process owns.
    pub fn attach(directory: &Path) -> Result<Formation, LabError> {
        let root = directory.canonicalize().map_err(|_| LabError::NoFormation(directory.to_owned()))?;
        let layout = Layout::new(root)?;
        let state = State::read(&layout)?;
        Ok(Formation { layout, state, account: Account::current()?, _watchdog: None })
    }

    /// Where everything is. Logs are in `log/`: `node1.log` is pg_autoctl's, `postgres-node1.log` the server's.
    pub fn directory(&self) -> &Path {
        self.layout.root()
    }

    /// Its time limits.
    pub fn profile(&self) -> Profile {
        self.state.profile
    }

    /// The account the servers run under.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The data nodes.
    pub fn nodes(&self) -> Vec<Member> {
        self.state.ports.keys().copied().filter(|member| *member != Member::Monitor).collect()
    }

    /// Where a member listens; it stays the same over restarts.
    pub fn address(&self, member: Member) -> Result<SocketAddr, LabError> {
        let port = self.state.ports.get(&member).ok_or(LabError::NoMember(member))?;
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, *port)))
    }

    /// The monitor for a pooler: a role with a password that may LISTEN and read the view `pooler.nodes`.
    pub fn monitor_uri(&self) -> Result<String, LabError> {
        self.url(Member::Monitor, sql::POOLER, "pg_auto_failover")
    }

    /// The monitor for pg_autoctl, whose role may do everything.
    pub fn autoctl_uri(&self) -> Result<String, LabError> {
        Ok(format!("postgres://autoctl_node@{}/pg_auto_failover?sslmode=prefer", self.address(Member::Monitor)?))
    }

    /// One member, for one of its roles and databases.
    pub fn url(&self, member: Member, user: &str, database: &str) -> Result<String, LabError> {
        Ok(format!("postgres://{}@{}/{database}", with_password(user), self.address(member)?))
    }

    /// All nodes, of which libpq takes the one that accepts writes.
    pub fn app_uri(&self) -> Result<String, LabError> {
        let addresses: Result<Vec<String>, LabError> =
            self.nodes().into_iter().map(|node| Ok(self.address(node)?.to_string())).collect();
        Ok(format!("postgres://app@{}/app?target_session_attrs=read-write", addresses?.join(",")))
    }

    /// Runs SQL as superuser: on a node in the database `app`, on the monitor in its own. See
    /// [`Postgres::psql_as`](crate::Postgres::psql_as) for the form of the answer.
    pub fn psql(&self, member: Member, sql: &str) -> Result<String, LabError> {
        let database = if member == Member::Monitor { "pg_auto_failover" } else { "app" };
        self.psql_as(member, "postgres", database, sql)
    }

    /// Runs SQL as one of the lab's roles.
    pub fn psql_as(&self, member: Member, user: &str, database: &str, sql: &str) -> Result<String, LabError> {
        let mut psql = self.command(self.state.bin.join("psql"));
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.url(member, user, database)?]);
        psql.env("PGCONNECT_TIMEOUT", "10");
        let output = command::run(&mut psql, PROGRAM_LIMIT)?;
        Ok(output.trim_end_matches('\n').to_owned())
    }

    /// From now on the view `pooler.nodes` names another port for a node, or its own again: a pooler that reads the
    /// view goes through a [`Cable`](crate::Cable), everybody else does not. Notifications still name the node's own.
    pub fn detour(&self, node: Member, port: Option<u16>) -> Result<(), LabError> {
        let insert =
            port.map_or(String::new(), |port| format!("; insert into pooler.detours values ('{node}', {port})"));
        self.psql(Member::Monitor, &format!("delete from pooler.detours where nodename = '{node}'{insert}")).map(drop)
    }

    /// The last lines that pg_autoctl and the server of a member have logged.
    pub fn log(&self, member: Member, lines: usize) -> String {
        let tail = |path: PathBuf| last_lines(&String::from_utf8_lossy(&fs::read(path).unwrap_or_default()), lines);
        format!("{}\n{}", tail(self.layout.log(member)), tail(self.layout.server_log(member)))
    }

    /// An answer to a superuser, soon or not at all.
    fn rows(&self, member: Member, database: &str, sql: &str) -> Result<Vec<Vec<String>>, LabError> {
        self.rows_within(ANSWER_LIMIT, member, database, sql)
    }

    fn rows_within(
        &self,
        limit: Duration,
        member: Member,
        database: &str,
        sql: &str,
    ) -> Result<Vec<Vec<String>>, LabError> {
        Login::new(self.address(member)?, "postgres", database).limit(limit).open()?.rows(sql)
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        programs::command(&self.account, &self.state.bin, &self.layout, program)
    }

    fn autoctl(&self, words: &[&str]) -> Result<String, LabError> {
        command::run(self.command(&self.state.autoctl).args(words), PROGRAM_LIMIT)
    }

    /// The error shows what the monitor saw last.
    fn wait(&self, what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Result<(), LabError> {
        let deadline = Instant::now() + limit;
        while !holds() {
            if Instant::now() >= deadline {
                let seen = self.states().map_or_else(|error| error.to_string(), |states| format!("{states:?}"));
                return Err(LabError::NotYet { what: what.to_owned(), limit, seen });
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

/// Makes the directory ours alone, empty, with somebody who will clean it up.
fn claim(directory: Option<PathBuf>, account: &Account) -> Result<(Layout, Watchdog), LabError> {
    let directory = match directory {
        Some(directory) => {
            scratch::private_directory(&directory, account)?;
            directory
        }
        None => scratch::new_directory("pooler-lab-formation-", account)?,
    };
    let root = directory.canonicalize().map_err(LabError::io(format!("find {}", directory.display())))?;
    let layout = Layout::new(root)?;
    let is_empty = fs::read_dir(layout.root()).map_err(LabError::io("read the directory"))?.next().is_none();
    if !is_empty && !layout.is_ours() {
        return Err(LabError::NotEmpty(directory));
    }
    let lock = File::create(layout.lock()).map_err(LabError::io("create the formation's lock"))?;
    lock.try_lock().map_err(|_| LabError::InUse(directory.clone()))?;
    if !is_empty {
        // What was left behind when owner and watchdog were killed, or the machine was switched off.
        drop(Watchdog::start(processes::CLEAN_UP, layout.root(), Stdio::from(lock))?);
        if directory.exists() {
            return Err(LabError::NotEmpty(directory));
        }
        return claim(Some(directory), account);
    }
    let watchdog = Watchdog::start(processes::CLEAN_UP, layout.root(), Stdio::from(lock))?;
    Ok((layout, watchdog))
}

fn with_password(user: &str) -> String {
    if user.starts_with("app_") || user == sql::POOLER { format!("{user}:{PASSWORD}") } else { user.to_owned() }
}
