//! What `lab run` puts behind the pooler: a formation, or one PostgreSQL.

use std::path::Path;

use lab::{Account, Formation, FormationOptions, LabError, Options, Postgres};

use crate::{Failure, RunArguments};

/// The servers.
pub enum Behind {
    /// Two data nodes and their monitor.
    Formation(Box<Formation>),
    /// One server.
    Postgres(Box<Postgres>),
}

impl Behind {
    /// Starts what was asked for.
    pub fn start(arguments: &RunArguments) -> Result<Self, Failure> {
        if arguments.alone {
            return Ok(Self::Postgres(Box::new(Postgres::start(Options::default())?)));
        }
        let options = FormationOptions { nodes: arguments.nodes, ..FormationOptions::default() };
        match Formation::start(options) {
            Err(error @ LabError::NoAutoFailover(_)) => {
                Err(format!("{error}; --alone does without a formation").into())
            }
            formation => Ok(Self::Formation(Box::new(formation?))),
        }
    }

    /// The account the servers run under.
    pub fn account(&self) -> &Account {
        match self {
            Self::Formation(formation) => formation.account(),
            Self::Postgres(postgres) => postgres.account(),
        }
    }

    /// The pooler's databases, in its configuration's words.
    pub fn databases(&self) -> Result<String, Failure> {
        let tables = |place: &str| format!("[databases.app]\n{place}\n[databases.other]\n{place}");
        Ok(match self {
            Self::Formation(formation) => {
                let monitor = formation.monitor_uri()?;
                // The pooler asks the nodes as the user whom it shows them for its clients.
                let tables = tables("formation = \"main\"\nuser = \"app\"\n");
                format!("[formations.main]\nmonitor = \"{monitor}\"\n\n{tables}")
            }
            Self::Postgres(postgres) => tables(&format!("host = \"127.0.0.1\"\nport = {}\n", postgres.port())),
        })
    }

    /// Lines to paste: what each is for, and itself.
    pub fn lines(&self, pooler: &Path, config: &Path) -> Result<Vec<(&'static str, String)>, Failure> {
        Ok(match self {
            Self::Formation(formation) => {
                let lab = std::env::current_exe()?;
                let directory = formation.directory().display();
                let pause = formation.profile().failover_limit().as_secs();
                vec![
                    ("monitor", formation.monitor_uri()?),
                    ("paste first", format!("f() {{ {} formation --directory {directory} \"$@\"; }}", lab.display())),
                    ("look", "f status".to_owned()),
                    ("move", format!("{} failover {}", pooler.display(), config.display())),
                    ("crash", format!("f kill node1; sleep {pause}; f restart node1; f status")),
                    ("more", "f help".to_owned()),
                ]
            }
            Self::Postgres(postgres) => vec![("PostgreSQL", postgres.url("postgres", "app"))],
        })
    }

    /// The log of a server that ended by itself. Members of a formation may: that is what it is for.
    pub fn ended(&mut self) -> Result<Option<String>, Failure> {
        let Self::Postgres(postgres) = self else { return Ok(None) };
        Ok(if postgres.has_ended()? { Some(postgres.log()) } else { None })
    }
}
