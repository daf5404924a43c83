//! Bytes on their way from one socket to the other, and the desks they lie on.

mod kept;

use std::cell::RefCell;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use protocol::Exchange;
use protocol::commits::Commits;
use protocol::params::Params;

use crate::socket::Socket;
use crate::stats::Usage;
use kept::Kept;

/// ReadyForQuery outside of a transaction.
const READY: &[u8] = b"Z\0\0\0\x05I";
/// Desks a worker keeps for the next client; more are freed.
const KEPT_DESKS: usize = 64;

/// One direction of a relay.
///
/// `sent ≤ cleared ≤ len`: before `sent` is gone, up to `cleared` may go, the rest has not been judged.
#[derive(Debug, Default)]
pub struct Flow {
    bytes: Vec<u8>,
    sent: usize,
    cleared: usize,
    /// Bytes still to come of a message that may go.
    passing: usize,
    /// Bytes of it that came last.
    passed: usize,
    /// Bytes still to come of a message that is thrown away.
    dropping: usize,
    /// Size of the buffer, which one message may have made larger for a while.
    size: usize,
    /// The message that passes has no semicolon so far, but perhaps at its end.
    single: bool,
    /// Something was sent since the conversation began.
    touched: bool,
    /// Where the answer begins that is not at its end, unless something before it has been forgotten already.
    mark: Option<usize>,
    kept: Kept,
}

impl Flow {
    /// Bytes that have not been judged: whole messages and the beginning of one.
    pub fn unjudged(&self) -> &[u8] {
        &self.bytes[self.cleared..]
    }

    /// Whether something waits to be sent.
    pub fn has_cleared(&self) -> bool {
        self.sent < self.cleared
    }

    /// Whether nothing waits, not even the rest of a message.
    pub fn is_empty(&self) -> bool {
        self.sent == self.bytes.len() && self.passing == 0 && self.dropping == 0
    }

    /// Whether the other side has received a message in part.
    pub fn is_inside_message(&self) -> bool {
        self.passing > 0
    }

    /// What was received last, as far as it belongs to a message that may go already.
    pub fn passed(&self) -> &[u8] {
        &self.bytes[self.cleared - self.passed..self.cleared]
    }

    /// Lets the next message of `len` bytes go, also what has not arrived of it.
    pub fn clear(&mut self, len: usize) {
        let here = len.min(self.unjudged().len());
        self.cleared += here;
        self.passing = len - here;
    }

    /// Watches the text that has begun to pass: it may be of several statements.
    pub fn watch(&mut self) {
        self.single = self.passing > 0 && is_single(&self.bytes[..self.cleared], false);
    }

    /// Whether the text that was watched has passed, and was of one statement; asks only once.
    pub fn was_single(&mut self) -> bool {
        self.single && self.passing == 0 && std::mem::take(&mut self.single)
    }

    /// Throws the next message of `len` bytes away, also what has not arrived of it.
    pub fn skip(&mut self, len: usize) {
        let here = len.min(self.unjudged().len());
        self.kept.note(self.cleared, 0, &self.bytes[self.cleared..self.cleared + here]);
        self.bytes.drain(self.cleared..self.cleared + here);
        self.dropping = len - here;
    }

    /// Adds bytes of our own behind all that has been cleared, as if they had been.
    pub fn insert(&mut self, bytes: &[u8]) {
        self.kept.note(self.cleared, bytes.len(), &[]);
        self.bytes.splice(self.cleared..self.cleared, bytes.iter().copied());
        self.cleared += bytes.len();
    }

    /// The same before the ReadyForQuery at the end of what has been cleared, if that is not sent yet.
    pub fn insert_before_ready(&mut self, bytes: &[u8]) {
        let unsent = &self.bytes[self.sent..self.cleared];
        let behind = if unsent.ends_with(READY) { READY.len() } else { 0 };
        let at = self.cleared - behind;
        self.mark = None;
        self.bytes.splice(at..at, bytes.iter().copied());
        self.cleared += bytes.len();
    }

    /// Puts other bytes in the place of the first `len` that have not been judged.
    pub fn replace(&mut self, len: usize, bytes: &[u8]) {
        self.kept.note(self.cleared, bytes.len(), &self.bytes[self.cleared..self.cleared + len]);
        self.bytes.splice(self.cleared..self.cleared + len, bytes.iter().copied());
    }

