//! Which names of prepared statements a text takes away.

use crate::lexer;

/// What a statement takes away from the names in its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deallocates {
    /// This name.
    Name(Box<[u8]>),
    /// All of them, or one that cannot be told.
    Unclear,
}

impl Deallocates {
    /// What the statement in a Parse takes away; `body` is what follows the name.
    pub fn of(body: &[u8]) -> Option<Self> {
        if !lexer::first_statement(body).deallocates {
            return None;
        }
        let text = body.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(match deallocated(text).pop() {
            Some(Some(name)) => Self::Name(name),
            Some(None) | None => Self::Unclear,
        })
    }
}

/// The name that each `DEALLOCATE name` in a text takes away, in order; none where it is written in a way not read here.
///
/// Source: manual, "DEALLOCATE"; identifiers are folded to lower case unless quoted. Strings are read as with
/// `standard_conforming_strings` on.
pub fn deallocated(text: &[u8]) -> Vec<Option<Box<[u8]>>> {
    let mut tokens = Tokens::new(text);
    let mut found = Vec::new();
    loop {
        let mut token = tokens.next();
        if matches!(token, Some(Token::Word(word)) if word.eq_ignore_ascii_case(b"deallocate")) {
            token = tokens.name_to_deallocate(&mut found);
        }
        while token.is_some_and(|token| token != Token::End) {
            token = tokens.next();
        }
        if token.is_none() {
            return found;
        }
    }
}

