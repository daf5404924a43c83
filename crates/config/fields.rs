//! Lines of fields, the common form of pg_hba.conf and pg_ident.conf (PostgreSQL manual, 21.1 and 21.2).
//!
//! Fields are separated by blanks, their items by commas; `"` quotes, `#` comments, `\` at the end
//! of a line continues it, `@file` stands for the items in a file, `include file` for its lines.

mod cursor;

use std::path::{Path, PathBuf};

use crate::document::{Notes, named_text};
use crate::problem::Place;
use cursor::Cursor;

/// How deep files may include each other, PostgreSQL's bound.
const MAX_DEPTH: usize = 10;

/// How many files are read in all: a file that includes itself twice grows exponentially.
const MAX_FILES: usize = 100;

/// How many items are read in all.
const MAX_ITEMS: usize = 1 << 18;

/// What is wrong, and where.
pub(crate) type Wrong = (Place, String);

/// An item of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub text: String,
    /// It begins with a quote: whatever it looks like, it is a name.
    pub quoted: bool,
    pub place: Place,
}

impl Item {
    /// Whether this is a keyword.
    pub fn is(&self, keyword: &str) -> bool {
        !self.quoted && self.text == keyword
    }

    /// What is wrong with this item.
    pub fn wrong(&self, message: impl Into<String>) -> Wrong {
        (self.place.clone(), message.into())
    }
}

/// A line with all that continues it.
#[derive(Debug)]
pub(crate) struct Line {
    pub place: Place,
    /// A field has no items only where a file that `@` names has none.
    pub fields: Vec<Vec<Item>>,
}

/// Reads a file that a setting names, with all it includes; `named_at` is where it is named.
pub(crate) fn read(setting: &str, path: &Path, named_at: &Place, notes: &mut Notes) -> Vec<Line> {
    match named_text(setting, path, named_at, notes) {
        Some(text) => parse(path, &text, notes),
        None => Vec::new(),
    }
}

/// Takes the text of a file apart, reading the files it includes.
pub(crate) fn parse(path: &Path, text: &str, notes: &mut Notes) -> Vec<Line> {
    let mut reader = Reader { notes, files: 1, items: 0, full: false };
    let mut lines = Vec::new();
    reader.file(path, text, 0, &mut lines);
    lines
}

