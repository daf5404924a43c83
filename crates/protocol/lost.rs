//! What has become of what a lost server was sent: rolled back for certain, unknown, or fit to be sent once more.
//!
//! A commit counts as acknowledged by ReadyForQuery alone. FATAL 57P01 says that what ran was rolled back; the end of
//! the connection says nothing, and neither does a notice.

mod commit;
pub(crate) mod names;

use names::Names;

use crate::backend::TxStatus;
use crate::exchange::Position;
use crate::header::Header;
use crate::lexer::Risk;
use crate::stand_in::StandIn;
use crate::statements::ClientStatements;
use crate::transaction::{Step, steps};

/// How a server was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It said FATAL 57P01: what it was doing is rolled back.
    Terminated,
    /// Any other way.
    Silent,
}

/// What is known of the transactions that it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing of them is left.
    RolledBack,
    /// One of them may have been committed.
    Unknown,
}

/// What is done about a client whose server is lost.
#[derive(Debug)]
pub enum Verdict {
    /// It has lost nothing.
    Nothing,
    /// What it has sent may be sent to another server: it is certain that nothing of it was done.
    Again,
    /// The stand-in answers it, once so many bytes of what was sent are put aside as answered.
    StandIn(StandIn, usize),
    /// Its session cannot go on.
    End(Fate),
}

/// All that is known when a server is lost.
#[derive(Clone, Copy, Debug)]
pub struct Loss<'a> {
    /// How it was lost.
    pub cause: Cause,
    /// What is not answered.
    pub position: Position,
    /// What the client has sent since nothing was owed, if all of it was kept.
    pub sent: Option<&'a [u8]>,
    /// Whether any of that may have reached the server.
    pub has_reached: bool,
    /// What the server has answered; none if something of it was forwarded, or if this is not all since check-out.
    pub withheld: Option<&'a [u8]>,
    /// What the client has prepared.
    pub client: &'a ClientStatements,
}

impl Loss<'_> {
    /// Judges.
    pub fn verdict(&self) -> Verdict {
        let position = &self.position;
        if position.doubt {
            Verdict::End(Fate::Unknown)
        } else if position.is_answered() {
            self.verdict_on_silence()
        } else {
            let parts = self.sent.and_then(|sent| parts(sent, self.client));
            match parts.and_then(|parts| self.unanswered(parts)) {
                Some((parts, answered)) => self.verdict_on(parts, answered),
                None => self.verdict_unseen(),
            }
        }
    }

    /// The client waits for nothing. What it has lost it hears when it asks for something.
    fn verdict_on_silence(&self) -> Verdict {
        let position = &self.position;
        let is_idle = position.status == TxStatus::Idle;
        // Outside of a block a CALL commits by itself, and cannot be told from others here.
        let harmless = if is_idle { Risk::Reads } else { Risk::Writes };
        let fate = if position.risk > Some(harmless) { Fate::Unknown } else { Fate::RolledBack };
        let has_begun = is_idle && position.opens;
        let status = if has_begun { TxStatus::InBlock } else { position.status };
        let stand_in = StandIn::new(status, fate);
        match position.status {
            _ if position.awaits_sync => Verdict::StandIn(stand_in.owing(1, position.failed).blind(), 0),
            TxStatus::Idle => Verdict::Nothing,
            TxStatus::InBlock | TxStatus::Failed => Verdict::StandIn(stand_in, 0),
        }
    }

    /// The parts that have no answer, or only a part of it, and how many bytes those before them take.
    fn unanswered(&self, mut parts: Vec<Part>) -> Option<(Vec<Part>, usize)> {
        let position = &self.position;
        if position.copying || parts.last().is_some_and(|last| last.is_whole) == position.tail {
            return None;
        }
        let whole = parts.iter().filter(|part| part.is_whole).count();
        let answered: Vec<Part> = parts.drain(..whole.checked_sub(position.due)?).collect();
        if position.failed {
            parts.first_mut()?.steps.clear();
        }
        Some((parts, answered.iter().map(|part| part.len).sum()))
    }

    fn verdict_on(&self, parts: Vec<Part>, answered: usize) -> Verdict {
        let position = &self.position;
        if answered == 0 && self.may_be_repeated(&parts) {
            return Verdict::Again;
        }
        let fate = if self.has_reached { self.fate(&parts) } else { Fate::RolledBack };
        let is_unclear = parts.iter().flat_map(|part| &part.steps).any(|step| *step == Step::Unclear);
        if position.status == TxStatus::Idle && is_unclear {
            return Verdict::End(fate);
        }
        let is_begun = position.completed || parts.first().is_some_and(|first| first.messages != position.current);
        let stand_in = StandIn::new(position.status, fate).owing(parts.len(), position.failed);
        Verdict::StandIn(if is_begun { stand_in.begun() } else { stand_in }, answered)
    }

    /// Whether nothing can have been done: it never arrived; or it is a single plain statement outside a transaction, the
    /// first since check-out, of whose answer nothing was forwarded, and the server says that it was rolled back.
    fn may_be_repeated(&self, parts: &[Part]) -> bool {
        let Some(withheld) = self.withheld else { return false };
        let position = &self.position;
        let is_single = match parts {
            [part] => part.is_whole && matches!(part.steps[..], [] | [Step::Plain | Step::Begin]),
            _ => false,
        };
        let is_rolled_back = self.cause == Cause::Terminated && is_single && !position.failed && !has_results(withheld);
        position.status == TxStatus::Idle && (is_rolled_back || !self.has_reached)
    }

    fn fate(&self, parts: &[Part]) -> Fate {
        let mut status = self.position.status;
        for part in parts {
            let began = status;
            let commits = part.commits(&mut status);
            let may_last = match self.cause {
                Cause::Silent => commits,
                Cause::Terminated => part.may_last(began, self.position.completed),
            };
            // What follows the part that was terminated was never begun.
            match (may_last, self.cause) {
                (true, _) => return Fate::Unknown,
                (false, Cause::Terminated) => return Fate::RolledBack,
                (false, Cause::Silent) => {}
            }
        }
        Fate::RolledBack
    }

    /// What was sent was not kept: what was noted of it as it passed has to do.
    fn verdict_unseen(&self) -> Verdict {
        let position = &self.position;
        let is_harmless = position.risk <= Some(Risk::Writes);
        let is_idle = position.status == TxStatus::Idle;
        if is_idle && position.opens && !is_harmless {
            return Verdict::End(Fate::Unknown);
        }
        let is_certain = is_harmless && (!is_idle || position.copy_is_open && !position.completed);
        let fate = if is_certain { Fate::RolledBack } else { Fate::Unknown };
        let status = if is_idle && !position.opens { TxStatus::Idle } else { TxStatus::Failed };
        Verdict::StandIn(StandIn::unseen(status, fate, position), self.sent.map_or(0, <[u8]>::len))
    }
}