    /// Takes bytes that were received before this flow began.
    pub fn preload(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes what has been cleared and not been sent.
    pub fn take_cleared(&mut self) -> Vec<u8> {
        let left = self.bytes[self.sent..self.cleared].to_vec();
        self.sent = self.cleared;
        left
    }

    /// Throws away what has been cleared.
    pub fn discard_cleared(&mut self) {
        self.sent = self.cleared;
    }

    /// Keeps what is cleared from here on as it came, for as long as the buffer has room for it.
    pub fn keep(&mut self) {
        self.kept.begin(self.cleared);
    }

    /// Whether something was sent of what was cleared since [`Flow::keep`], or may have been.
    pub fn has_gone(&self) -> bool {
        self.kept.first(0) < self.sent
    }

    /// All that was cleared since [`Flow::keep`] is as it came, and has yet to be judged: how many bytes that is, with
    /// those that have not arrived. None, and nothing is done, if not all of it was kept.
    pub fn rewind(&mut self) -> Option<usize> {
        let unjudged = self.unjudged().len();
        let first = self.kept.restore(&mut self.bytes)?;
        let len = self.bytes.len() - first - unjudged + self.passing + self.dropping;
        (self.sent, self.cleared) = (first, first);
        (self.passing, self.dropping) = (0, 0);
        Some(len)
    }

    /// Throws away what has been cleared, also what has not arrived of it.
    pub fn withdraw(&mut self) {
        self.kept.give_up();
        self.sent = self.cleared;
        self.dropping += std::mem::take(&mut self.passing);
    }

    /// What has been cleared and not been sent.
    pub fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..self.cleared]
    }

    /// Throws away what has not been judged.
    pub fn discard_unjudged(&mut self) {
        self.bytes.truncate(self.cleared);
        self.dropping = 0;
    }

    /// A conversation begins.
    pub fn begin(&mut self) {
        self.touched = false;
        self.mark(0);
    }

    /// An answer begins behind what has been cleared, and `len` bytes more.
    pub fn mark(&mut self, len: usize) {
        self.mark = Some(self.cleared + len);
    }

    /// What has been cleared since the mark, if nothing of it was sent.
    pub fn unheard(&self) -> Option<&[u8]> {
        self.mark.filter(|mark| self.sent <= *mark).and_then(|mark| self.bytes.get(mark..self.cleared))
    }

    /// Throws that away.
    pub fn withdraw_unheard(&mut self) {
        if let Some(len) = self.unheard().map(<[u8]>::len) {
            self.bytes.drain(self.cleared - len..self.cleared);
            self.cleared -= len;
        }
    }

    /// Whether something was sent since the conversation began.
    pub fn is_touched(&self) -> bool {
        self.touched
    }

    /// Makes room for at least `size` unjudged bytes.
    pub fn make_room(&mut self, size: usize) {
        let first = self.kept.first(self.sent);
        if first > 0 {
            self.bytes.drain(..first);
            (self.sent, self.cleared) = (self.sent - first, self.cleared - first);
            self.mark = self.mark.and_then(|mark| mark.checked_sub(first));
            self.kept.from = 0;
        }
        let wanted = self.cleared + size;
        self.bytes.reserve_exact(wanted.saturating_sub(self.bytes.len()));
    }

    /// Receives once. 0 is the end of file.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<std::io::Result<usize>> {
        if self.bytes.len() == self.bytes.capacity() {
            self.kept.give_up();
        }
        if self.sent == self.bytes.len() && !self.kept.holds(self.sent) {
            self.mark = self.mark.and_then(|mark| mark.checked_sub(self.sent));
            self.bytes.clear();
            (self.sent, self.cleared, self.kept.from) = (0, 0, 0);
            if self.bytes.capacity() > 2 * self.size {
                self.bytes = Vec::with_capacity(self.size);
            }
        } else if self.bytes.len() == self.bytes.capacity() {
            self.make_room(self.bytes.len() - self.sent + 1);
        }
        let received = ready!(socket.poll_recv(cx, &mut self.bytes))?;
        self.arrived(received);
        Poll::Ready(Ok(received))
    }

    fn arrived(&mut self, received: usize) {
        let passed = received.min(self.passing);
        self.passing -= passed;
        self.passed = passed;
        self.cleared += passed;
        if self.single {
            let (text, is_end) = (&self.bytes[self.cleared - passed..self.cleared], self.passing == 0);
            self.single = is_single(text, is_end);
        }
        let dropped = (received - passed).min(self.dropping);
        if dropped > 0 {
            self.kept.give_up();
            self.dropping -= dropped;
            self.bytes.drain(self.cleared..self.cleared + dropped);
        }
    }

    /// Sends what has been cleared: ready when nothing of it is left, neither here nor in the socket.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<std::io::Result<usize>> {
        let mut total = 0;
        while self.sent < self.cleared {
            let sent = ready!(socket.poll_send(cx, &self.bytes[self.sent..self.cleared]))?;
            self.sent += sent;
            self.touched = true;
            total += sent;
        }
        // Asked also when nothing is new: TLS may have kept something.
        ready!(socket.poll_flush(cx))?;
        Poll::Ready(Ok(total))
    }

    fn reset(&mut self, size: usize) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        if bytes.capacity() > size {
            bytes.shrink_to(size);
        }
        bytes.reserve_exact(size);
        let mut kept = std::mem::take(&mut self.kept);
        kept.begin(0);
        kept.give_up();
        *self = Self { bytes, size, kept, ..Self::default() };
    }
}

