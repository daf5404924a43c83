//! Answers a client in the place of its lost server: as one would whose transaction block has failed, until the client
//! has ended it. Nothing of what comes until then can run by itself.

use std::sync::Arc;

use crate::backend::TxStatus;
use crate::exchange::Position;
use crate::lost::Fate;
use crate::lost::names::{Names, cstr};
use crate::messages;
use crate::statements::{ClientStatements, Statement};
use crate::transaction::{Step, steps};

/// Longest message that may end a block: longer ones are refused by their beginning.
pub const MAX_READ: usize = 1 << 13;

/// Which error the client is to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The one that says what has become of its transaction.
    Lost,
    /// The one that says that its block has failed.
    InFailedBlock,
}

/// A stand-in for a lost server.
#[derive(Debug)]
pub struct StandIn {
    /// What ReadyForQuery says; `InBlock` while the client does not know of the loss.
    status: TxStatus,
    fate: Fate,
    /// Parts of a pipeline, up to a Sync or Query each, that were meant for the lost server.
    owed: usize,
    /// Of the first of them, something has been answered: it can only fail.
    begun: bool,
    /// What was answered of it is not seen here, so that nothing in it can be told to end the block.
    blind: bool,
    /// ReadyForQuery that are due for messages which are not seen here, and whether something follows them.
    unseen: (usize, bool),
    /// An error was given: all is skipped up to a Sync.
    skipping: bool,
    /// Something was answered since the last Sync.
    open: bool,
    names: Names,
}

/// What a client has prepared, and where equal texts are one.
pub struct Notes<'a> {
    /// What it has prepared.
    pub client: &'a mut ClientStatements,
    /// Bytes of names and texts that it may have prepared.
    pub most: usize,
    /// Finds the statement with what follows the name in a Parse; none if there is no room for it.
    pub intern: &'a mut dyn FnMut(&[u8]) -> Option<Arc<Statement>>,
}

/// Where the answers go: an ErrorResponse is the caller's.
pub struct Answers<'a> {
    /// Takes messages.
    pub out: &'a mut Vec<u8>,
    /// Appends the error.
    pub refuse: &'a mut dyn FnMut(Refusal, &mut Vec<u8>),
}

impl StandIn {
    /// For a session that stood there at its last ReadyForQuery.
    pub fn new(status: TxStatus, fate: Fate) -> Self {
        let names = Names::default();
        Self {
            status,
            fate,
            owed: 0,
            begun: false,
            blind: false,
            unseen: (0, false),
            skipping: false,
            open: false,
            names,
        }
    }

    /// For one whose next request is refused, and the block with it that it may begin.
    pub fn refusing() -> Self {
        Self::new(TxStatus::Idle, Fate::RolledBack).owing(1, false)
    }

    /// The next so many parts were meant for the lost server; of the first one the client may know that it `failed`.
    pub(crate) fn owing(mut self, parts: usize, failed: bool) -> Self {
        (self.owed, self.skipping) = (parts, failed);
        if failed && self.status == TxStatus::InBlock {
            self.status = TxStatus::Failed;
        }
        self
    }

    /// Of the first part something has been answered.
    pub(crate) fn begun(mut self) -> Self {
        self.begun = true;
        self
    }

    /// The first part has been answered as far as it was sent, and is not seen here.
    pub(crate) fn blind(mut self) -> Self {
        (self.begun, self.blind) = (true, true);
        self
    }

    /// For a session that has sent what is not here to be seen.
    pub(crate) fn unseen(status: TxStatus, fate: Fate, position: &Position) -> Self {
        let mut stand_in = Self::new(status, fate).owing(0, position.failed);
        stand_in.unseen = (position.due, position.tail);
        stand_in
    }

    /// It has turned out that nothing is left of the transaction.
    pub fn is_rolled_back(&mut self) {
        self.fate = Fate::RolledBack;
    }

    /// What is known of the transaction that was lost.
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// Answers what is not seen here. To be called before all else.
    pub fn catch_up(&mut self, answers: &mut Answers<'_>) {
        let (due, tail) = std::mem::take(&mut self.unseen);
        for _ in 0..due {
            if !std::mem::take(&mut self.skipping) {
                (answers.refuse)(Refusal::Lost, answers.out);
            }
            messages::ready_for_query(answers.out, self.status);
        }
        if tail {
            if !self.skipping {
                (answers.refuse)(Refusal::Lost, answers.out);
            }
            (self.skipping, self.blind, self.owed) = (true, true, 1);
        }
    }

    /// Whether it is for the stand-in to answer a message with this tag. If not, its time is over.
    pub fn takes(&self, tag: u8) -> bool {
        !self.is_idle() || self.open && matches!(tag, b'S' | b'H')
    }

    /// Whether its time is over whatever comes next.
    pub fn is_over(&self) -> bool {
        self.is_idle() && !self.open
    }

    fn is_idle(&self) -> bool {
        self.status == TxStatus::Idle && self.owed == 0 && !self.skipping
    }

    /// Answers a message; `body` is all of it, or [`MAX_READ`] bytes at least.
    pub fn message(&mut self, tag: u8, body: &[u8], notes: &mut Notes<'_>, answers: &mut Answers<'_>) {
        match tag {
            b'Q' => self.query(&steps(cstr(body).0), answers),
            b'F' => self.query(&[Step::Other], answers),
            b'S' => self.sync(answers),
            b'P' | b'B' | b'D' | b'E' | b'C' => self.extended(tag, body, notes, answers),
            _ => {}
        }
    }

