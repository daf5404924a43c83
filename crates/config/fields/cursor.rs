//! From text to fields, character by character, with the place of each.

use std::path::Path;

use super::{Item, Line, Wrong};
use crate::problem::Place;

/// The longest item, in bytes: PostgreSQL's bound.
const MAX_ITEM: usize = 10_240;

/// The longest line with all that continues it, in bytes.
const MAX_LINE: usize = 1 << 20;

/// What is left of a text, and where it begins.
pub(super) struct Cursor<'a> {
    rest: &'a str,
    place: Place,
    /// How much was left where the line began.
    at_start: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(path: &Path, text: &'a str) -> Self {
        Self { rest: text, place: Place::top(path), at_start: text.len() }
    }

    /// The next line that has fields, `None` at the end of the text. After an error the next line follows.
    pub fn line(&mut self) -> Option<Result<Line, Wrong>> {
        while !self.rest.is_empty() {
            self.at_start = self.rest.len();
            self.blanks();
            let place = self.place.clone();
            let fields = self.fields();
            self.skip_line();
            match fields {
                Ok(fields) if fields.is_empty() => {}
                Ok(fields) => return Some(Ok(Line { place, fields })),
                Err(wrong) => return Some(Err(wrong)),
            }
        }
        None
    }

    fn fields(&mut self) -> Result<Vec<Vec<Item>>, Wrong> {
        let mut fields = Vec::new();
        loop {
            self.blanks();
            match self.peek() {
                None | Some('#') => return Ok(fields),
                Some(_) => fields.push(self.field()?),
            }
        }
    }

    /// Items with commas between them; blanks may follow a comma.
    fn field(&mut self) -> Result<Vec<Item>, Wrong> {
        let mut items = vec![self.item()?];
        while self.peek() == Some(',') {
            self.bump();
            self.blanks();
            items.push(self.item()?);
        }
        Ok(items)
    }

    fn item(&mut self) -> Result<Item, Wrong> {
        let place = self.place.clone();
        let quoted = self.peek() == Some('"');
        let (mut text, mut inside) = (String::new(), false);
        while let Some(c) = self.peek().filter(|c| inside || !(is_blank(*c) || matches!(c, ',' | '#'))) {
            self.bump();
            // Two quotes inside quotes stand for one.
            let doubled = inside && c == '"' && self.peek() == Some('"');
            if doubled {
                self.bump();
            }
            if c != '"' || doubled {
                text.push(c);
            } else {
                inside = !inside;
            }
            if text.len() > MAX_ITEM {
                return Err((place, format!("an item is longer than {MAX_ITEM} bytes")));
            }
        }
        if self.at_start - self.rest.len() > MAX_LINE {
            return Err((place, format!("the line is longer than {MAX_LINE} bytes")));
        }
        match (inside, text.as_str()) {
            (true, _) => Err((place, "the closing quote is missing".into())),
            (false, "") if quoted => Err((place, "a name in quotes is empty".into())),
            (false, "") => Err((place, "something is missing beside a comma".into())),
            (false, name) if name.contains('\0') => Err((place, "a name contains NUL".into())),
            (false, _) => Ok(Item { text, quoted, place }),
        }
    }

    /// The next character of the line, `None` at its end; also goes over a break that a backslash takes away.
    fn peek(&mut self) -> Option<char> {
        while let Some(next) = ["\\\n", "\\\r\n"].iter().find_map(|end| self.rest.strip_prefix(end)) {
            self.rest = next;
            self.place = self.place.at(self.place.line + 1, 1);
        }
        // A backslash at the end of the text has nothing to continue with.
        if matches!(self.rest, "\\" | "\\\r") {
            self.rest = "";
        }
        self.rest.chars().next().filter(|c| *c != '\n')
    }

    fn bump(&mut self) {
        let mut chars = self.rest.chars();
        chars.next();
        self.rest = chars.as_str();
        self.place.col += 1;
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.bump();
        }
    }

    fn skip_line(&mut self) {
        while self.peek().is_some() {
            self.bump();
        }
        self.rest = self.rest.strip_prefix('\n').unwrap_or(self.rest);
        self.place = self.place.at(self.place.line + 1, 1);
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line as its place and its items, a quoted one with a leading `"`.
    fn lines(text: &str) -> Vec<String> {
        let mut cursor = Cursor::new(Path::new("f"), text);
        let mut lines = Vec::new();
        while let Some(line) = cursor.line() {
            lines.push(match line {
                Ok(line) => {
                    let item = |item: &Item| format!("{}{}", if item.quoted { "\"" } else { "" }, item.text);
                    let field = |field: &Vec<Item>| field.iter().map(item).collect::<Vec<_>>().join(",");
                    let fields: Vec<String> = line.fields.iter().map(field).collect();
                    format!("{}:{} {}", line.place.line, line.place.col, fields.join("|"))
                }
                Err((place, message)) => format!("{}:{} {message}", place.line, place.col),
            });
        }
        lines
    }

    #[test]
    fn blanks_separate_fields_and_commas_their_items() {
        assert_eq!(lines("local\tall , x\n"), ["1:11 something is missing beside a comma"]);
        assert_eq!(lines("a b,c,  d e\r\n\n  f"), ["1:1 a|b,c,d|e", "3:3 f"]);
        assert_eq!(lines("a b,\nc"), ["1:5 something is missing beside a comma", "2:1 c"]);
        assert_eq!(lines("a ,b"), ["1:3 something is missing beside a comma"]);
    }

    #[test]
    fn quotes_hold_everything_else() {
        assert_eq!(lines("\"a b,#\" map=\"x y\" \"q\"\"q\"z"), ["1:1 \"a b,#|map=x y|\"q\"qz"]);
        assert_eq!(lines("x \"\"\ny"), ["1:3 a name in quotes is empty", "2:1 y"]);
        assert_eq!(lines("a \"b\nc"), ["1:3 the closing quote is missing", "2:1 c"]);
    }

    #[test]
    fn comments_end_a_line_and_a_backslash_goes_on() {
        assert_eq!(lines("# x\na#b c\n #\n"), ["2:1 a"]);
        assert_eq!(lines("a \\\n b\\\r\nc\nd\\e \\"), ["1:1 a|bc", "4:1 d\\e"]);
        assert_eq!(lines("# x \\\n still\n\"a\\\nb\"\n"), ["3:1 \"ab"], "also in comments and quotes");
        assert_eq!(lines("a\\\n \"b"), ["2:2 the closing quote is missing"]);
    }

    #[test]
    fn lengths_are_bounded_and_nul_is_refused() {
        assert_eq!(lines(&"x".repeat(10_241)), ["1:1 an item is longer than 10240 bytes"]);
        assert_eq!(lines("a\0\nb"), ["1:1 a name contains NUL", "2:1 b"]);
        let long = lines(&("a,".repeat(MAX_LINE) + "\nb"));
        assert!(long[0].ends_with("the line is longer than 1048576 bytes") && long[1] == "2:1 b");
    }
}
