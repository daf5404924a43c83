//! A COMMIT whose outcome is to be found out should its server be lost (setting `resolve_commit`): what is asked before
//! it is sent, and who waits for the answer to the other question after the loss.

use std::future::poll_fn;
use std::task::Poll;

use failover::outcome::Asked;
use protocol::Header;
use protocol::exchange::Inquiry;
use protocol::fields::data_row;
use tracing::warn;

use super::handle::Doing;
use super::relay::Relay;
use super::session::Client;
use crate::flow::{Desk, LentDesk};
use crate::follow::{self, Outcome};
use crate::random;

/// What becomes of a message that may be a COMMIT.
pub(super) enum Turn {
    /// It goes on its way.
    Goes,
    /// Something has to be answered before it.
    Waits,
    /// It was answered already.
    Gone,
}

impl Relay<'_> {
    /// Asks before a COMMIT what it commits. It is not sent before that is answered: so, if it is, the outcome can be found
    /// out, and if it is not, there is none.
    pub(super) fn inquire(&mut self, header: Header) -> Turn {
        let Desk { up, exchange, commits, .. } = &mut *self.desk;
        let message = up.unjudged();
        let body = &message[Header::SIZE..message.len().min(header.total_len())];
        if !commits.is_commit(header, body, self.statements) || self.keeps {
            return Turn::Goes;
        }
        match (exchange.inquiry(), exchange.may_inquire()) {
            (Inquiry::Refused, Some(_)) => {
                exchange.inquiry_is_told();
                up.skip(header.total_len());
                return Turn::Gone;
            }
            (Inquiry::Answered(_), Some(_)) => {
                exchange.inquiry_is_used();
                return Turn::Goes;
            }
            (_, Some(true)) => {
                let token: String = random::bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
                let question = exchange.inquire(header.tag, token.as_bytes(), Asked::query(&token).as_bytes());
                up.insert(&question);
            }
            (_, Some(false)) => return Turn::Goes,
            (_, None) => {}
        }
        self.awaits_answers = true;
        self.incomplete();
        Turn::Waits
    }
}

impl Client {
    /// Finds out what has become of a COMMIT, unless the client is to go or has gone. A commit that is known does not help
    /// where the transaction may have left something in its session, which is gone with its server.
    pub(super) async fn find_out(&mut self, desk: &LentDesk, row: &[u8]) -> Outcome {
        let Some(asked) = read(row) else {
            warn!("what is to be committed cannot be read");
            return Outcome::Unknown;
        };
        let handle = self.presence.handle.clone();
        handle.set_doing(Doing::Waiting, None);
        let (services, socket) = (&*self.presence.services, &mut self.socket);
        let mut look_up = Box::pin(follow::find_out(services, &self.pool, &asked));
        let mut is_quiet = true;
        let outcome = poll_fn(|cx| {
            if is_quiet {
                match socket.poll_peek(cx) {
                    Poll::Pending => {}
                    // It has sent more, and is there.
                    Poll::Ready(Ok(true)) => is_quiet = false,
                    Poll::Ready(Ok(false) | Err(_)) => return Poll::Ready(Outcome::Unknown),
                }
            }
            if handle.is_cut().is_some() { Poll::Ready(Outcome::Unknown) } else { look_up.as_mut().poll(cx) }
        })
        .await;
        if outcome == Outcome::Unknown {
            return outcome;
        }
        if outcome == Outcome::Committed && !desk.exchange.traces().is_empty() {
            warn!(client = handle.id, "it was committed, but what it may have left in its session is lost");
            return Outcome::Unknown;
        }
        outcome
    }
}

fn read(row: &[u8]) -> Option<Asked> {
    let text = |column: Option<Vec<u8>>| column.map(String::from_utf8).transpose().ok();
    let row: Vec<Option<String>> = data_row(row)?.into_iter().map(text).collect::<Option<_>>()?;
    let columns: Vec<Option<&str>> = row.iter().map(Option::as_deref).collect();
    Asked::parse(&columns.try_into().ok()?).ok()
}
