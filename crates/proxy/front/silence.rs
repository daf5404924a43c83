//! How long a client that has logged in may be silent before it goes to a worker.

use std::time::Duration;

use tokio::sync::Notify;

/// A client goes at the end of the round in which it has logged in, unless it has spoken before.
const ROUND: Duration = Duration::from_millis(50);

/// Ends silences in rounds: a timer of its own for each login would be two system calls more.
#[derive(Debug, Default)]
pub struct Silence {
    begun: Notify,
    over: Notify,
}

impl Silence {
    /// Ready when the silence has lasted long enough.
    pub async fn lasts(&self) {
        let over = self.over.notified();
        self.begun.notify_one();
        over.await;
    }

    /// Ends one round after the other, while there is somebody silent.
    pub async fn run(&self) {
        loop {
            self.begun.notified().await;
            tokio::time::sleep(ROUND).await;
            self.over.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn silences_end_together_after_a_round_and_so_do_later_ones() {
        let silence = Arc::new(Silence::default());
        let rounds = silence.clone();
        tokio::spawn(async move { rounds.run().await });
        let start = Instant::now();
        tokio::join!(silence.lasts(), silence.lasts());
        assert!(start.elapsed() >= ROUND, "{:?}", start.elapsed());
        silence.lasts().await;
    }
}
