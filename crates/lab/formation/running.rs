//! Starting, stopping, adding and dropping members.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use super::{Formation, Member, Part, birth, processes};
use crate::LabError;

const STOP_LIMIT: Duration = Duration::from_secs(30);

impl Formation {
    /// Starts or thaws what does not run, and waits until the formation is stable.
    pub fn up(&self) -> Result<(), LabError> {
        for member in self.state.ports.keys().copied() {
            self.revive(member)?;
        }
        self.wait_stable(birth::LIMIT)
    }

    /// Starts a member that was stopped or killed, thaws one that is frozen, and waits until it has its place again:
    /// an old primary comes back as a standby, possibly after pg_rewind.
    pub fn restart(&self, member: Member) -> Result<(), LabError> {
        self.revive(member)?;
        match member {
            Member::Monitor => self.wait("the monitor", birth::LIMIT, || self.states().is_ok()),
            node => self.wait_settled(node, birth::LIMIT),
        }
    }

    fn revive(&self, member: Member) -> Result<(), LabError> {
        let port = self.address(member)?.port();
        if processes::supervisor(&self.layout, member).is_some() {
            return self.thaw(member);
        }
        // Orphans of a killed pg_autoctl would start servers behind the back of the new one.
        processes::kill(&self.layout, member, Part::All)?;
        processes::clear(&self.account, &self.layout, member, port)?;
        self.mend_config(member)?;
        self.launch(member, &["run", "--pgdata", &self.layout.data(member).to_string_lossy()])?;
        self.wait_running(member, || processes::supervisor(&self.layout, member).is_some())
    }

    /// Asks a member's pg_autoctl to end (SIGTERM), which stops its server too. The monitor is told nothing: for a
    /// primary that is a failure like any other.
    pub fn stop(&self, member: Member) -> Result<(), LabError> {
        self.thaw(member)?;
        processes::signal(&Vec::from_iter(processes::supervisor(&self.layout, member)), Signal::TERM)?;
        self.wait(&format!("the end of {member}"), STOP_LIMIT, || {
            processes::pids(&self.layout, member, Part::All).is_empty()
        })
    }

    /// Adds a standby that takes part in synchronous commits and may become the primary. Returns when it is up.
    pub fn add_node(&mut self) -> Result<Member, LabError> {
        self.add(&[])
    }

    /// Adds an asynchronous standby that never becomes the primary.
    pub fn add_async_node(&mut self) -> Result<Member, LabError> {
        self.add(&["--replication-quorum", "false", "--candidate-priority", "0"])
    }

    fn add(&mut self, extra: &[&str]) -> Result<Member, LabError> {
        let node = self.make_node(extra)?;
        self.wait_stable(birth::LIMIT)?;
        Ok(node)
    }

    /// Takes a node out of the formation for good, and removes its data.
    pub fn drop_node(&mut self, node: Member) -> Result<(), LabError> {
        let (name, monitor, port) = (node.to_string(), self.autoctl_uri()?, self.address(node)?.port());
        if node == Member::Monitor {
            return Err(LabError::NoMember(node));
        }
        self.autoctl(&["drop", "node", "--monitor", &monitor, "--formation", "default", "--name", &name, "--force"])?;
        self.stop(node)?;
        processes::clear(&self.account, &self.layout, node, port)?;
        let layout = &self.layout;
        let kept = ["config", "share", "run"].map(|kind| layout.autoctl(kind, node));
        for directory in [layout.data(node), layout.work(node)].into_iter().chain(kept).filter(|path| path.exists()) {
            fs::remove_dir_all(&directory).map_err(LabError::io(format!("remove {}", directory.display())))?;
        }
        self.state.ports.remove(&node);
        self.state.write(&self.layout)
    }

    /// Puts a node into maintenance, where its server may be stopped at will, or takes it out again. A primary hands
    /// over first.
    pub fn maintenance(&self, node: Member, on: bool) -> Result<(), LabError> {
        self.address(node)?;
        let data = self.layout.data(node);
        let data = data.to_string_lossy();
        match on {
            true => self.autoctl(&["enable", "maintenance", "--pgdata", &data, "--allow-failover"]),
            false => self.autoctl(&["disable", "maintenance", "--pgdata", &data]),
        }
        .map(drop)
    }
}