/// What is answered by one ReadyForQuery.
#[derive(Debug)]
struct Part {
    /// What it runs.
    steps: Vec<Step>,
    messages: usize,
    /// Bytes of all its messages.
    len: usize,
    /// Its Sync is there, or it is a Query or a FunctionCall.
    is_whole: bool,
}

impl Part {
    /// Notes what one of its messages runs; none for one that has no place here.
    fn step(&mut self, tag: u8, body: &[u8], names: &mut Names, client: &ClientStatements) -> Option<()> {
        match tag {
            b'Q' => self.steps.extend(steps(names::cstr(body).0)),
            b'F' => self.steps.push(Step::Other),
            b'P' => drop(names.parse(body)),
            b'B' => drop(names.bind(body, client)),
            b'E' => self.steps.push(names.execute(body)),
            b'C' => drop(names.close(body)),
            b'D' | b'S' | b'H' => {}
            _ => return None,
        }
        Some(())
    }

    /// Whether it makes something durable if it goes well; where it leaves the session goes into `status`.
    fn commits(&self, status: &mut TxStatus) -> bool {
        use TxStatus::{Failed, Idle, InBlock};
        let (mut commits, mut is_dirty) = (false, false);
        for step in &self.steps {
            match (*status, step) {
                (_, Step::Nothing) => {}
                (Idle, Step::Begin) => *status = InBlock,
                (Idle, step) => {
                    let by_itself = matches!(step, Step::Other | Step::Unclear);
                    commits |= by_itself || is_dirty && step.may_commit_block();
                    is_dirty = true;
                }
                (InBlock, Step::Rollback) => (*status, is_dirty) = (Idle, false),
                (InBlock, step) => {
                    commits |= step.may_commit_block();
                    if step.ends_block() {
                        *status = Idle;
                    }
                }
                (Failed, step) if step.ends_block() => *status = Idle,
                // It may be ROLLBACK TO, which revives the block.
                (Failed, Step::Other | Step::Unclear | Step::CommitAndChain | Step::RollbackAndChain) => {
                    *status = InBlock;
                }
                (Failed, _) => {}
            }
        }
        commits || self.is_whole && is_dirty && *status == Idle
    }

    /// Whether something of it may be left although the server says that it was terminated in the middle of it.
    fn may_last(&self, mut began: TxStatus, completed: bool) -> bool {
        let is_simple = self.messages == 1;
        match (began, &self.steps[..]) {
            (TxStatus::Idle, steps) => {
                let leaves_nothing = |step: &Step| matches!(step, Step::Plain | Step::Begin | Step::Nothing);
                is_simple && completed || !steps.iter().all(leaves_nothing)
            }
            (TxStatus::InBlock, [Step::Commit | Step::Prepare]) => completed,
            _ => self.commits(&mut began),
        }
    }
}

/// The parts of what a client has sent; none if there is something in it whose place cannot be told.
fn parts(mut sent: &[u8], client: &ClientStatements) -> Option<Vec<Part>> {
    let mut names = Names::default();
    let mut parts: Vec<Part> = Vec::new();
    while let Some(header) = Header::peek(sent).ok()? {
        let (message, rest) = sent.split_at(header.total_len().min(sent.len()));
        if header.tag != b'H' && parts.last().is_none_or(|last| last.is_whole) {
            parts.push(Part { steps: Vec::new(), messages: 0, len: 0, is_whole: false });
        }
        let part = parts.last_mut()?;
        part.len += message.len();
        part.messages += usize::from(header.tag != b'H');
        part.is_whole |= matches!(header.tag, b'Q' | b'F' | b'S');
        // Of what is cut off the server has not seen the end, and does nothing.
        if message.len() == header.total_len() {
            part.step(header.tag, &message[Header::SIZE..], &mut names, client)?;
        }
        sent = rest;
    }
    Some(parts)
}

/// Whether an answer, as far as it came, has more in it than what announces results: a row, a notice, an end.
fn has_results(mut answer: &[u8]) -> bool {
    while let Ok(Some(header)) = Header::peek(answer) {
        if !matches!(header.tag, b'1' | b'2' | b'3' | b't' | b'T' | b'n' | b'S') {
            return true;
        }
        answer = answer.get(header.total_len()..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
#[path = "lost/model_tests.rs"]
mod model_tests;
#[cfg(test)]
#[path = "lost/tests.rs"]
mod tests;
