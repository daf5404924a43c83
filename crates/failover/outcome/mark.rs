//! The mark in the write-ahead log: a logical message that nobody decodes.

use crate::Lsn;

/// Bytes of a page, unless the server was built with others: then the mark is not found where it spans two.
const PAGE: u64 = 8192;
/// Bytes before the mark's end in which it begins.
const REACH: u64 = 256;
/// A page's header, and that of a segment's first page.
const HEADER: usize = 24;
const LONG_HEADER: usize = 40;
/// In the second field of a header: it is the long one.
const IS_LONG: u16 = 2;

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
    pub fn is(&self, token: &str) -> bool {
        if self.start.0 + (self.bytes.len() as u64) < self.end.0 {
            return false;
        }
        let pages = self.bytes.chunks(PAGE as usize).filter_map(|page| {
            let flags = u16::from_le_bytes(*page.get(2..)?.first_chunk()?);
            page.get(if flags & IS_LONG == 0 { HEADER } else { LONG_HEADER }..)
        });
        let log = pages.collect::<Vec<_>>().concat();
        let last = log.len().saturating_sub(token.len() + 8);
        !token.is_empty() && log[last..].windows(token.len()).any(|window| window == token.as_bytes())
    }
}
