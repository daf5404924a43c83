//! The part of the conversation that outlasts it: what statements may have left behind in the server's session.

use super::Exchange;
use crate::lexer::Suspicion;
use crate::traces::{Kinds, Reader, Traces};

/// `set_config` and the session's advisory locks, for a FunctionCall. Source: `pg_proc.dat`.
const SET_CONFIG: u32 = 2078;
const ADVISORY_LOCKS: std::ops::RangeInclusive<u32> = 2880..=2892;

/// What is suspected so far.
#[derive(Debug, Default)]
pub(super) struct Left {
    traces: Traces,
    /// A text of which more will come.
    reader: Option<Box<Reader>>,
    /// Texts are read that nobody suspects, for what they may hide.
    reads_all: bool,
    /// A transaction has ended since, and another has begun.
    is_unsettled: bool,
}

impl Left {
    /// Notes a text, or as much of it as has arrived: where it is whole, a zero ends it.
    #[inline]
    pub(super) fn text(&mut self, suspicion: Suspicion, text: &[u8]) {
        if suspicion.leaves_traces || self.reads_all || (text.last() != Some(&0) && memchr::memrchr(0, text).is_none())
        {
            self.read(text);
        }
    }

    fn read(&mut self, text: &[u8]) {
        self.text_ends();
        let mut reader = Reader::default();
        reader.feed(text);
        if memchr::memchr(0, text).is_some() {
            self.traces.add(&reader.finish());
        } else {
            self.reader = Some(Box::new(reader));
        }
    }

    fn text_ends(&mut self) {
        if let Some(reader) = self.reader.take() {
            self.traces.add(&reader.finish());
        }
    }

    /// Notes a FunctionCall: only PostgreSQL's own functions are known by their numbers.
    pub(super) fn function_call(&mut self, body: &[u8]) {
        let Some(oid) = body.first_chunk().map(|oid| u32::from_be_bytes(*oid)) else { return };
        if oid == SET_CONFIG {
            self.traces.kinds |= Kinds::SETTINGS;
            self.traces.is_unclear = true;
        } else if ADVISORY_LOCKS.contains(&oid) {
            self.traces.kinds |= Kinds::LOCKS;
        }
    }

    /// Notes what a message of our own leaves behind.
    pub(super) fn leaves(&mut self, kinds: Kinds) {
        self.traces.kinds |= kinds;
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        if self.reader.is_some() || !self.traces.is_empty() || self.traces.hides {
            self.reader = None;
            self.traces.clear();
            self.is_unsettled = false;
        }
    }
}

impl Exchange {
    /// Notes what a prepared statement may leave behind that is about to be run.
    pub(crate) fn may_leave(&mut self, traces: &Traces) {
        self.left.traces.add(traces);
    }

    /// Notes the text of a statement that is about to be run.
    pub(crate) fn may_leave_by(&mut self, suspicion: Suspicion, text: &[u8]) {
        self.left.text(suspicion, text);
    }

    /// Says whether what is hidden in functions matters.
    #[inline]
    pub fn read_all(&mut self, reads_all: bool) {
        self.left.reads_all = reads_all;
    }

    /// Whether a text passes of which the rest must be shown to [`Exchange::text_goes_on`].
    #[inline]
    pub fn is_reading(&self) -> bool {
        self.left.reader.is_some()
    }

    /// More of a message has passed, and perhaps its end.
    pub fn text_goes_on(&mut self, piece: &[u8], ends: bool) {
        if let Some(reader) = &mut self.left.reader {
            reader.feed(piece);
        }
        if ends {
            self.left.text_ends();
        }
    }

    /// A transaction has ended, and more is due.
    pub(super) fn note_end(&mut self) {
        self.left.is_unsettled |= !self.left.traces.is_empty();
    }

    /// Whether a transaction that has ended may have left something, and nobody could ask so far.
    pub fn is_unsettled(&self) -> bool {
        self.left.is_unsettled
    }

    /// What may have been left behind in the server's session so far.
    #[inline]
    pub fn traces(&self) -> &Traces {
        &self.left.traces
    }
}
