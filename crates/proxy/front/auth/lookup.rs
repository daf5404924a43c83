//! Looking users up on a server (settings `auth_query`, `auth_user`, `auth_dbname`): one question for all who ask the
//! same at once, and its answer kept for as long as the settings allow.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use config::{Global, Secret};
use tokio::sync::OnceCell;
use tracing::{info, warn};

use super::Applicant;
use crate::error::ClientError;
use crate::front::ask::{self, AskError, Question};
use crate::services::lock;

/// Answers that are kept. Names are the clients' choice, so there is an end to them.
const MAX_KEPT: usize = 10_000;
/// How long a server is waited for while an older answer is at hand.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a server says of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is no such user.
    Nobody,
    /// Its secret; none if it has none, or if that has expired.
    Secret(Option<Secret>),
    /// The groups it is in, itself among them.
    Groups(Vec<String>),
}

impl Found {
    fn ttl(&self, global: &Global) -> Duration {
        if *self == Self::Nobody { global.auth_query_negative_ttl } else { global.auth_query_ttl }
    }
}

/// Database and user as the client gave them, and whether it is about the user's groups.
type Key = (Box<str>, Box<str>, bool);
type Answer = Result<(Found, Instant), AskError>;

/// What has been found, and what is being asked.
#[derive(Debug, Default)]
pub struct Lookups {
    entries: Mutex<HashMap<Key, Arc<Entry>>>,
}

#[derive(Debug, Default)]
struct Entry {
    answer: OnceCell<Answer>,
    /// What was found before, for the time in which no server can be asked.
    older: Option<(Found, Instant)>,
}

impl Entry {
    fn found(&self) -> Option<&(Found, Instant)> {
        self.answer.get()?.as_ref().ok()
    }

    /// Whether it is still being asked for, or was found a short time ago.
    fn is_fresh(&self, now: Instant, global: &Global) -> bool {
        match self.answer.get() {
            None => true,
            Some(Ok((found, at))) => now.duration_since(*at) < found.ttl(global),
            Some(Err(_)) => false,
        }
    }

    /// What may be used although it is older than it should be (setting `auth_query_stale_ttl`).
    fn stale(&self, now: Instant, global: &Global) -> Option<(Found, Instant)> {
        let usable = |(found, at): &&(Found, Instant)| {
            let ttl = found.ttl(global);
            !ttl.is_zero() && now.duration_since(*at) < ttl + global.auth_query_stale_ttl
        };
        self.older.as_ref().filter(usable).cloned()
    }
}

impl Lookups {
    /// A user's secret, and whether that was known from an earlier question.
    ///
    /// # Errors
    /// No server can be asked, or the query does not do.
    pub async fn secret(&self, applicant: &Applicant<'_>) -> Result<(Found, bool), ClientError> {
        self.find(applicant, Question::Secret).await
    }

    /// The groups that a user is in.
    ///
    /// # Errors
    /// No server can be asked.
    pub async fn groups(&self, applicant: &Applicant<'_>) -> Result<Vec<String>, ClientError> {
        match self.find(applicant, Question::Groups).await?.0 {
            Found::Groups(groups) => Ok(groups),
            Found::Nobody | Found::Secret(_) => Ok(Vec::new()),
        }
    }

    /// A proof against what was found has failed: it is asked for again, and serves only while nobody can be asked.
    pub fn doubt(&self, applicant: &Applicant<'_>) {
        let key = key(applicant, Question::Secret);
        let mut entries = lock(&self.entries);
        if let Some(found) = entries.get(&key).and_then(|entry| entry.found().cloned()) {
            entries.insert(key, Arc::new(Entry { answer: OnceCell::new(), older: Some(found) }));
        }
    }

    /// Forgets everything: another configuration may ask otherwise.
    pub fn clear(&self) {
        lock(&self.entries).clear();
    }

    async fn find(&self, applicant: &Applicant<'_>, question: Question) -> Result<(Found, bool), ClientError> {
        let global = &applicant.config.global;
        let key = key(applicant, question);
        let entry = self.entry(&key, global);
        if let Some((found, _)) = entry.found() {
            return Ok((found.clone(), true));
        }
        let now = Instant::now();
        let stale = entry.stale(now, global);
        let limit = if stale.is_some() { PATIENCE } else { ask::LONGEST };
        let answer = entry.answer.get_or_init(|| async {
            let found = ask::server(applicant, question, limit).await;
            found.map(|found| (found, Instant::now()))
        });
        match (answer.await, stale) {
            (Ok((found, _)), _) => {
                if found.ttl(global).is_zero() {
                    self.remove(&key, &entry);
                }
                Ok((found.clone(), false))
            }
            (Err(AskError::Unavailable(why)), Some(stale)) => {
                info!(user = applicant.user, "auth_query cannot be asked ({why}), using what it found before");
                self.replace(&key, &entry, Entry { answer: OnceCell::new_with(Some(Ok(stale.clone()))), older: None });
                Ok((stale.0, true))
            }
            (Err(error), _) => {
                self.remove(&key, &entry);
                warn!(user = applicant.user, database = applicant.database_name, "error in auth_query: {error}");
                Err(error.to_client())
            }
        }
    }

    /// The entry that is fresh, or a new one that knows of the old one's answer.
    fn entry(&self, key: &Key, global: &Global) -> Arc<Entry> {
        let now = Instant::now();
        let mut entries = lock(&self.entries);
        let known = entries.get(key);
        if let Some(fresh) = known.filter(|entry| entry.is_fresh(now, global)) {
            return fresh.clone();
        }
        let older = known.and_then(|entry| entry.found().cloned());
        if entries.len() >= MAX_KEPT && !entries.contains_key(key) {
            entries.retain(|_, entry| entry.is_fresh(now, global));
            if entries.len() >= MAX_KEPT {
                entries.clear();
            }
        }
        let entry = Arc::new(Entry { answer: OnceCell::new(), older });
        entries.insert(key.clone(), entry.clone());
        entry
    }

    fn remove(&self, key: &Key, entry: &Arc<Entry>) {
        let mut entries = lock(&self.entries);
        if entries.get(key).is_some_and(|known| Arc::ptr_eq(known, entry)) {
            entries.remove(key);
        }
    }

    fn replace(&self, key: &Key, entry: &Arc<Entry>, by: Entry) {
        let mut entries = lock(&self.entries);
        if entries.get(key).is_some_and(|known| Arc::ptr_eq(known, entry)) {
            entries.insert(key.clone(), Arc::new(by));
        }
    }
}

fn key(applicant: &Applicant<'_>, question: Question) -> Key {
    (applicant.database_name.into(), applicant.user.into(), question == Question::Groups)
}
