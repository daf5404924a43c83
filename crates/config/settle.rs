//! From a document to a configuration: each entry read through its row.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::document::{Document, Entry, Notes, Table, text_of};
use crate::global::{GLOBAL, Global};
use crate::problem::Place;
use crate::raw::Raw;
use crate::scopes::{DATABASE, FORMATION, PEER, USER};
use crate::table::{Effect, Key};
use crate::{
    Config, Database, Formation, Hba, IdentMaps, Loaded, Peer, Problems, User, check, ini, toml_file, userlist,
};

/// Where each table begins and where each of its keys was set. The settings are the table "".
#[derive(Default)]
pub(crate) struct Places(HashMap<String, (Place, HashMap<&'static str, Place>)>);

impl Places {
    /// Where a key was set; else where its table begins; else the top of the file.
    pub fn of(&self, table: &str, key: &str) -> Place {
        let table = self.0.get(table).or_else(|| self.0.get(""));
        let place = table.map(|(place, keys)| keys.get(key).unwrap_or(place).clone());
        place.unwrap_or_else(|| Place::top(Path::new("")))
    }

    /// Whether the file sets this key.
    pub fn has(&self, table: &str, key: &str) -> bool {
        self.0.get(table).is_some_and(|(_, keys)| keys.contains_key(key))
    }
}

/// A configuration as far as it could be read, and everything wrong with it.
pub(crate) struct Reading {
    pub config: Config,
    pub notes: Notes,
    pub places: Places,
    pub includes: Vec<PathBuf>,
}

impl Reading {
    /// The configuration if nothing is wrong with it.
    pub fn finish(mut self) -> Result<Loaded, Problems> {
        let mut problems = self.notes.errors;
        problems.append(&mut self.notes.unavailable);
        self.notes.warnings.sort();
        Problems::or(problems, Loaded { config: self.config, warnings: self.notes.warnings })
    }
}

/// Reads a file and what it names.
pub(crate) fn read(path: &Path) -> Reading {
    match text_of(path) {
        Ok(text) => read_text(path, &text),
        Err(problem) => {
            let notes = Notes { errors: vec![problem], ..Notes::default() };
            settle(path, Document { notes, ..Document::default() })
        }
    }
}

/// Reads the text of a file, and what it names.
pub(crate) fn read_text(path: &Path, text: &str) -> Reading {
    let ini = path.extension().is_some_and(|ending| ending == "ini");
    let document = if ini { ini::parse(path, text) } else { toml_file::parse(path, text) };
    let mut reading = settle(path, document);
    named_files(&mut reading.config, &reading.places, &mut reading.notes);
    // What could not be read would only cause follow-up complaints.
    if reading.notes.errors.is_empty() {
        check::check(&reading.config, &reading.places, &mut reading.notes);
    }
    reading
}

/// The settings that name files which belong to the configuration.
const FILES: [&str; 3] = ["auth_file", "auth_hba_file", "auth_ident_file"];

/// Reads the files of users and rules that the settings name.
fn named_files(config: &mut Config, places: &Places, notes: &mut Notes) {
    let global = &config.global;
    let [users, rules, maps] = FILES.map(|key| places.of("", key));
    config.userlist = userlist::read(global.auth_file.as_ref(), &users, notes);
    config.hba = Hba::read(global.auth_hba_file.as_ref(), &rules, notes);
    config.ident = IdentMaps::read(global.auth_ident_file.as_ref(), &maps, notes);
}

/// Reads each entry; does not yet ask whether they fit together.
pub(crate) fn settle(path: &Path, document: Document) -> Reading {
    let Document { settings, databases, users, peers, formations, includes, notes } = document;
    let config = Config { path: Some(path.to_path_buf()), ..Config::default() };
    let mut reading = Reading { config, notes, places: Places::default(), includes };
    reading.config.global = reading.entries(GLOBAL, Global::default(), "", Place::top(path), &settings);
    for table in merged(databases, "databases", &mut reading.notes) {
        let empty = Database { name: table.name.clone(), ..Database::default() };
        let database = reading.table(DATABASE, empty, "databases", &table);
        reading.config.databases.insert(table.name, database);
    }
    for table in merged(users, "users", &mut reading.notes) {
        let user = reading.table(USER, User::default(), "users", &table);
        reading.config.users.insert(table.name, user);
    }
    for table in merged(formations, "formations", &mut reading.notes) {
        let formation = reading.table(FORMATION, Formation::default(), "formations", &table);
        reading.config.formations.insert(table.name, formation);
    }
    for table in merged(peers, "peers", &mut reading.notes) {
        let peer = reading.table(PEER, Peer::default(), "peers", &table);
        reading.peer(&table, peer);
    }
    reading
}

/// Drops what a later table of the same name replaces: across files that is what including is
/// for, within one file it is a mistake.
fn merged(tables: Vec<Table>, kind: &str, notes: &mut Notes) -> Vec<Table> {
    let mut last: Vec<Table> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for table in tables {
        match index.get(&table.name) {
            Some(&at) => {
                repeated(notes, &format!("{kind}.{}", table.name), &last[at].place, &table.place);
                last[at] = table;
            }
            None => {
                index.insert(table.name.clone(), last.len());
                last.push(table);
            }
        }
    }
    last
}

fn repeated(notes: &mut Notes, what: &str, first: &Place, again: &Place) {
    if first.file == again.file {
        notes.error(again, format!("{what}: is already set in line {}", first.line));
    } else {
        let (file, line) = (first.file.display(), first.line);
        notes.warn(again, format!("{what}: replaces what {file}:{line} says"));
    }
}

impl Reading {
    fn table<T: Default>(&mut self, rows: &'static [Key<T>], owner: T, kind: &str, table: &Table) -> T {
        let path = format!("{kind}.{}", table.name);
        self.entries(rows, owner, &path, table.place.clone(), &table.entries)
    }

    fn entries<T: Default>(
        &mut self,
        rows: &'static [Key<T>],
        mut owner: T,
        table: &str,
        place: Place,
        entries: &[Entry],
    ) -> T {
        let mut keys = HashMap::new();
        for Entry { key, place, value } in entries {
            let Some(row) = rows.iter().find(|row| row.name == canonical(key, table)) else {
                self.notes.error(place, unknown(key, table, rows));
                continue;
            };
            if let Some(first) = keys.insert(row.name, place.clone()) {
                repeated(&mut self.notes, row.name, &first, place);
            }
            if let Err(message) = row.read(&mut owner, value) {
                self.notes.error(place, message);
            }
        }
        // Judged only now: an included file may have set a key again.
        for (row, place) in rows.iter().filter_map(|row| Some((row, keys.get(row.name)?))) {
            if let Some(message) = row.refusal(&owner) {
                self.notes.unavailable(place, message);
            }
            if let Some(message) = row.futility(&owner) {
                self.notes.warn(place, message);
            }
        }
        self.places.0.insert(table.to_string(), (place, keys));
        owner
    }

    fn peer(&mut self, table: &Table, peer: Peer) {
        self.notes.unavailable(&table.place, format!("peers.{}: peering is not available in this version", table.name));
        if peer.host.is_none() {
            self.notes.error(&table.place, format!("peers.{}: host is missing", table.name));
        }
        match table.name.parse() {
            Ok(id) if id > 0 => drop(self.config.peers.insert(id, peer)),
            _ => self.notes.error(&table.place, format!("peers.{}: expected a number from 1 to 65535", table.name)),
        }
    }
}

/// The name under which a key has its row: `reserve_pool` is PgBouncer's older name for one.
fn canonical<'a>(key: &'a str, table: &str) -> &'a str {
    match key {
        "reserve_pool" if !table.is_empty() => "reserve_pool_size",
        _ => key,
    }
}

