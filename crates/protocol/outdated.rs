//! Whether a batch may be sent once more with its statement parsed anew, because the server refuses it: it would return
//! other columns than when it was prepared.
//!
//! Silence is right only if the client will not take one column for another: it is told the columns in this very batch,
//! or they are what it was told last. And only if nothing was done: the refused message was the first of its batch, but
//! for Parses, and outside a transaction block.

use aws_lc_rs::digest::{SHA256, digest};

use crate::header::Header;
use crate::lost::names::cstr;

/// Longest RowDescription that is remembered of a statement.
pub(crate) const MAX_COLUMNS: usize = 1 << 14;

/// The columns that a statement returns, as its RowDescription tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns(u64);

impl Columns {
    /// Those in the body of a statement's RowDescription; of NoData, whose body is empty, none.
    pub fn of(body: &[u8]) -> Self {
        let whole = digest(&SHA256, body);
        Self(whole.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first)))
    }
}

/// A batch whose statement was refused, and in which nothing was done.
#[derive(Debug, PartialEq, Eq)]
pub struct Outdated<'a> {
    /// What the client calls the statement.
    pub name: &'a [u8],
    /// Names that the batch has given to statements: it will give them again.
    pub defined: Vec<&'a [u8]>,
    /// The client is told the columns before it is given rows.
    is_described: bool,
    /// How many result formats each Bind of the statement gives, where it is more than one for all columns.
    formats: Vec<usize>,
}

impl<'a> Outdated<'a> {
    /// Reads a `batch` as its client sent it, and all of the server's `answer` to it, of which the client has nothing.
    pub fn read(batch: &'a [u8], answer: &[u8]) -> Option<Self> {
        if !is_refusal(answer) {
            return None;
        }
        let mut messages = Messages(batch);
        let mut defined = Vec::new();
        let (name, portal, is_bind, formats) = loop {
            match messages.next()? {
                (b'P', body) => defined.extend(Some(cstr(body).0).filter(|name| !name.is_empty())),
                (b'H', _) => {}
                (b'B', body) => break (cstr(cstr(body).1).0, cstr(body).0, true, vec![formats(body)?]),
                (b'D', [b'S', name @ ..]) => break (cstr(name).0, &b""[..], false, Vec::new()),
                _ => return None,
            }
        };
        let mut outdated = Self { name, defined, is_described: !is_bind, formats };
        (!name.is_empty() && outdated.read_rest(messages, portal)?).then_some(outdated)
    }

    /// What was skipped: whether it is nothing else than what may be sent again.
    fn read_rest(&mut self, mut messages: Messages<'a>, portal: &[u8]) -> Option<bool> {
        let mut is_settled = self.is_described;
        loop {
            match messages.next()? {
                (b'S', _) => break,
                (b'E', _) if !is_settled => is_settled = true,
                (b'D', body) if !is_settled => {
                    let (kind, name) = body.split_first()?;
                    let about = if *kind == b'S' { self.name } else { portal };
                    (is_settled, self.is_described) = (true, cstr(name).0 == about);
                }
                (b'B', body) if cstr(cstr(body).1).0 == self.name => self.formats.push(formats(body)?),
                (b'B' | b'C' | b'D' | b'E' | b'H' | b'P', _) => {}
                _ => return None,
            }
        }
        // Who executes nothing is given no rows.
        self.is_described |= !is_settled;
        Some(messages.0.is_empty())
    }

    /// Whether the client may have rows of a statement with this RowDescription, of which it was `told` something last.
    pub fn may_return(&self, row_description: &[u8], told: Option<Columns>) -> bool {
        let count = row_description.first_chunk().map_or(0, |count| usize::from(u16::from_be_bytes(*count)));
        // Otherwise the next error would be one that tells the client nothing about its statement.
        let fits = self.formats.iter().all(|formats| *formats <= 1 || *formats == count);
        fits && (self.is_described || told == Some(Columns::of(row_description)))
    }
}

/// Whether an answer is an error to the first message that can be refused for this: before it there is nothing but
/// ParseComplete, and the parameters of a statement whose columns cannot be described.
fn is_refusal(answer: &[u8]) -> bool {
    let mut messages = Messages(answer);
    let mut next = messages.next();
    while matches!(next, Some((b'1', _))) {
        next = messages.next();
    }
    if matches!(next, Some((b't', _))) {
        next = messages.next();
    }
    matches!(next, Some((b'E', _))) && messages.next() == Some((b'Z', b"I")) && messages.0.is_empty()
}

/// How many formats a Bind gives for its results. Source: protocol chapter, "Message Formats".
fn formats(body: &[u8]) -> Option<usize> {
    let (_, rest) = cstr(cstr(body).1);
    let (count, rest) = count(rest)?;
    let (values, mut rest) = self::count(rest.get(2 * count..)?)?;
    for _ in 0..values {
        let (len, behind) = rest.split_first_chunk()?;
        let len = usize::try_from(i32::from_be_bytes(*len)).unwrap_or(0);
        rest = behind.get(len..)?;
    }
    Some(self::count(rest)?.0)
}

fn count(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (count, rest) = bytes.split_first_chunk()?;
    Some((usize::from(u16::from_be_bytes(*count)), rest))
}

/// Whole messages, one after the other: tag and body.
#[derive(Clone, Copy)]
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = Header::peek(self.0).ok()??;
        let (message, rest) = self.0.split_at_checked(header.total_len())?;
        self.0 = rest;
        Some((header.tag, &message[Header::SIZE..]))
    }
}

