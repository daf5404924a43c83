#![no_main]
//! What a text may leave behind does not depend on the pieces it comes in, a quick look misses nothing of it, and what
//! stands before it or behind it takes nothing away.
//!
//! The input is how long the pieces are, and behind `|` the text.

use libfuzzer_sys::fuzz_target;
use protocol::lexer::{first_keyword, first_statement, simple_query, skip_blanks_and_comments};
use protocol::traces::{Kinds, Reader, Traces};

fuzz_target!(|input: &[u8]| {
    let at = input.iter().position(|byte| *byte == b'|').unwrap_or(0);
    let (pieces, text) = (&input[..at], input.get(at + 1..).unwrap_or_default());
    let whole = Traces::of(text);
    assert!(whole.names.iter().all(|name| name.contains(&b'.') && name.len() <= 63 && name.is_ascii()));
    assert!(whole.names.is_empty() || whole.kinds.has(Kinds::SETTINGS) || whole.is_unclear);

    let (mut reader, mut rest) = (Reader::default(), text);
    for piece in pieces {
        let (piece, behind) = rest.split_at((*piece as usize).min(rest.len()));
        reader.feed(piece);
        rest = behind;
    }
    reader.feed(rest);
    assert_eq!(reader.finish(), whole);

    // All of a text that has several statements is read. Of one, what is no statement's beginning is an error, and so is
    // more behind the words that end a transaction, and behind a word that is too long for any.
    let keyword = first_keyword(text);
    let behind = skip_blanks_and_comments(text).get(keyword.len()).copied().unwrap_or(0);
    let is_beginning = !behind.is_ascii_digit() && !b"'\"$&".contains(&behind) && behind < 0x80;
    let dull: [&[u8]; 6] = [b"analyze", b"verbose", b"commit", b"end", b"rollback", b"abort"];
    let is_dull = keyword.len() > 63 || dull.iter().any(|word| keyword.eq_ignore_ascii_case(word));
    if !whole.is_empty() && is_beginning && !is_dull {
        assert!(simple_query(text, true).leaves_traces);
        assert!(text.contains(&b';') || first_statement(text).leaves_traces);
    }
    // A statement before it makes it none of the first, and hides nothing.
    let later = Traces::of(&[b"select 1; ", text].concat());
    assert_eq!(later.kinds, whole.kinds);
    assert_eq!(Traces::of(&[text, b"\0 set x = 1"].concat()), whole);
});
