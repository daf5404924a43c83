//! Turns at the expensive steps of logins, so that in a storm everybody who asks is heard in rotation.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::services::lock;

/// Those who wait for a turn: a queue for each key (an address, a user), and the keys in rotation.
///
/// Whoever is polled asks; who may go on is decided after everybody who was ready has asked.
#[derive(Debug)]
pub struct Turnstile<K> {
    queues: Mutex<Queues<K>>,
}

#[derive(Debug)]
struct Queues<K> {
    waiting: HashMap<K, VecDeque<Arc<Slot>>>,
    /// Each key that has a queue, once.
    rotation: VecDeque<K>,
    /// The waker of the one who lets them through, while that has nothing to do.
    usher: Option<Waker>,
}

#[derive(Debug, Default)]
struct Slot(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    New,
    Waiting(Waker),
    Passed,
    Left,
}

impl<K> Default for Turnstile<K> {
    fn default() -> Self {
        let queues = Queues { waiting: HashMap::new(), rotation: VecDeque::new(), usher: None };
        Self { queues: Mutex::new(queues) }
    }
}

impl<K: Clone + Eq + Hash> Turnstile<K> {
    /// Waits for a turn.
    pub async fn turn(&self, key: K) {
        let slot = Arc::new(Slot::default());
        {
            let mut queues = lock(&self.queues);
            if !queues.waiting.contains_key(&key) {
                queues.rotation.push_back(key.clone());
            }
            queues.waiting.entry(key).or_default().push_back(slot.clone());
            if let Some(usher) = queues.usher.take() {
                usher.wake();
            }
        }
        Turn(slot).await;
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        lock(&self.queues).waiting.values().map(VecDeque::len).sum()
    }

    /// Lets one through after the other, for ever. Between two, others of this thread get their time.
    pub async fn usher(&self) {
        loop {
            std::future::poll_fn(|cx| {
                let mut queues = lock(&self.queues);
                if queues.rotation.is_empty() {
                    queues.usher = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
            self.admit();
            tokio::task::yield_now().await;
        }
    }

    /// Lets the next one through who is still there.
    fn admit(&self) {
        loop {
            let Some(slot) = lock(&self.queues).pop() else { return };
            let mut state = lock(&slot.0);
            match std::mem::replace(&mut *state, State::Passed) {
                State::Waiting(waker) => return waker.wake(),
                State::New | State::Passed => return,
                State::Left => {}
            }
        }
    }
}

impl<K: Clone + Eq + Hash> Queues<K> {
    fn pop(&mut self) -> Option<Arc<Slot>> {
        let key = self.rotation.pop_front()?;
        let queue = self.waiting.get_mut(&key)?;
        let slot = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&key);
        } else {
            self.rotation.push_back(key);
        }
        slot
    }
}

struct Turn(Arc<Slot>);

impl Future for Turn {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0.0);
        if matches!(*state, State::Passed) {
            return Poll::Ready(());
        }
        *state = State::Waiting(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *lock(&self.0.0) = State::Left;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn a_crowd_of_one_user_does_not_keep_another_waiting() {
        let turnstile = Arc::new(Turnstile::default());
        let passed = Arc::new(Mutex::new(Vec::new()));
        for user in [["crowd"; 100].as_slice(), &["single"]].concat() {
            let (turnstile, passed) = (turnstile.clone(), passed.clone());
            tokio::spawn(async move {
                turnstile.turn(user).await;
                lock(&passed).push(user);
            });
        }
        while turnstile.len() < 101 {
            tokio::task::yield_now().await;
        }
        let usher = turnstile.clone();
        let usher = tokio::spawn(async move { usher.usher().await });
        while lock(&passed).len() < 101 {
            tokio::task::yield_now().await;
        }
        usher.abort();
        let place = lock(&passed).iter().position(|user| *user == "single");
        assert!(place.is_some_and(|place| place <= 2), "it went through at {place:?}");
    }

    #[tokio::test]
    async fn one_who_has_left_takes_no_turn() {
        let turnstile = Arc::new(Turnstile::default());
        {
            let mut first = std::pin::pin!(turnstile.turn("a"));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(first.as_mut().poll(&mut cx).is_pending());
        }
        let usher = turnstile.clone();
        let usher = tokio::spawn(async move { usher.usher().await });
        turnstile.turn("a").await;
        assert_eq!(turnstile.len(), 0);
        usher.abort();
    }
}
