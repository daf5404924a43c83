//! The extended protocol: statements and portals, for drivers that know nothing else.

use std::collections::HashMap;
use std::fmt;
use std::iter::Peekable;
use std::sync::Arc;

use protocol::backend::TxStatus;
use protocol::messages;

use super::command::Command;
use super::error::ConsoleError;
use super::request::{Object, Request};
use super::table::{self, Field, Format, Rows};
use super::{Console, End, Failure, MAX_UNSENT, various};

/// Statements an operator may have prepared at once.
const MAX_STATEMENTS: usize = 256;
/// Portals an operator may have open at once.
const MAX_PORTALS: usize = 64;

/// What a session of the extended protocol remembers.
#[derive(Debug, Default)]
pub(super) struct Extended {
    statements: HashMap<String, Arc<Command>>,
    portals: HashMap<String, Portal>,
    /// After an error all is skipped up to the next Sync.
    skipping: bool,
}

/// A statement about to be executed, or in the middle of it.
struct Portal {
    command: Arc<Command>,
    formats: Vec<Format>,
    progress: Progress,
}

enum Progress {
    Begin,
    Rows(Vec<Field>, Peekable<Rows>),
    Done,
}

impl fmt::Debug for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Portal").field("command", &self.command).finish_non_exhaustive()
    }
}

impl Extended {
    /// A simple Query ends the unnamed statement and the unnamed portal.
    pub(super) fn forget_unnamed(&mut self) {
        self.statements.remove("");
        self.portals.remove("");
        self.skipping = false;
    }
}

impl Console {
    /// Obeys one message of the extended protocol.
    pub(super) async fn extended(&mut self, request: Request) -> Result<(), End> {
        match request {
            Request::Sync => {
                self.extended.skipping = false;
                // Each batch is a transaction, and portals end with theirs.
                self.extended.portals.clear();
                messages::ready_for_query(&mut self.unsent, TxStatus::Idle);
                self.send().await
            }
            Request::Flush => self.send().await,
            _ if self.extended.skipping => Ok(()),
            request => match self.obey(request).await {
                Ok(()) => Ok(()),
                Err(Failure::Session(end)) => Err(end),
                Err(Failure::Request(error)) => {
                    error.write(&mut self.unsent);
                    self.extended.skipping = true;
                    Ok(())
                }
            },
        }
    }

    async fn obey(&mut self, request: Request) -> Result<(), Failure> {
        match request {
            Request::Parse { name, text } => self.prepare(name, &text)?,
            Request::Bind { portal, statement, parameters, formats } => {
                self.bind(portal, &statement, parameters, formats)?
            }
            Request::Describe(object) => self.describe(&object)?,
            Request::Execute { portal, most } => self.execute_portal(portal, most).await?,
            Request::Close(object) => {
                match object {
                    Object::Statement(name) => drop(self.extended.statements.remove(&name)),
                    Object::Portal(name) => drop(self.extended.portals.remove(&name)),
                }
                messages::message(&mut self.unsent, b'3', |_| {});
            }
            Request::Query(_) | Request::Flush | Request::Sync | Request::Terminate => {}
        }
        Ok(())
    }

    fn prepare(&mut self, name: String, text: &str) -> Result<(), ConsoleError> {
        let statements = &mut self.extended.statements;
        if name.is_empty() {
            // Also if this one fails: PostgreSQL drops the old one first.
            statements.remove("");
        } else if statements.contains_key(&name) {
            return Err(ConsoleError::StatementExists(name));
        }
        if statements.len() >= MAX_STATEMENTS {
            return Err(ConsoleError::TooMany("prepared statements", MAX_STATEMENTS));
        }
        statements.insert(name, Arc::new(Command::parse(text)?));
        messages::message(&mut self.unsent, b'1', |_| {});
        Ok(())
    }

