//! What a flow keeps of the bytes that have gone, so that they can be judged once more as they came.

/// Bytes that have been cleared stay in a flow's buffer from a mark on, for as long as there is room; what was changed in
/// them is noted.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Whether all since the mark is there.
    on: bool,
    /// The mark: a place in the flow's buffer.
    pub(super) from: usize,
    edits: Vec<Edit>,
    /// What was taken away, one behind the other.
    taken: Vec<u8>,
}

/// Bytes that others have taken the place of.
#[derive(Debug)]
struct Edit {
    /// Where, counted from the mark.
    at: usize,
    /// How many stand there now.
    put: usize,
    /// Where those that stood there begin in `taken`.
    taken: usize,
}

impl Kept {
    /// Sets the mark.
    pub(super) fn begin(&mut self, from: usize) {
        (self.on, self.from) = (true, from);
        if !self.edits.is_empty() {
            self.edits.clear();
            self.taken.clear();
        }
    }

    /// The room is needed for others.
    pub(super) fn give_up(&mut self) {
        self.on = false;
    }

    /// Whether bytes before this place are kept.
    pub(super) fn holds(&self, end: usize) -> bool {
        self.on && self.from < end
    }

    /// The first place that is still needed, where that would be `end` if nothing were kept.
    pub(super) fn first(&self, end: usize) -> usize {
        if self.on { self.from } else { end }
    }

    /// Notes that `put` bytes take the place of `taken`.
    pub(super) fn note(&mut self, at: usize, put: usize, taken: &[u8]) {
        if self.on {
            self.edits.push(Edit { at: at - self.from, put, taken: self.taken.len() });
            self.taken.extend_from_slice(taken);
        }
    }

    /// Puts everything back as it was, and keeps no more: the mark, if all is there.
    pub(super) fn restore(&mut self, bytes: &mut Vec<u8>) -> Option<usize> {
        for edit in self.edits.drain(..).rev() {
            if self.on {
                let at = self.from + edit.at;
                bytes.splice(at..at + edit.put, self.taken.drain(edit.taken..));
            }
        }
        self.taken.clear();
        std::mem::take(&mut self.on).then_some(self.from)
    }
}
