//! Warm start: after a restart pools have the servers they had in use before it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use lab::{Account, Scratch};

use crate::harness::pooler::await_log;
use crate::harness::{Client, Login, Pooler, Setup, direct, eventually};
use crate::pause::backends;

/// A state file, which outlives the poolers that use it.
struct State {
    directory: Scratch,
    account: Account,
}

impl State {
    fn new() -> State {
        let account = Account::current().expect("an account to run as");
        State { directory: Scratch::new(&account).expect("a scratch directory"), account }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap_or_default()
    }

    /// Writes it in the pooler's stead.
    fn write(&self, text: &str) {
        fs::write(self.path(), text).expect("files can be written");
        fs::set_permissions(self.path(), Permissions::from_mode(0o600)).expect("files can be closed");
        self.account.give(&self.path()).expect("files can be handed over");
    }

    /// A setup that uses it, and writes it every second.
    fn setup(&self) -> Setup {
        let path = self.path();
        Setup::new().set("warm_start_file", path.to_str().expect("a path in UTF-8")).set("warm_start_period", 1)
    }
}

/// What such a file says of one pool.
fn remembered(database: &str, user: &str, servers: u32) -> String {
    format!("[[pools]]\ndatabase = \"{database}\"\nuser = \"{user}\"\nservers = {servers}\n")
}

const HEAD: &str = "version = 1\nwritten = 1700000000\n";

fn busy(pooler: &Pooler, login: &Login, count: usize) -> Vec<Client> {
    let mut clients: Vec<_> = (0..count).map(|_| login.open(&pooler.address())).collect();
    clients.iter_mut().for_each(|client| drop(client.rows("begin")));
    clients
}

fn kill(mut pooler: Pooler) {
    pooler.signal("KILL");
    pooler.ending();
}

/// Waits until the pool has so many idle servers and opens no more.
#[track_caller]
fn becomes_warm(pooler: &Pooler, user: &str, servers: u64) {
    let mut console = pooler.console();
    eventually(&format!("{servers} idle servers"), || {
        console.count(user, "sv_login") == 0 && console.count(user, "sv_idle") == servers
    });
}

#[test]
fn servers_that_were_in_use_are_open_again_before_any_client_comes() {
    survives_a_kill(|setup| setup);
}

#[test]
fn a_forced_users_servers_are_open_again_before_any_client_comes() {
    survives_a_kill(|setup| {
        let user = setup.user.clone();
        setup.database_set("app", "user", user.as_str())
    });
}

#[track_caller]
fn survives_a_kill(with: impl FnOnce(Setup) -> Setup) {
    let state = State::new();
    let setup = with(state.setup());
    let pooler = setup.clone().start();
    let clients = busy(&pooler, &pooler.login(), 8);
    eventually("it is written down", || state.text().contains("servers = 8"));
    let left = format!("select count(*) from pg_stat_activity where usename = '{}'", setup.user);
    kill(pooler);
    drop(clients);
    eventually("no server is left", || direct::value(&left) == "0");

    let pooler = setup.start();
    becomes_warm(&pooler, &pooler.setup.user, 8);
    assert_eq!(backends(&pooler), 8);
    let clients = busy(&pooler, &pooler.login(), 8);
    assert_eq!(backends(&pooler), 8, "they are used");
    drop(clients);
}

#[test]
fn what_is_in_use_when_a_shutdown_begins_is_remembered() {
    let state = State::new();
    let setup = state.setup().set("warm_start_period", 0).allow("hut");
    let mut pooler = setup.clone().start();
    let clients = busy(&pooler, &pooler.login(), 5);
    pooler.signal("TERM");
    eventually("it is written down", || state.text().contains("servers = 5"));
    clients.into_iter().for_each(Client::bye);
    assert!(pooler.ending().success());

    for limit in ["default_pool_size", "max_db_connections"] {
        let pooler = setup.clone().set(limit, 3).start();
        becomes_warm(&pooler, &pooler.setup.user, 3);
        kill(pooler);
    }
}

#[test]
fn servers_that_only_clients_can_open_are_opened_when_the_first_one_has_come() {
    let state = State::new();
    let verifier = direct::value("select rolpassword from pg_authid where rolname = 'app_scram'");
    let setup = state.setup().secret("app_scram", &verifier);
    let pooler = setup.clone().start();
    let login = Login::new("app_scram");
    let clients = busy(&pooler, &login, 6);
    eventually("it is written down", || state.text().contains("servers = 6"));
    kill(pooler);
    drop(clients);

    let pooler = setup.start();
    let inode = state_inode(&state);
    eventually("a period is over", || state_inode(&state) != inode);
    assert!(state.text().contains("servers = 6"), "nobody has come yet");
    assert_eq!(pooler.console().count("app_scram", "sv_idle"), 0);
    let client = login.open(&pooler.address());
    becomes_warm(&pooler, "app_scram", 6);
    drop(client);
}

