//! Which statements leave traces: their first words, and the functions in them.

use super::tokens::Token;
use super::{Kinds, Traces};

/// Where in a statement the next token stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The first word is still to come.
    #[default]
    Start,
    Set,
    SetSession,
    /// In the name of a parameter.
    Name,
    Discard,
    /// Between CREATE and what is created.
    Create,
    Declare,
    Prepare,
    /// Behind SELECT INTO.
    Into,
    /// In code, where every word counts.
    Code,
    /// Only functions matter.
    Rest,
}

/// A call of `set_config`, whose third argument tells whether it lasts.
#[derive(Debug)]
struct Call {
    depth: usize,
    argument: usize,
    /// Tokens of the argument so far.
    tokens: usize,
    /// The first argument, if it is a string and nothing else.
    name: Option<Vec<u8>>,
    is_local: bool,
}

#[derive(Debug, Default)]
pub(super) struct Grammar {
    state: State,
    traces: Traces,
    depth: usize,
    /// The word before was `set_config`.
    is_called: bool,
    call: Option<Call>,
    name: Vec<u8>,
}

impl Grammar {
    /// True if the text goes on with code in a string that is to be looked into.
    pub(super) fn token(&mut self, token: Token<'_>) -> bool {
        let is_called = std::mem::take(&mut self.is_called);
        match token {
            Token::Mark(b'(') => self.opens(is_called),
            Token::Mark(b')') => self.closes(),
            Token::Mark(b',') => self.next_argument(),
            Token::Mark(b';') if self.depth == 0 => self.end_statement(),
            _ => self.argument(token),
        }
        if is_called && token != Token::Mark(b'(') {
            // Not a call, or one that is not understood.
            self.suspect(Kinds::SETTINGS);
        }
        match token {
            Token::Word(word) => {
                self.anywhere(word);
                self.keyword(word);
            }
            Token::Quoted(name) => {
                self.anywhere(name);
                self.in_name(name);
            }
            Token::Mark(b'.') => self.in_name(b"."),
            // `SET` a.b `=`, `TO`: the name is over.
            Token::Mark(_) | Token::String(_) => self.end_name(),
        }
        self.state == State::Code
    }

    pub(super) fn finish(mut self) -> Traces {
        self.end_statement();
        if self.is_called || self.call.is_some() {
            self.suspect(Kinds::SETTINGS);
        }
        self.traces
    }

    fn suspect(&mut self, kinds: Kinds) {
        self.traces.kinds |= kinds;
    }

    /// Words that matter wherever they stand.
    fn anywhere(&mut self, word: &[u8]) {
        match word {
            b"set_config" => self.is_called = true,
            b"pg_advisory_lock" | b"pg_advisory_lock_shared" => self.suspect(Kinds::LOCKS),
            b"pg_try_advisory_lock" | b"pg_try_advisory_lock_shared" => self.suspect(Kinds::LOCKS),
            b"pg_advisory_unlock" | b"pg_advisory_unlock_shared" | b"pg_advisory_unlock_all" => {
                self.suspect(Kinds::ENDS);
            }
            b"pg_temp" => self.suspect(Kinds::TEMPORARY),
            b"currval" | b"lastval" | b"setseed" => self.traces.hides = true,
            _ if word.starts_with(b"dblink") => self.traces.hides = true,
            _ => {}
        }
    }

    fn keyword(&mut self, word: &[u8]) {
        use State as S;
        self.state = match (self.state, word) {
            (S::Start, _) => return self.first(word),
            (S::Set, b"local" | b"transaction" | b"constraints") => S::Rest,
            (S::Set, b"session") => S::SetSession,
            (S::Set | S::SetSession, _) => {
                self.suspect(Kinds::SETTINGS);
                self.name.extend_from_slice(word);
                S::Name
            }
            (S::Name, _) => return self.in_name(word),
            (S::Discard, b"all") => {
                self.suspect(Kinds::SETTINGS.and(Kinds::ENDS));
                S::Rest
            }
            (S::Discard, b"temp" | b"temporary") => {
                self.suspect(Kinds::ENDS);
                S::Rest
            }
            (S::Create | S::Into, b"temp" | b"temporary") => {
                self.suspect(Kinds::TEMPORARY);
                S::Rest
            }
            (S::Create, b"or" | b"replace" | b"global" | b"local") => S::Create,
            (S::Into, b"global" | b"local") => S::Into,
            (S::Declare, b"hold") => {
                self.suspect(Kinds::CURSORS);
                S::Rest
            }
            (S::Declare, b"for") => S::Rest,
            (S::Declare, _) => S::Declare,
            (S::Prepare, b"transaction") => S::Rest,
            (S::Prepare, _) => {
                self.suspect(Kinds::PREPARED);
                S::Rest
            }
            (S::Code, _) => return self.in_code(word),
            (S::Rest, b"into") => S::Into,
            (S::Rest | S::Discard | S::Create | S::Into, _) => S::Rest,
        };
    }

