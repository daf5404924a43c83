//! Monitors of other kinds: without any set-up, on several hosts, with TLS.

use lab::{Member, Options};

use crate::command::Failover;
use crate::harness::Pooler;
use crate::scene::{Scene, following};
use crate::stage::{As, Stage, await_row};

/// A second pooler, which knows the monitor by this URI.
fn knowing(monitor: &str) -> Pooler {
    let pooler = following(monitor).set("control_secret", "shared by all poolers").start();
    await_row(&pooler, "a proved primary", |row| row["gate"] == "open");
    pooler
}

#[test]
fn the_keepers_own_role_needs_no_set_up() {
    let scene = Scene::with(|setup| setup.set("control_secret", "shared by all poolers"));
    let pooler = knowing(&scene.formation.autoctl_uri().expect("there is a monitor"));
    let before = scene.primary();
    Failover::run(&pooler, "").expect("it may do everything");
    assert_ne!(scene.primary(), before);
    assert_eq!(scene.port_of(&mut pooler.client()), scene.primary_port());
}

#[test]
fn the_next_host_of_a_monitor_is_tried_when_one_does_not_answer() {
    let scene = Scene::new();
    let monitor = scene.formation.address(Member::Monitor).expect("it has an address");
    let uri = scene.formation.monitor_uri().expect("there is a monitor");
    let nobody = crate::harness::pooler::port();
    let pooler = knowing(&uri.replace(&format!("@{monitor}"), &format!("@127.0.0.1:{nobody},{monitor}")));
    assert_eq!(scene.port_of(&mut pooler.client()), scene.primary_port());
}

#[test]
fn a_monitor_is_asked_over_tls_as_its_uri_says() {
    let stage = Stage::behind(Options::default().tls(), &[As::Writable]);
    let ca = stage.monitor.authority().expect("it has one").ca.display().to_string();
    let uri = format!("postgres://postgres@127.0.0.1:{}/app?sslmode=verify-full", stage.monitor.port());
    let pooler = knowing(&format!("{uri}&sslrootcert={ca}"));
    let encrypted = "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) \
                     where application_name like 'pooler%'";
    assert_eq!(stage.monitor.psql(encrypted).expect("an answer"), "t");
    assert_eq!(pooler.client().value("show port"), stage.port(1));
    // An authority that has not signed it.
    let other = Stage::behind(Options::default().tls(), &[]);
    let ca = other.monitor.authority().expect("it has one").ca.display().to_string();
    let pooler = following(&format!("{uri}&sslrootcert={ca}")).set("failover_wait_timeout", 1).start();
    let refused = pooler.login().try_open(&pooler.address()).expect_err("nobody is believed");
    assert_eq!(refused.code, "57P03");
    assert!(pooler.console().show("FORMATIONS")[0]["monitor"] == "never heard");
}
