//! Just enough SQL: the first keyword, past blanks and comments, and whether the text is a single statement.
//!
//! It raises suspicion and never decides what a statement does: the server does that.

use crate::traces;

/// What may be lost if a statement is canceled on nobody's request. Ordered: a batch is as risky as its worst statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// A single statement that reads.
    Reads,
    /// A single statement that may write, but does not end a transaction block.
    Writes,
    /// May be committing, or is not understood.
    MayCommit,
    /// A single COMMIT or END.
    Commits,
}

/// What a text is suspected of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// What may be lost if it is canceled.
    pub risk: Risk,
    /// It may take names of prepared statements away.
    pub deallocates: bool,
    /// It may leave a transaction block open behind it.
    pub opens: bool,
    /// It may leave traces in its session: it is worth to be read whole ([`crate::traces`]).
    pub leaves_traces: bool,
}

impl Suspicion {
    const ALL: Self = Self { risk: Risk::MayCommit, deallocates: true, opens: true, leaves_traces: true };
}

/// Judges the text of a simple Query, or as much of it as has arrived.
pub fn simple_query(text: &[u8], complete: bool) -> Suspicion {
    if !complete || !is_single(text) {
        return Suspicion::ALL;
    }
    first_statement(text)
}

/// Judges the text of a Parse, which the protocol limits to one statement; its beginning is enough.
pub fn first_statement(text: &[u8]) -> Suspicion {
    let keyword = first_keyword(text);
    let is = |words: &[&str]| words.iter().any(|word| keyword.eq_ignore_ascii_case(word.as_bytes()));
    let harmless = |risk, leaves_traces| Suspicion { risk, deallocates: false, opens: false, leaves_traces };
    if is(&["select", "table", "values", "show", "fetch"]) {
        harmless(Risk::Reads, traces::may_have_word(text))
    } else if is(&["commit", "end"]) {
        harmless(Risk::Commits, false)
    } else if keyword.is_empty() || is(&["prepare", "rollback", "abort"]) {
        Suspicion { opens: keyword.is_empty(), ..harmless(Risk::MayCommit, traces::is_telling(keyword)) }
    } else {
        let (deallocates, opens) = (is(&["deallocate", "discard"]), is(&["begin", "start"]));
        let leaves_traces = traces::is_telling(keyword) || traces::may_have_word(text);
        Suspicion { risk: Risk::Writes, deallocates, opens, leaves_traces }
    }
}

/// The first word outside of blanks and comments; empty where there is none, or where it may be cut off.
pub fn first_keyword(text: &[u8]) -> &[u8] {
    let rest = skip_blanks_and_comments(text);
    let len = rest.iter().take_while(|byte| byte.is_ascii_alphabetic() || **byte == b'_').count();
    if len == rest.len() { &[] } else { &rest[..len] }
}

/// What stands behind blanks and comments.
pub fn skip_blanks_and_comments(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        text = if text.starts_with(b"--") {
            let end = memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len());
            &text[end..]
        } else if text.starts_with(b"/*") {
            skip_block_comment(text)
        } else {
            return text;
        };
    }
}

/// Block comments nest in PostgreSQL. Source: manual, "Lexical Structure", comments.
fn skip_block_comment(text: &[u8]) -> &[u8] {
    let (mut depth, mut at) = (0usize, 0);
    while at < text.len() {
        match text.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return &text[at..];
        }
    }
    &[]
}

/// Whether nothing but blanks follows the first semicolon. One inside a string makes this say no, which is the safe side.
fn is_single(text: &[u8]) -> bool {
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    memchr::memchr(b';', text).is_none_or(|at| text[at + 1..].trim_ascii_start().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_hide_no_commit() {
        let cases = [
            ("commit\0", Risk::Commits),
            (" /* a /* b */ */ -- x\n END;\0", Risk::Commits),
            ("\tPrepare transaction 'x'\0", Risk::MayCommit),
            ("-- nothing\0", Risk::MayCommit),
        ];
        for (text, risk) in cases {
            assert_eq!(simple_query(text.as_bytes(), true).risk, risk, "{text}");
        }
    }

    #[test]
    fn a_second_statement_makes_it_a_risk() {
        assert_eq!(simple_query(b"select 1; \0", true).risk, Risk::Reads);
        assert_eq!(simple_query(b"select 1; commit\0", true).risk, Risk::MayCommit);
        assert_eq!(simple_query(b"update t set a = 1\0", true).risk, Risk::Writes);
    }

    #[test]
    fn what_has_not_arrived_yet_is_a_risk() {
        assert_eq!(simple_query(b"select 1", false).risk, Risk::MayCommit);
        assert_eq!(first_statement(b"comm").risk, Risk::MayCommit);
        assert_eq!(first_statement(b"/* half a comment").risk, Risk::MayCommit);
        assert_eq!(first_statement(b"select $1 from").risk, Risk::Reads);
    }

    #[test]
    fn a_block_may_be_opened_by_its_words_and_by_what_is_not_read_to_its_end() {
        for text in ["begin\0", "/* x */ START transaction\0", "select 1; begin\0"] {
            assert!(simple_query(text.as_bytes(), true).opens, "{text}");
        }
        assert!(simple_query(b"insert", false).opens && first_statement(b"beg").opens);
        assert!(!first_statement(b"insert into t").opens && !first_statement(b"commit\0").opens);
    }

    #[test]
    fn only_certain_words_and_what_is_not_read_to_its_end_may_deallocate() {
        for text in ["deallocate s\0", " /**/ Discard plans\0", "select 1; deallocate s\0"] {
            assert!(simple_query(text.as_bytes(), true).deallocates, "{text}");
        }
        assert!(simple_query(b"select 1", false).deallocates);
        assert!(!simple_query(b"select 1\0", true).deallocates);
        assert!(!simple_query(b"(select 1)\0", true).deallocates);
    }
}
