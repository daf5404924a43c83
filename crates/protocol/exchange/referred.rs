//! Which shared statement a Bind or Describe was about: for the one error that has to be laid to it, and for what its
//! client is told of its columns.

use std::collections::VecDeque;

use crate::outdated::Columns;
use crate::statements::ClientStatements;

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
    /// What its client calls the statement that is about to be described.
    next_name: Option<Name>,
    /// What they are called whose descriptions are due, in order.
    due_names: VecDeque<Name>,
    /// What clients were told that their notes do not say yet.
    told: Vec<(Name, u64, Option<Columns>)>,
}

type Name = Box<[u8]>;

impl Referred {
    /// The message that is about to be sent is about this one.
    pub(super) fn announce(&mut self, id: u64) {
        self.next = Some(id);
    }

    /// It describes it, under its client's name.
    pub(super) fn announce_name(&mut self, name: &[u8]) {
        self.next_name = Some(name.into());
    }

    /// A message is sent: whether one was announced for it.
    pub(super) fn send(&mut self) -> bool {
        let announced = self.next.take();
        self.due.extend(announced);
        self.due_names.extend(self.next_name.take());
        announced.is_some()
    }

    /// The first one's message, perhaps a Describe, is answered, or skipped.
    pub(super) fn pop(&mut self, is_described: bool) {
        self.due.pop_front();
        if is_described {
            self.due_names.pop_front();
        }
    }

    /// The first one's Describe is answered with these columns; none if they are too many to be remembered.
    pub(super) fn describe(&mut self, columns: Option<Columns>) {
        if let (Some(id), Some(name)) = (self.due.pop_front(), self.due_names.pop_front()) {
            self.told.push((name, id, columns));
        }
    }

    /// Tells the client's notes.
    #[inline]
    pub(super) fn tell(&mut self, client: &mut ClientStatements) {
        if !self.told.is_empty() {
            self.told.drain(..).for_each(|(name, id, columns)| client.tell(&name, id, columns));
        }
    }

    /// The first one's message is answered with the error that it is outdated.
    pub(super) fn note_outdated(&mut self) {
        self.outdated = self.due.front().copied();
    }

    pub(super) fn take_outdated(&mut self) -> Option<u64> {
        self.outdated.take()
    }

    pub(super) fn clear(&mut self) {
        (self.next, self.outdated, self.next_name) = (None, None, None);
        self.due.clear();
        self.due_names.clear();
        self.told.clear();
        self.due.shrink_to(KEPT);
    }
}
