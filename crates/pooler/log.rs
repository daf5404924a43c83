//! Log lines: PgBouncer's shape, or JSON.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use config::{Global, LogFormat};
use jiff::Zoned;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Begins to log: to stderr, and to `logfile` if there is one.
///
/// # Errors
/// The log file cannot be opened.
pub fn begin(global: &Global, verbose: u8, stderr: bool) -> Result<(), String> {
    *log_file() = if global.logfile.is_empty() { None } else { Some(LogFile::open(&global.logfile)?) };
    let level = match u32::from(verbose).max(global.verbose) {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let sink = Sink { stderr };
    match global.log_format {
        LogFormat::Text => tracing_subscriber::registry().with(TextLayer { sink }.with_filter(level)).init(),
        LogFormat::Json => {
            let json = tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false).with_writer(sink);
            tracing_subscriber::registry().with(json.with_filter(level)).init();
        }
    }
    Ok(())
}

/// Changes to another log file, or to none. Where the new one cannot be opened the old one stays.
pub fn reopen(path: &str) {
    let mut file = log_file();
    if file.as_ref().map_or("", |file| &file.path) == path {
        return;
    }
    match LogFile::open(path) {
        _ if path.is_empty() => *file = None,
        Ok(opened) => *file = Some(opened),
        Err(message) => {
            drop(file);
            tracing::error!("{message}");
        }
    }
}

/// The process has one log file: whoever logs does not carry it around.
static LOG_FILE: Mutex<Option<LogFile>> = Mutex::new(None);

fn log_file() -> MutexGuard<'static, Option<LogFile>> {
    LOG_FILE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A log file that is opened anew when somebody has moved it away, as log rotation does.
struct LogFile {
    path: String,
    file: File,
}

impl LogFile {
    fn open(path: &str) -> Result<Self, String> {
        let file = append(path).map_err(|error| format!("cannot open log file {path:?}: {error}"))?;
        Ok(Self { path: path.to_owned(), file })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let still_there = std::fs::metadata(&self.path).is_ok_and(|there| {
            self.file.metadata().is_ok_and(|ours| (ours.ino(), ours.dev()) == (there.ino(), there.dev()))
        });
        if !still_there {
            self.file = append(&self.path)?;
        }
        self.file.write_all(line)
    }
}

fn append(path: &str) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[derive(Clone)]
struct Sink {
    stderr: bool,
}

impl Write for Sink {
    /// Nobody can be told that logging fails.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(file) = log_file().as_mut() {
            let _ = file.write(line);
        }
        if self.stderr {
            let _ = io::stderr().write_all(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// `2026-11-20 12:00:00.123 UTC [pid] LEVEL C-7: db/user@host:port message`
struct TextLayer {
    sink: Sink,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for TextLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let level = match *event.metadata().level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "LOG",
            Level::DEBUG => "DEBUG",
            Level::TRACE => "NOISE",
        };
        let now = Zoned::now().strftime("%Y-%m-%d %H:%M:%S%.3f %Z");
        let line = format!("{now} [{}] {level} {words}\n", std::process::id());
        let _ = self.sink.clone().write(line.as_bytes());
    }
}

/// The fields of an event, in PgBouncer's arrangement.
#[derive(Default)]
struct Words {
    socket: String,
    database: Option<String>,
    user: Option<String>,
    peer: Option<String>,
    message: String,
    others: String,
}

impl Visit for Words {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "client" => self.socket = format!("C-{value}: "),
            "server" => self.socket = format!("S-{value}: "),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = escaped(&format!("{value:?}"));
        match field.name() {
            "message" => self.message = text,
            "database" => self.database = Some(text),
            "user" => self.user = Some(text),
            "peer" => self.peer = Some(text),
            name => {
                let _ = write!(self.others, " {name}={text}");
            }
        }
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.socket)?;
        if self.database.is_some() || self.user.is_some() || self.peer.is_some() {
            let word = |word: &Option<String>, none: &str| word.clone().unwrap_or_else(|| none.to_owned());
            write!(f, "{}/{}", word(&self.database, "(nodb)"), word(&self.user, "(nouser)"))?;
            if let Some(peer) = &self.peer {
                write!(f, "@{peer}")?;
            }
            f.write_str(" ")?;
        }
        write!(f, "{}{}", self.message, self.others)
    }
}

/// What clients send may stand in a line, but not end it or move the cursor of whoever reads it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_forge_a_line() {
        assert_eq!(escaped("a\n2026-01-01 LOG forged\x1b[2J"), "a\\n2026-01-01 LOG forged\\u{1b}[2J");
    }
}
