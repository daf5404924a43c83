//! What the configuration says for one client, read once per configuration and not per query.

use std::time::Duration;

use config::{Config, Hidden, Listening, Pinning, PoolMode, SessionState};
use protocol::messages;
use protocol::traces::Kinds;
use tracing::warn;

use super::handle::{ClientHandle, Doing};
use crate::clock::Micros;
use crate::error::ClientError;

/// What the configuration says for the clients of one user in one pool.
#[derive(Debug)]
pub struct Rules {
    /// When a server is returned.
    pub mode: PoolMode,
    /// Size of a desk's buffers.
    pub pkt_buf: usize,
    /// Longest message.
    pub max_packet_size: usize,
    /// Prepared statements that a server may know at once; 0 where they are left to the server.
    pub max_prepared: usize,
    /// Bytes of names and texts that a client may have prepared.
    pub max_client_prepared_bytes: usize,
    /// Bytes of texts that all clients may have prepared together.
    pub max_prepared_bytes: usize,
    /// Whether the simple Query is refused.
    pub disable_pqexec: bool,
    /// After how long in the pool a server is checked before use.
    pub server_check_delay: Duration,
    /// The Query that checks it; none for no check.
    pub check: Option<Vec<u8>>,
    /// The Query that resets a server after a session; none for no reset.
    pub reset: Option<Vec<u8>>,
    /// Whether that is done after each transaction too.
    pub reset_always: bool,
    /// Whether what a transaction leaves in its session is found out, and follows its client or keeps the server.
    pub settles: bool,
    /// Whether the outcome of a COMMIT is found out whose server was lost.
    pub resolves: bool,
    /// What becomes of what nobody sees.
    pub hidden: Hidden,
    /// Whether what clients listen to is taken over from their servers.
    pub serves: bool,
    /// Channels that a client may listen to then.
    pub max_channels: usize,
    /// Bytes of notifications that may wait for it.
    pub max_pending: usize,
    /// What keeps a server.
    pub fixed: Kinds,
    /// What may not be left there.
    pub refused: Kinds,
    /// What a client is warned of that it has left there.
    pub warned: Kinds,
    /// Clients of a pool that may keep a server for it.
    pub max_pinned: usize,
    /// When to tell a waiting client that it waits.
    pub query_wait_notify: Option<Duration>,
    log_errors: bool,
    client_idle: Option<Duration>,
    pinned_idle: Option<Duration>,
    query_wait: Option<Duration>,
    query: Option<Duration>,
    idle_transaction: Option<Duration>,
    transaction: Option<Duration>,
}

impl Rules {
    /// Logs an error that a client is told (setting `log_pooler_errors`).
    pub fn log_error(&self, handle: &ClientHandle, error: &ClientError) {
        if self.log_errors {
            warn!(client = handle.id, database = %handle.database, user = %handle.user, peer = %handle.remote, "pooler error: {error}");
        }
    }

    /// For clients who logged in as `login_user` and use the servers of `pool_user`.
    ///
    /// None when the database is no longer configured.
    pub fn new(config: &Config, database: &str, pool_user: &str, login_user: &str) -> Option<Self> {
        let database = config.find_database(database)?;
        let pool = config.pool_settings(&database, pool_user);
        let client = config.client_settings(&database, login_user);
        let global = &config.global;
        let settles = pool.pool_mode != PoolMode::Session && !global.server_reset_query_always;
        let serves = settles && pool.session.listen == Listening::Serve;
        Some(Self {
            mode: pool.pool_mode,
            pkt_buf: global.pkt_buf as usize,
            max_packet_size: global.max_packet_size as usize,
            max_prepared: match pool.pool_mode {
                PoolMode::Session => 0,
                PoolMode::Transaction | PoolMode::Statement => global.max_prepared_statements as usize,
            },
            max_client_prepared_bytes: global.max_client_prepared_bytes as usize,
            max_prepared_bytes: global.max_prepared_bytes.map_or(usize::MAX, |most| most as usize),
            disable_pqexec: global.disable_pqexec,
            server_check_delay: global.server_check_delay,
            check: match global.server_check_query.as_str() {
                "" => None,
                "<empty>" => query(""),
                text => query(text),
            },
            reset: if global.server_reset_query.is_empty() { None } else { query(&global.server_reset_query) },
            reset_always: global.server_reset_query_always,
            settles,
            resolves: global.resolve_commit && pool.pool_mode == PoolMode::Transaction,
            hidden: pool.session.hidden,
            serves,
            max_channels: global.max_client_channels as usize,
            max_pending: global.max_pending_notifications as usize,
            fixed: Kinds::FIXED
                .without(if serves { Kinds::CHANNELS } else { Kinds::NONE })
                .and(if pool.session.hidden == Hidden::Pin { Kinds::HIDDEN } else { Kinds::NONE }),
            refused: kinds(pool.session, Pinning::Refuse),
            warned: kinds(pool.session, Pinning::Warn),
            max_pinned: pool.max_pinned as usize,
            pinned_idle: global.pinned_idle_timeout,
            query_wait_notify: global.query_wait_notify,
            log_errors: global.log_pooler_errors,
            client_idle: client.client_idle_timeout,
            query_wait: client.query_wait_timeout,
            query: pool.query_timeout,
            idle_transaction: pool.idle_transaction_timeout,
            transaction: pool.transaction_timeout,
        })
    }

