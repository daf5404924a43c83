//! Which shared statement a Bind or Describe was about, for the one error that has to be laid to it.

use std::collections::VecDeque;

/// Room for so many is kept between conversations.
const KEPT: usize = 256;

/// The numbers of statements that are bound or described under names of ours.
#[derive(Debug, Default)]
pub(super) struct Referred {
    /// The one of the message that is about to be sent.
    next: Option<u64>,
    /// Those of messages whose answers are due, in order.
    due: VecDeque<u64>,
    /// One that has turned out to be outdated.
    outdated: Option<u64>,
}

impl Referred {
    /// The message that is about to be sent is about this one.
    pub(super) fn announce(&mut self, id: u64) {
        self.next = Some(id);
    }

    /// A message is sent: whether one was announced for it.
    pub(super) fn send(&mut self) -> bool {
        let announced = self.next.take();
        self.due.extend(announced);
        announced.is_some()
    }

    /// The first one's message is answered, or skipped.
    pub(super) fn pop(&mut self) {
        self.due.pop_front();
    }

    /// The first one's message is answered with the error that it is outdated.
    pub(super) fn note_outdated(&mut self) {
        self.outdated = self.due.front().copied();
    }

    pub(super) fn take_outdated(&mut self) -> Option<u64> {
        self.outdated.take()
    }

    pub(super) fn clear(&mut self) {
        (self.next, self.outdated) = (None, None);
        self.due.clear();
        self.due.shrink_to(KEPT);
    }
}
