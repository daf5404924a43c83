//! The console's grammar: one command, one argument, an optional semicolon.

use std::time::Duration;

use super::error::ConsoleError;
use super::show::Show;
use crate::follow::Wish;
use crate::state::Shutdown;

/// Longest argument, in bytes.
const MAX_ARGUMENT: usize = 63;
/// Longest value of SET, in bytes.
const MAX_VALUE: usize = 255;
/// Longest time for `PAUSE … FOR`: a year.
const MAX_SECONDS: f64 = 31_536_000.0;

/// What an operator says.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// SHOW, also written SELECT.
    Show(Show),
    /// SHOW of a parameter that drivers ask for: its name and its value.
    ShowParameter(&'static str, &'static str),
    /// SET of such a parameter, which is ignored.
    SetParameter,
    /// SET.
    Set(String, String),
    /// RELOAD.
    Reload,
    /// PAUSE, of one database or all, for a limited time or not.
    Pause(Option<String>, Option<Duration>),
    /// RESUME.
    Resume(Option<String>),
    /// SUSPEND.
    Suspend,
    /// KILL.
    Kill(Option<String>),
    /// KILL_CLIENT.
    KillClient(String),
    /// DISABLE.
    Disable(Option<String>),
    /// ENABLE.
    Enable(Option<String>),
    /// RECONNECT.
    Reconnect(Option<String>),
    /// WAIT_CLOSE.
    WaitClose(Option<String>),
    /// SHUTDOWN.
    Shutdown(Shutdown),
    /// FAILOVER.
    Failover(Wish),
    /// ACCEPT.
    Accept(Option<String>),
}

/// Parameters that drivers set and ask for when they connect, with the values PgBouncer answers.
const PARAMETERS: [(&str, &str); 5] = [
    ("client_encoding", "UTF-8"),
    ("default_transaction_isolation", "read committed"),
    ("standard_conforming_strings", "on"),
    ("datestyle", "ISO"),
    ("timezone", "GMT"),
];

fn parameter(name: &str) -> Option<(&'static str, &'static str)> {
    PARAMETERS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
}

impl Command {
    /// Reads a command.
    ///
    /// # Errors
    /// Text that is no command, or arguments that are too long.
    pub fn parse(text: &str) -> Result<Self, ConsoleError> {
        let wrong = || ConsoleError::invalid(text);
        let tokens = tokens(text).ok_or_else(wrong)?;
        let (verb, rest) = tokens.split_first().ok_or_else(wrong)?;
        let Token::Word(verb) = verb else { return Err(wrong()) };
        let verb = verb.to_ascii_uppercase();
        if verb == "SET" {
            return set(rest).ok_or_else(wrong)?;
        }
        if rest.iter().any(|token| token.len() > MAX_ARGUMENT) {
            return Err(ConsoleError::TooLong);
        }
        match rest {
            _ if verb == "PAUSE" => pause(rest),
            _ if verb == "FAILOVER" => failover(rest),
            [] => Self::with_argument(&verb, None),
            [argument] => Self::with_argument(&verb, Some(argument)),
            _ => None,
        }
        .ok_or_else(wrong)
    }

    fn with_argument(verb: &str, argument: Option<&Token>) -> Option<Self> {
        let name = match argument {
            None => None,
            Some(argument) => Some(argument.name()?),
        };
        Some(match (verb, name) {
            ("SHOW" | "SELECT", Some(item)) => match parameter(&item) {
                Some((name, value)) => Self::ShowParameter(name, value),
                None => Self::Show(Show::named(&item)?),
            },
            ("RELOAD", None) => Self::Reload,
            ("SUSPEND", None) => Self::Suspend,
            ("RESUME", name) => Self::Resume(name),
            ("KILL", name) => Self::Kill(name),
            ("KILL_CLIENT", Some(id)) => Self::KillClient(id),
            ("DISABLE", name) => Self::Disable(name),
            ("ENABLE", name) => Self::Enable(name),
            ("RECONNECT", name) => Self::Reconnect(name),
            ("WAIT_CLOSE", name) => Self::WaitClose(name),
            ("ACCEPT", name) => Self::Accept(name),
            ("SHUTDOWN", how) => Self::Shutdown(shutdown(how.as_deref())?),
            _ => return None,
        })
    }

    /// Whether those may say it who may only look.
    pub fn only_looks(&self) -> bool {
        match self {
            Self::Show(show) => *show != Show::Fds,
            Self::ShowParameter(..) | Self::SetParameter => true,
            Self::Set(..) | Self::Reload | Self::Pause(..) | Self::Resume(_) | Self::Suspend | Self::Kill(_) => false,
            Self::KillClient(_) | Self::Disable(_) | Self::Enable(_) | Self::Reconnect(_) => false,
            Self::WaitClose(_) | Self::Shutdown(_) | Self::Failover(_) | Self::Accept(_) => false,
        }
    }

