//! `pooler`: arguments, files, identity and signals around the proxy.

mod arguments;
mod check;
mod drill;
mod failover;
mod log;
mod start;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command, Drill};

/// A login allocates some eighty times, and idle clients should take little: better than the C library's at both.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => {
            let is_wrong = answer.use_stderr();
            // Who cannot be told has closed its terminal.
            let _ = answer.print();
            // PgBouncer's code for wrong words on the command line.
            return if is_wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match &arguments.command {
        Some(Command::Check { config, connect }) => check::check(config.as_deref(), *connect),
        Some(Command::Import { file }) => check::import(file),
        Some(Command::MonitorSql { config, formation }) => check::monitor_sql(config.as_deref(), formation.as_deref()),
        Some(Command::Failover { config, formation, to, dry_run, force }) => {
            let wish =
                failover::Wish { formation: formation.as_deref(), to: to.as_deref(), dry_run: *dry_run, force: *force };
            failover::failover(config.as_deref(), &wish)
        }
        Some(Command::Drill { what: Drill::Failover(wish) }) => drill::failover(wish),
        None => start::start(&arguments),
    }
}
