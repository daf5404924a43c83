//! The files that were read, and whether they have changed since.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::TlsError;
use super::wanted::Setting;

/// The files a configuration was made from.
#[derive(Clone, Debug, Default)]
pub struct Files {
    read: Vec<(PathBuf, Option<Stamp>)>,
}

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Files {
    /// Whether any of the files is another than the one that was read; costs one stat(2) for each.
    ///
    /// A file may be half written, or a key may have changed before its certificate. Loading fails then; keep what is
    /// in use, and this stays true until loading works.
    pub fn changed(&self) -> bool {
        self.read.iter().any(|(path, stamp)| Stamp::of(path) != *stamp)
    }

    /// Their paths, in the order of reading.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.read.iter().map(|(path, _)| path.as_path())
    }

    /// Reads the file a setting names.
    pub(super) fn read(&mut self, setting: &Setting) -> Result<Vec<u8>, TlsError> {
        self.read_path(Path::new(&setting.text)).map_err(|error| setting.wrong_file(error.to_string()))
    }

    /// Reads a file. The stamp is older than the bytes, so a change in between is noticed later.
    pub(super) fn read_path(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.read.push((path.to_owned(), Stamp::of(path)));
        fs::read(path)
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        let modified = (found.mtime(), found.mtime_nsec());
        Some(Self { device: found.dev(), inode: found.ino(), size: found.size(), modified })
    }
}

/// Says so if others may use a private key, by PostgreSQL's rule: only root's may be read by its group.
pub fn too_open(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    let forbidden = if found.uid() == 0 { 0o037 } else { 0o077 };
    let mode = found.mode() & 0o777;
    (mode & forbidden != 0).then(|| format!("the private key {} is open to others (mode {mode:04o})", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read_in(directory: &Path) -> Files {
        let mut files = Files::default();
        files.read_path(&directory.join("file")).unwrap();
        files
    }

    #[test]
    fn a_file_left_alone_has_not_changed() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "one").unwrap();
        assert!(!read_in(directory.path()).changed());
    }

    #[test]
    fn a_file_that_is_rewritten_replaced_or_removed_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "one").unwrap();
        let files = read_in(directory.path());
        fs::write(&path, "three").unwrap();
        assert!(files.changed(), "another size");

        let files = read_in(directory.path());
        fs::write(directory.path().join("next"), "three").unwrap();
        fs::rename(directory.path().join("next"), &path).unwrap();
        assert!(files.changed(), "another inode");

        let files = read_in(directory.path());
        fs::remove_file(&path).unwrap();
        assert!(files.changed(), "gone");
    }

    #[test]
    fn a_key_that_others_can_read_is_told_of() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "key").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(too_open(&path), None);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(too_open(&path).unwrap().ends_with("is open to others (mode 0644)"));
    }
}
