//! Operators' acts on a whole pooler, with servers that accept and then say nothing.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use config::{Config, Database, Host};
use pool::Hold;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::address::Address;
use crate::client::handle::{ClientHandle, Cut, Identity};
use crate::clock::Micros;
use crate::encryption::Encryption;
use crate::front::door::Door;
use crate::pools::SharedPool;
use crate::worker::Workers;

/// All that tasks share, for a test's own runtime.
pub(crate) fn services(config: Config) -> Arc<Services> {
    let workers = Workers::start(1, config::Scheduling::Other).expect("a thread can be started");
    let (door, _) = Door::new(1);
    Services::new(config, Encryption::default(), Handle::current(), workers, door)
}

/// A database with a forced user whose server is at this listener.
pub(crate) fn database(name: &str, server: &TcpListener) -> Database {
    Database {
        name: name.into(),
        hosts: vec![Host::Tcp("127.0.0.1".into())],
        port: server.local_addr().expect("it listens").port(),
        user: Some("app".into()),
        ..Database::default()
    }
}

fn config(databases: impl IntoIterator<Item = Database>) -> Config {
    let databases = databases.into_iter().map(|database| (database.name.clone(), database)).collect();
    Config { databases, ..Config::default() }
}

/// A client in the list of clients, without a connection.
pub(crate) fn client(services: &Services, database: &str) -> Arc<ClientHandle> {
    let end = Address::Tcp(([127, 0, 0, 1], 1).into());
    let identity = Identity {
        database: database.into(),
        user: "alice".into(),
        remote: end.clone(),
        local: end,
        connected_at: Micros::now(),
        tls: None,
    };
    let id = services.next_id();
    services.clients.add(|| id as u32, |pid| ClientHandle::new(id, pid, Box::new([7; 4]), identity))
}

fn silent_server() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port is free")
}

/// A pooler with the database `app`, and its pool, which is opening a server for ever.
fn opening() -> (Arc<Services>, Arc<SharedPool>, TcpListener) {
    let server = silent_server();
    let services = services(config([Database { min_pool_size: Some(1), ..database("app", &server) }]));
    warm_up(&services);
    let pool = services.pools.all().remove(0);
    assert_eq!(pool.counts().opening, 1);
    (services, pool, server)
}

fn holds(pool: &Arc<SharedPool>) -> Vec<Hold> {
    pool.with_core(|core, _, _| core.holds().to_vec())
}

#[tokio::test]
async fn a_pause_of_what_has_no_server_is_complete_at_once() {
    let server = silent_server();
    let services = services(config([database("app", &server)]));
    assert_eq!(pause(&services, Some("app"), None).await, Ok(()));
    assert_eq!(pause(&services, Some("app"), None).await, Ok(()), "it may be repeated");
    assert_eq!(pause(&services, None, None).await, Ok(()));
    assert_eq!(pause(&services, None, None).await, Err(ControlError::AlreadyPaused));
    assert_eq!(resume(&services, None), Ok(()));
    assert!(services.state.paused(Some("app")).is_some(), "RESUME of all does not end the PAUSE of one");
}

#[tokio::test]
async fn a_resume_ends_the_wait_of_whoever_pauses() {
    let (services, pool, _server) = opening();
    let pausing = begin_pause(&services, None, None).unwrap();
    assert_eq!(holds(&pool), [Hold::Operator]);
    let (ended, resumed) = tokio::join!(pausing.complete(), async { resume(&services, None) });
    assert_eq!((ended, resumed), (Err(ControlError::Resumed), Ok(())));
    assert!(holds(&pool).is_empty());
}

