//! What a server's session holds of a client's statements that no name of ours stands for.

use std::collections::VecDeque;

use crate::changes::Change;
use crate::deallocate::Deallocates;
use crate::statements::ClientStatements;

/// Room for the text of an unnamed statement that is kept between conversations.
const SPARE: usize = 1 << 12;
/// Names left on a server that are remembered.
const MOST_LEFT: usize = 64;

/// The unnamed statement, and names that the server has for the client's own `DEALLOCATE` to find.
#[derive(Debug, Default)]
pub(crate) struct Session {
    unnamed: Unnamed,
    /// Boxed: most clients deallocate by Close, or not at all.
    names: Option<Box<Names>>,
    caution: Caution,
    /// All that was sent is flushed, or will be.
    flushed: bool,
}

#[derive(Debug, Default)]
struct Unnamed {
    /// What has become of the client's, and its notes do not say yet.
    news: Option<Option<Vec<u8>>>,
    /// The server's is the client's, or both have none.
    is_here: bool,
    /// A message since the last Sync makes it so, unless the server skips all that follows.
    is_in_batch: bool,
    /// What it takes away.
    target: Option<Deallocates>,
    spare: Vec<u8>,
}

type Name = Box<[u8]>;

#[derive(Debug, Default)]
struct Names {
    /// Those that the server has, or is about to have, as the client knows them: for the Query that runs.
    lent_to_query: Vec<Name>,
    /// The same for portals.
    lent_to_portals: Vec<Name>,
    /// Those that the server may have by our doing, and nobody needs.
    left: Vec<Name>,
    /// What the Query that runs takes away, in the order of its statements.
    targets: VecDeque<Option<Name>>,
    /// Those that have been taken away, and the client's notes still have.
    gone: Vec<Name>,
}

/// Whether something may run that takes names away, so that all that names statements has to wait for its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Caution {
    #[default]
    None,
    /// A Query may: until all is answered.
    Query,
    /// A portal may, whenever it is executed.
    Portal,
}

impl Session {
    /// A Query begins: it destroys the unnamed statement.
    pub(crate) fn query(&mut self, may_deallocate: bool) {
        self.unnamed.is_in_batch = true;
        self.unnamed.target = None;
        if may_deallocate && self.caution == Caution::None {
            self.caution = Caution::Query;
        }
    }

    /// A Query has ended. What it was lent and has not taken away is left behind.
    pub(crate) fn query_ended(&mut self) {
        self.unnamed.becomes(None);
        if let Some(names) = &mut self.names {
            names.targets.clear();
            names.lent_to_query.drain(..).for_each(|name| remember(&mut names.left, name));
        }
    }

    /// A Sync is sent.
    pub(crate) fn sync(&mut self) {
        self.unnamed.is_in_batch = false;
    }

    /// Something is sent.
    pub(crate) fn sends(&mut self) {
        self.flushed = false;
    }

    /// Whether a Flush is needed for what was sent.
    pub(crate) fn flushes(&mut self) -> bool {
        !std::mem::replace(&mut self.flushed, true)
    }

    /// What is to be kept of an unnamed statement, in memory that is there.
    pub(crate) fn parse_unnamed(&mut self, target: Option<Deallocates>, body: Option<&[u8]>) -> Option<Vec<u8>> {
        if target.is_some() {
            self.portal_deallocates();
        }
        self.unnamed.target = target;
        let body = body?;
        let mut kept = std::mem::take(&mut self.unnamed.spare);
        kept.clear();
        kept.extend_from_slice(body);
        Some(kept)
    }

    /// Whether the server's unnamed statement is the client's.
    pub(crate) fn has_unnamed(&self) -> bool {
        self.unnamed.is_here
    }

    /// Whether a message since the last Sync makes it so.
    pub(crate) fn has_unnamed_in_batch(&self) -> bool {
        self.unnamed.is_in_batch
    }

    pub(crate) fn set_unnamed_target(&mut self, target: Option<Deallocates>) {
        self.unnamed.target = target;
    }

    pub(crate) fn unnamed_target(&self) -> Option<Deallocates> {
        self.unnamed.target.clone()
    }

    /// A message that changes something is about to be sent.
    pub(crate) fn begins(&mut self, change: &Change) {
        self.flushed = false;
        match change {
            Change::Unnamed(_) | Change::UnnamedTold => self.unnamed.is_in_batch = true,
            Change::Lent { name, to_query } => self.lent(*to_query).push(name.clone()),
            Change::Defined { .. } | Change::Forgot { .. } | Change::Told(_) | Change::Closed(_) => {}
            Change::Refused(_) | Change::Nothing => {}
        }
    }

    /// The server has done what a message asked for.
    pub(crate) fn came_about(&mut self, change: Change) {
        match change {
            Change::Unnamed(body) => self.unnamed.becomes(body),
            Change::UnnamedTold => self.unnamed.is_here = true,
            Change::Defined { .. } | Change::Forgot { .. } | Change::Told(_) | Change::Closed(_) => {}
            Change::Lent { .. } | Change::Refused(_) | Change::Nothing => {}
        }
    }