    fn bind(
        &mut self,
        name: String,
        statement: &str,
        parameters: usize,
        formats: Vec<Format>,
    ) -> Result<(), ConsoleError> {
        let command = self.statement(statement)?;
        if parameters > 0 {
            return Err(ConsoleError::Parameters(parameters));
        }
        let columns = self.fields(&command).map_or(0, |fields| fields.len());
        if formats.len() > 1 && formats.len() != columns {
            return Err(ConsoleError::Formats(formats.len(), columns));
        }
        let portals = &mut self.extended.portals;
        if name.is_empty() {
            portals.remove("");
        } else if portals.contains_key(&name) {
            return Err(ConsoleError::PortalExists(name));
        }
        if portals.len() >= MAX_PORTALS {
            return Err(ConsoleError::TooMany("portals", MAX_PORTALS));
        }
        portals.insert(name, Portal { command, formats, progress: Progress::Begin });
        messages::message(&mut self.unsent, b'2', |_| {});
        Ok(())
    }

    fn statement(&self, name: &str) -> Result<Arc<Command>, ConsoleError> {
        let found = self.extended.statements.get(name).cloned();
        found.ok_or_else(|| ConsoleError::NoSuchStatement(name.to_owned()))
    }

    /// The columns of a command's result, if it has one.
    fn fields(&self, command: &Command) -> Option<Vec<Field>> {
        match command {
            Command::Show(show) => show.answer(&self.services).map(|answer| answer.fields),
            Command::ShowParameter(name, value) => Some(various::parameter(name, value).fields),
            _ => None,
        }
    }

    fn describe(&mut self, object: &Object) -> Result<(), ConsoleError> {
        let (command, formats) = match object {
            Object::Statement(name) => {
                let command = self.statement(name)?;
                // ParameterDescription: there are none.
                messages::message(&mut self.unsent, b't', |out| out.extend_from_slice(&[0; 2]));
                (command, Vec::new())
            }
            Object::Portal(name) => {
                let portal = self.extended.portals.get(name);
                let portal = portal.ok_or_else(|| ConsoleError::NoSuchPortal(name.clone()))?;
                (portal.command.clone(), portal.formats.clone())
            }
        };
        match self.fields(&command) {
            Some(fields) => table::describe(&mut self.unsent, &fields, |column| format(&formats, column)),
            None => messages::message(&mut self.unsent, b'n', |_| {}),
        }
        Ok(())
    }

    async fn execute_portal(&mut self, name: String, most: Option<usize>) -> Result<(), Failure> {
        // Taken out while it runs; an error ends it, as it ends the transaction.
        let portal = self.extended.portals.remove(&name);
        let mut portal = portal.ok_or_else(|| ConsoleError::NoSuchPortal(name.clone()))?;
        if matches!(portal.progress, Progress::Begin) {
            portal.progress = match self.execute(&portal.command).await? {
                Some(answer) => Progress::Rows(answer.fields, answer.rows.peekable()),
                None => Progress::Done,
            };
        }
        let finished = self.send_rows(&mut portal, most).await?;
        if finished {
            messages::command_complete(&mut self.unsent, &portal.command.tag());
            portal.progress = Progress::Done;
        } else {
            messages::message(&mut self.unsent, b's', |_| {});
        }
        self.extended.portals.insert(name, portal);
        Ok(())
    }

    /// Sends rows, `most` of them at most. True if there are no more.
    async fn send_rows(&mut self, portal: &mut Portal, most: Option<usize>) -> Result<bool, End> {
        let Progress::Rows(fields, rows) = &mut portal.progress else { return Ok(true) };
        for cells in rows.take(most.unwrap_or(usize::MAX)) {
            table::row(&mut self.unsent, fields, &cells, |column| format(&portal.formats, column));
            if self.unsent.len() >= MAX_UNSENT {
                self.send().await?;
            }
        }
        Ok(rows.peek().is_none())
    }
}

/// One format is for all columns, none is text.
fn format(formats: &[Format], column: usize) -> Format {
    match formats {
        [] => Format::Text,
        [all] => *all,
        each => each.get(column).copied().unwrap_or_default(),
    }
}
