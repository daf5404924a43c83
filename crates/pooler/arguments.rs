//! The command line: PgBouncer's flags, and commands of our own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

/// Where the configuration is looked for when none is named.
const DEFAULT_CONFIGS: [&str; 2] = ["pooler.toml", "/etc/pooler/pooler.toml"];

/// More seconds than anybody wants to wait.
const DAY: f64 = 86_400.0;

/// The first line equals what SHOW VERSION says.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\ntls: rustls with aws-lc-rs");

/// A PostgreSQL connection pooler that replaces PgBouncer in place.
#[derive(Debug, Parser)]
#[command(name = "pooler", version = VERSION, disable_version_flag = true, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// The configuration: TOML, or PgBouncer's dialect if its name ends with .ini.
    /// Default: ./pooler.toml, then /etc/pooler/pooler.toml.
    pub config: Option<PathBuf>,
    /// Run in the background; needs `pidfile` and a place for the log.
    #[arg(short, long)]
    pub daemon: bool,
    /// Do not log to stderr.
    #[arg(short, long)]
    pub quiet: bool,
    /// Log more; twice for even more.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Take over from a running process: not available.
    #[arg(short = 'R', long)]
    pub reboot: bool,
    /// Change to this user.
    #[arg(short, long, value_name = "NAME")]
    pub user: Option<String>,
    /// Print the version.
    #[arg(short = 'V', long, action = ArgAction::Version)]
    pub version: Option<bool>,
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what is wrong with a configuration, and print what it settles to.
    Check {
        /// The configuration.
        config: Option<PathBuf>,
        /// Also try to reach every server, and say what is missing.
        #[arg(long)]
        connect: bool,
    },
    /// Have the running pooler move the primary of a formation, without an error for any client.
    ///
    /// Exit codes: 0 done; 1 not possible, nothing touched; 2 another one is under way; 3 given up, traffic goes on as
    /// before; 4 accepted by the monitor, but no writable node in time; 5 done, but some pooler has not confirmed.
    Failover {
        /// The configuration that the pooler runs with.
        config: Option<PathBuf>,
        /// The formation, by its name in the configuration; needed if there are several.
        #[arg(long, value_name = "NAME")]
        formation: Option<String>,
        /// The node that is to become the primary; else the monitor chooses.
        #[arg(long, value_name = "NODE")]
        to: Option<String>,
        /// Only say whether it is possible.
        #[arg(long)]
        dry_run: bool,
        /// Go on although transactions do not end, or another pooler cannot be told.
        #[arg(long)]
        force: bool,
    },
    /// Rehearse what must work one day, and measure it.
    Drill {
        /// What to rehearse.
        #[command(subcommand)]
        what: Drill,
    },
    /// Print a pgbouncer.ini as TOML.
    Import {
        /// The pgbouncer.ini.
        file: PathBuf,
    },
    /// Print what pg_auto_failover's monitors need: a role, a view, functions and lines of pg_hba.conf.
    MonitorSql {
        /// The configuration.
        config: Option<PathBuf>,
        /// Only for the monitor of this formation.
        #[arg(long, value_name = "NAME")]
        formation: Option<String>,
    },
}

/// What can be rehearsed.
#[derive(Debug, Subcommand)]
pub enum Drill {
    /// A failover of the formation that the running pooler follows, under a few writers of the drill's own.
    ///
    /// They write numbered rows through the pooler to a table that is made for the drill and dropped after it. Measured
    /// are the time until the pooler holds transactions, until a new primary takes rows, and the longest that a writer
    /// had to wait; counted are errors by SQLSTATE, and acknowledged rows that are lost or there twice.
    ///
    /// Exit codes: 0 passed; 1 not begun: the formation is not healthy, or it was not wanted; 2 over the target, rows
    /// lost or doubled, or no new primary; 3 a tool is missing.
    Failover(DrillFailover),
}

/// `pooler drill failover`.
#[derive(Args, Debug)]
pub struct DrillFailover {
    /// The configuration that the pooler runs with.
    pub config: Option<PathBuf>,
    /// The formation, by its name in the configuration; needed if there are several.
    #[arg(long, value_name = "NAME")]
    pub formation: Option<String>,
    /// The database to write to; else the first one of the formation.
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
    /// Who writes; else the user that the database forces. The password is `$POOLER_DRILL_PASSWORD`, else auth_file's.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// By FAILOVER on the console, as `pooler failover` does it: this is the default.
    #[arg(long)]
    pub planned: bool,
    /// By the death of the primary, which --kill-command brings about.
    #[arg(long, conflicts_with = "planned")]
    pub kill: bool,
    /// A command for /bin/sh that ends the primary the hard way, wherever that runs: `$POOLER_DRILL_NODE`,
    /// `$POOLER_DRILL_HOST` and `$POOLER_DRILL_PORT` say which it is.
    #[arg(long, value_name = "COMMAND", requires = "kill")]
    pub kill_command: Option<String>,
    /// The longest that a client may have to wait.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = positive_seconds)]
    pub target: Duration,
    /// Where to leave the findings for node_exporter's textfile collector; the name ends with .prom.
    #[arg(long, value_name = "PATH")]
    pub textfile: Option<PathBuf>,
    /// Do not ask whether this formation is meant.
    #[arg(long)]
    pub yes: bool,
}

fn positive_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| *seconds > 0.0 && *seconds <= DAY);
    seconds.map(Duration::from_secs_f64).ok_or_else(|| format!("not a number of seconds from 0 to {DAY}"))
}

/// The configuration to use: the one named, or the first default that exists.
pub fn config_path(named: Option<&Path>) -> PathBuf {
    let found = || DEFAULT_CONFIGS.iter().map(PathBuf::from).find(|path| path.exists());
    named.map(Path::to_owned).or_else(found).unwrap_or_else(|| DEFAULT_CONFIGS[0].into())
}
