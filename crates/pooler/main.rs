//! `pooler`: arguments, files, identity and signals around the proxy.

mod arguments;
mod check;
mod log;
mod start;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match &arguments.command {
        Some(Command::Check { config, connect }) => check::check(config.as_deref(), *connect),
        Some(Command::Import { file }) => check::import(file),
        None => start::start(&arguments),
    }
}
