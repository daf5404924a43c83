//! A timeline's history file: which timelines it comes from, and where each ended.

use crate::{BadRow, Lsn};

/// What a timeline comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(Vec<(u32, Lsn)>);

impl History {
    /// Reads a history file.
    ///
    /// Source: `readTimeLineHistory` in PostgreSQL's `timeline.c`: a line for each ancestor, its number, where it ended and
    /// why, and comments behind `#`.
    ///
    /// # Errors
    /// It is not one: a half-read history would prove what is not so.
    pub fn parse(text: &str) -> Result<Self, BadRow> {
        let mut ancestors: Vec<(u32, Lsn)> = Vec::new();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines {
            let mut words = line.split_whitespace();
            let timeline = words.next().and_then(|word| word.parse().ok()).ok_or(BadRow("timeline"))?;
            let end = words.next().ok_or(BadRow("switchpoint"))?.parse()?;
            if ancestors.last().is_some_and(|(last, from)| *last >= timeline || *from > end) {
                return Err(BadRow("history"));
            }
            ancestors.push((timeline, end));
        }
        if ancestors.is_empty() { Err(BadRow("history")) } else { Ok(Self(ancestors)) }
    }

    /// Where an ancestor ended: nothing that it has beyond that is here. None for a timeline that is no ancestor.
    pub fn end_of(&self, timeline: u32) -> Option<Lsn> {
        self.0.iter().find(|(known, _)| *known == timeline).map(|(_, end)| *end)
    }
}
