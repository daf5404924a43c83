//! What a statement may leave behind in its session: suspicion only, raised by its text. The server decides.

mod grammar;
mod tokens;

use std::ops::BitOrAssign;

use grammar::Grammar;
use tokens::Lexer;

/// Longest name of a parameter that is remembered.
const MAX_NAME: usize = 63;
/// Most names that are remembered of one conversation.
const MAX_NAMES: usize = 256;

/// Kinds of traces, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u16);

impl Kinds {
    /// None.
    pub const NONE: Self = Self(0);
    /// Settings, role and session authorization.
    pub const SETTINGS: Self = Self(1);
    /// Session advisory locks.
    pub const LOCKS: Self = Self(1 << 1);
    /// Temporary tables and other temporary objects.
    pub const TEMPORARY: Self = Self(1 << 2);
    /// Cursors `WITH HOLD`.
    pub const CURSORS: Self = Self(1 << 3);
    /// Channels that are listened to.
    pub const CHANNELS: Self = Self(1 << 4);
    /// Statements prepared by SQL.
    pub const PREPARED: Self = Self(1 << 5);
    /// Something that was held may be given up.
    pub const ENDS: Self = Self(1 << 6);
    /// A statement prepared by SQL is executed: whatever that does.
    pub const EXECUTES: Self = Self(1 << 7);
    /// What a server cannot be asked about. It is never suspected by itself: see [`Traces::hides`].
    pub const HIDDEN: Self = Self(1 << 8);
    /// What cannot move from server to server.
    pub const FIXED: Self =
        Self(Self::LOCKS.0 | Self::TEMPORARY.0 | Self::CURSORS.0 | Self::CHANNELS.0 | Self::PREPARED.0);

    /// Both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of `self` that are in `other` too.
    pub const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those of `self` that are not in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the two have one in common.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// As a number that [`Kinds::from_bits`] reads.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// From what [`Kinds::bits`] gave.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }
}

impl BitOrAssign for Kinds {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// What statements may leave behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Of which kinds.
    pub kinds: Kinds,
    /// Parameters with a dot in their names, which servers list nowhere, in lower case.
    pub names: Vec<Box<[u8]>>,
    /// A parameter may have been named that is one of those, in a way that is not read here.
    pub is_unclear: bool,
    /// Something may be left that no server tells of: by `DO`, `CALL`, `LOAD`, `setseed`, sequences or `dblink`.
    pub hides: bool,
}

impl Traces {
    /// What a text may leave behind. Text behind a zero is not looked at.
    pub fn of(text: &[u8]) -> Self {
        let mut reader = Reader::default();
        reader.feed(text);
        reader.finish()
    }

    /// Whether there are none that a server would tell of.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_none()
    }

    /// Of which kinds, with what is hidden.
    pub fn all_kinds(&self) -> Kinds {
        if self.hides { self.kinds.and(Kinds::HIDDEN) } else { self.kinds }
    }

    /// Adds those of another statement.
    pub fn add(&mut self, other: &Self) {
        self.kinds |= other.kinds;
        self.is_unclear |= other.is_unclear;
        self.hides |= other.hides;
        other.names.iter().for_each(|name| self.add_name(name));
    }

    fn add_name(&mut self, name: &[u8]) {
        if self.names.iter().any(|known| **known == *name) {
            return;
        }
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_$.".contains(byte);
        if name.len() <= MAX_NAME && self.names.len() < MAX_NAMES && name.iter().all(is_plain) {
            self.names.push(name.into());
        } else {
            self.is_unclear = true;
        }
    }

    /// Forgets all, but keeps its memory.
    pub fn clear(&mut self) {
        self.kinds = Kinds::NONE;
        self.names.clear();
        (self.is_unclear, self.hides) = (false, false);
    }
}

/// Bytes that are looked at together: this is what makes it cheap.
const BLOCK: usize = 16;

/// Whether a single statement may have a word in it that leaves traces wherever it stands: `set_config`, one of the
/// advisory locks, or a temporary table. Says yes too often, never too rarely.
pub(crate) fn may_have_word(text: &[u8]) -> bool {
    let mut least = [u8::MAX; BLOCK];
    let mut rest = text;
    while let Some(block) = rest.first_chunk() {
        compare(block, &mut least);
        rest = &rest[BLOCK..];
    }
    match text.last_chunk() {
        Some(block) => compare(block, &mut least),
        None => {
            let mut short = [0; BLOCK + 2];
            short[..text.len()].copy_from_slice(text);
            compare(&short, &mut least);
        }
    }
    least.into_iter().fold(u8::MAX, u8::min) == 0
}

/// How much each place differs from set_coNFIg, aDVIsory or tEMPorary, whichever is nearest; or has differed before.
#[inline]
fn compare(block: &[u8; BLOCK + 2], least: &mut [u8; BLOCK]) {
    for at in 0..BLOCK {
        let [a, b, c] = [block[at] | 0x20, block[at + 1] | 0x20, block[at + 2] | 0x20];
        let config = (a ^ b'n') | (b ^ b'f') | (c ^ b'i');
        let advisory = (a ^ b'd') | (b ^ b'v') | (c ^ b'i');
        let temporary = (a ^ b'e') | (b ^ b'm') | (c ^ b'p');
        least[at] = least[at].min(config).min(advisory).min(temporary);
    }
}

/// Whether a statement that begins with this word may leave traces by itself.
pub(crate) fn is_telling(keyword: &[u8]) -> bool {
    let words: &[&[u8]] = match keyword.first().map(u8::to_ascii_lowercase) {
        Some(b's') => &[b"set"],
        Some(b'r') => &[b"reset"],
        Some(b'd') => &[b"discard", b"declare", b"deallocate", b"do", b"drop"],
        Some(b'l') => &[b"listen"],
        Some(b'u') => &[b"unlisten"],
        Some(b'c') => &[b"create", b"close"],
        Some(b'p') => &[b"prepare"],
        Some(b'e') => &[b"execute", b"explain"],
        Some(b'a') => &[b"alter"],
        Some(_) => &[],
        None => return true,
    };
    words.iter().any(|word| keyword.eq_ignore_ascii_case(word))
}

/// Reads a text that comes in pieces.
#[derive(Debug, Default)]
pub struct Reader {
    lexer: Lexer,
    grammar: Grammar,
}

impl Reader {
    /// The next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        self.lexer.feed(piece, &mut self.grammar);
    }

    /// What the whole text may leave behind.
    pub fn finish(mut self) -> Traces {
        self.lexer.finish(&mut self.grammar);
        self.grammar.finish()
    }
}

#[cfg(test)]
#[path = "traces/tests.rs"]
mod tests;
