//! What prepared statements and portals stand for, as far as messages seen here or the client's notes tell.

use crate::statements::{ClientStatements, text_of};
use crate::transaction::Step;

/// Names of each kind that are remembered.
const MOST: usize = 64;

type Named = Vec<(Box<[u8]>, Step)>;

/// Statements and portals by name; the unnamed ones have an empty name.
#[derive(Debug, Default)]
pub(crate) struct Names {
    statements: Named,
    portals: Named,
}

impl Names {
    /// Forgets all, but keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.statements.clear();
        self.portals.clear();
    }

    /// Notes a Parse: what is parsed.
    pub(crate) fn parse(&mut self, body: &[u8]) -> Step {
        let (name, rest) = cstr(body);
        let step = Step::of(text_of(rest));
        remember(&mut self.statements, name, step);
        step
    }

    /// Notes a Bind: what is bound.
    pub(crate) fn bind(&mut self, body: &[u8], client: &ClientStatements) -> Step {
        let (portal, rest) = cstr(body);
        let step = self.statement(cstr(rest).0, client);
        remember(&mut self.portals, portal, step);
        step
    }

    /// What an Execute would run.
    pub(crate) fn execute(&self, body: &[u8]) -> Step {
        find(&self.portals, cstr(body).0).unwrap_or(Step::Unclear)
    }

    /// What a Describe asks for.
    pub(crate) fn describe(&self, body: &[u8], client: &ClientStatements) -> Step {
        match body.split_first() {
            Some((b'S', name)) => self.statement(cstr(name).0, client),
            Some((_, name)) => find(&self.portals, cstr(name).0).unwrap_or(Step::Unclear),
            None => Step::Unclear,
        }
    }

    fn statement(&self, name: &[u8], client: &ClientStatements) -> Step {
        let known = || match name {
            b"" => client.unnamed().map(text_of),
            name => client.get(name).map(|statement| statement.text()),
        };
        find(&self.statements, name).unwrap_or_else(|| known().map_or(Step::Unclear, Step::of))
    }

    /// Notes a Close: the statement's name, if it is one.
    pub(crate) fn close<'a>(&mut self, body: &'a [u8]) -> Option<&'a [u8]> {
        let (kind, name) = body.split_first()?;
        let (name, is_statement) = (cstr(name).0, *kind == b'S');
        let named = if is_statement { &mut self.statements } else { &mut self.portals };
        named.retain(|(known, _)| **known != *name);
        is_statement.then_some(name)
    }
}

/// Text up to its closing zero, and what follows.
pub(crate) fn cstr(bytes: &[u8]) -> (&[u8], &[u8]) {
    let text = text_of(bytes);
    (text, bytes.get(text.len() + 1..).unwrap_or_default())
}

fn find(named: &Named, name: &[u8]) -> Option<Step> {
    named.iter().find(|(known, _)| **known == *name).map(|(_, step)| *step)
}

fn remember(named: &mut Named, name: &[u8], step: Step) {
    named.retain(|(known, _)| **known != *name);
    if named.len() >= MOST {
        named.remove(0);
    }
    named.push((name.into(), step));
}