#[tokio::test]
async fn a_pause_for_some_time_ends_by_itself() {
    let (services, pool, _server) = opening();
    let ended = pause(&services, Some("app"), Some(Duration::from_millis(50))).await;
    assert_eq!(ended, Err(ControlError::Expired));
    assert_eq!(resume(&services, Some("app")), Err(ControlError::DatabaseNotPaused("app".into())));
    tokio::time::timeout(Duration::from_secs(5), async {
        while !holds(&pool).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the pool's keeper opens its gate");
}

#[tokio::test]
async fn a_later_pause_replaces_the_end_of_an_earlier_one() {
    let (services, pool, _server) = opening();
    let first = begin_pause(&services, Some("app"), Some(Duration::from_secs(60))).unwrap();
    let _second = begin_pause(&services, Some("app"), None).unwrap();
    assert_eq!(holds(&pool), [Hold::Database]);
    first.undo();
    assert!(holds(&pool).is_empty(), "they are one PAUSE");
}

#[tokio::test]
async fn a_new_pool_is_paused_like_the_others() {
    let server = silent_server();
    let services = services(config([database("app", &server), database("other", &server)]));
    kill(&services, Some("app")).unwrap();
    pause(&services, None, None).await.unwrap();
    let config = services.config.load_full();
    let app = pool_for(&services, &config.databases["app"], "alice");
    let other = pool_for(&services, &config.databases["other"], "alice");
    assert_eq!((&*app.user, holds(&app)), ("app", vec![Hold::Operator, Hold::Database]));
    assert_eq!(holds(&other), [Hold::Operator]);
    shutdown(&services, crate::state::Shutdown::WaitForServers);
    assert_eq!(resume(&services, None), Err(ControlError::ShuttingDown));
}

#[tokio::test]
async fn kill_cuts_the_clients_of_one_database_and_no_console() {
    let server = silent_server();
    let services = services(config([database("app", &server), database("other", &server)]));
    let clients = ["app", "other", "pgbouncer"].map(|name| client(&services, name));
    kill(&services, Some("app")).unwrap();
    assert_eq!(clients.each_ref().map(|client| client.is_cut()), [Some(Cut::DatabaseRemoved), None, None]);
    assert_eq!(kill_client(&services, &format!("{}, please", clients[1].id)), Ok(()));
    assert_eq!(clients[1].is_cut(), Some(Cut::AdminDisconnect));
    assert_eq!(kill_client(&services, "x1"), Err(ControlError::InvalidClient));
    assert_eq!(kill_client(&services, "99999"), Err(ControlError::ClientNotFound));
}

#[tokio::test]
async fn what_concerns_no_database_says_so() {
    let services = services(config([]));
    let unknown = Err(ControlError::NoSuchDatabase("x".into()));
    assert_eq!(pause(&services, Some("x"), None).await, unknown);
    assert_eq!(resume(&services, Some("x")), unknown);
    assert_eq!(kill(&services, Some("x")), unknown);
    assert_eq!(reconnect(&services, Some("x")), unknown);
    assert_eq!(wait_close(&services, Some("x")).await, unknown);
    assert_eq!(disable(&services, Some("x")), unknown);
    assert_eq!(enable(&services, None), Err(ControlError::DatabaseRequired));
    assert_eq!(enable(&services, Some("pgbouncer")).unwrap_err().to_string(), "cannot enable admin db: pgbouncer");
    assert_eq!(resume(&services, None), Err(ControlError::NotPaused));
}

#[tokio::test]
async fn wait_close_waits_for_what_reconnect_has_begun() {
    let (services, pool, server) = opening();
    wait_close(&services, None).await.unwrap();
    reconnect(&services, Some("app")).unwrap();
    assert_eq!(pool.counts().close_needed, 1);
    let hang_up = tokio::task::spawn_blocking(move || server.accept().map(drop));
    let closed = tokio::time::timeout(Duration::from_secs(5), wait_close(&services, Some("app"))).await;
    hang_up.await.expect("it does not panic").expect("the pool connects");
    assert_eq!(closed.expect("it ends when the server has hung up"), Ok(()));
}

/// A pooler with a configuration file that a test can change.
fn with_file(text: &str) -> (Arc<Services>, TempDir) {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("pooler.toml");
    write(directory.path(), text);
    let config = Config::load(&path).expect("it is right").config;
    (services(config), directory)
}

fn write(directory: &Path, text: &str) {
    std::fs::write(directory.join("pooler.toml"), text).expect("it can be written");
}

const APP: &str = "[databases.app]\nhost = \"127.0.0.1\"\nport = 1\nuser = \"app\"\npassword = \"old\"\n";

#[tokio::test]
async fn a_reload_reaches_the_pools() {
    let (services, directory) = with_file(APP);
    let pool = pool_for(&services, &services.config.load().databases["app"], "alice");
    let before = services.generation.load(std::sync::atomic::Ordering::Acquire);
    write(directory.path(), &format!("default_pool_size = 7\nlisten_port = 7777\n{}", APP.replace("old", "new")));
    let report = reload(&services).unwrap();
    assert_eq!(report.changes.restart, ["listen_port"]);
    assert_eq!(services.config.load().global.listen_port, 6432, "that needs a restart");
    assert_eq!(pool.with_core(|core, _, _| core.settings().pool_size), Some(7));
    let secret = crate::services::lock(&pool.credentials).secret.clone();
    assert_eq!(secret, Some(config::Secret::Plain("new".into())));
    assert!(services.generation.load(std::sync::atomic::Ordering::Acquire) > before);
}

#[tokio::test]
async fn a_failed_reload_changes_nothing() {
    let (services, directory) = with_file(APP);
    let before = services.config.load_full();
    write(directory.path(), "default_pool_size = 7\nno_such_setting = 1\n");
    let problems = reload(&services).unwrap_err();
    assert!(problems.to_string().contains("no_such_setting"), "{problems}");
    assert!(Arc::ptr_eq(&before, &services.config.load_full()));
}

#[tokio::test]
async fn a_database_that_is_removed_takes_its_clients_along() {
    let (services, directory) = with_file(&format!("{APP}[databases.other]\n"));
    pool_for(&services, &services.config.load().databases["app"], "alice");
    let clients = ["app", "other", "pooler"].map(|name| client(&services, name));
    write(directory.path(), "[databases.other]\n");
    let report = reload(&services).unwrap();
    assert_eq!(report.changes.databases_removed, ["app"]);
    assert_eq!(clients.map(|client| client.is_cut()), [Some(Cut::DatabaseRemoved), None, None]);
    assert!(services.pools.all().is_empty());
}

#[tokio::test]
async fn set_lasts_until_the_next_reload() {
    let (services, _directory) = with_file(APP);
    set(&services, "default_pool_size", "3").unwrap();
    assert_eq!(services.config.load().global.default_pool_size, Some(3));
    let error = set(&services, "default_pool_size", "many").unwrap_err();
    assert_eq!((error.to_string().as_str(), error.detail().is_empty()), ("SET failed", false));
    reload(&services).unwrap();
    assert_eq!(services.config.load().global.default_pool_size, Some(20));
}

#[tokio::test]
async fn a_pool_that_somebody_has_is_not_forgotten() {
    let server = silent_server();
    let services = services(config([database("app", &server)]));
    let clients_own = pool_for(&services, &services.config.load().databases["app"], "alice");
    let pool = services.pools.all().remove(0);
    // Its keeper has it too, once that runs.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!services.pools.remove_unused(&pool));
    drop(clients_own);
    assert!(services.pools.remove_unused(&pool));
    assert!(services.pools.all().is_empty());
}
