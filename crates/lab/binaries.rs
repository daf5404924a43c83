//! Where PostgreSQL's programs are.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::LabError;

const DEBIAN: &str = "/usr/lib/postgresql";

/// The directory with initdb, postgres and psql: `$PGBIN`, else Debian's newest version, else one on the PATH.
pub fn find() -> Result<PathBuf, LabError> {
    if let Some(chosen) = env::var_os("PGBIN") {
        let chosen = PathBuf::from(chosen);
        return if complete(&chosen) {
            Ok(chosen)
        } else {
            Err(LabError::NoBinaries(format!("PGBIN={}", chosen.display())))
        };
    }
    if let Some(newest) = newest_below(Path::new(DEBIAN), complete) {
        return Ok(newest);
    }
    env::var_os("PATH")
        .and_then(|path| env::split_paths(&path).find(|directory| complete(directory)))
        .ok_or_else(|| LabError::NoBinaries(format!("{DEBIAN}/*/bin and the PATH")))
}

/// Debian's newest version that also has this file, named from the bin directory.
pub fn newest_with(file: &str) -> Option<PathBuf> {
    newest_below(Path::new(DEBIAN), |bin| complete(bin) && bin.join(file).is_file())
}

/// The bin directory of the highest version number; "9.6" is older than "15", which text order gets wrong.
fn newest_below(root: &Path, fits: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    fs::read_dir(root)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version: f32 = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            fits(&bin).then_some((version, bin))
        })
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, bin)| bin)
}

fn complete(directory: &Path) -> bool {
    ["initdb", "postgres", "psql"].iter().all(|program| directory.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_complete_version_wins() {
        let root = tempfile::tempdir().unwrap();
        for (version, programs) in
            [("9.6", &["initdb", "postgres", "psql"][..]), ("15", &["initdb", "postgres", "psql"]), ("17", &["psql"])]
        {
            let bin = root.path().join(version).join("bin");
            fs::create_dir_all(&bin).unwrap();
            for program in programs {
                fs::write(bin.join(program), "").unwrap();
            }
        }
        assert_eq!(newest_below(root.path(), complete), Some(root.path().join("15/bin")));
    }
}
