//! FAILOVER on a console, as an operator watches it.

use crate::harness::{Client, Pooler, Report};

/// A command under way.
pub struct Failover {
    console: Client,
    steps: Vec<String>,
}

impl Failover {
    /// Begins one; `words` follow the command.
    pub fn begin(pooler: &Pooler, words: &str) -> Failover {
        let mut console = pooler.console().client;
        console.send_query(&format!("FAILOVER {words}"));
        Failover { console, steps: Vec::new() }
    }

    /// Runs one to its end: the steps it told, or its error.
    pub fn run(pooler: &Pooler, words: &str) -> Result<Vec<String>, Report> {
        Failover::begin(pooler, words).end()
    }

    /// Waits until a step is told.
    pub fn await_step(&mut self, name: &str) -> &mut Failover {
        while !self.steps.last().is_some_and(|step| step.starts_with(name)) {
            let notice = self.console.message();
            assert_eq!(notice.tag, b'N', "{notice:?} after {:?}", self.steps);
            self.steps.push(notice.report().message);
        }
        self
    }

    /// Cancels it, as psql does at Ctrl-C.
    pub fn cancel(&self) {
        self.console.cancel();
    }

    /// Waits for its end.
    pub fn end(mut self) -> Result<Vec<String>, Report> {
        let mut failure = None;
        loop {
            let message = self.console.message();
            match message.tag {
                b'N' => self.steps.push(message.report().message),
                b'E' => failure = Some(message.report()),
                b'C' => assert_eq!(message.text(), "FAILOVER"),
                b'Z' => break,
                _ => panic!("{message:?}"),
            }
        }
        eprintln!("{:#?}\n{failure:?}", self.steps);
        failure.map_or(Ok(self.steps), Err)
    }
}
