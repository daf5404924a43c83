//! COPY within a conversation: while it goes on, messages mean something else.

use super::{Exchange, Owed, Reply};

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copying {
    No,
    In,
    Out,
    /// Streaming replication: both ways.
    Both,
}

impl Exchange {
    pub(super) fn drop_copy_ends(&mut self) {
        while self.owed.front() == Some(&Owed::CopyEnd) {
            self.owed.pop_front();
        }
    }

    pub(super) fn copy_begins(&mut self, copy: Copying) -> Option<Reply> {
        if !matches!(self.owed.front()?, Owed::Query | Owed::Execute) {
            return None;
        }
        self.copy = copy;
        self.copy_synced = false;
        match copy {
            Copying::In => self.swallow_syncs(),
            Copying::Both => self.doubt = true,
            Copying::Out | Copying::No => {}
        }
        Some(Reply::Forward)
    }

    /// Syncs already sent, up to the end of the COPY's data, are ignored by the server. What else was sent there is an error.
    pub(super) fn swallow_syncs(&mut self) {
        let end = self.owed.iter().position(|owed| *owed == Owed::CopyEnd).unwrap_or(self.owed.len());
        let behind = self.owed.range(1..end);
        if behind.clone().any(|owed| *owed != Owed::Sync) {
            self.doubt = true;
        } else if behind.len() > 0 {
            self.owed.drain(1..end);
            self.copy_synced = true;
            self.unsynced |= self.owed.front() == Some(&Owed::Execute) && !self.owed.contains(&Owed::Sync);
        }
    }

    pub(super) fn copy_out_ends(&mut self) -> Option<Reply> {
        match self.copy {
            Copying::Out => self.copy = Copying::No,
            Copying::Both => {}
            Copying::No | Copying::In => return None,
        }
        Some(Reply::Forward)
    }
}
