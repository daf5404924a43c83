//! Databases of the nodes that may be read.

use std::time::Duration;

use crate::harness::{Client, Pooler, Setup, eventually};
use crate::scene::{Scene, following};
use crate::stage::{As, Stage, await_row};

fn of_standbys(setup: Setup, name: &str) -> Setup {
    let settings = [("formation", "main"), ("user", "app"), ("dbname", "app"), ("role", "standby")];
    settings.into_iter().fold(setup, |setup, (key, value)| setup.database_set(name, key, value))
}

/// Database `reads` is of the formation's standbys.
fn reading(setup: Setup) -> Setup {
    of_standbys(setup, "reads")
}

fn reader(pooler: &Pooler) -> Client {
    pooler.login().database("reads").open(&pooler.address())
}

#[test]
fn reads_go_to_all_standbys_and_at_once_leave_one_that_is_none_any_more() {
    let stage = Stage::of(&[As::Writable, As::Recovering, As::Recovering]);
    let pooler = stage.pooler(reading);
    // The second standby may be found a moment after the first, and a pool that has begun with one begins with it again.
    let both = format!("go to 127.0.0.1:{}, 127.0.0.1:{}", stage.port(2), stage.port(3));
    eventually("both are found", || pooler.log().contains(&both));
    let mut clients = [reader(&pooler), reader(&pooler)];
    assert_eq!(clients[0].error("create table of_a_standby ()").code, "25006");
    clients.iter_mut().for_each(|client| drop(client.rows("begin")));
    let mut ports = clients.each_mut().map(|client| client.value("show port"));
    ports.sort();
    let mut expected = [stage.port(2), stage.port(3)];
    expected.sort();
    assert_eq!(ports, expected);
    stage.state(2, "wait_primary");
    stage.state(1, "demoted");
    stage.nodes[1].psql("select pg_promote()").expect("it can be promoted");
    stage.write("update pooler.nodes set reportedtli = 2");
    await_row(&pooler, "it is the primary", |row| row["port"] == stage.port(2) && row["target"] == "yes");
    assert_eq!(pooler.client().value("show port"), stage.port(2));
    let only = format!("go to 127.0.0.1:{}\n", stage.port(3));
    eventually("it is left", || pooler.log().contains(&only));
    let lost = clients.iter_mut().filter_map(|client| client.try_rows("commit").err()).count();
    assert_eq!(lost, 1, "who was reading there is parted from it, and nobody else");
    let mut after = [reader(&pooler), reader(&pooler)];
    after.iter_mut().for_each(|client| drop(client.rows("begin")));
    assert_eq!(after.each_mut().map(|client| client.value("show port")), [stage.port(3), stage.port(3)]);
}

#[test]
fn one_that_lags_too_much_begins_nothing_and_those_who_wait_too_long_are_told() {
    let stage = Stage::of(&[As::Writable, As::Recovering]);
    let pooler = stage.pooler(|setup| {
        let setup = reading(setup).database_set("reads", "max_lag", 1 << 20).set("failover_wait_timeout", 3);
        of_standbys(setup, "stale").database_set("stale", "max_lag", 0)
    });
    let mut busy = reader(&pooler);
    busy.rows("begin");
    assert_eq!(busy.value("show port"), stage.port(2));
    let more = "create table wal as select generate_series(1, 100000)";
    stage.nodes[0].psql(more).expect("it takes writes");
    eventually("it lags", || pooler.log().contains("no node may be read with at most 1048576 bytes of lag"));
    assert_eq!(busy.value("show port"), stage.port(2), "what has begun may end");
    busy.rows("commit");
    let mut other = reader(&pooler);
    other.send_query("select 1");
    let waits = || pooler.console().show("WAITING").iter().any(|row| row["why"] == "no node may be read");
    eventually("it is said why", waits);
    assert_eq!(other.answer().expect_err("it is told").code, "57P03");
    let refused = busy.error("select 1");
    assert_eq!((refused.severity.as_str(), refused.code.as_str()), ("ERROR", "57P03"), "{refused:?}");
    let mut stale = pooler.login().database("stale").open(&pooler.address());
    assert_eq!(stale.value("show port"), stage.port(2));
    assert_eq!(pooler.client().value("show port"), stage.port(1), "the primary's database is not concerned");
    // What it misses is taken back.
    stage.write("update pooler.nodes set reportedlsn = 'F/0' where nodeid = 2");
    eventually("it may be read again", || busy.try_rows("select 1").is_ok());
}

#[test]
fn a_database_becomes_one_of_standbys_and_of_the_primary_again_by_a_reload() {
    let stage = Stage::of(&[As::Writable, As::Recovering]);
    let mut pooler = stage.pooler(|setup| setup);
    let mut client = pooler.client();
    assert_eq!(client.value("show port"), stage.port(1));
    for (role, node) in [("standby", 2), ("primary", 1)] {
        pooler.rewrite(|setup| setup.database_set("app", "role", role));
        pooler.console().run("RELOAD");
        assert_eq!(client.value("show port"), stage.port(node));
        let databases = pooler.console().show("DATABASES");
        let app = databases.iter().find(|row| row["name"] == "app").expect("it is shown");
        assert_eq!(app["port"], stage.port(node));
    }
}

#[test]
fn reads_follow_the_standby_of_a_formation_that_switches_over() {
    let scene = Scene::with(reading);
    let mut client = reader(&scene.pooler);
    let before = scene.primary();
    assert_ne!(scene.port_of(&mut client), scene.primary_port());
    scene.formation.perform_failover(None).expect("the monitor agrees");
    scene.formation.wait_primary(Some(before), Duration::from_secs(30)).expect("another primary");
    scene.formation.wait_stable(Duration::from_secs(30)).expect("the former primary is a standby");
    let monitor = scene.formation.monitor_uri().expect("there is a monitor");
    let newcomer = reading(following(&monitor)).start();
    for pooler in [&scene.pooler, &newcomer] {
        let mut client = reader(pooler);
        assert_eq!(client.value("select pg_is_in_recovery()"), "t");
        assert_ne!(scene.port_of(&mut client), scene.primary_port());
    }
}
