//! Lists of hosts, without a monitor.

use std::net::{Ipv4Addr, SocketAddr};

use lab::{Cable, Member};

use crate::harness::{Pooler, Setup, eventually, pooler};
use crate::scene::Scene;
use crate::stage::{As, Stage, await_row};
use crate::writers::Writers;

/// A name for each of these servers: its address. They share a port, as the hosts of a list do.
struct Names {
    cables: Vec<Cable>,
    port: u16,
}

impl Names {
    fn of(servers: impl Iterator<Item = SocketAddr>) -> Names {
        let port = pooler::port();
        let near = |index| SocketAddr::from((Ipv4Addr::new(127, 0, 1, index), port));
        let cable = |(index, server)| Cable::between(near(index), server).expect("a cable");
        Names { cables: (1..).zip(servers).map(cable).collect(), port }
    }

    fn setup(&self) -> Setup {
        let hosts: Vec<_> = self.cables.iter().map(|cable| cable.address().ip().to_string()).collect();
        let setup = Setup::at((1, String::new()), "app").without_database("app").database_set("app", "user", "app");
        let setup =
            setup.database_set("app", "host", &*hosts.join(",")).database_set("app", "port", i64::from(self.port));
        let setup = setup.database_set("app", "target_session_attrs", "read-write");
        ["formation 127.0.1.", "server login failed", "pooler error"]
            .into_iter()
            .fold(setup, |setup, words| setup.allow(words))
    }

    fn pooler(&self) -> Pooler {
        let pooler = self.setup().start();
        await_row(&pooler, "a proved primary", |row| row["gate"] == "open");
        pooler
    }
}

#[test]
fn the_host_that_was_promoted_is_followed_and_the_former_primary_never_again() {
    let mut stage = Stage::of(&[As::Recovering, As::Writable]);
    let names = Names::of(stage.nodes.iter().map(|node| SocketAddr::from((Ipv4Addr::LOCALHOST, node.port()))));
    let pooler = names.pooler();
    let mut client = pooler.client();
    assert_eq!(client.value("show port"), stage.port(2));
    assert!(pooler.console().show("FORMATIONS").iter().all(|row| row["monitor"] == "none"));
    let refused = pooler.console().error("FAILOVER");
    assert!(refused.code == "55000" && refused.message.contains("has no monitor"), "{refused:?}");
    stage.nodes[1].crash().expect("it can be killed");
    client.send_query("show port");
    await_row(&pooler, "nobody takes writes", |row| row["gate"] == "held");
    stage.nodes[0].psql("select pg_promote()").expect("it can be promoted");
    assert_eq!(client.answer().expect("it has only waited")[0][0], Some(stage.port(1)));
    stage.nodes[1].restart().expect("it comes back as what it was");
    eventually("it is ignored", || pooler.log().contains("which says that it takes writes"));
    assert_eq!(client.value("show port"), stage.port(1));
    // Not even while its successor is gone.
    names.cables[0].cut().expect("it can be cut");
    client.send_query("show port");
    await_row(&pooler, "it says why", |row| row["why"].ends_with("says ACCEPT"));
    names.cables[0].heal().expect("it can be healed");
    assert_eq!(client.answer().expect("it has only waited")[0][0], Some(stage.port(1)));
}

#[test]
fn a_formation_can_be_followed_by_one_who_does_not_know_its_monitor() {
    let scene = Scene::new();
    let address = |node: &Member| scene.formation.address(*node).expect("it has an address");
    let names = Names::of(scene.formation.nodes().iter().map(address));
    let pooler = names.pooler();
    let table = scene.table("monitorless_list");
    let before = scene.primary();
    let writers = Writers::through(&pooler, 8, &table);
    scene.formation.perform_failover(None).expect("the monitor agrees");
    scene.formation.wait_primary(Some(before), std::time::Duration::from_secs(30)).expect("another primary");
    writers.advance(200);
    let outcome = writers.finish(&scene);
    assert!(outcome.errors.len() <= 8, "more than one insert was lost per client");
    assert_eq!(scene.port_of(&mut pooler.client()), scene.primary_port());
}