    /// The tag of its CommandComplete.
    pub fn tag(&self) -> String {
        match self {
            Self::Show(_) | Self::ShowParameter(..) => "SHOW",
            Self::SetParameter => "SET",
            Self::Set(key, value) => return format!("SET {key}={value}"),
            Self::Reload => "RELOAD",
            Self::Pause(..) => "PAUSE",
            Self::Resume(_) => "RESUME",
            Self::Suspend => "SUSPEND",
            Self::Kill(_) => "KILL",
            Self::KillClient(_) => "KILL_CLIENT",
            Self::Disable(_) => "DISABLE",
            Self::Enable(_) => "ENABLE",
            Self::Reconnect(_) => "RECONNECT",
            Self::WaitClose(_) => "WAIT_CLOSE",
            Self::Shutdown(_) => "SHUTDOWN",
            Self::Failover(_) => "FAILOVER",
            Self::Accept(_) => "ACCEPT",
        }
        .to_owned()
    }
}

fn shutdown(how: Option<&str>) -> Option<Shutdown> {
    match how.map(str::to_ascii_uppercase).as_deref() {
        None => Some(Shutdown::Immediate),
        Some("WAIT_FOR_SERVERS") => Some(Shutdown::WaitForServers),
        Some("WAIT_FOR_CLIENTS") => Some(Shutdown::WaitForClients),
        Some(_) => None,
    }
}

/// `PAUSE [db] [FOR SECONDS]`; a database of the name `for` needs quotes only when a time follows.
fn pause(arguments: &[Token]) -> Option<Command> {
    let (database, limit) = match arguments {
        [] => (None, None),
        [name] => (Some(name.name()?), None),
        [word, seconds] if word.is_word("FOR") => (None, Some(seconds.seconds()?)),
        [name, word, seconds] if word.is_word("FOR") => (Some(name.name()?), Some(seconds.seconds()?)),
        _ => return None,
    };
    Some(Command::Pause(database, limit))
}

/// `FAILOVER [formation] [TO node] [DRY_RUN] [FORCE]`; a formation with the name of a word needs quotes.
fn failover(arguments: &[Token]) -> Option<Command> {
    let mut wish = Wish::default();
    let mut rest = arguments;
    loop {
        rest = match rest {
            [] => return Some(Command::Failover(wish)),
            [to, node, rest @ ..] if to.is_word("TO") && wish.to.is_none() => {
                wish.to = Some(node.name()?);
                rest
            }
            [word, rest @ ..] if word.is_word("DRY_RUN") && !wish.dry_run => {
                wish.dry_run = true;
                rest
            }
            [word, rest @ ..] if word.is_word("FORCE") && !wish.force => {
                wish.force = true;
                rest
            }
            [name, rest @ ..] if rest.len() + 1 == arguments.len() && !name.is_word("TO") => {
                wish.formation = Some(name.name()?);
                rest
            }
            _ => return None,
        }
    }
}

/// `SET key = value` or `SET key TO value`.
fn set(arguments: &[Token]) -> Option<Result<Command, ConsoleError>> {
    let [Token::Word(key), equals, value] = arguments else { return None };
    if *equals != Token::Equals && !equals.is_word("TO") {
        return None;
    }
    let value = value.value()?;
    Some(if key.len() > MAX_ARGUMENT || value.len() > MAX_VALUE {
        Err(ConsoleError::TooLong)
    } else if parameter(key).is_some() {
        Ok(Command::SetParameter)
    } else {
        Ok(Command::Set(key.to_ascii_lowercase(), value))
    })
}

#[derive(Debug, PartialEq)]
enum Token {
    /// Letters, digits, underscores, and points in numbers.
    Word(String),
    /// In double quotes.
    Name(String),
    /// In single quotes.
    Value(String),
    Equals,
}

impl Token {
    fn len(&self) -> usize {
        match self {
            Self::Word(text) | Self::Name(text) | Self::Value(text) => text.len(),
            Self::Equals => 1,
        }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Word(text) if text.eq_ignore_ascii_case(word))
    }

    /// An argument.
    fn name(&self) -> Option<String> {
        match self {
            Self::Word(text) if !text.contains('.') => Some(text.clone()),
            Self::Name(text) => Some(text.clone()),
            Self::Word(_) | Self::Value(_) | Self::Equals => None,
        }
    }

    /// The right side of SET.
    fn value(&self) -> Option<String> {
        match self {
            Self::Word(text) | Self::Value(text) => Some(text.clone()),
            Self::Name(_) | Self::Equals => None,
        }
    }

    fn seconds(&self) -> Option<Duration> {
        let Self::Word(text) = self else { return None };
        let seconds: f64 = text.parse().ok()?;
        (seconds > 0.0 && seconds <= MAX_SECONDS).then(|| Duration::from_secs_f64(seconds))
    }
}

/// Takes the text apart; none if it cannot be.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let text = text.trim();
    let mut rest = text.strip_suffix(';').unwrap_or(text).trim();
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '=' => (Token::Equals, &rest[1..]),
            '"' => quoted(&rest[1..], '"').map(|(text, after)| (Token::Name(text), after))?,
            '\'' => quoted(&rest[1..], '\'').map(|(text, after)| (Token::Value(text), after))?,
            _ => {
                let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.');
                let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
                if end == 0 {
                    return None;
                }
                (Token::Word(rest[..end].to_owned()), &rest[end..])
            }
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Some(tokens)
}

/// What stands before the closing quote, and what follows it; a quote is written twice inside.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once(quote)?;
        value.push_str(part);
        match after.strip_prefix(quote) {
            Some(more) => {
                value.push(quote);
                rest = more;
            }
            None => return Some((value, after)),
        }
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