struct Reader<'a> {
    notes: &'a mut Notes,
    files: usize,
    items: usize,
    /// There were too many items: nothing more is read.
    full: bool,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, text: &str, depth: usize, lines: &mut Vec<Line>) {
        for line in self.split(path, text) {
            let including = line.fields.first().and_then(|field| field.first()).filter(|item| !item.quoted).cloned();
            match including.as_ref().map(|item| (item, item.text.as_str())) {
                Some((_, "include")) => self.include(line, depth, lines),
                Some((item, directive @ ("include_if_exists" | "include_dir"))) => {
                    let message = format!("{directive} is not available in this version; use include");
                    self.notes.error(&item.place, message);
                }
                _ => lines.extend(self.expand(line, depth)),
            }
        }
    }

    /// The lines of a text that are in order; the others are reported.
    fn split(&mut self, path: &Path, text: &str) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut cursor = Cursor::new(path, text);
        while let Some(line) = cursor.line() {
            match line {
                Ok(line) => {
                    self.items += line.fields.iter().map(Vec::len).sum::<usize>();
                    if self.items > MAX_ITEMS {
                        if !self.full {
                            self.notes.error(&line.place, format!("more than {MAX_ITEMS} items in all"));
                        }
                        self.full = true;
                        return lines;
                    }
                    lines.push(line);
                }
                Err((place, message)) => self.notes.error(&place, message),
            }
        }
        lines
    }

    fn include(&mut self, line: Line, depth: usize, lines: &mut Vec<Line>) {
        let [_, file] = line.fields.as_slice() else {
            return self.notes.error(&line.place, "include: expected one file name, quoted if it contains blanks");
        };
        let [file] = file.as_slice() else {
            return self.notes.error(&line.place, "include: expected one file name, not a list");
        };
        if let Some((path, text)) = self.open(file, &file.text, "include", depth + 1) {
            self.file(&path, &text, depth + 1, lines);
        }
    }

    /// Replaces `@file` by the items of the file; `None` if it could not be read.
    fn expand(&mut self, line: Line, depth: usize) -> Option<Line> {
        let fields = line.fields.into_iter().map(|field| self.expand_field(field, depth));
        let fields = fields.collect::<Option<Vec<_>>>()?;
        Some(Line { place: line.place, fields })
    }

    fn expand_field(&mut self, field: Vec<Item>, depth: usize) -> Option<Vec<Item>> {
        let mut items = Vec::with_capacity(field.len());
        for item in field {
            match item.text.strip_prefix('@').filter(|name| !item.quoted && !name.is_empty()) {
                Some(name) => {
                    let (path, text) = self.open(&item, name, &item.text, depth + 1)?;
                    for field in self.split(&path, &text).into_iter().flat_map(|line| line.fields) {
                        items.extend(self.expand_field(field, depth + 1)?);
                    }
                }
                None => items.push(item),
            }
        }
        Some(items)
    }

    /// Reads a file that `item` names, relative to the file in which it stands.
    fn open(&mut self, item: &Item, name: &str, what: &str, depth: usize) -> Option<(PathBuf, String)> {
        self.files += 1;
        if depth > MAX_DEPTH {
            self.notes.error(&item.place, format!("{what}: files include each other more than {MAX_DEPTH} deep"));
            return None;
        }
        if self.files > MAX_FILES || self.full {
            self.notes.error(&item.place, format!("{what}: more than {MAX_FILES} files, or too many items in them"));
            return None;
        }
        let path = item.place.file.parent().unwrap_or(Path::new("")).join(name);
        let text = named_text(what, &path, &item.place, self.notes)?;
        Some((path, text))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn messages(notes: &Notes) -> Vec<String> {
        notes.errors.iter().map(ToString::to_string).collect()
    }

    fn texts(lines: &[Line]) -> Vec<Vec<Vec<String>>> {
        let field = |field: &'_ Vec<Item>| field.iter().map(|item| item.text.clone()).collect();
        lines.iter().map(|line| line.fields.iter().map(field).collect()).collect()
    }

    #[test]
    fn files_are_found_beside_the_file_that_names_them() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/more.conf"), "local @names x\n").unwrap();
        fs::write(dir.path().join("sub/names"), "a, b # comment\n\n\"@c\" @again\n").unwrap();
        fs::write(dir.path().join("sub/again"), "d").unwrap();
        let (path, mut notes) = (dir.path().join("hba.conf"), Notes::default());
        let lines = parse(&path, "one\ninclude sub/more.conf\n\"include\" two\n", &mut notes);
        assert_eq!(messages(&notes), [""; 0]);
        let expected = [vec![vec!["one"]], vec![vec!["local"], vec!["a", "b", "@c", "d"], vec!["x"]]];
        assert_eq!(texts(&lines[..2]), expected);
        assert_eq!(lines[2].place.line, 3);
        let item = &lines[1].fields[1][3];
        assert!(item.place.file.ends_with("sub/again") && item.place.line == 1);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_at_its_mention_and_drops_the_line() {
        let (path, mut notes) = (Path::new("/does/not/exist/hba"), Notes::default());
        let lines = parse(path, "local @x y\n  include z\nlocal @ y\ninclude a b\ninclude_dir d\n", &mut notes);
        assert_eq!(texts(&lines), [vec![vec!["local"], vec!["@"], vec!["y"]]], "a lone @ is a name");
        let problems = messages(&notes);
        assert!(problems[0].starts_with("/does/not/exist/hba:1:7: @x: /does/not/exist/x cannot be read: "));
        assert!(problems[1].starts_with("/does/not/exist/hba:2:11: include: /does/not/exist/z cannot be read: "));
        assert!(problems[2].contains(":4:1: include: expected one file name"));
        assert!(problems[3].contains(":5:1: include_dir is not available"));
    }

    #[test]
    fn including_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own");
        for text in ["include own\ninclude own\n", "local @own @own\n"] {
            fs::write(&own, text).unwrap();
            let mut notes = Notes::default();
            parse(&own, text, &mut notes);
            assert!(messages(&notes)[0].contains("more than 10 deep"), "{:?}", messages(&notes));
        }
        let many = "a,".repeat(MAX_ITEMS / 2) + "a\n";
        let mut notes = Notes::default();
        assert_eq!(parse(&own, &(many.clone() + &many + "local"), &mut notes).len(), 1);
        assert_eq!(notes.errors[0].message, "more than 262144 items in all");
    }
}