fn state_inode(state: &State) -> u64 {
    fs::metadata(state.path()).map_or(0, |status| status.ino())
}

#[test]
fn only_pools_that_are_still_configured_are_warmed_up() {
    let state = State::new();
    let setup = state.setup().database("forced").database_set("forced", "user", "app");
    let user = setup.user.clone();
    let pools = [remembered("gone", &user, 2), remembered("forced", &user, 2), remembered("app", "nobody", 2)];
    state.write(&format!("{HEAD}{}{}", pools.concat(), remembered("app", &user, 2)));
    let pooler = setup.start();
    becomes_warm(&pooler, &user, 2);
    let rows = pooler.console().show("POOLS");
    let made: Vec<_> = rows.iter().filter(|row| row["database"] != "pgbouncer").collect();
    assert_eq!(made.len(), 1, "{made:?}");
}

#[test]
fn a_file_that_is_no_state_file_is_left_alone_and_the_start_goes_on() {
    let huge = "#".repeat(5 << 20);
    let texts = [
        ("[databases]\napp = 'host=localhost'\n", "missing field"),
        ("version = 1\nwritten = 1\n[[pools]]\nservers = 'many'", "nor replaced: invalid type"),
        (&huge, "larger than"),
    ];
    for (text, why) in texts {
        let state = State::new();
        state.write(text);
        let mut pooler = starts_without(&state, why);
        pooler.signal("TERM");
        assert!(pooler.ending().success());
        assert_eq!(state.text(), text);
    }
    let state = State::new();
    state.write(HEAD);
    fs::set_permissions(state.path(), Permissions::from_mode(0o666)).expect("files can be opened");
    starts_without(&state, "others may write to it");
}

#[test]
fn a_file_of_another_version_or_of_the_future_is_replaced() {
    for (text, why) in
        [("version = 7\nwritten = 1", "version 7"), ("version = 1\nwritten = 99999999999", "in the future")]
    {
        let state = State::new();
        state.write(text);
        let pooler = starts_without(&state, why);
        eventually("it is written anew", || state.text().starts_with("version = 1\n") && state.text() != text);
        drop(pooler);
    }
}

#[track_caller]
fn starts_without(state: &State, why: &str) -> Pooler {
    let pooler = state.setup().allow("warm_start_file").allow("hut").start();
    await_log(&pooler, why);
    assert_eq!(pooler.client().value("select 1"), "1");
    pooler
}

#[test]
fn a_file_of_another_user_is_not_used() {
    let state = State::new();
    state.write(HEAD);
    if state.account.name().is_none() {
        // Only root can give files away.
        return;
    }
    std::os::unix::fs::chown(state.path(), Some(0), None).expect("files can be given away");
    fs::set_permissions(state.path(), Permissions::from_mode(0o644)).expect("files can be shown");
    starts_without(&state, "it belongs to user 0");
}

#[test]
fn the_file_is_whole_at_every_moment_and_has_no_secret() {
    let state = State::new();
    let pooler = state.setup().start();
    let clients = busy(&pooler, &pooler.login(), 2);
    eventually("it is there", || state_inode(&state) != 0);
    let (mut inode, mut changes) = (state_inode(&state), 0);
    eventually("it was replaced a few times", || {
        let text = state.text();
        let has = |words: &str| text.contains(words);
        assert!(has("version = 1\n") && has("servers = 2\n") && text.ends_with('\n'), "{text}");
        assert!(!has(lab::PASSWORD) && !has("SCRAM"), "{text}");
        let next = state_inode(&state);
        changes += u32::from(next != inode);
        inode = next;
        changes == 3
    });
    assert_eq!(fs::metadata(state.path()).expect("it exists").mode() & 0o777, 0o600);
    drop(clients);
}

#[test]
fn that_the_file_cannot_be_written_is_said_once() {
    let setup = Setup::new().set("warm_start_file", "/nonexistent/state").set("warm_start_period", 1);
    let mut pooler = setup.allow("cannot write warm_start_file").allow("hut").start();
    await_log(&pooler, "cannot write warm_start_file");
    assert_eq!(pooler.client().value("select 1"), "1");
    pooler.signal("TERM");
    assert!(pooler.ending().success());
    assert_eq!(pooler.log().matches("cannot write").count(), 1);
}
