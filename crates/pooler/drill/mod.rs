//! `pooler drill failover`: a failover of the running pooler's formation under a small load of its own, measured.

mod cause;
mod consent;
mod course;
mod load;
mod standing;
mod subject;
mod table;
mod textfile;
mod verdict;
mod watch;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use config::Config;

use self::subject::Subject;
use self::textfile::Textfile;
use self::verdict::{End, Findings};
use crate::arguments::{DrillFailover, config_path};

/// Steps and findings go to stdout, what went wrong to stderr.
pub fn failover(wish: &DrillFailover) -> ExitCode {
    let config = match Config::load(&config_path(wish.config.as_deref())) {
        Ok(loaded) => loaded.config,
        Err(problems) => return ended(&End::NotBegun(problems.to_string())),
    };
    let subject = match Subject::choose(&config, wish) {
        Ok(subject) => Arc::new(subject),
        Err(end) => return ended(&end),
    };
    // Before anything is touched: a drill that nobody hears of is worse than none.
    let textfile = match wish.textfile.as_deref().map(Textfile::prepare).transpose() {
        Ok(textfile) => textfile,
        Err(why) => return ended(&End::NotBegun(why)),
    };
    let (end, findings) = course::run(config, &subject, wish.yes);
    if let Some(findings) = &findings {
        let _ = write!(io::stdout(), "{findings}");
    }
    if let Some(textfile) = textfile.filter(|_| end.is_recorded())
        && let Err(why) = textfile.publish(&subject, &end, &findings.unwrap_or_else(|| Findings::none(subject.target)))
    {
        eprintln!("{why}");
    }
    ended(&end)
}

fn ended(end: &End) -> ExitCode {
    // Who reads no more still gets the exit code.
    let _ = match end {
        End::Passed => writeln!(io::stdout(), "{end}"),
        _ => writeln!(io::stderr(), "{end}"),
    };
    ExitCode::from(end.code())
}

/// A time as people read it.
fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}