/// Longest name that PostgreSQL does not cut (`NAMEDATALEN`).
const MAX_NAME: usize = 63;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A keyword or a name without quotes.
    Word(&'a [u8]),
    /// What stands between double quotes.
    Quoted(&'a [u8]),
    /// A semicolon outside of parentheses.
    End,
    Other,
}

/// A text's tokens, as far as they matter here. Source: manual, "Lexical Structure".
pub(crate) struct Tokens<'a> {
    rest: &'a [u8],
    depth: usize,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { rest: text.strip_suffix(b"\0").unwrap_or(text), depth: 0 }
    }

    /// Reads what follows DEALLOCATE, and returns the token behind it.
    fn name_to_deallocate(&mut self, found: &mut Vec<Option<Box<[u8]>>>) -> Option<Token<'a>> {
        let is = |token: &Option<Token<'_>>, word: &[u8]| matches!(token, Some(Token::Word(found)) if found.eq_ignore_ascii_case(word));
        let (mut name, mut behind) = (self.next(), self.next());
        if is(&name, b"prepare") && behind.is_some_and(|token| token != Token::End) {
            (name, behind) = (behind, self.next());
        }
        let is_last = behind.is_none_or(|token| token == Token::End);
        if !is_last || !is(&name, b"all") {
            let name = match name {
                Some(Token::Word(name)) => Some(name.to_ascii_lowercase()),
                Some(Token::Quoted(name)) => Some(unquoted(name)),
                Some(Token::End | Token::Other) | None => None,
            };
            found.push(name.filter(|name| is_last && name.len() <= MAX_NAME).map(Vec::into_boxed_slice));
        }
        behind
    }

    pub(crate) fn next(&mut self) -> Option<Token<'a>> {
        self.rest = lexer::skip_blanks_and_comments(self.rest);
        let first = *self.rest.first()?;
        Some(match first {
            b'\'' => self.string(false),
            b'"' => {
                let inside = self.quoted(b'"', false);
                Token::Quoted(inside)
            }
            b'$' => self.dollar(),
            b'(' | b')' => {
                self.depth = if first == b'(' { self.depth + 1 } else { self.depth.saturating_sub(1) };
                self.take(1);
                Token::Other
            }
            b';' => {
                self.take(1);
                if self.depth == 0 { Token::End } else { Token::Other }
            }
            _ if is_word(first) && !first.is_ascii_digit() => {
                let word = self.take(self.rest.iter().take_while(|byte| is_word(**byte) || **byte == b'$').count());
                if word.eq_ignore_ascii_case(b"e") && self.rest.first() == Some(&b'\'') {
                    return Some(self.string(true));
                }
                Token::Word(word)
            }
            _ => {
                self.take(1);
                Token::Other
            }
        })
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn string(&mut self, backslashes: bool) -> Token<'a> {
        self.quoted(b'\'', backslashes);
        Token::Other
    }

    /// What stands between two quotes; a quote within is written twice, or behind a backslash where those escape.
    fn quoted(&mut self, quote: u8, backslashes: bool) -> &'a [u8] {
        let mut at = 1;
        loop {
            match (self.rest.get(at), self.rest.get(at + 1)) {
                (Some(b'\\'), _) if backslashes => at += 2,
                (Some(one), Some(two)) if *one == quote && *two == quote => at += 2,
                (Some(one), _) if *one != quote => at += 1,
                (Some(_), _) => return &self.take(at + 1)[1..at],
                (None, _) => return self.take(at),
            }
        }
    }

    /// `$tag$ … $tag$`, or else a parameter or an operator.
    fn dollar(&mut self) -> Token<'a> {
        let tag = self.rest[1..].iter().take_while(|byte| is_word(**byte)).count();
        let is_tag = self.rest.get(tag + 1) == Some(&b'$') && !self.rest[1].is_ascii_digit();
        let len = if is_tag { tag + 2 } else { 1 };
        let mark = self.take(len);
        if is_tag {
            let end = memchr::memmem::find(self.rest, mark).map_or(self.rest.len(), |at| at + len);
            self.take(end);
        }
        Token::Other
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn unquoted(inside: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(byte) = bytes.next() {
        name.push(*byte);
        if *byte == b'"' {
            bytes.next();
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn deallocates(text: &str, names: &[Option<&str>]) {
        let found = deallocated(text.as_bytes());
        let expected: Vec<_> = names.iter().map(|name| name.map(|name| Box::from(name.as_bytes()))).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_name_to_deallocate_is_folded_unless_it_is_quoted() {
        deallocates("deallocate One\0", &[Some("one")]);
        deallocates("/* a */ DEALLOCATE -- b\n PREPARE \"One \"\"1\"\"\" ;\0", &[Some("One \"1\"")]);
        deallocates("deallocate prepare; deallocate \"all\"", &[Some("prepare"), Some("all")]);
        deallocates("deallocate s;deallocate all; deallocate prepare all ;; deallocate t", &[Some("s"), Some("t")]);
    }

    #[test]
    fn what_is_not_a_statement_of_its_own_deallocates_nothing() {
        for text in [
            "select deallocate from t",
            "select 'x; deallocate s;'",
            "select e'\\'; deallocate s;'",
            "select \";deallocate s;\" from t",
            "do $x$ begin; deallocate s; end $x$",
            "select $$; deallocate s; $$, $1; select 1",
            "create rule r as on insert to t do (deallocate s; deallocate s)",
            "select 1 /* ; /* ; */ deallocate s; */",
            "",
            ";;",
        ] {
            deallocates(text, &[]);
        }
        deallocates("select $1$x; deallocate s", &[Some("s")]);
        deallocates("select 'it''s'; deallocate s", &[Some("s")]);
    }

    #[test]
    fn a_name_that_is_not_understood_is_none() {
        let long = format!("deallocate {}", "x".repeat(64));
        for text in ["deallocate u&\"s\"", "deallocate s t", "deallocate", "deallocate 'a'", "deallocate all x", &long]
        {
            deallocates(text, &[None]);
        }
    }

    mod laws {
        use super::*;
        use proptest::prelude::*;

        proptest! {
            #[test]
            fn no_text_makes_the_lexer_panic_or_run_for_ever(text in "[;'\"$ea\\\\/*\\-() \n1]{0,40}") {
                deallocated(text.as_bytes());
                deallocated(format!("{text};deallocate s").as_bytes());
            }
        }
    }
}
