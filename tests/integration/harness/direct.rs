//! PostgreSQL itself, past any pooler: one server for all tests that do not hurt it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use lab::{Options, Postgres};

use super::{Address, Client, Login};

/// Everything the tests need to be there, made once by the superuser of database `app`.
const OBJECTS: &str = include_str!("objects.sql");

static SHARED: LazyLock<Postgres> = LazyLock::new(start);
static SECURE: LazyLock<Postgres> =
    LazyLock::new(|| Postgres::start(Options::default().tls()).expect("PostgreSQL starts with TLS"));
static ADMIN: LazyLock<Mutex<Client>> = LazyLock::new(|| Mutex::new(admin(&SHARED)));
static ROLES: AtomicU32 = AtomicU32::new(1);

/// The server that all tests share. It ends with this process.
pub fn shared() -> &'static Postgres {
    &SHARED
}

/// The server with TLS that all tests share; clients may also do without.
pub fn secure() -> &'static Postgres {
    &SECURE
}

/// A server of one's own, for tests that crash it.
pub fn start() -> Postgres {
    let options = Options { max_connections: 600, ..Options::default() }
        .conf("max_prepared_transactions = 20")
        .conf("log_checkpoints = off");
    let postgres = Postgres::start(options).expect("PostgreSQL starts");
    admin(&postgres).rows(OBJECTS);
    postgres
}

/// A direct connection of the superuser to database `app`.
#[track_caller]
pub fn admin(postgres: &Postgres) -> Client {
    connect(postgres, "postgres")
}

/// A direct connection to database `app` of a role that needs no password or the lab's.
#[track_caller]
pub fn connect(postgres: &Postgres, user: &str) -> Client {
    Login::new(user).open(&Address::local(postgres.port()))
}

/// Asks the shared server as superuser.
#[track_caller]
pub fn ask(sql: &str) -> Vec<Vec<Option<String>>> {
    ADMIN.lock().unwrap_or_else(PoisonError::into_inner).rows(sql)
}

/// The first value of what the shared server answers.
#[track_caller]
pub fn value(sql: &str) -> String {
    ADMIN.lock().unwrap_or_else(PoisonError::into_inner).value(sql)
}

/// A name nobody else has, for a role or a table.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}_{}", ROLES.fetch_add(1, Ordering::Relaxed))
}

/// The statement that makes a role which may use what `app` owns.
pub fn make_role(name: &str) -> String {
    format!("create role {name} login in role app")
}