/// Bytes before the last batch of several, all of which are whole.
pub fn last_batch(sent: &[u8]) -> Option<usize> {
    let (mut messages, mut begins) = (Messages(sent), 0);
    while let Some((tag, _)) = messages.next() {
        let at = sent.len() - messages.0.len();
        if matches!(tag, b'Q' | b'F' | b'S') && at < sent.len() {
            begins = at;
        }
    }
    messages.0.is_empty().then_some(begins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        messages::message(&mut out, tag, |out| out.extend_from_slice(body));
        out
    }

    /// A letter for each message: about statement `s` and the unnamed portal where it is a capital.
    fn batch(letters: &str) -> Vec<u8> {
        let of = |letter| match letter {
            'P' => message(b'P', b"s\0select 1\0\0\0"),
            'p' => message(b'P', b"other\0select 1\0\0\0"),
            'u' => message(b'P', b"\0select 1\0\0\0"),
            'B' => message(b'B', b"\0s\0\0\x01\0\0\0\x01\0\0\0\x021x\0\0"),
            '2' => message(b'B', b"\0s\0\0\0\0\0\0\x02\0\x01\0\x01"),
            'b' => message(b'B', b"\0other\0\0\0\0\0\0\0"),
            'D' => message(b'D', b"P\0"),
            'T' => message(b'D', b"Ss\0"),
            'd' => message(b'D', b"Pother\0"),
            'E' => message(b'E', b"\0\0\0\0\0"),
            'C' => message(b'C', b"Ss\0"),
            'H' => message(b'H', b""),
            'S' => message(b'S', b""),
            'Q' => message(b'Q', b"select 1\0"),
            letter => unreachable!("{letter}"),
        };
        letters.chars().flat_map(of).collect()
    }

    fn answer(tags: &str) -> Vec<u8> {
        let body = |tag: u8| if tag == b'Z' { &b"I"[..] } else { b"" };
        tags.bytes().flat_map(|tag| message(tag, body(tag))).collect()
    }

    const ONE: &[u8] = b"\0\x01one";
    const TWO: &[u8] = b"\0\x02two";

    #[track_caller]
    fn may_return(letters: &str, tags: &str, columns: &[u8], told: Option<&[u8]>) -> bool {
        let (batch, answer) = (batch(letters), answer(tags));
        let outdated = Outdated::read(&batch, &answer);
        outdated.is_some_and(|outdated| outdated.may_return(columns, told.map(Columns::of)))
    }

    #[test]
    fn who_is_told_the_columns_in_the_same_batch_may_have_any() {
        for letters in ["BDES", "PBDES", "puPBDES", "BHDES", "BTES", "BDEBES", "BDEbdES", "BS", "BDECS", "PHBDES"] {
            let tags = if letters.starts_with('p') { "111EZ" } else { "EZ" };
            assert!(may_return(letters, tags, TWO, None), "{letters}");
        }
        assert!(may_return("PTS", "1tEZ", TWO, None) && may_return("TBES", "tEZ", TWO, Some(ONE)));
    }

    #[test]
    fn who_is_not_may_have_those_it_was_told_last() {
        for letters in ["BES", "PBES", "BEDES", "BdES", "BbEDES"] {
            assert!(may_return(letters, "EZ", TWO, Some(TWO)), "{letters}");
            assert!(!may_return(letters, "EZ", TWO, Some(ONE)), "{letters}");
            assert!(!may_return(letters, "EZ", TWO, None), "{letters}");
        }
    }

    #[test]
    fn who_names_a_format_for_each_column_must_have_as_many() {
        assert!(may_return("2DES", "EZ", TWO, None) && !may_return("2DES", "EZ", ONE, None));
        assert!(may_return("T2ES", "tEZ", TWO, None) && !may_return("T2ES", "tEZ", ONE, None));
    }

    #[test]
    fn where_something_was_done_or_cannot_be_told_nothing_is_sent_again() {
        let refused = |letters: &str, tags: &str| Outdated::read(&batch(letters), &answer(tags)).is_none();
        for tags in ["2EZ", "DEZ", "CEZ", "E", "NEZ", "EZZ", "1S", "ttEZ", "", "tTEZ", "1EE"] {
            assert!(refused("BDES", tags), "{tags}");
        }
        for letters in ["EBDES", "CBDES", "BDEQ", "BDE", "SBDES", "BDESBDES", "DBDES", "", "PS", "BDQES"] {
            assert!(refused(letters, "EZ"), "{letters}");
        }
        assert!(Outdated::read(&batch("BDES")[..20], &answer("EZ")).is_none());
    }

    #[test]
    fn names_that_the_batch_gives_are_given_again() {
        let batch = batch("puPBDES");
        let outdated = Outdated::read(&batch, &answer("EZ")).unwrap();
        assert_eq!((outdated.name, outdated.defined), (&b"s"[..], vec![&b"other"[..], b"s"]));
    }

    #[test]
    fn the_last_batch_begins_behind_the_sync_before() {
        for (before, last) in [("", "BDES"), ("CS", "PTS"), ("QBES", "BES"), ("", "")] {
            let sent = [batch(before), batch(last)].concat();
            assert_eq!(last_batch(&sent), Some(batch(before).len()), "{before} {last}");
        }
        assert_eq!(last_batch(&batch("BDES")[..30]), None);
    }

    mod laws {
        use super::*;
        use proptest::prelude::*;

        proptest! {
            #[test]
            fn no_bytes_make_the_reader_panic(sent in "[PBDESCHQ\\x00-\\x05s]{0,60}", tags in "[1t2EZ]{0,5}") {
                let sent = sent.as_bytes();
                drop(Outdated::read(sent, &answer(&tags)));
                prop_assert!(last_batch(sent).is_none_or(|at| at <= sent.len()));
                prop_assert!(formats(sent).is_none_or(|count| count <= usize::from(u16::MAX)));
            }
        }
    }
}
