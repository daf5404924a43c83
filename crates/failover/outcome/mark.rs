//! The mark in the write-ahead log: a logical message that nobody decodes.

use crate::Lsn;

/// Bytes of a page, unless the server was built with others.
const PAGE: u64 = 8192;
/// The least that it can be built with.
const SMALLEST_PAGE: usize = 1024;
/// Records begin at multiples of so many bytes.
const ALIGNMENT: usize = 8;
/// Bytes before the mark's end in which it begins.
const REACH: u64 = 256;
/// A page's header, and that of a segment's first page.
const HEADER: usize = 24;
const LONG_HEADER: usize = 40;
/// In the second field of a header: it is the long one.
const IS_LONG: u16 = 2;

/// What stands in the mark's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It.
    Mark,
    /// Another record: the log was lost from there on, or from before, and written anew.
    Another,
    /// The log ends before.
    Nothing,
    /// That cannot be told.
    Unclear,
}

/// The write-ahead log around the place where a mark ends.
#[derive(Debug)]
pub struct Mark {
    start: Lsn,
    end: Lsn,
    bytes: Vec<u8>,
}

impl Mark {
    /// For a mark that ends there.
    pub fn before(end: Lsn) -> Self {
        let start = Lsn(end.0.saturating_sub(REACH) / PAGE * PAGE);
        Self { start, end, bytes: Vec::new() }
    }

    /// From where on the log is to be read.
    pub fn start(&self) -> Lsn {
        self.start
    }

    /// More of the log. Whether all is there.
    pub fn feed(&mut self, at: Lsn, log: &[u8]) -> bool {
        let next = self.start.0 + self.bytes.len() as u64;
        if let Some(skipped) = next.checked_sub(at.0)
            && let Some(news) = log.get(skipped as usize..)
        {
            let missing = self.end.0.saturating_sub(next);
            self.bytes.extend_from_slice(&news[..news.len().min(missing as usize)]);
        }
        self.start.0 + self.bytes.len() as u64 >= self.end.0
    }

    /// Whether the token is what was written last before the end.
    ///
    /// Source: PostgreSQL's `xlog_internal.h`: records go on behind the header of the next page.
    pub fn look(&self, token: &str) -> Seen {
        if self.start.0 + (self.bytes.len() as u64) < self.end.0 {
            return Seen::Unclear;
        }
        let mut log = Vec::with_capacity(self.bytes.len());
        for (page, address) in self.bytes.chunks(PAGE as usize).zip((self.start.0..).step_by(PAGE as usize)) {
            match content(page, address) {
                Some(content) => log.extend_from_slice(content),
                None => return Seen::Unclear,
            }
        }
        let last = log.len().saturating_sub(token.len() + ALIGNMENT);
        let is_there = log[last..].windows(token.len().max(1)).any(|window| window == token.as_bytes());
        if is_there { Seen::Mark } else { Seen::Another }
    }
}

/// What is behind a page's header, and in none of the smaller pages that a server may have been built with. None if that
/// is not how it is: then the mark may be torn.
fn content(page: &[u8], address: u64) -> Option<&[u8]> {
    let is_page = |at: usize| {
        let place = page.get(at + 8..).and_then(<[u8]>::first_chunk);
        place.is_some_and(|place| u64::from_le_bytes(*place) == address + at as u64)
    };
    let flags = u16::from_le_bytes(*page.get(2..)?.first_chunk()?);
    let is_whole = is_page(0) && !(SMALLEST_PAGE..page.len()).step_by(SMALLEST_PAGE).any(is_page);
    page.get(if flags & IS_LONG == 0 { HEADER } else { LONG_HEADER }..).filter(|_| is_whole)
}
