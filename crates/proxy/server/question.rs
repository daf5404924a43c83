//! What a server is asked when a transaction may have left something in its session: what is set, and what is held.

use protocol::backend::TxStatus;
use protocol::fields::data_row;
use protocol::messages;
use protocol::params::Other;
use protocol::traces::Kinds;

use super::connection::{Answer, Server, ServerFailure};
use crate::listen::names::Name;
use crate::services::Services;

/// Nothing of the client's own may end or delay what follows: neither its statement_timeout, which is looked at before
/// it is lifted, nor a transaction that waits for a safe snapshot by default. A time limit holds to the end of a Query,
/// so this is one of its own.
const BEGIN: &str = "begin isolation level read committed read only not deferrable; show statement_timeout; \
    set local statement_timeout to default; show statement_timeout; set local statement_timeout = 0";

/// Not the session's: set by `BEGIN`, or found out before.
const OWN: &str = "array['statement_timeout', 'transaction_isolation', 'transaction_read_only', \
    'transaction_deferrable']";

/// A cancel that was meant for the client may meet the question; and its time limit, the first words of it.
const ATTEMPTS: usize = 5;

/// What is to be found out.
#[derive(Clone, Debug)]
pub struct Question {
    /// Whether it is what is set.
    pub settings: bool,
    /// Parameters that no server lists, to be asked for by name.
    pub names: Vec<Box<[u8]>>,
    /// What may be held.
    pub held: Kinds,
    /// Whether it is which channels are listened to.
    pub channels: bool,
}

/// The answer.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is set, if that was asked: names in lower case. `role` and `session_authorization` are among them if they
    /// are not what they were at login.
    pub settings: Option<Vec<Other>>,
    /// What is held, of what was asked.
    pub held: Kinds,
    /// The channels that are listened to, if that was asked.
    pub channels: Option<Channels>,
}

/// What a server listens to.
#[derive(Debug, Default)]
pub struct Channels {
    /// Their names.
    pub names: Vec<Name>,
    /// The value of [`MARK`]; empty if it is not set.
    pub mark: Vec<u8>,
}

/// A parameter by which a transaction's own fate is known, and that of its savepoints.
pub const MARK: &str = "pooler.listens";

/// Asks a server that is at rest.
///
/// # Errors
/// When the server is of no more use, or gives no answer.
pub async fn ask(services: &Services, server: &mut Server, question: &Question) -> Result<Findings, ServerFailure> {
    let mut request = Vec::with_capacity(1024);
    messages::query(&mut request, BEGIN.as_bytes());
    messages::query(&mut request, format!("{}; rollback", question.sql()).as_bytes());
    for _ in 0..ATTEMPTS {
        let answer = server.ask(services, &request).await?;
        if let Answer { status: TxStatus::Idle, error: None, rows, .. } = answer {
            return read(question, &rows, server).ok_or(ServerFailure::Violation);
        }
        // What went wrong may have left our transaction open.
        let mut rollback = Vec::new();
        messages::query(&mut rollback, b"rollback");
        server.ask(services, &rollback).await?;
    }
    Err(ServerFailure::Violation)
}

/// Has a server that is at rest do something in a transaction of its own.
///
/// # Errors
/// When the server is of no more use, or cannot do it.
pub async fn act(services: &Services, server: &mut Server, sql: &[u8]) -> Result<(), ServerFailure> {
    let mut request = Vec::with_capacity(512 + sql.len());
    messages::query(&mut request, BEGIN.as_bytes());
    messages::query(&mut request, &[b"set local synchronous_commit to off;", sql, b"commit"].concat());
    let mut rollback = Vec::new();
    messages::query(&mut rollback, b"rollback");
    for _ in 0..ATTEMPTS {
        let answer = server.ask(services, &request).await?;
        if let Answer { status: TxStatus::Idle, error: None, .. } = answer {
            return Ok(());
        }
        server.ask(services, &rollback).await?;
    }
    Err(ServerFailure::Violation)
}

impl Question {
    /// Whether there is nothing to be found out.
    pub fn is_empty(&self) -> bool {
        !self.settings && !self.channels && self.held.is_none()
    }

