//! What happens to machines: they die, they hang, they come back.

use rustix::process::Signal;

use super::{Formation, Member, Part, processes};
use crate::LabError;

impl Formation {
    /// Kills a member, pg_autoctl and server, at one moment, as when its machine loses power. Its files stay:
    /// [`restart`](Formation::restart) brings it back.
    pub fn kill(&self, member: Member) -> Result<(), LabError> {
        let port = self.address(member)?.port();
        processes::kill(&self.layout, member, Part::All)?;
        processes::clear(&self.account, &self.layout, member, port)
    }

    /// Kills a member's server only; its pg_autoctl starts it again at once, usually before the monitor notices.
    pub fn kill_postgres(&self, member: Member) -> Result<(), LabError> {
        self.address(member)?;
        let server = processes::pids(&self.layout, member, Part::Postgres);
        processes::signal(&server, Signal::STOP)?;
        processes::signal(&server, Signal::KILL)
    }

    /// Freezes a part of a member: connections stay open, new ones are accepted by the kernel, nothing answers.
    pub fn freeze(&self, member: Member, part: Part) -> Result<(), LabError> {
        self.address(member)?;
        processes::freeze(&self.layout, member, part)
    }

    /// Thaws whatever is frozen of a member.
    pub fn thaw(&self, member: Member) -> Result<(), LabError> {
        self.address(member)?;
        processes::signal(&processes::pids(&self.layout, member, Part::All), Signal::CONT)
    }

    /// How a member's processes are, in a word for people.
    pub fn condition(&self, member: Member) -> &'static str {
        match processes::supervisor(&self.layout, member) {
            Some(pid) if processes::is_frozen(pid) => "frozen",
            Some(_) => "runs",
            None if processes::pids(&self.layout, member, Part::All).is_empty() => "stopped",
            None => "without pg_autoctl",
        }
    }
}