    fn refuse(&mut self, answers: &mut Answers<'_>) {
        let refusal =
            if self.must_fail() || self.status == TxStatus::InBlock { Refusal::Lost } else { Refusal::InFailedBlock };
        (answers.refuse)(refusal, answers.out);
        if self.status == TxStatus::InBlock {
            self.status = TxStatus::Failed;
        }
    }

    /// Whether what comes fails whatever it is: the lost server has had it, and it is unknown what came of it; or it ran
    /// outside of any block.
    fn must_fail(&self) -> bool {
        self.owed > 0 && (self.fate == Fate::Unknown || self.status == TxStatus::Idle || self.begun)
    }

    /// Where a step that has failed, and may have been done, leaves a client that does not know it.
    fn passes(&mut self, step: Step) {
        match step {
            _ if self.blind => {}
            Step::Begin if self.status == TxStatus::Idle => self.status = TxStatus::Failed,
            step if step.ends_block() => self.status = TxStatus::Idle,
            _ => {}
        }
    }

    fn query(&mut self, steps: &[Step], answers: &mut Answers<'_>) {
        if self.must_fail() {
            if !self.skipping {
                self.refuse(answers);
            }
            steps.iter().for_each(|step| self.passes(*step));
        } else if !self.skipping {
            match steps {
                [] if self.status == TxStatus::Failed => messages::message(answers.out, b'I', |_| {}),
                [step] if step.ends_block() => drop(self.end_block(*step, answers)),
                _ => self.refuse(answers),
            }
        }
        self.ready(answers);
    }

    /// Ends the block: false if it is the first that the client hears of the loss, and thinks that it commits.
    fn end_block(&mut self, step: Step, answers: &mut Answers<'_>) -> bool {
        let is_heard = self.status == TxStatus::Failed || step == Step::Rollback;
        if is_heard {
            messages::command_complete(answers.out, "ROLLBACK");
        } else {
            self.refuse(answers);
        }
        self.status = TxStatus::Idle;
        is_heard
    }

    fn sync(&mut self, answers: &mut Answers<'_>) {
        if !self.skipping && (self.must_fail() && !self.open || self.status == TxStatus::InBlock) {
            self.refuse(answers);
        }
        self.ready(answers);
    }

    fn ready(&mut self, answers: &mut Answers<'_>) {
        messages::ready_for_query(answers.out, self.status);
        self.owed = self.owed.saturating_sub(1);
        (self.skipping, self.open, self.begun, self.blind) = (false, false, false, false);
    }

    fn extended(&mut self, tag: u8, body: &[u8], notes: &mut Notes<'_>, answers: &mut Answers<'_>) {
        if self.must_fail() {
            if !self.skipping {
                self.refuse(answers);
                self.skipping = true;
            }
            // What is skipped is read all the same: it may end the block, or begin one.
            match tag {
                b'P' => drop(self.names.parse(body)),
                b'B' => drop(self.names.bind(body, notes.client)),
                b'E' => self.passes(self.names.execute(body)),
                _ => {}
            }
        } else if !self.skipping {
            self.open = true;
            self.skipping = !self.obey(tag, body, notes, answers);
        }
    }

    /// Does what a server does in a failed block: false if it is an error.
    fn obey(&mut self, tag: u8, body: &[u8], notes: &mut Notes<'_>, answers: &mut Answers<'_>) -> bool {
        let step = match tag {
            b'P' => self.names.parse(body),
            b'B' => self.names.bind(body, notes.client),
            b'D' => self.names.describe(body, notes.client),
            b'E' => self.names.execute(body),
            _ => {
                if let Some(name) = self.names.close(body) {
                    notes.close(name);
                }
                messages::message(answers.out, b'3', |_| {});
                return true;
            }
        };
        let is_allowed = step.ends_block() || step == Step::Nothing && matches!(tag, b'P' | b'D');
        if !is_allowed || tag == b'P' && !notes.parse(body) {
            self.refuse(answers);
            return false;
        }
        match tag {
            b'P' => messages::message(answers.out, b'1', |_| {}),
            b'B' => messages::message(answers.out, b'2', |_| {}),
            b'D' => {
                if body.first() == Some(&b'S') {
                    messages::message(answers.out, b't', |out| out.extend_from_slice(&[0; 2]));
                }
                messages::message(answers.out, b'n', |_| {});
            }
            _ => return self.end_block(step, answers),
        }
        true
    }
}

impl Notes<'_> {
    /// Notes a Parse: false if there is no room for it.
    fn parse(&mut self, body: &[u8]) -> bool {
        let (name, rest) = cstr(body);
        if name.is_empty() {
            self.client.set_unnamed(Some(rest.to_vec()));
            return true;
        }
        let statement = if self.client.have_room_for(body.len(), self.most) { (self.intern)(rest) } else { None };
        if let Some(statement) = &statement {
            self.client.forget(name);
            self.client.define(name, statement.clone());
        }
        statement.is_some()
    }

    fn close(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.client.set_unnamed(None);
        } else {
            self.client.forget(name);
        }
    }
}
