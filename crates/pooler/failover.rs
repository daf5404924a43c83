//! `pooler failover`: has the running pooler move the primary, and tells each step.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use config::Config;
use proxy::console::remote::{self, Said, Trouble};

use crate::arguments::config_path;

/// Not possible, and nothing was touched.
pub const NOT_POSSIBLE: u8 = 1;
/// Somebody else does the same.
pub const LOCKED: u8 = 2;
/// Given up: transactions go where they went before.
const ABORTED: u8 = 3;
/// The monitor has accepted, but there was no writable node in time.
const STRANDED: u8 = 4;
/// Done, but some pooler has not said so.
pub const UNCONFIRMED: u8 = 5;

/// What the command line says.
pub struct Wish<'a> {
    /// The formation.
    pub formation: Option<&'a str>,
    /// The next primary.
    pub to: Option<&'a str>,
    /// Nothing is to be done.
    pub dry_run: bool,
    /// Whatever stands in the way.
    pub force: bool,
}

impl Wish<'_> {
    /// The console's command for it.
    fn command(&self) -> String {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let words = [
            Some("FAILOVER".to_owned()),
            self.formation.map(quoted),
            self.to.map(|node| format!("TO {}", quoted(node))),
            self.dry_run.then(|| "DRY_RUN".to_owned()),
            self.force.then(|| "FORCE".to_owned()),
        ];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// Steps go to stdout, each with the time since the beginning; what went wrong goes to stderr.
pub fn failover(config: Option<&Path>, wish: &Wish) -> ExitCode {
    let loaded = match Config::load(&config_path(config)) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(NOT_POSSIBLE);
        }
    };
    let (code, why) = drive(&loaded.config, wish, Instant::now());
    if let Some(why) = why {
        eprintln!("{why}");
    }
    ExitCode::from(code)
}

/// Has the running pooler do it, and tells each step: the exit code, and what is to be said about it.
pub fn drive(config: &Config, wish: &Wish, began: Instant) -> (u8, Option<String>) {
    let mut seen = Seen::default();
    let ended = remote::run(config, &wish.command(), |said| match said {
        Said::Notice(sqlstate, text) => {
            seen.note(&sqlstate, &text);
            step(began, &text);
        }
        Said::Interrupted => eprintln!("interrupted: asks the pooler to give it up"),
    });
    seen.code(ended)
}

/// Tells one step, with the time since the beginning.
pub fn step(began: Instant, text: &str) {
    // Who reads no more still gets the exit code.
    let _ = writeln!(io::stdout(), "{:7.3} s  {text}", began.elapsed().as_secs_f64());
}

/// How far it has come.
#[derive(Default)]
struct Seen {
    /// Transactions are about to be stopped, or were.
    pauses: bool,
    /// The monitor was, or is being, told.
    commits: bool,
    /// Some pooler has not confirmed.
    unconfirmed: bool,
}

impl Seen {
    /// A step that was told.
    fn note(&mut self, sqlstate: &str, text: &str) {
        self.pauses |= text.starts_with("checkpoint: ");
        self.commits |= text.starts_with("pause: ");
        self.unconfirmed |= sqlstate == "01000";
    }

    /// The exit code, and what is to be said about it.
    fn code(&self, ended: Result<(), Trouble>) -> (u8, Option<String>) {
        match ended {
            Ok(()) if self.unconfirmed => (UNCONFIRMED, None),
            Ok(()) => (0, None),
            Err(Trouble::NoConsole(why)) => (NOT_POSSIBLE, Some(format!("the pooler's console cannot be used: {why}"))),
            Err(Trouble::Error(sqlstate, why)) => {
                let code = match sqlstate.as_str() {
                    "55P03" => LOCKED,
                    "57014" => ABORTED,
                    "57P03" => STRANDED,
                    _ => NOT_POSSIBLE,
                };
                (code, Some(why))
            }
            Err(Trouble::Lost(why)) => {
                let (code, then) = match (self.commits, self.pauses) {
                    (true, _) => (STRANDED, "the monitor may have accepted; each pooler opens by itself"),
                    (false, true) => (ABORTED, "poolers go on as before, at the latest when their pause is over"),
                    (false, false) => (NOT_POSSIBLE, "nothing was touched"),
                };
                (code, Some(format!("the pooler is lost: {why}; {then}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_in_the_command() {
        let wish = Wish { formation: Some("to"), to: Some("node-\"1\""), dry_run: true, force: true };
        assert_eq!(wish.command(), "FAILOVER \"to\" TO \"node-\"\"1\"\"\" DRY_RUN FORCE");
        let wish = Wish { formation: None, to: None, dry_run: false, force: false };
        assert_eq!(wish.command(), "FAILOVER");
    }

    #[test]
    fn each_end_has_its_exit_code() {
        let mut seen = Seen::default();
        let error = |sqlstate: &str| Err(Trouble::Error(sqlstate.to_owned(), String::new()));
        let codes = ["55000", "42501", "55P03", "57014", "57P03"].map(|sqlstate| seen.code(error(sqlstate)).0);
        assert_eq!(codes, [1, 1, 2, 3, 4]);
        assert_eq!(seen.code(Ok(())).0, 0);
        let lost = || Err(Trouble::Lost(String::new()));
        assert_eq!(seen.code(lost()).0, 1);
        seen.note("00000", "checkpoint: done");
        assert_eq!(seen.code(lost()).0, 3);
        seen.note("00000", "pause: done");
        assert_eq!(seen.code(lost()).0, 4);
        seen.note("01000", "some pooler");
        assert_eq!(seen.code(Ok(())).0, 5);
    }
}
