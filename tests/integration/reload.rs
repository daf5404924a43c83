//! RELOAD: applied whole or not at all, and never noticed by a client at work.

use crate::harness::load::{Load, transaction_into};
use crate::harness::{Setup, direct, eventually};
use crate::pause::{backends, table};

#[test]
fn twenty_reloads_under_load_disturb_nobody() {
    let table = table();
    let mut pooler = Setup::new().set("default_pool_size", 5).set("max_client_conn", 200).start();
    let load = Load::start(50, &pooler.address(), &pooler.login(), transaction_into(&table));
    let mut console = pooler.console();
    for round in 0..20_i64 {
        load.advance(20);
        let host = if round % 2 == 0 { "localhost" } else { "127.0.0.1" };
        let newcomer = format!("newcomer{round}");
        pooler.rewrite(|setup| {
            let setup = setup.set("default_pool_size", 3 + round % 4).secret(&newcomer, "secret");
            setup.database_set("app", "host", host).user_set(&newcomer, "pool_size", 2)
        });
        assert_eq!(console.run("RELOAD"), "RELOAD");
        assert_eq!(console.setting("default_pool_size"), (3 + round % 4).to_string());
    }
    load.advance(20);
    let outcome = load.finish();
    assert_eq!(outcome.errors, []);
    assert_eq!(direct::value(&format!("select count(*) from {table}")), outcome.done.to_string());
    let users = console.show("USERS");
    assert!(users.iter().any(|row| row["name"] == "newcomer19"), "{users:?}");
}

#[test]
fn a_broken_file_changes_nothing_and_is_reported() {
    let table = table();
    let pooler = Setup::new().set("default_pool_size", 5).allow("pooler.toml").allow("onfig").allow("eload").start();
    let load = Load::start(10, &pooler.address(), &pooler.login(), transaction_into(&table));
    let mut console = pooler.console();
    let before = console.show("CONFIG");
    let good = std::fs::read_to_string(pooler.path("pooler.toml")).expect("the file is there");
    let broken = [
        "default_pool_size = ".to_owned(),
        format!("no_such_setting = 1\n{good}"),
        good.replace("default_pool_size = 5", "default_pool_size = 'many'"),
        good.replace("default_pool_size = 5", "default_pool_size = 9\nauth_type = 'trust'"),
        good.replace("pool_mode = 'transaction'", "pool_mode = 'transactional'"),
    ];
    for text in broken {
        load.advance(5);
        pooler.write("pooler.toml", &text);
        let report = console.error("RELOAD");
        assert_eq!((report.code.as_str(), report.severity.as_str()), ("F0000", "ERROR"));
        assert!(report.message.starts_with("RELOAD failed, see logs for additional details"), "{report}");
        assert_eq!(console.show("CONFIG"), before);
    }
    let log = pooler.log();
    for words in ["no_such_setting", "'many'", "transactional"] {
        assert!(log.contains(words.trim_matches('\'')), "the log does not mention {words}");
    }
    pooler.write("pooler.toml", &good);
    console.run("RELOAD");
    load.advance(5);
    assert_eq!(load.finish().errors, []);
}

#[test]
fn a_smaller_pool_size_closes_the_servers_above_it() {
    let mut pooler = Setup::new().set("default_pool_size", 6).start();
    let mut clients: Vec<_> = (0..6).map(|_| pooler.client()).collect();
    clients.iter_mut().for_each(|client| drop(client.rows("begin")));
    assert_eq!(backends(&pooler), 6);
    pooler.rewrite(|setup| setup.set("default_pool_size", 2));
    pooler.console().run("RELOAD");
    clients.iter_mut().for_each(|client| drop(client.rows("commit")));
    eventually("the pool has shrunk", || backends(&pooler) <= 2);
}

#[test]
fn a_new_password_and_a_removed_user_count_from_the_next_login_on() {
    let mut pooler = Setup::new().allow("authentication failed").start();
    let mut client = pooler.client();
    client.rows("select 1");
    let user = pooler.setup.user.clone();
    pooler.rewrite(|setup| setup.secret(&user, "changed"));
    pooler.console().run("RELOAD");
    client.rows("select 'the session goes on'");
    assert_eq!(pooler.login().try_open(&pooler.address()).expect_err("the old password").code, "28P01");
    pooler.login().password("changed").open(&pooler.address()).rows("select 1");
}

#[test]
fn a_removed_database_disconnects_its_clients() {
    let mut pooler = Setup::new().database("other").allow("database removed").allow("no such database").start();
    let mut client = pooler.login().database("other").open(&pooler.address());
    client.rows("select 1");
    pooler.rewrite(|setup| setup.without_database("other"));
    pooler.console().run("RELOAD");
    let report = client.last_words();
    assert_eq!((report.severity.as_str(), report.message.as_str()), ("FATAL", "database removed"));
    let refused = pooler.login().database("other").try_open(&pooler.address()).expect_err("it is gone");
    assert_eq!(refused.code, "3D000");
    pooler.client().rows("select 1");
}

#[test]
fn an_added_database_is_there_at_once() {
    let mut pooler = Setup::new().allow("no such database").start();
    pooler.login().database("second").try_open(&pooler.address()).expect_err("not yet");
    pooler.rewrite(|setup| setup.database("second").database_set("second", "dbname", "other"));
    pooler.console().run("RELOAD");
    let mut client = pooler.login().database("second").open(&pooler.address());
    assert_eq!(client.value("select current_database()"), "other");
}

#[test]
fn a_moved_database_gets_new_servers_and_finishes_its_transactions() {
    let mut pooler = Setup::new().start();
    let (mut busy, mut idle) = (pooler.client(), pooler.client());
    busy.rows("begin");
    let before = busy.value("select current_database()");
    pooler.rewrite(|setup| setup.database_set("app", "dbname", "other"));
    pooler.console().run("RELOAD");
    assert_eq!(idle.value("select current_database()"), "other");
    assert_eq!((before.as_str(), busy.value("select current_database()").as_str()), ("app", "app"));
    busy.rows("commit");
    assert_eq!(busy.value("select current_database()"), "other");
}

#[test]
fn settings_that_need_a_restart_are_named_and_ignored() {
    let mut pooler = Setup::new().allow("listen_backlog").allow("restart").start();
    pooler.rewrite(|setup| setup.set("listen_backlog", 64));
    pooler.console().run("RELOAD");
    eventually("the log names it", || pooler.log().contains("listen_backlog"));
    pooler.client().rows("select 1");
}
