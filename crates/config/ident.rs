//! `auth_ident_file`: which system users may log in as which database users.
//!
//! The format is pg_ident.conf's (PostgreSQL manual, 21.2): `map system-user database-user`.

use std::path::Path;

use crate::document::Notes;
use crate::fields::{self, Line, Wrong};
use crate::problem::{Place, Problems};

/// The maps that rules of `auth_hba_file` name with `map=`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IdentMaps {
    entries: Vec<Entry>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    map: String,
    system_user: String,
    /// `None` is `all`.
    database_user: Option<String>,
}

impl IdentMaps {
    /// Reads the file that `auth_ident_file` names; no maps if it names none.
    pub(crate) fn read(path: &Path, named_at: &Place, notes: &mut Notes) -> Self {
        Self::from_lines(fields::read("auth_ident_file", path, named_at, notes), notes)
    }

    /// The maps of a text; `path` is where it would be, for messages and the files it names.
    ///
    /// # Errors
    /// Every line that cannot be honoured, and why.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Problems> {
        let mut notes = Notes::default();
        let maps = Self::from_lines(fields::parse(path, text, &mut notes), &mut notes);
        Problems::or(notes.errors, maps)
    }

    fn from_lines(lines: Vec<Line>, notes: &mut Notes) -> Self {
        let mut entries = Vec::with_capacity(lines.len());
        for line in lines {
            match entry(line) {
                Ok(entry) => entries.push(entry),
                Err((place, message)) => notes.error(&place, message),
            }
        }
        Self { entries }
    }

    /// Whether a system user, or the holder of a certificate with this common name, may be a database user.
    ///
    /// `map` is what [`crate::hba::Rule::map`] says; without a map the names must be equal.
    pub fn allows(&self, map: Option<&str>, system_user: &str, database_user: &str) -> bool {
        let Some(map) = map else {
            return system_user == database_user;
        };
        self.entries.iter().any(|entry| {
            let anyone = entry.database_user.is_none();
            entry.map == map
                && entry.system_user == system_user
                && (anyone || entry.database_user.as_deref() == Some(database_user))
        })
    }

    /// Whether a map of this name has a line.
    pub(crate) fn has(&self, map: &str) -> bool {
        self.entries.iter().any(|entry| entry.map == map)
    }
}

fn entry(line: Line) -> Result<Entry, Wrong> {
    for field in &line.fields {
        if let [_, second, ..] = field.as_slice() {
            return Err(second.wrong("a list is not possible here; write one line for each"));
        }
    }
    let items: Vec<_> = line.fields.into_iter().flatten().collect();
    let [map, system_user, database_user] = items.as_slice() else {
        return Err((line.place, "expected three fields: map, system user, database user".into()));
    };
    if let Some(item) = [system_user, database_user].into_iter().find(|item| item.text.starts_with('/')) {
        return Err(item.wrong("regular expressions are not available in this version"));
    }
    if !database_user.quoted && database_user.text.starts_with('+') {
        return Err(database_user.wrong("groups in maps are not available in this version"));
    }
    Ok(Entry {
        map: map.text.clone(),
        system_user: system_user.text.clone(),
        database_user: (!database_user.is("all")).then(|| database_user.text.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<IdentMaps, Problems> {
        IdentMaps::parse(Path::new("ident"), text)
    }

    #[test]
    fn a_map_says_who_may_be_whom() {
        let maps = read("# map system database\nm root admin\nm root app\nm \"a b\" \"all\"\nn root all\n").unwrap();
        assert!(maps.allows(Some("m"), "root", "admin") && maps.allows(Some("m"), "root", "app"));
        assert!(!maps.allows(Some("m"), "root", "root"), "with a map equal names are not enough");
        assert!(maps.allows(Some("m"), "a b", "all") && !maps.allows(Some("m"), "a b", "x"));
        assert!(maps.allows(Some("n"), "root", "anyone") && !maps.allows(Some("n"), "other", "anyone"));
        assert!(!maps.allows(Some("unknown"), "root", "root"));
        assert!(maps.has("n") && !maps.has("unknown"));
    }

    #[test]
    fn without_a_map_the_names_must_be_equal() {
        assert!(IdentMaps::default().allows(None, "joe", "joe"));
        assert!(!IdentMaps::default().allows(None, "joe", "ann"));
        assert!(!IdentMaps::default().allows(None, "joe", "Joe"));
    }

    #[test]
    fn every_bad_line_is_reported() {
        let problems = read("m a\nm a b c\nm /^x$ b\nm a /x\nm a +g\nm a,b c\nm a \"+g\"\n").unwrap_err();
        let found: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "ident:1:1: expected three fields: map, system user, database user",
                "ident:2:1: expected three fields: map, system user, database user",
                "ident:3:3: regular expressions are not available in this version",
                "ident:4:5: regular expressions are not available in this version",
                "ident:5:5: groups in maps are not available in this version",
                "ident:6:5: a list is not possible here; write one line for each",
            ]
        );
    }
}
