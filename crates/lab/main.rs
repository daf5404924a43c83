//! The `lab` program: a throw-away PostgreSQL, alone, behind the pooler or as a formation, until Ctrl-C.

mod demo;
mod ending;
mod floor;
mod formation_command;
mod idle_clients;
mod logins;

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
    /// Runs a pg_auto_failover formation and a pooler in front of it until Ctrl-C.
    Run(RunArguments),
    /// Runs a pg_auto_failover formation until Ctrl-C, or does something to the one that runs.
    Formation(formation_command::FormationArguments),
    /// Opens idle connections (one query each), says READY, and keeps them until its standard input ends.
    IdleClients(IdleClientsArguments),
    /// Logs in again and again and prints how many succeeded, and how long they took.
    Logins(LoginsArguments),
    /// Serves the least that a login can be, to compare with; until Ctrl-C.
    Floor(FloorArguments),
}

#[derive(clap::Args)]
struct PostgresArguments {
    /// PostgreSQL's max_connections.
    #[arg(long, default_value_t = 200)]
    max_connections: u32,
    /// A line for postgresql.conf; may be repeated.
    #[arg(long, value_name = "LINE")]
    conf: Vec<String>,
    /// A line for pg_hba.conf, before the usual ones; may be repeated.
    #[arg(long, value_name = "LINE")]
    hba: Vec<String>,
    /// Speaks TLS too, and prints where the certificates are.
    #[arg(long)]
    tls: bool,
}

#[derive(clap::Args)]
struct RunArguments {
    /// The pooler's program.
    #[arg(long, value_name = "PATH")]
    pooler: PathBuf,
    /// One PostgreSQL instead of a formation.
    #[arg(long)]
    alone: bool,
    /// How many data nodes.
    #[arg(long, default_value_t = 2, conflicts_with = "alone", value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
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
    /// Over TLS 1.3.
    #[arg(long)]
    tls: bool,
}

#[derive(clap::Args)]
struct LoginsArguments {
    /// The port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    #[arg(long)]
    user: String,
    #[arg(long)]
    database: String,
    /// For SCRAM-SHA-256; its key is derived once.
    #[arg(long)]
    password: Option<String>,
    /// Over TLS 1.3.
    #[arg(long)]
    tls: bool,
    /// One `select 1` in each session.
    #[arg(long)]
    query: bool,
    /// How long to begin new logins.
    #[arg(long, value_parser = positive)]
    seconds: f64,
    /// Logins a second, whatever the answers take; without it, each ends before the next begins.
    #[arg(long, value_parser = positive)]
    rate: Option<f64>,
    /// How many at a time, at most.
    #[arg(long, default_value_t = 16)]
    clients: usize,
}

#[derive(clap::Args)]
struct FloorArguments {
    /// The port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// A certificate chain in PEM: clients must then ask for TLS 1.3.
    #[arg(long, value_name = "PATH", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key.
    #[arg(long, value_name = "PATH", requires = "cert")]
    key: Option<PathBuf>,
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number > 0.0 && number <= 1e6 { Ok(number) } else { Err("must be between 0 and a million".into()) }
}

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Task::Postgres(arguments) => postgres(arguments),
        Task::Run(arguments) => demo::run(&arguments),
        Task::Formation(arguments) => formation_command::run(arguments),
        Task::IdleClients(arguments) => idle_clients::run(&arguments),
        Task::Logins(arguments) => logins::run(&arguments),
        Task::Floor(arguments) => floor::run(&arguments),
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
    let PostgresArguments { max_connections, conf, hba, tls } = arguments;
    let options = Options { max_connections, conf, hba, tls, ..Options::default() };
    let mut postgres = Postgres::start(options)?;
    let mut out = io::stdout();
    writeln!(out, "url {}", postgres.url("postgres", "app"))?;
    writeln!(out, "bin {}", postgres.bin().display())?;
    writeln!(out, "directory {}", postgres.socket_dir().display())?;
    writeln!(out, "pid {}", postgres.pid().ok_or(LabError::Stopped)?)?;
    if let Some(authority) = postgres.authority() {
        writeln!(out, "ca {}", authority.ca.display())?;
        writeln!(out, "server_cert {}", authority.server_cert.display())?;
        writeln!(out, "server_key {}", authority.server_key.display())?;
        writeln!(out, "client_cert {}", authority.client_cert.display())?;
        writeln!(out, "client_key {}", authority.client_key.display())?;
    }
    writeln!(out, "ready 127.0.0.1 {} app app", postgres.port())?;
    while !ending.asked() {
        if postgres.has_ended()? {
            return Err(format!("PostgreSQL ended by itself; its log:\n{}", postgres.log()).into());
        }
        thread::sleep(POLL);
    }
    Ok(())
}