    /// Names and operators are the catalogue's own, whatever the client's search_path says.
    fn sql(&self) -> String {
        let mut parts = Vec::new();
        if self.settings {
            parts.push(format!(
                "select 's', name, setting from pg_catalog.pg_settings where source operator(pg_catalog.=) 'session' \
                 and name operator(pg_catalog.<>) all ({OWN})"
            ));
            for name in ["role", "session_authorization"] {
                parts.push(format!("select 's', '{name}', pg_catalog.current_setting('{name}')"));
            }
        }
        for name in &self.names {
            let name = String::from_utf8_lossy(name);
            parts.push(format!("select 's', '{name}', pg_catalog.current_setting('{name}', true)"));
        }
        for (kind, sql) in HELD {
            if kind.has(self.held) {
                parts.push(format!("select 'h', '{}', (exists ({sql}))::pg_catalog.text", kind.bits()));
            }
        }
        if self.channels {
            parts.push(format!("select 'm', pg_catalog.current_setting('{MARK}', true), null"));
            parts.push("select 'c', channel, null from pg_catalog.pg_listening_channels() channel".to_owned());
        }
        parts.join(" union all ")
    }
}

const HELD: [(Kinds, &str); 5] = [
    (
        Kinds::LOCKS,
        "select from pg_catalog.pg_locks where locktype operator(pg_catalog.=) 'advisory' and granted \
         and pid operator(pg_catalog.=) pg_catalog.pg_backend_pid()",
    ),
    (
        Kinds::TEMPORARY,
        "select from pg_catalog.pg_depend where refobjid operator(pg_catalog.=) pg_catalog.pg_my_temp_schema() \
         and refclassid operator(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid",
    ),
    (Kinds::CURSORS, "select from pg_catalog.pg_cursors where is_holdable"),
    (Kinds::CHANNELS, "select from pg_catalog.pg_listening_channels()"),
    (Kinds::PREPARED, "select from pg_catalog.pg_prepared_statements where from_sql"),
];

/// The first two rows are statement_timeout as it is, and as it would be by default.
fn read(question: &Question, rows: &[Vec<u8>], server: &Server) -> Option<Findings> {
    let (limits, rows) = rows.split_at_checked(2)?;
    let limit = |at: usize| data_row(&limits[at])?.pop().flatten();
    let (limit, usual) = (limit(0)?, limit(1)?);
    let mut findings = Findings::default();
    let mut settings: Vec<Other> = Vec::new();
    if limit != usual {
        settings.push((b"statement_timeout".as_slice().into(), limit.into()));
    }
    for row in rows {
        let columns: [Option<Vec<u8>>; 3] = data_row(row)?.try_into().ok()?;
        let [Some(kind), name, value] = columns else { return None };
        let name = name.unwrap_or_default();
        match (kind.as_slice(), value) {
            (b"h", Some(value)) if value == b"true" => {
                let bits = String::from_utf8(name).ok()?.parse().ok()?;
                findings.held |= Kinds::from_bits(bits);
            }
            (b"m", _) => findings.channels.get_or_insert_default().mark = name,
            (b"c", _) => findings.channels.get_or_insert_default().names.push(name.into()),
            (b"s", Some(value)) if !is_usual(&name, &value, server) => {
                settings.push((name.to_ascii_lowercase().into(), value.into()));
            }
            _ => {}
        }
    }
    findings.settings = question.settings.then_some(settings);
    Some(findings)
}

/// Whether it is what it was at login: these two are always told.
fn is_usual(name: &[u8], value: &[u8], server: &Server) -> bool {
    match name {
        b"role" => value == b"none",
        b"session_authorization" => value == server.info.user.as_bytes(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_suspected_is_asked_for() {
        let question = Question { settings: false, names: Vec::new(), held: Kinds::LOCKS, channels: false };
        assert!(question.sql().contains("pg_locks") && !question.sql().contains("pg_settings"));
        let question =
            Question { settings: true, names: vec![b"app.user".as_slice().into()], held: Kinds::NONE, channels: false };
        assert!(question.sql().contains("current_setting('app.user', true)") && !question.sql().contains("pg_locks"));
    }
}
