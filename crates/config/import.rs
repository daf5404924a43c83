//! From pgbouncer.ini to pooler.toml.

use std::fmt::Write;
use std::path::Path;

use crate::global::GLOBAL;
use crate::print::{Secrets, line};
use crate::scopes::{DATABASE, FORMATION, USER};
use crate::settle::{Reading, read};
use crate::table::Key;
use crate::value::toml_key;
use crate::{Problem, Problems};

/// A configuration in TOML, and what its owner should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The text of the new file, passwords included.
    pub toml: String,
    /// What changed its meaning or is not available, one sentence each.
    pub report: Vec<String>,
}

/// Rewrites a configuration of PgBouncer as TOML: what the file sets, and nothing else.
///
/// # Errors
/// What makes the file unreadable or contradictory. Settings this version does not honour are no
/// error here: they are left out, as comments, and reported.
pub fn import(path: &Path) -> Result<Import, Problems> {
    let mut reading = read(path);
    let mut errors = std::mem::take(&mut reading.notes.errors);
    if !errors.is_empty() {
        errors.sort();
        return Err(Problems(errors));
    }
    Ok(Import { toml: toml(path, &reading), report: report(reading) })
}

fn toml(path: &Path, reading: &Reading) -> String {
    let (config, mut out) = (&reading.config, String::new());
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# Made from {:?}.\n", path.display().to_string());
    keys(&mut out, GLOBAL, &config.global, |key| reading.places.has("", key));
    for (name, database) in &config.databases {
        let _ = writeln!(out, "\n[databases.{}]", toml_key(name));
        keys(&mut out, DATABASE, database, |_| true);
    }
    for (name, user) in &config.users {
        let _ = writeln!(out, "\n[users.{}]", toml_key(name));
        keys(&mut out, USER, user, |_| true);
    }
    for (name, formation) in &config.formations {
        let _ = writeln!(out, "\n[formations.{}]", toml_key(name));
        keys(&mut out, FORMATION, formation, |_| true);
    }
    out
}

fn keys<T: Default>(out: &mut String, rows: &[Key<T>], owner: &T, was_set: impl Fn(&str) -> bool) {
    for row in rows.iter().filter(|row| was_set(row.name)) {
        if row.refusal(owner).is_some() || row.name == "conffile" {
            out.push_str("# not available: ");
        }
        line(out, row, owner, Secrets::Shown);
    }
}

fn report(reading: Reading) -> Vec<String> {
    let Reading { notes, places, includes, .. } = reading;
    let at = |problem: &Problem, what: &str| {
        format!("{}:{}: {what}{}", problem.file.display(), problem.line, problem.message)
    };
    let mut report = vec!["comments are not carried over".to_string()];
    report.extend(includes.iter().map(|file| format!("{} is included: its settings are merged", file.display())));
    report.extend(notes.unavailable.iter().map(|problem| at(problem, "left out: ")));
    report.extend(notes.warnings.iter().map(|problem| at(problem, "")));
    if places.has("", "conffile") {
        report.push("conffile: left out, it names a file in the old format".into());
    }
    let sticky = GLOBAL.iter().filter(|row| row.rule.null && places.has("", row.name));
    let sticky: Vec<&str> = sticky.map(|row| row.name).collect();
    if !sticky.is_empty() {
        let keys = sticky.join(", ");
        report.push(format!("{keys}: removed from the file, a RELOAD unsets it (PgBouncer kept the old value)"));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn imported(text: &str) -> Import {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgbouncer.ini");
        std::fs::write(&path, text).unwrap();
        import(&path).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn the_new_file_says_what_the_old_one_said_and_no_more() {
        let import = imported(
            "[databases]\n* = host=10.0.0.1 user=u password='a b'\n[pgbouncer]\ndefault_pool_size = 0x20\nquery_timeout = 0.5\n",
        );
        let lines: Vec<&str> = import.toml.lines().skip(2).collect();
        let expected = "default_pool_size = 32\nquery_timeout = \"500ms\"\n\n[databases.\"*\"]\nhost = \"10.0.0.1\"\nuser = \"u\"\npassword = \"a b\"";
        assert_eq!(lines.join("\n"), expected);
    }

    #[test]
    fn what_is_not_available_is_reported_and_the_new_file_loads() {
        let import = imported(
            "[databases]\na = host=x\n[peers]\n1 = host=z\n[pgbouncer]\nso_reuseport = 1\n\
             client_tls_dheparams = legacy\nserver_reset_query = DISCARD ALL ; x\nconffile = c.ini\nverbose = 1\n",
        );
        let report = import.report.join("\n");
        for expected in [
            "left out: so_reuseport",
            "left out: peers.1",
            "client_tls_dheparams: has no effect",
            "part of the value",
            "conffile: left out",
            "PgBouncer kept the old value",
        ] {
            assert!(report.contains(expected), "{expected} not in\n{report}");
        }
        assert!(import.toml.contains("# not available: so_reuseport = true"));
        Config::from_text(Path::new("pooler.toml"), &import.toml)
            .unwrap_or_else(|problems| panic!("{problems}\n{}", import.toml));
    }

    #[test]
    fn formations_are_carried_over_with_their_passwords() {
        let import = imported(
            "[pgbouncer]\n[formations]\nmain = monitor='postgres://u:p%20w@m' group=1\n[databases]\na = formation=main\n",
        );
        let expected = "[formations.main]\nmonitor = \"postgres://u:p%20w@m/pg_auto_failover\"\ngroup = 1\n";
        assert!(import.toml.contains(expected), "{}", import.toml);
    }

    #[test]
    fn a_file_with_errors_is_not_imported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgbouncer.ini");
        std::fs::write(&path, "[pgbouncer]\npool_mode = quick\n").unwrap();
        assert_eq!(import(&path).unwrap_err().0.len(), 1);
    }
}
