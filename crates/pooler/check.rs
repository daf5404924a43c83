//! `pooler check`, `import` and `monitor-sql`: what a configuration means, without running it.

use std::path::Path;
use std::process::ExitCode;

use config::{Config, Secrets};
use proxy::encryption::Encryption;

use crate::arguments::config_path;

/// Problems go to stderr, the settled configuration to stdout. Exit 0 or 1.
pub fn check(config: Option<&Path>, connect: bool) -> ExitCode {
    let loaded = match Config::load(&config_path(config)) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::FAILURE;
        }
    };
    for warning in &loaded.warnings {
        eprintln!("{warning} (warning)");
    }
    // What TLS files hold is no concern of the configuration's own checks.
    let tls = match Encryption::load(&loaded.config) {
        Ok(tls) => tls,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    print!("{}", loaded.config.to_toml(Secrets::Hidden));
    if connect && !reach_all(loaded.config, tls) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn reach_all(config: Config, tls: Encryption) -> bool {
    match proxy::check::reach(config, tls) {
        Ok(reports) => {
            for report in &reports {
                eprintln!("{report}");
            }
            reports.iter().all(proxy::check::Report::is_good)
        }
        Err(error) => {
            eprintln!("cannot try the servers: {error}");
            false
        }
    }
}

/// SQL goes to stdout. Exit 0 or 1.
pub fn monitor_sql(config: Option<&Path>, formation: Option<&str>) -> ExitCode {
    let path = config_path(config);
    let loaded = Config::load(&path).map_err(|problems| problems.to_string());
    let script = loaded.and_then(|loaded| {
        config::monitor_sql::script(&loaded.config, formation).map_err(|why| format!("{}: {why}", path.display()))
    });
    match script {
        Ok(script) => {
            print!("{script}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// TOML goes to stdout, the report to stderr. Exit 0 or 1.
pub fn import(file: &Path) -> ExitCode {
    match config::import(file) {
        Ok(imported) => {
            print!("{}", imported.toml);
            imported.report.iter().for_each(|line| eprintln!("{line}"));
            ExitCode::SUCCESS
        }
        Err(problems) => {
            eprintln!("{problems}");
            ExitCode::FAILURE
        }
    }
}