/// Whether a piece of a text is of one statement: a semicolon may stand at its end.
fn is_single(text: &[u8], is_end: bool) -> bool {
    let is_blank = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
    memchr::memchr(b';', text).is_none_or(|at| is_end && text[at + 1..].iter().all(is_blank))
}

/// All that a client needs only while it has something to say: lent by its worker, so that idle clients own none.
#[derive(Debug, Default)]
pub struct Desk {
    /// From the client to its server.
    pub up: Flow,
    /// From the server to its client.
    pub down: Flow,
    /// Their conversation.
    pub exchange: Exchange,
    /// What the client commits by, where that is of interest (setting `resolve_commit`).
    pub commits: Commits,
    /// What it has cost so far, and has not been added up.
    pub usage: Usage,
    /// A message in `up` waits for more of itself before it can be judged.
    pub half_judged: bool,
    /// The client has said goodbye behind what is in `up`.
    pub leaving: bool,
    /// What lies in `up` was sent to a server that was lost, and is sent once more.
    pub is_repeated: bool,
    /// A statement in it was outdated and has been parsed anew.
    pub is_repaired: bool,
    /// The client's parameters before its transaction changed them, if it did.
    pub params_before: Option<Arc<Params>>,
}

impl Desk {
    /// Makes it fit for the next server; what the client has sent ahead stays.
    pub fn next_conversation(&mut self) {
        self.exchange.reset();
        self.commits.reset();
        self.usage = Usage::default();
        self.half_judged = false;
        self.params_before = None;
    }
}

thread_local! {
    // Boxes, so that borrowing one moves a pointer and not the desk.
    #[allow(clippy::vec_box)]
    static DESKS: RefCell<Vec<Box<Desk>>> = const { RefCell::new(Vec::new()) };
}

/// A desk on loan from this thread. Dropping it gives it back, cleared.
#[derive(Debug)]
pub struct LentDesk {
    desk: Option<Box<Desk>>,
}

impl LentDesk {
    /// Borrows a desk whose two buffers have `buffer_size` bytes (setting `pkt_buf`).
    pub fn take(buffer_size: usize) -> Self {
        let mut desk = DESKS.with_borrow_mut(Vec::pop).unwrap_or_default();
        desk.up.reset(buffer_size);
        desk.down.reset(buffer_size);
        desk.next_conversation();
        (desk.leaving, desk.is_repeated, desk.is_repaired) = (false, false, false);
        Self { desk: Some(desk) }
    }

    /// Hands the desk over with all that lies on it, and takes a new one.
    pub fn replace(&mut self, buffer_size: usize) -> Self {
        std::mem::replace(self, Self::take(buffer_size))
    }
}

impl std::ops::Deref for LentDesk {
    type Target = Desk;
    fn deref(&self) -> &Desk {
        self.desk.as_ref().expect("only drop takes the desk")
    }
}

impl std::ops::DerefMut for LentDesk {
    fn deref_mut(&mut self) -> &mut Desk {
        self.desk.as_mut().expect("only drop takes the desk")
    }
}

