//! Notifications that wait for one client, until it is outside of a transaction block.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use protocol::Header;

use super::names::{self, Name};
use crate::client::handle::{ClientHandle, Cut};
use crate::services::lock;

/// A NotificationResponse; all whom it is for share it.
pub type Message = Arc<[u8]>;

/// What waits for one client.
pub struct Mailbox {
    handle: Arc<ClientHandle>,
    most: usize,
    has_mail: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Message>,
    bytes: usize,
    is_closed: bool,
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({})", self.handle.id)
    }
}

impl Mailbox {
    /// For a client, of whose notifications `most` bytes may wait (`max_pending_notifications`).
    pub fn new(handle: Arc<ClientHandle>, most: usize) -> Self {
        Self { handle, most, has_mail: AtomicBool::new(false), waiting: Mutex::default() }
    }

    /// One more. A client for whom too many wait must go: it would miss some.
    pub fn put(&self, message: &Message) {
        let mut waiting = lock(&self.waiting);
        if waiting.is_closed {
            return;
        }
        waiting.bytes += message.len();
        if waiting.bytes > self.most {
            waiting.close();
            return self.handle.cut(Cut::NotificationsLag);
        }
        waiting.messages.push_back(message.clone());
        let is_first = waiting.messages.len() == 1;
        self.has_mail.store(true, Ordering::Release);
        drop(waiting);
        if is_first {
            self.handle.wake();
        }
    }

    /// Whether something waits.
    pub fn has_mail(&self) -> bool {
        self.has_mail.load(Ordering::Acquire)
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        lock(&self.waiting).bytes
    }

    /// Takes what waits, the oldest first: about `most` bytes of it.
    pub fn take(&self, most: usize) -> Vec<u8> {
        let mut waiting = lock(&self.waiting);
        let mut taken = Vec::with_capacity(waiting.bytes.min(most + most / 4));
        while taken.len() < most
            && let Some(message) = waiting.messages.pop_front()
        {
            waiting.bytes -= message.len();
            taken.extend_from_slice(&message);
        }
        self.has_mail.store(!waiting.messages.is_empty(), Ordering::Release);
        taken
    }

    /// Throws away what waits of channels that its client does not listen to any more.
    pub fn forget(&self, gone: &HashSet<Name>) {
        let mut waiting = lock(&self.waiting);
        waiting
            .messages
            .retain(|message| !names::channel(&message[Header::SIZE..]).is_some_and(|name| gone.contains(name)));
        waiting.bytes = waiting.messages.iter().map(|message| message.len()).sum();
        self.has_mail.store(!waiting.messages.is_empty(), Ordering::Release);
    }

    /// Its client must go, because nobody listens for it any more.
    pub fn lose(&self) {
        lock(&self.waiting).close();
        self.handle.cut(Cut::ListeningLost);
    }
}

impl Waiting {
    fn close(&mut self) {
        *self = Self { is_closed: true, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::client::handle::Identity;
    use crate::clock::Micros;

    fn mailbox(most: usize) -> (Mailbox, Arc<ClientHandle>) {
        let end = Address::Unix { pid: 0, uid: 0, port: 5432 };
        let identity = Identity {
            database: "app".into(),
            user: "u".into(),
            remote: end.clone(),
            local: end,
            connected_at: Micros::now(),
            tls: None,
        };
        let handle = Arc::new(ClientHandle::new(1, 2, Box::new([]), identity));
        (Mailbox::new(handle.clone(), most), handle)
    }

    fn message(channel: &str, payload: &str) -> Message {
        names::message(format!("\0\0\0\0{channel}\0{payload}\0").as_bytes(), None).into()
    }

    #[test]
    fn what_is_put_in_comes_out_in_its_order() {
        let (mailbox, handle) = mailbox(1000);
        let sent: Vec<Message> = ["one", "two", "three"].map(|word| message("a", word)).into();
        sent.iter().for_each(|message| mailbox.put(message));
        assert_eq!(mailbox.take(1), *sent[0]);
        assert!(mailbox.has_mail());
        assert_eq!(mailbox.take(1000), [&*sent[1], &*sent[2]].concat());
        assert!(!mailbox.has_mail() && mailbox.bytes() == 0 && handle.is_cut().is_none());
    }

    #[test]
    fn who_has_too_much_waiting_must_go_and_keeps_none() {
        let (mailbox, handle) = mailbox(40);
        for _ in 0..10 {
            mailbox.put(&message("a", "0123456789"));
        }
        assert_eq!((handle.is_cut(), mailbox.bytes()), (Some(Cut::NotificationsLag), 0));
    }

    #[test]
    fn what_is_not_listened_to_any_more_is_not_delivered() {
        let (mailbox, _) = mailbox(1000);
        let kept = message("b", "2");
        mailbox.put(&message("a", "1"));
        mailbox.put(&kept);
        mailbox.forget(&HashSet::from([Name::from(&b"a"[..])]));
        assert_eq!(mailbox.take(1000), *kept);
    }
}
