//! The command line: PgBouncer's flags, and commands of our own.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Parser, Subcommand};

/// Where the configuration is looked for when none is named.
const DEFAULT_CONFIGS: [&str; 2] = ["pooler.toml", "/etc/pooler/pooler.toml"];

/// The first line equals what SHOW VERSION says.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\ntls: none");

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

/// The configuration to use: the one named, or the first default that exists.
pub fn config_path(named: Option<&Path>) -> PathBuf {
    let found = || DEFAULT_CONFIGS.iter().map(PathBuf::from).find(|path| path.exists());
    named.map(Path::to_owned).or_else(found).unwrap_or_else(|| DEFAULT_CONFIGS[0].into())
}