    /// The server has refused a message: what remains to be taken back. A Parse of the unnamed statement that fails
    /// leaves none behind, with its client and on the server.
    pub(crate) fn failed(&mut self, change: Change) -> Option<Change> {
        if matches!(change, Change::Unnamed(_)) {
            self.unnamed.becomes(None);
        }
        self.skipped(change)
    }

    /// The server has skipped a message: what remains to be taken back.
    pub(crate) fn skipped(&mut self, change: Change) -> Option<Change> {
        match change {
            Change::Unnamed(_) | Change::UnnamedTold => None,
            Change::Lent { name, to_query } => {
                let lent = self.lent(to_query);
                lent.iter().position(|lent| *lent == name).map(|at| lent.remove(at));
                None
            }
            other => Some(other),
        }
    }

    /// The Query that is about to be sent takes these away.
    pub(crate) fn query_deallocates(&mut self, names: Vec<Option<Name>>) {
        self.names().targets = names.into();
    }

    /// A portal may be executed that takes something away.
    pub(crate) fn portal_deallocates(&mut self) {
        self.caution = Caution::Portal;
    }

    /// The server has taken a name away: the next one of a Query, or a portal's.
    pub(crate) fn deallocated(&mut self, by_query: bool) {
        let Some(names) = &mut self.names else { return };
        if by_query {
            let name = names.targets.pop_front().flatten();
            let found = names.lent_to_query.iter().position(|lent| Some(lent) == name.as_ref());
            names.gone.extend(found.map(|at| names.lent_to_query.remove(at)));
        } else if names.lent_to_portals.len() == 1 {
            names.gone.append(&mut names.lent_to_portals);
        } else {
            // Whose it was cannot be told: the client loses all, and the server is not lent again.
            names.gone.extend_from_slice(&names.lent_to_portals);
        }
    }

    /// Whether all that names statements must wait. That everything `is_answered` ends a Query's part.
    pub(crate) fn awaits_deallocation(&mut self, is_answered: bool) -> bool {
        if is_answered && self.caution == Caution::Query {
            self.caution = Caution::None;
        }
        self.caution != Caution::None && !is_answered
    }

    /// The server is left with a name, and will not be lent again.
    pub(crate) fn leaves(&mut self, name: &[u8]) {
        remember(&mut self.names().left, name.into());
    }

    /// These of the names lent to portals are left on the server: whether there were any.
    pub(crate) fn leaves_lent(&mut self, which: impl Fn(&[u8]) -> bool) -> bool {
        let Some(names) = &mut self.names else { return false };
        let before = names.lent_to_portals.len();
        names.lent_to_portals.extract_if(.., |name| which(name)).for_each(|name| remember(&mut names.left, name));
        names.lent_to_portals.len() < before
    }

    /// The names that it is left with.
    pub(crate) fn left(&self) -> Vec<Name> {
        self.names.as_ref().map(|names| names.left.clone()).unwrap_or_default()
    }

    /// Whether the server has a name that the next client must not meet.
    pub(crate) fn has_foreign_names(&self) -> bool {
        let has_any = |names: &Names| {
            !(names.left.is_empty() && names.lent_to_query.is_empty() && names.lent_to_portals.is_empty())
        };
        self.names.as_deref().is_some_and(has_any)
    }

    /// Tells the client's notes what has come about.
    #[inline]
    pub(crate) fn tell(&mut self, client: &mut ClientStatements) {
        if self.unnamed.news.is_some() || self.names.is_some() {
            self.tell_news(client);
        }
    }

    fn tell_news(&mut self, client: &mut ClientStatements) {
        if let Some(body) = self.unnamed.news.take()
            && let Some(spare) = client.set_unnamed(body)
        {
            self.unnamed.spare = spare;
        }
        if let Some(names) = &mut self.names {
            names.gone.drain(..).for_each(|name| drop(client.forget(&name)));
        }
    }

    /// Makes it fit for the next conversation, keeping its memory within reason.
    pub(crate) fn reset(&mut self) {
        let Self { unnamed: Unnamed { news, is_here, is_in_batch, target, spare }, names, caution, flushed } = self;
        (*news, *target, *names) = (None, None, None);
        (*is_here, *is_in_batch, *flushed) = (false, false, false);
        *caution = Caution::None;
        if spare.capacity() > SPARE {
            *spare = Vec::new();
        }
    }

    fn names(&mut self) -> &mut Names {
        self.names.get_or_insert_default()
    }

    fn lent(&mut self, to_query: bool) -> &mut Vec<Name> {
        let names = self.names();
        if to_query { &mut names.lent_to_query } else { &mut names.lent_to_portals }
    }
}

impl Unnamed {
    fn becomes(&mut self, body: Option<Vec<u8>>) {
        self.news = Some(body);
        self.is_here = true;
    }
}

fn remember(left: &mut Vec<Name>, name: Name) {
    if left.len() < MOST_LEFT && !left.contains(&name) {
        left.push(name);
    }
}
