//! The `lab` program: a throw-away PostgreSQL, alone or behind the pooler, until Ctrl-C.

mod demo;
mod ending;
mod idle_clients;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use clap::{Parser, Subcommand};
use lab::{LabError, Options, Postgres};

use crate::ending::{Ending, POLL};

/// What ends a command early; shown to people, never matched.
type Failure = Box<dyn Error>;

/// A throw-away PostgreSQL for demo, tests and benches.
#[derive(Parser)]
#[command(name = "lab")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs PostgreSQL until Ctrl-C.
    Postgres(PostgresArguments),
    /// Runs PostgreSQL and a pooler in front of it until Ctrl-C.
    Run(RunArguments),
    /// Opens idle connections (one query each), says READY, and keeps them until its standard input ends.
    IdleClients(IdleClientsArguments),
}

#[derive(clap::Args)]
struct PostgresArguments {
    /// PostgreSQL's max_connections.
    #[arg(long, default_value_t = 200)]
    max_connections: u32,
    /// A line for postgresql.conf; may be repeated.
    #[arg(long, value_name = "LINE")]
    conf: Vec<String>,
}

#[derive(clap::Args)]
struct RunArguments {
    /// The pooler's program.
    #[arg(long, value_name = "PATH")]
    pooler: PathBuf,
    /// Where to write pooler.toml; by default next to the data, gone at the end.
    #[arg(long, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// The pooler's port; 0 takes a free one.
    #[arg(long, default_value_t = 6432)]
    port: u16,
    /// The port of the metrics page; 0 takes a free one.
    #[arg(long, default_value_t = 9127)]
    metrics_port: u16,
}

#[derive(clap::Args)]
struct IdleClientsArguments {
    host: String,
    port: u16,
    user: String,
    database: String,
    /// How many connections to open.
    count: usize,
}

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Task::Postgres(arguments) => postgres(arguments),
        Task::Run(arguments) => demo::run(&arguments),
        Task::IdleClients(arguments) => idle_clients::run(&arguments),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("lab: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Scripts read the lines below up to the one that begins with `ready`: host, port, database and user.
fn postgres(arguments: PostgresArguments) -> Result<(), Failure> {
    let ending = Ending::watch()?;
    let options = Options { max_connections: arguments.max_connections, conf: arguments.conf, ..Options::default() };
    let mut postgres = Postgres::start(options)?;
    let mut out = io::stdout();
    writeln!(out, "url {}", postgres.url("postgres", "app"))?;
    writeln!(out, "bin {}", postgres.bin().display())?;
    writeln!(out, "directory {}", postgres.socket_dir().display())?;
    writeln!(out, "pid {}", postgres.pid().ok_or(LabError::Stopped)?)?;
    writeln!(out, "ready 127.0.0.1 {} app app", postgres.port())?;
    while !ending.asked() {
        if postgres.has_ended()? {
            return Err(format!("PostgreSQL ended by itself; its log:\n{}", postgres.log()).into());
        }
        thread::sleep(POLL);
    }
    Ok(())
}
