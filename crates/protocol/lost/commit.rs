//! A COMMIT whose outcome can be found out, and what its client hears if it was made.

use super::{Fate, Loss, Part, Verdict, parts};
use crate::backend::TxStatus;
use crate::header::Header;
use crate::messages;
use crate::transaction::Step;

impl Loss<'_> {
    /// Where all that is unknown is the outcome of one COMMIT of a block, alone in its Query or batch: the answers that
    /// are still due if it was made. They answer all that was kept of what was sent.
    pub fn commit(&self, verdict: &Verdict) -> Option<Vec<u8>> {
        let Verdict::StandIn(stand_in, answered) = verdict else { return None };
        let position = &self.position;
        if stand_in.fate() != Fate::Unknown || position.status != TxStatus::InBlock || position.failed {
            return None;
        }
        let unanswered = self.sent?.get(*answered..)?;
        let parts = parts(unanswered, self.client)?;
        match &parts[..] {
            [part @ Part { is_whole: true, .. }] if part.steps == [Step::Commit] => {
                let seen = part.messages.checked_sub(position.current)?;
                answers(unanswered, seen, position.completed)
            }
            _ => None,
        }
    }
}

/// What a server answers to the messages behind those whose answers were seen. None for a Describe of a statement, whose
/// answer is two messages.
fn answers(mut sent: &[u8], seen: usize, completed: bool) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut number = 0;
    while let Some(header) = Header::peek(sent).ok()? {
        let (message, rest) = sent.split_at_checked(header.total_len())?;
        sent = rest;
        number += usize::from(header.tag != b'H');
        if number <= seen {
            continue;
        }
        match header.tag {
            b'P' => messages::message(&mut out, b'1', |_| {}),
            b'B' => messages::message(&mut out, b'2', |_| {}),
            b'C' => messages::message(&mut out, b'3', |_| {}),
            b'D' if message.get(Header::SIZE) == Some(&b'P') => messages::message(&mut out, b'n', |_| {}),
            b'E' => messages::command_complete(&mut out, "COMMIT"),
            b'Q' => {
                if !completed {
                    messages::command_complete(&mut out, "COMMIT");
                }
                messages::ready_for_query(&mut out, TxStatus::Idle);
            }
            b'S' => messages::ready_for_query(&mut out, TxStatus::Idle),
            b'H' => {}
            _ => return None,
        }
    }
    Some(out)
}
