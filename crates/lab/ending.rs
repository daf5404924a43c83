//! Ctrl-C, as a question that can be asked.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How often to ask; nobody notices a tenth of a second at a prompt.
pub const POLL: Duration = Duration::from_millis(100);

/// Whether somebody asked this program to end: Ctrl-C, a plain kill, or a closed terminal.
pub struct Ending(Arc<AtomicBool>);

impl Ending {
    /// From now on these signals no longer end the program: it has things to put away first.
    pub fn watch() -> io::Result<Ending> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&asked))?;
        }
        Ok(Ending(asked))
    }

    /// True once a signal has arrived.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
