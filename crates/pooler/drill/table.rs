//! The table that a drill writes to, for as long as it lasts.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use config::Config;
use proxy::visitor::{Answer, Failure, Visitor};

use super::subject::Subject;

/// How long making it, reading it and dropping it may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A table that nobody else has. Dropping it drops it.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: String,
    config: Arc<Config>,
    subject: Arc<Subject>,
}

impl Table {
    /// Makes it.
    ///
    /// # Errors
    /// Whoever writes may not.
    pub fn make(config: &Arc<Config>, subject: &Arc<Subject>) -> Result<Self, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let name = format!("pooler_drill_{now}_{}", std::process::id());
        let mut client = log_in(config, subject).map_err(|failure| said(&failure, "cannot log in", subject))?;
        let sql = format!("create table {name} (writer int not null, number bigint not null)");
        let made = ask(&mut client, &sql);
        let what = "cannot make a table (it needs CREATE in a schema of its search_path)";
        if let Err(failure @ Failure { sqlstate: Some(_), .. }) = &made {
            return Err(said(failure, what, subject));
        }
        // Without an answer it may be there, and is dropped as well.
        let table = Self { name, config: Arc::clone(config), subject: Arc::clone(subject) };
        made.map(|_| table).map_err(|failure| said(&failure, what, subject))
    }

    /// Its rows: writer, number, and how often they are there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn rows(&self) -> Result<Vec<(usize, u64, u64)>, String> {
        let sql = format!("select writer, number, count(*) from {} group by 1, 2", self.name);
        let found = log_in(&self.config, &self.subject).and_then(|mut client| ask(&mut client, &sql));
        let found = found.map_err(|failure| said(&failure, "cannot read the table", &self.subject))?;
        let row = |row: &Vec<Option<String>>| {
            let number = |position: usize| row.get(position)?.as_ref()?.parse::<u64>().ok();
            Some((usize::try_from(number(0)?).ok()?, number(1)?, number(2)?))
        };
        found.rows.iter().map(row).collect::<Option<_>>().ok_or_else(|| "the table holds no numbers".to_owned())
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let sql = format!("drop table if exists {}", self.name);
        let dropped = log_in(&self.config, &self.subject).and_then(|mut client| ask(&mut client, &sql));
        if let Err(failure) = dropped {
            let what = format!("table {} in database {} is left behind", self.name, self.subject.database);
            eprintln!("{}", said(&failure, &what, &self.subject));
        }
    }
}

fn log_in(config: &Config, subject: &Subject) -> Result<Visitor, Failure> {
    Visitor::of_database(config, &subject.database, &subject.user, subject.secret.as_ref())
}

fn ask(client: &mut Visitor, sql: &str) -> Result<Answer, Failure> {
    let deadline = Instant::now() + LIMIT;
    client.ask(sql, || Instant::now() >= deadline)
}

fn said(failure: &Failure, what: &str, subject: &Subject) -> String {
    let sqlstate = failure.sqlstate.as_ref().map(|sqlstate| format!(" ({sqlstate})")).unwrap_or_default();
    format!("{what}, database {:?}, user {:?}: {}{sqlstate}", subject.database, subject.user, failure.message)
}