impl Drop for LentDesk {
    fn drop(&mut self) {
        let Some(desk) = self.desk.take() else { return };
        DESKS.with_borrow_mut(|desks| {
            if desks.len() < KEPT_DESKS {
                desks.push(desk);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(bytes: &[u8]) -> Flow {
        Flow { bytes: bytes.to_vec(), ..Flow::default() }
    }

    fn arrives(flow: &mut Flow, bytes: &[u8]) {
        flow.bytes.extend_from_slice(bytes);
        flow.arrived(bytes.len());
    }

    #[test]
    fn a_message_larger_than_the_buffer_passes_in_pieces() {
        let mut flow = flow(b"abc");
        flow.clear(5);
        assert!(flow.is_inside_message());
        arrives(&mut flow, b"deX");
        assert_eq!(flow.passed(), b"de");
        assert!(!flow.is_inside_message());
        assert_eq!((&flow.bytes[..flow.cleared], flow.unjudged()), (&b"abcde"[..], &b"X"[..]));
    }

    #[test]
    fn a_message_is_thrown_away_with_all_that_has_not_arrived() {
        let mut flow = flow(b"abc");
        flow.clear(1);
        flow.skip(4);
        arrives(&mut flow, b"deX");
        assert_eq!((&flow.bytes[..flow.cleared], flow.unjudged()), (&b"a"[..], &b"X"[..]));
    }

    #[test]
    fn what_was_kept_is_as_it_came() {
        let mut flow = flow(b"abcdef");
        flow.clear(1);
        flow.keep();
        flow.insert(b"--");
        flow.replace(1, b"xyz");
        flow.clear(3);
        flow.skip(1);
        flow.clear(5);
        assert_eq!((&flow.bytes[..], flow.passing), (&b"a--xyzdef"[..], 2));
        assert_eq!(flow.rewind(), Some(7), "bcdef, and two that have not arrived");
        assert_eq!((flow.unjudged(), flow.is_inside_message()), (&b"bcdef"[..], false));
        assert_eq!(flow.rewind(), None);
    }

    #[test]
    fn a_text_that_passes_is_single_unless_a_semicolon_has_something_behind_it() {
        for (pieces, expected) in [
            ([&b"ab"[..], b"cd", b"e\0"], true),
            ([b"ab", b"cd", b"; \0"], true),
            ([b"ab", b"c;", b"e\0"], false),
            ([b"a;", b"cd", b"e\0"], false),
        ] {
            let mut flow = flow(pieces[0]);
            flow.clear(pieces.concat().len());
            flow.watch();
            assert!(!flow.was_single());
            pieces[1..].iter().for_each(|piece| arrives(&mut flow, piece));
            assert_eq!((flow.was_single(), flow.was_single()), (expected, false), "{pieces:?}");
        }
    }

    #[test]
    fn our_own_bytes_stand_between_what_was_judged_and_what_was_not() {
        let mut flow = flow(b"abc");
        flow.clear(1);
        flow.insert(b"--");
        flow.replace(1, b"xyz");
        assert_eq!((&flow.bytes[..flow.cleared], flow.unjudged()), (&b"a--"[..], &b"xyzc"[..]));
    }

    #[test]
    fn what_is_told_at_the_end_of_an_answer_is_part_of_it() {
        let mut flow = flow(b"CZ\0\0\0\x05I");
        flow.clear(7);
        flow.insert_before_ready(b"S");
        assert_eq!(flow.take_cleared(), b"CSZ\0\0\0\x05I");
        flow.insert_before_ready(b"N");
        assert_eq!(flow.take_cleared(), b"N");
    }

    #[test]
    fn an_answer_can_be_withdrawn_until_the_first_of_it_is_sent() {
        let mut flow = flow(b"abcdef");
        flow.begin();
        flow.clear(2);
        flow.mark(1);
        flow.clear(1);
        flow.sent = 3;
        flow.clear(2);
        assert_eq!(flow.unheard(), Some(&b"de"[..]));
        flow.make_room(1);
        assert_eq!((flow.sent, flow.unheard()), (0, Some(&b"de"[..])));
        flow.withdraw_unheard();
        assert_eq!((flow.has_cleared(), flow.unjudged()), (false, &b"f"[..]));
        flow.clear(1);
        flow.sent = 1;
        assert_eq!(flow.unheard(), None);
        flow.make_room(9);
        arrives(&mut flow, b"g");
        flow.clear(1);
        assert_eq!(flow.unheard(), None, "its beginning is gone");
    }

    #[test]
    fn a_desk_comes_back_clean() {
        let mut desk = LentDesk::take(64);
        desk.up.bytes.extend_from_slice(&[1; 5000]);
        desk.up.clear(9000);
        drop(desk);
        let desk = LentDesk::take(64);
        assert!(desk.up.is_empty() && desk.up.bytes.capacity() == 64);
    }
}
