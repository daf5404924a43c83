//! What node_exporter's textfile collector reads, so that an alert can say that the last drill failed, or was long ago.

use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::subject::Subject;
use super::verdict::{End, Findings};

/// A file that takes the place of the last one when it is whole.
#[derive(Debug)]
pub struct Textfile {
    path: PathBuf,
    /// Beside it, under a name that the collector does not read.
    draft: PathBuf,
}

impl Textfile {
    /// Makes sure that it can be written.
    ///
    /// # Errors
    /// It cannot, or nobody would read it.
    pub fn prepare(path: &Path) -> Result<Self, String> {
        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| name.ends_with(".prom"));
        let name = name.ok_or_else(|| format!("{}: node_exporter only reads files named *.prom", path.display()))?;
        let draft = path.with_file_name(format!(".{name}.{}", std::process::id()));
        // And not kept: whoever is ended before the drill begins leaves nothing.
        let tried = File::create(&draft).and_then(|_| fs::remove_file(&draft));
        tried.map_err(|error| format!("{}: {error}", draft.display()))?;
        Ok(Self { path: path.to_owned(), draft })
    }

    /// Replaces the last drill's by this one's.
    ///
    /// # Errors
    /// The system's.
    pub fn publish(&self, subject: &Subject, end: &End, findings: &Findings) -> Result<(), String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let replaced = self.replace(&page(subject, end, findings, now));
        replaced.map_err(|error| {
            // Where it was not made there is none.
            let _ = fs::remove_file(&self.draft);
            format!("{}: {error}", self.path.display())
        })
    }

    fn replace(&self, page: &str) -> io::Result<()> {
        let mut file = File::create(&self.draft)?;
        file.write_all(page.as_bytes())?;
        // Whoever collects has another account.
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&self.draft, &self.path)
    }
}

fn page(subject: &Subject, end: &End, findings: &Findings, now: Duration) -> String {
    let labels = format!("formation=\"{}\",kind=\"{}\"", escaped(&subject.formation), subject.cause.name());
    let mut page = String::new();
    let mut gauge = |name: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            // Text can grow.
            let _ = write!(
                page,
                "# HELP pooler_drill_{name} {help}\n# TYPE pooler_drill_{name} gauge\n\
                 pooler_drill_{name}{{{labels}}} {value}\n"
            );
        }
    };
    let time = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let success = if *end == End::Passed { 1.0 } else { 0.0 };
    gauge("last_success", "1 if the last drill passed", Some(success));
    gauge("last_exit_code", "Exit code of the last drill", Some(f64::from(end.code())));
    gauge("last_timestamp_seconds", "When the last drill ended", Some(now.as_secs_f64().round()));
    gauge("target_seconds", "The longest that a client may wait", time(Some(findings.target)));
    gauge("detect_seconds", "Until the pooler held transactions", time(findings.detected));
    gauge("writable_seconds", "Until a new primary wrote a row", time(findings.writable));
    gauge("gap_seconds", "The longest that a client waited for an acknowledged row", time(findings.gap));
    gauge("acknowledged_rows", "Rows that were acknowledged", Some(findings.acknowledged as f64));
    gauge("lost_rows", "Rows that were acknowledged and are lost", findings.rows.map(|rows| rows.lost as f64));
    gauge("doubled_rows", "Rows that were written twice", findings.rows.map(|rows| rows.doubled as f64));
    gauge("ended_sessions", "Sessions that ended", Some(findings.reconnects as f64));
    if !findings.errors.is_empty() {
        page.push_str("# HELP pooler_drill_errors Errors that clients were told\n# TYPE pooler_drill_errors gauge\n");
        for (sqlstate, count) in &findings.errors {
            let _ = writeln!(page, "pooler_drill_errors{{{labels},sqlstate=\"{}\"}} {count}", escaped(sqlstate));
        }
    }
    page
}

/// A label's value (Prometheus, "Text-based format").
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::subject::Cause;

    fn subject(formation: &str) -> Subject {
        let (database, user, cause) = ("d".to_owned(), "u".to_owned(), Cause::Planned);
        let target = Duration::from_secs(60);
        Subject { formation: formation.to_owned(), database, user, secret: None, cause, target }
    }

    #[test]
    fn what_was_not_measured_has_no_series() {
        let (end, findings) = (End::NotBegun("x".to_owned()), Findings::none(Duration::from_secs(60)));
        let page = page(&subject("a\"\\b"), &end, &findings, Duration::from_millis(12_345));
        let labels = "formation=\"a\\\"\\\\b\",kind=\"planned\"";
        assert!(page.contains(&format!("pooler_drill_last_success{{{labels}}} 0\n")), "{page}");
        assert!(page.contains(&format!("pooler_drill_last_timestamp_seconds{{{labels}}} 12\n")), "{page}");
        assert!(!page.contains("gap_seconds") && !page.contains("errors"), "{page}");
    }

    #[test]
    fn it_replaces_the_last_one_or_leaves_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("drill.prom");
        fs::write(&path, "old").expect("it can be written");
        Textfile::prepare(&path).expect("it can be written");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "old");
        let findings = Findings::none(Duration::from_secs(60));
        Textfile::prepare(&path).and_then(|file| file.publish(&subject("f"), &End::Passed, &findings)).expect("it can");
        assert!(fs::read_to_string(&path).expect("it is there").contains("last_success"));
        assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 1);
        assert!(
            Textfile::prepare(&directory.path().join("drill.txt")).expect_err("nobody reads it").contains("*.prom")
        );
    }
}