    fn first(&mut self, word: &[u8]) {
        use State as S;
        let (state, kinds) = match word {
            b"explain" | b"analyze" | b"verbose" => (S::Start, Kinds::NONE),
            b"set" => (S::Set, Kinds::NONE),
            b"reset" => (S::Name, Kinds::SETTINGS),
            b"discard" => (S::Discard, Kinds::NONE),
            b"listen" => (S::Rest, Kinds::CHANNELS),
            b"unlisten" | b"close" | b"drop" | b"alter" | b"deallocate" => (S::Rest, Kinds::ENDS),
            b"declare" => (S::Declare, Kinds::NONE),
            b"create" => (S::Create, Kinds::NONE),
            b"prepare" => (S::Prepare, Kinds::NONE),
            b"execute" => (S::Rest, Kinds::EXECUTES),
            b"do" => (S::Code, Kinds::NONE),
            _ => (S::Rest, Kinds::NONE),
        };
        self.suspect(kinds);
        self.traces.hides |= matches!(word, b"call" | b"do" | b"load");
        self.state = state;
    }

    /// In the code of a DO block any of these may run.
    fn in_code(&mut self, word: &[u8]) {
        self.suspect(match word {
            b"set" | b"reset" | b"execute" | b"discard" => Kinds::SETTINGS,
            b"temp" | b"temporary" => Kinds::TEMPORARY,
            b"hold" => Kinds::CURSORS,
            b"listen" => Kinds::CHANNELS,
            b"prepare" => Kinds::PREPARED,
            b"unlisten" | b"close" | b"drop" | b"deallocate" => Kinds::ENDS,
            _ => return,
        });
        if word == b"execute" {
            // What it executes is another text.
            self.suspect(Kinds::FIXED);
        }
        // Names are not read here.
        self.traces.is_unclear = true;
    }

    fn in_name(&mut self, part: &[u8]) {
        match self.state {
            State::Set | State::SetSession if part != b"." => {
                self.suspect(Kinds::SETTINGS);
                self.state = State::Name;
            }
            State::Name => {}
            _ => return,
        }
        let is_joined = self.name.is_empty() || part == b"." || self.name.ends_with(b".");
        if is_joined && self.name.len() < 2 * super::MAX_NAME {
            self.name.extend(part.iter().map(u8::to_ascii_lowercase));
        } else {
            self.end_name();
        }
    }

    fn end_name(&mut self) {
        if matches!(self.state, State::Set | State::SetSession | State::Name) {
            self.state = State::Rest;
        }
        if self.name.contains(&b'.') {
            self.traces.add_name(&self.name);
        }
        self.name.clear();
    }

    fn end_statement(&mut self) {
        self.end_name();
        if self.state != State::Code {
            self.state = State::Start;
        }
    }

    fn opens(&mut self, is_called: bool) {
        self.depth += 1;
        if is_called && self.call.is_none() {
            self.call = Some(Call { depth: self.depth, argument: 0, tokens: 0, name: None, is_local: false });
        } else if is_called {
            // One within the arguments of another.
            self.suspect(Kinds::SETTINGS);
            self.traces.is_unclear = true;
        } else {
            self.argument(Token::Mark(b'('));
        }
    }

    fn argument(&mut self, token: Token<'_>) {
        let Some(call) = &mut self.call else { return };
        call.tokens += 1;
        match (call.argument, token) {
            (0, Token::String(Some(name))) if call.tokens == 1 => call.name = Some(name.to_ascii_lowercase()),
            (0, _) => call.name = None,
            (2, token) => call.is_local = call.tokens == 1 && token == Token::Word(b"true"),
            _ => {}
        }
    }

    fn next_argument(&mut self) {
        match &mut self.call {
            Some(call) if call.depth == self.depth => (call.argument, call.tokens) = (call.argument + 1, 0),
            _ => self.argument(Token::Mark(b',')),
        }
    }

    fn closes(&mut self) {
        let ended = self.call.take_if(|call| call.depth == self.depth);
        self.depth = self.depth.saturating_sub(1);
        let Some(call) = ended else { return self.argument(Token::Mark(b')')) };
        if call.is_local && call.argument == 2 {
            return;
        }
        self.suspect(Kinds::SETTINGS);
        match call.name {
            Some(name) if name.contains(&b'.') => self.traces.add_name(&name),
            Some(_) => {}
            None => self.traces.is_unclear = true,
        }
    }
}