    /// The reset that is due when a client leaves its server for good.
    pub fn reset_after_session(&self) -> Option<Vec<u8>> {
        let due = self.mode == PoolMode::Session || self.reset_always;
        self.reset.clone().filter(|_| due)
    }

    /// Until when a client may go on doing what it does, which it began at `since`; `xact` is when its transaction began.
    pub fn deadline(&self, doing: Doing, since: Micros, xact: Option<Micros>) -> Option<Micros> {
        let limit = match doing {
            Doing::Idle => self.client_idle,
            Doing::Pinned => earlier(self.client_idle, self.pinned_idle),
            Doing::Waiting => earlier(self.query_wait, self.query),
            Doing::Query => self.query,
            Doing::Holding => self.idle_transaction.filter(|_| xact.is_some()),
        };
        let transaction = xact.and_then(|began| Some(began.after(self.transaction?)));
        earlier(limit.map(|limit| since.after(limit)), transaction)
    }

    /// When to look at a client again that waits for a server: its limit, or the moment to tell it so (`query_wait_notify`).
    pub fn wait_deadline(&self, began: Micros, told: bool) -> Option<Micros> {
        let limit = self.deadline(Doing::Waiting, began, None);
        let notify = self.query_wait_notify.filter(|_| !told).map(|after| began.after(after));
        limit.into_iter().chain(notify).min()
    }

    /// Until when a client may be silent outside a transaction. Reads the clock only where there is a limit.
    pub fn idle_deadline(&self, doing: Doing) -> Option<Micros> {
        let limit = match doing {
            Doing::Idle => self.client_idle?,
            Doing::Pinned => earlier(self.client_idle, self.pinned_idle)?,
            Doing::Waiting | Doing::Query | Doing::Holding => return None,
        };
        Some(Micros::now().after(limit))
    }

    /// What a client hears whose time is up.
    pub fn verdict(&self, doing: Doing, now: Micros, xact: Option<Micros>) -> ClientError {
        let xact_is_late = xact.is_some_and(|began| self.transaction.is_some_and(|limit| began.after(limit) <= now));
        match doing {
            _ if xact_is_late => ClientError::TransactionTimeout,
            Doing::Pinned if earlier(self.client_idle, self.pinned_idle) != self.client_idle => {
                ClientError::PinnedIdleTimeout
            }
            Doing::Idle | Doing::Pinned => ClientError::ClientIdleTimeout,
            Doing::Waiting if earlier(self.query_wait, self.query) != self.query_wait => {
                ClientError::QueryTimeoutWaiting
            }
            Doing::Waiting => ClientError::QueryWaitTimeout,
            Doing::Query => ClientError::QueryTimeout,
            Doing::Holding => ClientError::IdleTransactionTimeout,
        }
    }
}

/// The kinds of state for which the configuration says this.
fn kinds(session: SessionState, said: Pinning) -> Kinds {
    let listen = match session.listen {
        Listening::Warn => Some(Pinning::Warn),
        Listening::Refuse => Some(Pinning::Refuse),
        Listening::Serve | Listening::Pin => None,
    };
    let all = [
        (session.advisory_locks, Kinds::LOCKS),
        (session.temporary_tables, Kinds::TEMPORARY),
        (session.hold_cursors, Kinds::CURSORS),
        (session.prepare, Kinds::PREPARED),
    ];
    let is_hidden_refused = session.hidden == Hidden::Refuse && said == Pinning::Refuse;
    let hidden = if is_hidden_refused { Kinds::HIDDEN } else { Kinds::NONE };
    let channels = if listen == Some(said) { Kinds::CHANNELS } else { Kinds::NONE };
    all.into_iter().filter(|(word, _)| *word == said).fold(hidden.and(channels), |kinds, (_, kind)| kinds.and(kind))
}

fn query(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() + 6);
    messages::query(&mut out, text.as_bytes());
    Some(out)
}

fn earlier<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(toml: impl FnOnce(&mut Config)) -> Rules {
        let mut config = Config::default();
        config.databases.insert("app".into(), config::Database { name: "app".into(), ..Default::default() });
        toml(&mut config);
        Rules::new(&config, "app", "u", "u").expect("the database exists")
    }

    #[test]
    fn the_shorter_limit_counts_and_is_named() {
        let seconds = |count| Some(Duration::from_secs(count));
        let rules = rules(|config| {
            config.global.idle_transaction_timeout = seconds(10);
            config.global.transaction_timeout = seconds(30);
        });
        let began = Micros(1);
        let late = |second: u64| Micros(second * 1_000_000 + 2);
        assert_eq!(rules.deadline(Doing::Holding, late(5), Some(began)), Some(late(15)));
        assert_eq!(rules.deadline(Doing::Holding, late(25), Some(began)), Some(Micros(30_000_001)));
        assert_eq!(rules.verdict(Doing::Holding, late(16), Some(began)), ClientError::IdleTransactionTimeout);
        assert_eq!(rules.verdict(Doing::Holding, late(31), Some(began)), ClientError::TransactionTimeout);
    }

    #[test]
    fn a_session_that_holds_a_server_outside_a_transaction_has_no_limit() {
        let rules = rules(|config| config.global.idle_transaction_timeout = Some(Duration::from_secs(1)));
        assert_eq!(rules.deadline(Doing::Holding, Micros(1), None), None);
    }
}
