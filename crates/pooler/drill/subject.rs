//! What is rehearsed: which formation, through which database, as whom, and by what.

use std::time::Duration;

use config::{Config, Database, Role, Secret};

use super::verdict::End;
use crate::arguments::DrillFailover;

/// Holds the password of whoever writes: PGPASSWORD is the console's.
const PASSWORD: &str = "POOLER_DRILL_PASSWORD";

/// What is rehearsed.
#[derive(Debug)]
pub struct Subject {
    /// Its name in the configuration.
    pub formation: String,
    /// The database that is written to, as clients name it.
    pub database: String,
    /// Who writes.
    pub user: String,
    /// What proves it.
    pub secret: Option<Secret>,
    /// What ends the primary.
    pub cause: Cause,
    /// The longest that a client may have to wait.
    pub target: Duration,
}

/// What ends the primary.
#[derive(Debug, PartialEq, Eq)]
pub enum Cause {
    /// FAILOVER on the console.
    Planned,
    /// A command of the operator's.
    Killed(String),
}

impl Cause {
    /// One word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Cause::Planned => "planned",
            Cause::Killed(_) => "kill",
        }
    }
}

impl Subject {
    /// What the command line and the configuration name.
    ///
    /// # Errors
    /// What they leave open.
    pub fn choose(config: &Config, wish: &DrillFailover) -> Result<Self, End> {
        let formation = formation(config, wish.formation.as_deref()).map_err(End::NotBegun)?;
        let database = database(config, wish.database.as_deref(), &formation).map_err(End::NotBegun)?;
        let user = wish.user.clone().or_else(|| database.user.clone()).ok_or_else(|| {
            End::NotBegun(format!("database {:?} forces no user on its clients: --user says who writes", database.name))
        })?;
        let cause = match (&wish.kill_command, wish.kill) {
            (Some(command), true) => Cause::Killed(command.clone()),
            (None, true) => return Err(End::Missing(NO_COMMAND.to_owned())),
            (_, false) => Cause::Planned,
        };
        let password = std::env::var(PASSWORD).ok().map(Secret::Plain);
        let secret = password.or_else(|| config.userlist.get(&user).cloned());
        Ok(Self { formation, database: database.name, user, secret, cause, target: wish.target })
    }
}

/// The pooler knows no way into the primary's machine, and a process that it finds on its own may be another one.
const NO_COMMAND: &str = "--kill needs --kill-command: only you know how to end the machine of the primary from here";

fn formation(config: &Config, named: Option<&str>) -> Result<String, String> {
    let names: Vec<&str> = config.formations.keys().map(String::as_str).collect();
    match (named, names.as_slice()) {
        (Some(name), names) if names.contains(&name) => Ok(name.to_owned()),
        (Some(name), _) => Err(format!("there is no formation {name:?} in the configuration")),
        (None, [only]) => Ok((*only).to_owned()),
        (None, []) => Err("there is no formation in the configuration".to_owned()),
        (None, several) => Err(format!("there are several formations, say which: {}", several.join(", "))),
    }
}

fn database(config: &Config, named: Option<&str>, formation: &str) -> Result<Database, String> {
    let fits = |database: &Database| database.formation.as_deref() == Some(formation) && database.role == Role::Primary;
    match named {
        Some(name) => {
            let found = config.find_database(name).filter(fits);
            found.ok_or_else(|| format!("database {name:?} does not follow the primary of formation {formation:?}"))
        }
        None => {
            let found = config.databases.values().find(|database| database.name != "*" && fits(database));
            found.cloned().ok_or_else(|| {
                format!("no database with a name follows the primary of formation {formation:?}: see --database")
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command, Drill};

    const TWO: &str = "[formations.a]\nmonitor = 'postgres://m@h/d'\n[formations.b]\nmonitor = 'postgres://m@h/d'\n\
        [databases.read]\nformation = 'a'\nuser = 'u'\n[databases.plain]\nhost = 'h'\n";

    fn choose(text: &str, words: &str) -> Result<Subject, String> {
        let loaded = Config::from_text(Path::new("x.toml"), text).unwrap_or_else(|problems| panic!("{problems}"));
        let words = ["pooler", "drill", "failover"].into_iter().chain(words.split_whitespace());
        let arguments = Arguments::try_parse_from(words).map_err(|error| error.to_string())?;
        let Some(Command::Drill { what: Drill::Failover(wish) }) = arguments.command else { panic!("no drill") };
        Subject::choose(&loaded.config, &wish).map_err(|end| format!("{} {end}", end.code()))
    }

    #[test]
    fn what_is_left_open_is_said() {
        let refused = |words: &str| choose(TWO, words).expect_err(words);
        assert!(refused("").contains("say which: a, b"));
        assert!(refused("--formation c").contains("no formation \"c\""));
        assert!(refused("--formation b").contains("see --database"));
        assert!(refused("--formation a --database plain").contains("does not follow"));
        assert!(refused("--formation a --kill").starts_with('3'));
        assert!(refused("--formation a --planned --kill").contains("cannot be used with"));
        assert!(refused("--formation a --kill-command x").contains("--kill"));
        for seconds in ["0", "-1", "nan", "inf", "1e19", "x"] {
            assert!(refused(&format!("--formation a --target={seconds}")).contains("not a number of seconds"));
        }
        assert!(choose("", "").expect_err("none").contains("there is no formation in"));
    }

    #[test]
    fn what_is_not_said_is_found() {
        let subject = choose(TWO, "--formation a").expect("it is clear");
        assert_eq!((subject.database.as_str(), subject.user.as_str()), ("read", "u"));
        assert_eq!((subject.cause, subject.target), (Cause::Planned, Duration::from_secs(60)));
        let subject = choose(TWO, "--formation a --user v --kill --kill-command x --target 2.5").expect("it is clear");
        assert_eq!((subject.user.as_str(), subject.cause), ("v", Cause::Killed("x".to_owned())));
        assert_eq!(subject.target, Duration::from_millis(2500));
    }
}
