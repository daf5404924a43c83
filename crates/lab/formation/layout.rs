//! Where a formation keeps its things, all below one directory, and the file that says what it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Member, Profile};
use crate::LabError;

/// The path of a Unix socket has 107 bytes at most (unix(7)), and the directory is the part that differs.
const MAX_ROOT: usize = 80;

/// The directories and files of a formation.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// `root` must be without symbolic links on the way: processes are recognised by it.
    pub fn new(root: PathBuf) -> Result<Layout, LabError> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(byte);
        let bytes = root.as_os_str().as_encoded_bytes();
        if bytes.len() > MAX_ROOT || !bytes.iter().all(plain) {
            return Err(LabError::BadDirectory(root));
        }
        Ok(Layout { root })
    }

    /// The directory of everything.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// PostgreSQL's programs, with a `postgres` of our own.
    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// The Unix sockets of all servers.
    pub fn sockets(&self) -> PathBuf {
        self.root.join("sock")
    }

    /// The logs of the servers and of pg_autoctl.
    pub fn logs(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The settings that all servers share.
    pub fn conf(&self) -> PathBuf {
        self.root.join("lab.conf")
    }

    /// The host-based authentication of all servers: one file, so that no base backup and no rewind changes it.
    pub fn hba(&self) -> PathBuf {
        self.root.join("pg_hba.conf")
    }

    /// What only one owner at a time holds locked.
    pub fn lock(&self) -> PathBuf {
        self.root.join("formation.lock")
    }

    /// The data directory, where the servers' own processes work.
    pub fn data(&self, member: Member) -> PathBuf {
        self.root.join("data").join(member.to_string())
    }

    /// Where pg_autoctl works, and all it starts except the server.
    pub fn work(&self, member: Member) -> PathBuf {
        self.root.join("work").join(member.to_string())
    }

    /// What pg_autoctl says.
    pub fn log(&self, member: Member) -> PathBuf {
        self.logs().join(format!("{member}.log"))
    }

    /// What the server says. Not in its data directory, where a base backup or a rewind puts the other node's logs.
    pub fn server_log(&self, member: Member) -> PathBuf {
        self.logs().join(format!("postgres-{member}.log"))
    }

    /// pg_autoctl's files of one kind ("config", "share" or "run"); it appends the whole path of the data directory.
    pub fn autoctl(&self, kind: &str, member: Member) -> PathBuf {
        let data = self.data(member);
        let inner = data.strip_prefix("/").unwrap_or(&data);
        self.root.join(kind).join("pg_autoctl").join(inner)
    }

    /// Whether the directory, if it is not empty, was made by a formation.
    pub fn is_ours(&self) -> bool {
        self.lock().exists()
    }

    fn file(&self) -> PathBuf {
        self.root.join("formation")
    }
}

/// What the words of a second process need to know: a line each in the file `formation`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The directory of PostgreSQL's programs.
    pub bin: PathBuf,
    /// The program pg_autoctl.
    pub autoctl: PathBuf,
    /// The time limits in force.
    pub profile: Profile,
    /// Who is there, and on which port.
    pub ports: BTreeMap<Member, u16>,
}

impl State {
    /// Reads the file.
    pub fn read(layout: &Layout) -> Result<State, LabError> {
        let text = fs::read_to_string(layout.file()).unwrap_or_default();
        State::parse(&text).ok_or_else(|| LabError::NoFormation(layout.root.clone()))
    }

    /// Writes the file, whole or not at all.
    pub fn write(&self, layout: &Layout) -> Result<(), LabError> {
        let State { bin, autoctl, profile, ports } = self;
        let mut text = format!("bin {}\nautoctl {}\nprofile {profile}\n", bin.display(), autoctl.display());
        ports.iter().for_each(|(member, port)| text.push_str(&format!("{member} {port}\n")));
        let next = layout.root.join("formation.next");
        let written = fs::write(&next, text).and_then(|()| fs::rename(&next, layout.file()));
        written.map_err(LabError::io("write the formation's state"))
    }

    fn parse(text: &str) -> Option<State> {
        let mut words: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(' ')).collect();
        let (bin, autoctl) = (words.remove("bin")?.into(), words.remove("autoctl")?.into());
        let profile = words.remove("profile")?.parse().ok()?;
        let ports = words.into_iter().map(|(name, port)| Some((name.parse().ok()?, port.parse().ok()?)));
        Some(State { bin, autoctl, profile, ports: ports.collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_reads_as_it_was_written() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path().to_owned()).unwrap();
        assert!(matches!(State::read(&layout), Err(LabError::NoFormation(_))));
        let ports = BTreeMap::from([(Member::Monitor, 15_001), (Member::Node(2), 15_002)]);
        let state = State { bin: "/b".into(), autoctl: "/a".into(), profile: Profile::Fastest, ports };
        state.write(&layout).unwrap();
        assert_eq!(State::read(&layout).unwrap(), state);
    }

    #[test]
    fn a_directory_that_would_not_fit_a_socket_or_a_setting_is_refused() {
        for bad in ["/tmp/with space", "/tmp/quote'", &format!("/{}", "x".repeat(MAX_ROOT))] {
            assert!(matches!(Layout::new(bad.into()), Err(LabError::BadDirectory(_))), "{bad}");
        }
    }
}