/// The message for a key nobody knows: the nearest one, or where the key belongs.
fn unknown<T>(key: &str, table: &str, rows: &[Key<T>]) -> String {
    let what = if table.is_empty() { "unknown setting" } else { "unknown key" };
    if !table.is_empty() && GLOBAL.iter().any(|row| row.name == key) {
        return format!("{what} {key:?} in {table}: it is a global setting, which belongs before the first table");
    }
    let inside = if table.is_empty() { String::new() } else { format!(" in {table}") };
    format!("{what} {key:?}{inside}{}", did_you_mean(key, rows.iter().map(|row| row.name)))
}

/// The end of a message about a name nobody knows: the nearest one, if one is near.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let distances = known.map(|known| (strsim::damerau_levenshtein(name, known), known));
    match distances.min_by_key(|(distance, _)| *distance) {
        Some((distance, known)) if distance <= name.len().max(6) / 2 => format!("; did you mean {known:?}?"),
        _ => String::new(),
    }
}

/// The console's SET.
pub(crate) fn set(config: &Config, key: &str, value: &str) -> Result<Config, String> {
    let row = GLOBAL.iter().find(|row| row.name == key).ok_or_else(|| unknown(key, "", GLOBAL))?;
    let mut next = config.clone();
    if row.rule.effect == Effect::Restart {
        return Ok(next);
    }
    // What SHOW CONFIG prints for a secret is not one.
    if row.hides(&next.global) && (row.text)(&next.global).as_deref() == Some(value) {
        return Ok(next);
    }
    row.read(&mut next.global, &Raw::Ini(value.to_string()))?;
    if let Some(message) = row.refusal(&next.global) {
        return Err(message);
    }
    let (places, mut notes) = (Places::default(), Notes::default());
    if FILES.contains(&row.name) {
        named_files(&mut next, &places, &mut notes);
    }
    check::check(&next, &places, &mut notes);
    match notes.errors.into_iter().next() {
        // What is wrong in a file is told with its place.
        Some(problem) if !problem.file.as_os_str().is_empty() => Err(problem.to_string()),
        Some(problem) => Err(problem.message),
        None => Ok(next),
    }
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
