//! Whether a pool serves: a set of holds, open when empty.

use std::time::Instant;

/// A reason not to serve. Holds are independent: one that expires or is released never undoes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// PAUSE on the console, for every database.
    Operator,
    /// PAUSE of every database for a limited time: it ends by itself at that moment. Another one replaces the moment.
    OperatorUntil(Instant),
    /// PAUSE of this database.
    Database,
    /// PAUSE of this database for a limited time.
    DatabaseUntil(Instant),
    /// The pooler is shutting down or handing over to its successor.
    Shutdown,
    /// No node is known to be writable.
    NoPrimary,
    /// The primary may be about to stop, or it is a false alarm: nobody is served, but servers stay.
    Suspicion,
    /// A planned failover, with the moment at which whoever coordinates it is taken for lost.
    Failover(Instant),
}

impl Hold {
    /// When it ends by itself.
    fn until(self) -> Option<Instant> {
        match self {
            Hold::OperatorUntil(until) | Hold::DatabaseUntil(until) | Hold::Failover(until) => Some(until),
            Hold::Operator | Hold::Database | Hold::Shutdown | Hold::NoPrimary | Hold::Suspicion => None,
        }
    }

    /// Whether servers that are not lent are closed while it lasts.
    pub(crate) fn empties(self) -> bool {
        self != Hold::Suspicion
    }

    fn is_same_kind(self, other: Hold) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// The holds that are set, at most one of each kind.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    holds: Vec<Hold>,
}

impl Gate {
    pub(crate) fn is_open(&self) -> bool {
        self.holds.is_empty()
    }

    /// Whether servers that are not lent are closed.
    pub(crate) fn empties(&self) -> bool {
        self.holds.iter().any(|hold| hold.empties())
    }

    pub(crate) fn set(&mut self, hold: Hold) {
        self.release(hold);
        self.holds.push(hold);
    }

    /// Removes the hold of that kind, whatever its end.
    pub(crate) fn release(&mut self, hold: Hold) {
        self.holds.retain(|held| !held.is_same_kind(hold));
    }

    /// Removes those whose time is over; says whether this opened the gate.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let was_open = self.is_open();
        self.holds.retain(|held| held.until().is_none_or(|until| now < until));
        !was_open && self.is_open()
    }

    /// When the next one ends by itself.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.holds.iter().filter_map(|held| held.until()).min()
    }

    pub(crate) fn holds(&self) -> &[Hold] {
        &self.holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_expiring_hold_never_undoes_an_operators_pause() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut gate = Gate::default();
        gate.set(Hold::Operator);
        gate.set(Hold::Failover(later));
        assert!(!gate.expire(later));
        assert_eq!(gate.holds(), [Hold::Operator]);
    }

    #[test]
    fn a_resume_never_undoes_a_failovers_hold() {
        let until = Instant::now();
        let mut gate = Gate::default();
        gate.set(Hold::Operator);
        gate.set(Hold::Failover(until));
        gate.release(Hold::Operator);
        assert_eq!(gate.holds(), [Hold::Failover(until)]);
    }

    #[test]
    fn a_second_hold_of_a_kind_replaces_the_first() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut gate = Gate::default();
        gate.set(Hold::Failover(now));
        gate.set(Hold::Failover(later));
        assert!(!gate.expire(now));
        assert_eq!(gate.next_expiry(), Some(later));
        gate.release(Hold::Failover(now));
        assert!(gate.is_open());
    }
}
