//! How members are made: the monitor, the first node, and the nodes that copy it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use super::{Formation, Member, PROGRAM_LIMIT, processes, sql};
use crate::{LabError, Login, command, free_port};

/// For a step of it; a copy of the data on a slow disk takes longest.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Addresses, not names, because a name may mean ::1. Who may log in is our file's business, not pg_autoctl's.
const COMMON: [&str; 6] = ["--hostname", "127.0.0.1", "--listen", "127.0.0.1", "--skip-pg-hba", "--no-ssl"];

impl Formation {
    pub(super) fn make_monitor(&mut self) -> Result<(), LabError> {
        self.create(Member::Monitor, &[])?;
        let login = Login::new(self.address(Member::Monitor)?, "autoctl_node", "pg_auto_failover");
        self.wait_running(Member::Monitor, || {
            login.open().and_then(|mut client| client.query("select from pgautofailover.node")).is_ok()
        })?;
        self.bootstrap(Member::Monitor, "pg_auto_failover", &sql::monitor(self.state.profile))?;
        self.keep_config(Member::Monitor)
    }

    /// Makes the next node; `extra` are words for pg_autoctl. Returns when it is the primary or a standby.
    pub(super) fn make_node(&mut self, extra: &[&str]) -> Result<Member, LabError> {
        let last = self.nodes().last().copied();
        let node = match last {
            Some(Member::Node(number)) => Member::Node(number.checked_add(1).ok_or(LabError::NoPort)?),
            _ => Member::Node(1),
        };
        let (name, monitor) = (node.to_string(), self.autoctl_uri()?);
        let words = ["--name", &name, "--monitor", &monitor, "--dbname", "app", "--maximum-backup-rate", "1000M"];
        self.create(node, &[&words, extra].concat())?;
        let wanted = if last.is_none() { "single" } else { "secondary" };
        self.wait_running(node, || {
            self.states().is_ok_and(|states| states.iter().any(|state| state.node == node && state.is(wanted)))
        })?;
        if last.is_none() {
            self.bootstrap(node, "app", &sql::accounts())?;
        }
        let data = self.layout.data(node);
        let timeout = self.state.profile.partition_timeout().to_string();
        let data = data.to_string_lossy();
        self.autoctl(&["config", "set", "--pgdata", &data, "timeout.network_partition_timeout", &timeout])?;
        self.keep_config(node)?;
        processes::signal(&Vec::from_iter(processes::supervisor(&self.layout, node)), Signal::HUP)?;
        Ok(node)
    }

    /// pg_autoctl writes its settings anew whenever it has read them. Killed at that moment, it leaves an empty file
    /// and never starts again: see [`mend_config`](Formation::mend_config).
    fn keep_config(&self, member: Member) -> Result<(), LabError> {
        let file = self.config(member);
        fs::copy(&file, file.with_extension("kept")).map_err(LabError::io("copy pg_autoctl's settings")).map(drop)
    }

    /// Puts back the settings that a killed pg_autoctl left half written.
    pub(super) fn mend_config(&self, member: Member) -> Result<(), LabError> {
        let file = self.config(member);
        let kept = file.with_extension("kept");
        let sections = |file| {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.lines().filter(|line| line.starts_with('[')).count()
        };
        if sections(&file) < sections(&kept) {
            fs::copy(&kept, &file).map_err(LabError::io("restore pg_autoctl's settings"))?;
        }
        self.account.give(&file)
    }

    fn config(&self, member: Member) -> PathBuf {
        self.layout.autoctl("config", member).join("pg_autoctl.cfg")
    }

    /// Has pg_autoctl make a member and then run it.
    fn create(&mut self, member: Member, extra: &[&str]) -> Result<(), LabError> {
        let port = unused(&self.state.ports)?;
        self.state.ports.insert(member, port);
        self.state.write(&self.layout)?;
        let work = self.layout.work(member);
        fs::create_dir(&work).map_err(LabError::io(format!("make {}", work.display())))?;
        self.account.give(&work)?;
        let (data, pg_ctl, port) = (self.layout.data(member), self.layout.bin().join("pg_ctl"), port.to_string());
        let kind = if member == Member::Monitor { "monitor" } else { "postgres" };
        let (data, pg_ctl) = (data.to_string_lossy(), pg_ctl.to_string_lossy());
        let own = ["create", kind, "--run", "--pgctl", &pg_ctl, "--pgdata", &data, "--pgport", &port];
        self.launch(member, &[&own, &COMMON[..], extra].concat())
    }

    /// Starts pg_autoctl in a session of its own, as nobody's child: whoever kills it later need not be its parent.
    pub(super) fn launch(&self, member: Member, words: &[&str]) -> Result<(), LabError> {
        let log = File::options().create(true).append(true).open(self.layout.log(member));
        let log = log.map_err(LabError::io(format!("open the log of {member}")))?;
        let errors = log.try_clone().map_err(LabError::io(format!("open the log of {member}")))?;
        let mut setsid = self.command("setsid");
        setsid.arg("--fork").arg(&self.state.autoctl).args(words).current_dir(self.layout.work(member));
        setsid.stdin(Stdio::null()).stdout(Stdio::from(log)).stderr(Stdio::from(errors));
        setsid.status().map_err(LabError::io("run setsid")).map(drop)
    }

    /// Waits for a member that was just launched, and not longer than it runs.
    pub(super) fn wait_running(&self, member: Member, mut ready: impl FnMut() -> bool) -> Result<(), LabError> {
        let mut ended = false;
        self.wait(&member.to_string(), LIMIT, || {
            ended = processes::pids(&self.layout, member, processes::Part::All).is_empty();
            ended || ready()
        })?;
        if ended { Err(LabError::MemberEnded { member, log: self.log(member, 10) }) } else { Ok(()) }
    }

    /// Runs SQL as whoever made the server, over its socket: there is no other superuser yet.
    fn bootstrap(&self, member: Member, database: &str, sql: &str) -> Result<(), LabError> {
        let script = self.layout.root().join("bootstrap.sql");
        fs::write(&script, sql).map_err(LabError::io("write bootstrap.sql"))?;
        let script = File::open(&script).map_err(LabError::io("open bootstrap.sql"))?;
        let mut psql = self.command(self.state.bin.join("psql"));
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-p", &self.address(member)?.port().to_string()]);
        command::run_with(&mut psql, Stdio::from(script), PROGRAM_LIMIT).map(drop)
    }
}

/// A free port that no member has, even if it does not listen at the moment.
fn unused(taken: &BTreeMap<Member, u16>) -> Result<u16, LabError> {
    loop {
        let port = free_port()?;
        if !taken.values().any(|other| *other == port) {
            return Ok(port);
        }
    }
}
