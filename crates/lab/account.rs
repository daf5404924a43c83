//! As whom PostgreSQL runs: as ourselves, or, for root, as an ordinary account.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::LabError;

/// The account that PostgreSQL's programs run under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// The caller's own.
    Own,
    /// Another one, because the caller is root and PostgreSQL refuses to be.
    Other {
        /// Its name, which is also what a pooler started by root needs in its setting `user`.
        name: String,
        /// Its user id.
        uid: u32,
        /// Its primary group.
        gid: u32,
    },
}

impl Account {
    /// The account for this process: its own, or `postgres` (else `nobody`) for root.
    pub fn current() -> Result<Account, LabError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Account::Own);
        }
        let passwd = fs::read_to_string("/etc/passwd").map_err(LabError::io("read /etc/passwd"))?;
        ["postgres", "nobody"].iter().find_map(|name| find(&passwd, name)).ok_or(LabError::NoAccount)
    }

    /// The name for the setting `user` of a pooler that is started as root; None when there is nothing to change.
    pub fn name(&self) -> Option<&str> {
        match self {
            Account::Own => None,
            Account::Other { name, .. } => Some(name),
        }
    }

    /// The user id programs run under.
    pub fn uid(&self) -> u32 {
        match self {
            Account::Own => rustix::process::geteuid().as_raw(),
            Account::Other { uid, .. } => *uid,
        }
    }

    /// A command that will run under this account with an almost empty environment: a PGHOST or a locale of the
    /// caller must not reach the server or its tools.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
        match self {
            Account::Own => {}
            // The standard library also drops root's supplementary groups when it changes the user.
            Account::Other { uid, gid, .. } => {
                command.uid(*uid).gid(*gid);
            }
        }
        command
    }

    /// Hands a file or directory to the account.
    pub fn give(&self, path: &Path) -> Result<(), LabError> {
        match self {
            Account::Own => Ok(()),
            Account::Other { uid, gid, .. } => std::os::unix::fs::chown(path, Some(*uid), Some(*gid))
                .map_err(LabError::io(format!("change the owner of {}", path.display()))),
        }
    }
}

/// The account called `name` in the text of passwd(5).
fn find(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [found, _, uid, gid, ..] if *found == name => {
                Some(Account::Other { name: name.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()? })
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\npostgres2:x:7:7:::\npostgres:x:101:104:,,,:/var/lib:/bin/sh\n";

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let found = find(PASSWD, "postgres");
        assert_eq!(found, Some(Account::Other { name: "postgres".into(), uid: 101, gid: 104 }));
        assert_eq!(find(PASSWD, "nobody"), None);
    }
}
