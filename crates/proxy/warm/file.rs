//! The state file: small, whole at every moment, and nobody's but ours.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What is in the file; another version may mean another thing.
const VERSION: u32 = 1;
/// Most bytes that are read: five times what [`MAX_POOLS`](super::MAX_POOLS) pools with usual names need.
const MAX_SIZE: u64 = 4 << 20;
/// How far a clock may have been set back.
const MAX_AHEAD: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize, Serialize)]
struct Document {
    version: u32,
    /// Seconds since 1970.
    written: u64,
    #[serde(default)]
    pools: Vec<Entry>,
}

/// What is remembered of one pool.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Entry {
    /// The database, as clients know it.
    pub database: String,
    /// The user its servers log in as.
    pub user: String,
    /// The most servers in use at the same moment.
    pub servers: u32,
}

/// Why a state file is not used.
#[derive(Debug, Error)]
pub enum Unusable {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A directory, a pipe, a link.
    #[error("it is not a regular file")]
    NotRegular,
    /// Somebody else could have written anything into it.
    #[error("it belongs to user {0}")]
    Foreign(u32),
    /// Somebody else can write anything into it.
    #[error("others may write to it (mode {0:o})")]
    Shared(u32),
    /// It is not what we have written.
    #[error("it is larger than {MAX_SIZE} bytes")]
    TooLarge,
    /// It is not what we have written.
    #[error("{0}")]
    Malformed(String),
    /// By another version of this program.
    #[error("it has version {0} and not {VERSION}")]
    Version(u32),
    /// By a clock that was wrong, or is.
    #[error("it was written in the future")]
    FromFuture,
}

impl Unusable {
    /// Whether it is a state file all the same, and can be replaced. Any other may be somebody's by a slip in the setting.
    pub fn is_state_file(&self) -> bool {
        match self {
            Self::Version(_) | Self::FromFuture => true,
            Self::Io(_) | Self::NotRegular | Self::Foreign(_) | Self::Shared(_) => false,
            Self::TooLarge | Self::Malformed(_) => false,
        }
    }
}

/// Reads what was written before `now`. There is nothing in a file that is empty or does not exist.
///
/// # Errors
/// See [`Unusable`].
pub fn read(path: &Path, now: SystemTime) -> Result<Vec<Entry>, Unusable> {
    let text = match text(path) {
        Err(Unusable::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    if text.is_empty() {
        return Ok(Vec::new());
    }
    // The error's own display would quote the file over several lines.
    let document: Document = toml::from_str(&text).map_err(|error| Unusable::Malformed(error.message().to_owned()))?;
    if document.version != VERSION {
        return Err(Unusable::Version(document.version));
    }
    if document.written > seconds(now + MAX_AHEAD) {
        return Err(Unusable::FromFuture);
    }
    Ok(document.pools)
}

fn text(path: &Path) -> Result<String, Unusable> {
    // A link is not followed, and a pipe is not waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| {
        let is_link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        if is_link { Unusable::NotRegular } else { error.into() }
    })?;
    let status = file.metadata()?;
    if !status.is_file() {
        return Err(Unusable::NotRegular);
    }
    if status.uid() != geteuid().as_raw() {
        return Err(Unusable::Foreign(status.uid()));
    }
    if status.mode() & 0o022 != 0 {
        return Err(Unusable::Shared(status.mode() & 0o777));
    }
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(Unusable::TooLarge);
    }
    String::from_utf8(bytes).map_err(|_| Unusable::Malformed("it is not UTF-8".to_owned()))
}

/// Replaces the file by one that says this. Whoever reads it meets the old one or the new one, whole; also after a crash.
///
/// # Errors
/// What the system says. The old file stays then.
pub fn write(path: &Path, pools: Vec<Entry>, now: SystemTime) -> io::Result<()> {
    let document = Document { version: VERSION, written: seconds(now), pools };
    let text = toml::to_string(&document).map_err(io::Error::other)?;
    // Two processes may write at the same time while one takes over from the other.
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(name);
    let written = write_new(&temporary, &text).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What matters is why it could not be written.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let create = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file: File = match create() {
        // A process with our number was killed while it wrote.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::remove_file(path).and_then(|()| create())?,
        created => created?,
    };
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn entry(servers: u32) -> Entry {
        Entry { database: "a \"b\"\n".to_owned(), user: "ü".to_owned(), servers }
    }

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    /// Why a file with this text is not used.
    fn refused(text: &[u8]) -> String {
        let directory = directory();
        let path = directory.path().join("state");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
        read(&path, SystemTime::now()).expect_err("it is not used").to_string()
    }

    #[test]
    fn what_was_written_is_read_again_and_leaves_nothing_else_behind() {
        let directory = directory();
        let path = directory.path().join("state");
        let now = SystemTime::now();
        assert_eq!(read(&path, now).expect("nothing is there"), []);
        for servers in [8, 3] {
            write(&path, vec![entry(servers)], now).expect("it can be written");
            assert_eq!(read(&path, now).expect("it is ours"), [entry(servers)]);
        }
        assert_eq!(fs::metadata(&path).expect("it exists").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
    }

    #[test]
    fn a_file_that_was_left_half_written_is_replaced() {
        let directory = directory();
        let path = directory.path().join("state");
        fs::write(directory.path().join(format!("state.{}", std::process::id())), "vers").expect("a file");
        write(&path, vec![entry(1)], SystemTime::now()).expect("it can be written");
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
    }

    #[test]
    fn what_we_have_not_written_is_not_used() {
        assert_eq!(refused(b"version = 2\nwritten = 0"), "it has version 2 and not 1");
        assert_eq!(refused(b"version = 1\nwritten = 99999999999"), "it was written in the future");
        assert_eq!(refused(b"\xff"), "it is not UTF-8");
        assert!(refused(b"version = 1\nwritten = 0\n[[pools]]\nservers = -1").lines().count() == 1);
        assert!(refused(&vec![b'#'; MAX_SIZE as usize + 1]).contains("larger than"));
    }

    #[test]
    fn what_others_may_have_written_is_not_used() {
        let directory = directory();
        let path = directory.path().join("state");
        write(&path, Vec::new(), SystemTime::now()).expect("it can be written");
        let refused = |path: &Path| read(path, SystemTime::now()).expect_err("it is not used").to_string();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).expect("a mode");
        assert_eq!(refused(&path), "others may write to it (mode 620)");
        let link = directory.path().join("link");
        symlink(&path, &link).expect("a link");
        assert_eq!(refused(&link), "it is not a regular file");
        assert_eq!(refused(directory.path()), "it is not a regular file");
        assert_eq!(refused(Path::new("/dev/null")), "it is not a regular file");
    }
}
