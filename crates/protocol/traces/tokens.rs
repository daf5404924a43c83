//! SQL cut into tokens, in pieces of any size. Source: manual, "Lexical Structure".

use super::grammar::Grammar;

/// Longest word or string that is looked at; of a longer one nothing is told but that it was there.
const MAX_HELD: usize = 64;

/// A token, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword or a name without quotes, in lower case.
    Word(&'a [u8]),
    /// A name in double quotes.
    Quoted(&'a [u8]),
    /// A string in single quotes, if it is short and has no escapes.
    String(Option<&'a [u8]>),
    /// Anything else.
    Mark(u8),
}

/// What is being read. Strings are read as with `standard_conforming_strings` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Plain,
    Word,
    Number,
    String(Escapes),
    /// Behind a quote, which may be the first half of one within the string.
    StringEnd(Escapes),
    Escape,
    Quoted,
    QuotedEnd,
    Dash,
    LineComment,
    Slash,
    /// How deep, and the byte before.
    Comment(usize, u8),
    /// Behind a dollar: perhaps a tag.
    Tag,
    /// Between two tags; how much of the second one has been seen.
    Body(usize),
    /// Behind the text's end.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escapes {
    None,
    Backslash,
}

#[derive(Debug)]
pub(super) struct Lexer {
    state: State,
    held: [u8; MAX_HELD],
    len: usize,
    /// Strings are looked into.
    is_transparent: bool,
}

impl Default for Lexer {
    fn default() -> Self {
        Self { state: State::Plain, held: [0; MAX_HELD], len: 0, is_transparent: false }
    }
}

impl Lexer {
    pub(super) fn feed(&mut self, piece: &[u8], grammar: &mut Grammar) {
        let mut rest = piece;
        while let Some((&byte, behind)) = rest.split_first() {
            if byte == 0 {
                self.finish(grammar);
            }
            // Behind what ends a token the same byte begins the next one.
            if self.step(byte, grammar) {
                rest = &behind[self.dull(behind)..];
            }
        }
    }

    pub(super) fn finish(&mut self, grammar: &mut Grammar) {
        while self.state != State::Over && !self.step(b' ', grammar) {}
        self.state = State::Over;
    }

    /// How many bytes at the beginning of this change nothing.
    fn dull(&self, bytes: &[u8]) -> usize {
        let found = match self.state {
            State::String(Escapes::Backslash) => memchr::memchr3(b'\'', b'\\', 0, bytes),
            State::String(Escapes::None) if self.len > MAX_HELD => memchr::memchr2(b'\'', 0, bytes),
            State::LineComment => memchr::memchr3(b'\n', b'\r', 0, bytes),
            State::Body(0) => memchr::memchr2(b'$', 0, bytes),
            State::Over => None,
            _ => return 0,
        };
        found.unwrap_or(bytes.len())
    }

    /// Whether the byte is used up.
    fn step(&mut self, byte: u8, grammar: &mut Grammar) -> bool {
        use State as S;
        match self.state {
            S::Plain => self.plain(byte, grammar),
            S::Word if is_word(byte) || byte == b'$' => self.hold(byte.to_ascii_lowercase()),
            S::Word if byte == b'\'' && self.held() == Some(b"e") && !self.is_transparent => {
                self.begin(S::String(Escapes::Backslash));
            }
            S::Word => {
                if let Some(word) = self.held() {
                    self.is_transparent |= grammar.token(Token::Word(word));
                }
                return self.again();
            }
            S::Number if is_word(byte) || byte == b'.' => {}
            S::Number => return self.again(),
            S::String(escapes) if byte == b'\'' => self.state = S::StringEnd(escapes),
            S::String(Escapes::Backslash) if byte == b'\\' => self.state = S::Escape,
            S::String(_) => self.hold(byte),
            S::StringEnd(escapes) if byte == b'\'' => {
                self.hold(byte);
                self.state = S::String(escapes);
            }
            S::StringEnd(escapes) => {
                grammar.token(Token::String(self.held().filter(|_| escapes == Escapes::None)));
                return self.again();
            }
            S::Escape => self.state = S::String(Escapes::Backslash),
            S::Quoted if byte == b'"' => self.state = S::QuotedEnd,
            S::Quoted => self.hold(byte),
            S::QuotedEnd if byte == b'"' => {
                self.hold(byte);
                self.state = S::Quoted;
            }
            S::QuotedEnd => {
                if let Some(name) = self.held() {
                    grammar.token(Token::Quoted(name));
                }
                return self.again();
            }
            S::Dash if byte == b'-' => self.state = S::LineComment,
            S::Slash if byte == b'*' => self.state = S::Comment(1, 0),
            S::Dash | S::Slash => {
                grammar.token(Token::Mark(b'-'));
                return self.again();
            }
            S::LineComment => {
                if matches!(byte, b'\n' | b'\r') {
                    self.state = S::Plain;
                }
            }
            S::Comment(depth, before) => self.state = comment(depth, before, byte),
            S::Tag => return self.tag(byte, grammar),
            S::Body(seen) => self.body(seen, byte, grammar),
            S::Over => {}
        }
        true
    }

    fn plain(&mut self, byte: u8, grammar: &mut Grammar) {
        match byte {
            b'\'' if !self.is_transparent => self.begin(State::String(Escapes::None)),
            b'$' if !self.is_transparent => self.begin(State::Tag),
            b'"' => self.begin(State::Quoted),
            b'-' => self.state = State::Dash,
            b'/' => self.state = State::Slash,
            b'0'..=b'9' => self.state = State::Number,
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | 0 => {}
            _ if is_word(byte) => {
                self.begin(State::Word);
                self.hold(byte.to_ascii_lowercase());
            }
            _ => drop(grammar.token(Token::Mark(byte))),
        }
    }

    /// `$tag$ … $tag$`, or else a parameter or an operator.
    fn tag(&mut self, byte: u8, grammar: &mut Grammar) -> bool {
        if byte == b'$' && self.len < MAX_HELD {
            self.state = State::Body(0);
            return true;
        }
        if is_word(byte) && !(self.len == 0 && byte.is_ascii_digit()) {
            self.hold(byte);
            return true;
        }
        grammar.token(Token::Mark(b'$'));
        // Digits of a parameter are no word.
        self.state = State::Number;
        false
    }

    fn body(&mut self, seen: usize, byte: u8, grammar: &mut Grammar) {
        let expected = if seen == 0 || seen > self.len { b'$' } else { self.held[seen - 1] };
        self.state = match byte {
            _ if byte == expected && seen == self.len + 1 => {
                grammar.token(Token::String(None));
                State::Plain
            }
            _ if byte == expected => State::Body(seen + 1),
            b'$' => State::Body(1),
            _ => State::Body(0),
        };
    }

    fn begin(&mut self, state: State) {
        (self.state, self.len) = (state, 0);
    }

    fn again(&mut self) -> bool {
        self.state = State::Plain;
        false
    }

    fn hold(&mut self, byte: u8) {
        if let Some(place) = self.held.get_mut(self.len) {
            *place = byte;
        }
        self.len = (self.len + 1).min(MAX_HELD + 1);
    }

    fn held(&self) -> Option<&[u8]> {
        self.held.get(..self.len)
    }
}

/// Block comments nest in PostgreSQL.
fn comment(depth: usize, before: u8, byte: u8) -> State {
    match (before, byte) {
        (b'/', b'*') => State::Comment(depth + 1, 0),
        (b'*', b'/') if depth == 1 => State::Plain,
        (b'*', b'/') => State::Comment(depth - 1, 0),
        _ => State::Comment(depth, byte),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}
