//! The admin console, as an operator's psql or an exporter speaks to it.

use std::collections::BTreeMap;

use super::{Address, Client, Login, Message, Report};

/// A row of a SHOW by column; NULL is an empty text.
pub type Row = BTreeMap<String, String>;

/// A connection to database `pgbouncer`.
#[derive(Debug)]
pub struct Console {
    pub client: Client,
}

impl Console {
    #[track_caller]
    pub fn open(address: &Address, user: &str) -> Console {
        Console::with(&Login::new(user), address)
    }

    /// By a login that names no database.
    #[track_caller]
    pub fn with(login: &Login, address: &Address) -> Console {
        Console { client: login.clone().database("pgbouncer").open(address) }
    }

    /// Runs a command that must succeed, and returns its tag.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> String {
        self.try_run(command).unwrap_or_else(|report| panic!("{command}: {report}"))
    }

    /// Runs a command and returns its tag, or its error.
    #[track_caller]
    pub fn try_run(&mut self, command: &str) -> Result<String, Report> {
        let messages = self.client.ask(command);
        if let Some(error) = messages.iter().find(|message| message.tag == b'E') {
            return Err(error.report());
        }
        let tag = messages.iter().find(|message| message.tag == b'C');
        Ok(tag.unwrap_or_else(|| panic!("{command}: no tag in {messages:?}")).text())
    }

    /// The error of a command that must fail; the console stays usable.
    #[track_caller]
    pub fn error(&mut self, command: &str) -> Report {
        match self.try_run(command) {
            Ok(tag) => panic!("{command} succeeded: {tag}"),
            Err(report) => report,
        }
    }

    /// The rows of a SHOW.
    #[track_caller]
    pub fn show(&mut self, what: &str) -> Vec<Row> {
        let messages = self.client.ask(&format!("SHOW {what}"));
        let columns = columns_of(&messages);
        let rows = messages.iter().filter(|message| message.tag == b'D').map(|row| {
            let values = row.values().into_iter().map(Option::unwrap_or_default);
            columns.iter().cloned().zip(values).collect()
        });
        rows.collect()
    }

    /// The column names of a SHOW, in order.
    #[track_caller]
    pub fn columns(&mut self, what: &str) -> Vec<String> {
        columns_of(&self.client.ask(&format!("SHOW {what}")))
    }

    /// The row of SHOW POOLS for database `app` and this user.
    #[track_caller]
    pub fn pool(&mut self, user: &str) -> Row {
        let rows = self.show("POOLS");
        let found = rows.iter().find(|row| row["database"] == "app" && row["user"] == user);
        found.unwrap_or_else(|| panic!("no pool of {user}: {rows:?}")).clone()
    }

    /// A number in a pool's row; 0 while there is no such pool.
    #[track_caller]
    pub fn count(&mut self, user: &str, column: &str) -> u64 {
        let rows = self.show("POOLS");
        let pool = rows.iter().find(|row| row["database"] == "app" && row["user"] == user);
        pool.map_or(0, |row| row[column].parse().expect("a number"))
    }

    /// The value of a setting in SHOW CONFIG.
    #[track_caller]
    pub fn setting(&mut self, key: &str) -> String {
        let rows = self.show("CONFIG");
        rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("no setting {key}"))["value"].clone()
    }
}

#[track_caller]
fn columns_of(messages: &[Message]) -> Vec<String> {
    let header = messages.iter().find(|message| message.tag == b'T');
    header.unwrap_or_else(|| panic!("no columns in {messages:?}")).columns()
}
