//! Looks at the pooler's console while a failover goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use config::Config;
use proxy::visitor::Visitor;

use super::standing::Standing;

/// Between two looks: how exact the time is at which transactions were held.
const LOOK: Duration = Duration::from_millis(20);
/// How long the console may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// What was seen so far.
pub struct Watch {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    held: OnceLock<Instant>,
}

impl Watch {
    /// Looks from now on, until it is dropped.
    ///
    /// # Errors
    /// The console lets nobody in.
    pub fn start(config: &Config, formation: &str, primary: &str) -> Result<Self, String> {
        let mut console = Visitor::of_console(config).map_err(|failure| failure.message)?;
        let seen = Arc::new(Seen::default());
        let (looks, formation, primary) = (Arc::clone(&seen), formation.to_owned(), primary.to_owned());
        let thread = thread::spawn(move || {
            while !looks.stop.load(Ordering::Relaxed) && looks.held.get().is_none() {
                let asked = Instant::now();
                let given_up = || looks.stop.load(Ordering::Relaxed) || asked.elapsed() > LIMIT;
                match Standing::ask(&mut console, &formation, given_up) {
                    // Between two looks it may have been held and opened again.
                    Ok(now) if !now.is_open() || now.primary().is_none_or(|node| node.name != primary) => {
                        looks.held.get_or_init(Instant::now);
                    }
                    Ok(_) => thread::sleep(LOOK),
                    // Clients tell the rest.
                    Err(_) => return,
                }
            }
        });
        Ok(Self { seen, thread: Some(thread) })
    }

    /// When transactions were seen to be held, or to go to another primary.
    pub fn held(&self) -> Option<Instant> {
        self.seen.held.get().copied()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
