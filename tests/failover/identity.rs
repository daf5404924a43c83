//! Nodes that are not who they should be, and the operator's word.

use std::thread;

use lab::{Formation, Member, Options, Postgres};

use crate::harness::eventually;
use crate::scene::Scene;
use crate::stage::{As, Stage, await_row};

/// The pooler is sent to another server in a node's place.
struct Replaced<'a> {
    formation: &'a Formation,
    node: Member,
}

impl Drop for Replaced<'_> {
    fn drop(&mut self) {
        let put_right = self.formation.detour(self.node, None);
        assert!(thread::panicking() || put_right.is_ok(), "{put_right:?}");
    }
}

#[test]
fn a_server_of_another_system_in_the_primarys_place_is_not_served() {
    let foreign = Postgres::start(Options::default()).expect("a server starts");
    let scene = Scene::new();
    let (formation, node): (&Formation, _) = (&scene.formation, scene.primary());
    let mut client = scene.pooler.client();
    client.value("select 1");
    formation.detour(node, Some(foreign.port())).expect("the view can be changed");
    let replaced = Replaced { formation, node };
    let why = format!("node {} has the system identifier", node.to_string().trim_start_matches("node"));
    scene.await_row("it says why", |row| row["why"].starts_with(&why));
    client.send_query("show port");
    drop(replaced);
    assert_eq!(client.answer().expect("it has only waited")[0][0], Some(scene.primary_port().to_string()));
}

#[test]
fn a_primary_that_cannot_follow_the_last_one_waits_for_an_operators_word() {
    let stage = Stage::of(&[As::Writable, As::Writable]);
    let pooler = stage.pooler(|setup| setup.allow("formation main: an operator accepts"));
    let (mut client, mut console) = (pooler.client(), pooler.console());
    assert_eq!(client.value("show port"), stage.port(1));
    let refused = console.error("ACCEPT main");
    assert!(refused.code == "55000" && refused.message.contains("refuses no primary"), "{refused:?}");
    assert_eq!(console.error("ACCEPT other").code, "55000");
    // As after a restore from a backup: the timeline is not greater.
    stage.state(1, "demoted");
    stage.state(2, "wait_primary");
    let place = format!("127.0.0.1:{} ", stage.port(2));
    await_row(&pooler, "it says why", |row| row["why"].starts_with(&place) && row["why"].ends_with("says ACCEPT"));
    client.send_query("show port");
    assert_eq!(console.run("ACCEPT main"), "ACCEPT");
    assert_eq!(client.answer().expect("it has only waited")[0][0], Some(stage.port(2)));
    assert!(pooler.log().contains(&format!("an operator accepts {place}")));
    assert_eq!(console.error("ACCEPT").code, "55000", "an acceptance counts once");
}

#[test]
fn a_standby_that_claims_to_be_the_primary_counts_only_while_the_monitor_is_silent() {
    let mut stage = Stage::of(&[As::Writable, As::Writable]);
    let pooler = stage.pooler(|setup| setup);
    let mut client = pooler.client();
    eventually("it is reported", || pooler.log().contains("ignores node 2, which says that it takes writes"));
    assert_eq!(client.value("show port"), stage.port(1));
    assert!(!pooler.log().contains("transactions wait"), "nothing is held");
    stage.monitor.crash().expect("it can be killed");
    await_row(&pooler, "nobody says who is right", |row| row["why"].starts_with("the monitor is silent and node 2"));
    client.send_query("show port");
    stage.monitor.restart().expect("it comes back");
    assert_eq!(client.answer().expect("it has only waited")[0][0], Some(stage.port(1)));
}

#[test]
fn a_monitor_that_was_emptied_or_lies_moves_nothing() {
    let stage = Stage::of(&[As::Writable, As::Recovering]);
    let pooler = stage.pooler(|setup| setup);
    let mut client = pooler.client();
    client.value("select 1");
    stage.write("create table kept as table pooler.nodes; truncate pooler.nodes");
    await_row(&pooler, "nothing is as good as silence", |row| row["monitor"] == "silent");
    assert_eq!(client.value("show port"), stage.port(1));
    stage.write("insert into pooler.nodes table kept");
    await_row(&pooler, "the monitor is heard again", |row| row["monitor"] == "heard" && row["gate"] == "open");
    // A standby is not written to, whatever the monitor says.
    stage.state(1, "demoted");
    stage.state(2, "primary");
    await_row(&pooler, "the node contradicts", |row| row["why"] == "node 2 is not the primary: it is in recovery");
    client.send_query("show port");
    stage.nodes[1].psql("select pg_promote()").expect("it can be promoted");
    assert_eq!(client.answer().expect("it has only waited")[0][0], Some(stage.port(2)));
    // The table of an older backup: the former primary is one again.
    stage.state(2, "secondary");
    stage.state(1, "primary");
    await_row(&pooler, "there is no way back", |row| row["why"].ends_with("says ACCEPT"));
    client.send_query("show port");
    stage.state(1, "secondary");
    stage.state(2, "primary");
    assert_eq!(client.answer().expect("it has only waited")[0][0], Some(stage.port(2)));
}
