//! Clients that keep their server beyond a transaction, because what they have left in its session cannot move.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use protocol::traces::Kinds;

/// Something that keeps a server.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Which.
    pub kind: Kinds,
    /// In SHOW CLIENTS, metrics and errors.
    pub name: &'static str,
    /// The setting that may refuse it.
    pub setting: &'static str,
}

const fn kind(kind: Kinds, name: &'static str, setting: &'static str) -> Kind {
    Kind { kind, name, setting }
}

/// All there are.
pub static KINDS: [Kind; 6] = [
    kind(Kinds::LOCKS, "advisory lock", "session_advisory_locks"),
    kind(Kinds::TEMPORARY, "temporary table", "session_temporary_tables"),
    kind(Kinds::CURSORS, "cursor WITH HOLD", "session_hold_cursors"),
    kind(Kinds::CHANNELS, "LISTEN", "session_listen"),
    kind(Kinds::PREPARED, "PREPARE", "session_prepare"),
    kind(Kinds::HIDDEN, "hidden state", "session_hidden"),
];

/// Those in a set.
pub fn kinds_in(set: Kinds) -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(move |kind| set.has(kind.kind))
}

/// Their names, in words.
pub fn names(set: Kinds) -> String {
    kinds_in(set).map(|kind| kind.name).collect::<Vec<_>>().join(", ")
}

/// How many clients of a pool keep a server.
#[derive(Debug, Default)]
pub struct Pins {
    total: AtomicUsize,
    by_kind: [AtomicUsize; KINDS.len()],
}

impl Pins {
    /// How many there are.
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// How many keep a server for this kind of thing.
    pub fn of(&self, kind: Kinds) -> usize {
        let found = KINDS.iter().zip(&self.by_kind).find(|(known, _)| known.kind == kind);
        found.map_or(0, |(_, count)| count.load(Ordering::Relaxed))
    }

    /// Counts one more, for a client that may have to keep its server.
    pub fn add(self: &Arc<Self>) -> Pin {
        self.total.fetch_add(1, Ordering::Relaxed);
        Pin { pins: self.clone(), kinds: Kinds::NONE, is_spoiled: false, is_unclear: false }
    }
}

/// A client's place among those who keep a server, or may have to. Dropping it gives it up.
#[derive(Debug)]
pub struct Pin {
    pins: Arc<Pins>,
    kinds: Kinds,
    /// The server is left with something that nobody else must meet.
    pub is_spoiled: bool,
    /// Something may be set there that nobody knows of.
    pub is_unclear: bool,
}

impl Pin {
    /// What for; none while that is not known.
    pub fn kinds(&self) -> Kinds {
        self.kinds
    }

    /// Says what for.
    pub fn set(&mut self, kinds: Kinds) {
        for (known, count) in KINDS.iter().zip(&self.pins.by_kind) {
            match (self.kinds.has(known.kind), kinds.has(known.kind)) {
                (false, true) => drop(count.fetch_add(1, Ordering::Relaxed)),
                (true, false) => drop(count.fetch_sub(1, Ordering::Relaxed)),
                _ => {}
            }
        }
        self.kinds = kinds;
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.set(Kinds::NONE);
        self.pins.total.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_counts_once_and_for_each_of_its_reasons() {
        let pins = Arc::new(Pins::default());
        let mut pin = pins.add();
        pin.set(Kinds::LOCKS.and(Kinds::CHANNELS));
        assert_eq!((pins.total(), pins.of(Kinds::LOCKS), pins.of(Kinds::CHANNELS)), (1, 1, 1));
        pin.set(Kinds::CHANNELS);
        assert_eq!((pins.of(Kinds::LOCKS), names(pin.kinds())), (0, "LISTEN".to_owned()));
        drop(pin);
        assert_eq!((pins.total(), pins.of(Kinds::CHANNELS)), (0, 0));
    }
}
