//! Messages about planned failovers that nobody should believe.

use std::io::{Read, Write};

use failover::{ControlKey, Message, ProcedureId, Said, channel};
use lab::Member;

use crate::harness::stream::{Address, Stream};
use crate::harness::{eventually, pooler};
use crate::scene::Scene;

const SECRET: &str = "known to poolers only";

/// Somebody who may connect to the monitor.
struct Stranger {
    client: lab::Client,
    pid: i32,
    number: u32,
}

impl Stranger {
    fn new(scene: &Scene) -> Stranger {
        let address = scene.formation.address(Member::Monitor).expect("it has an address");
        let mut client = lab::Client::connect(address, "postgres", "pg_auto_failover").expect("anybody may");
        let pid = client.rows("select pg_backend_pid()").expect("an answer")[0][0].parse().expect("a number");
        Stranger { client, pid, number: 0 }
    }

    fn clock(&mut self) -> i64 {
        let now = self.client.rows("select (extract(epoch from clock_timestamp()) * 1000000)::bigint");
        now.expect("an answer")[0][0].parse().expect("a number")
    }

    fn message(&mut self, said: Said, seconds: i64) -> Message {
        self.number += 1;
        Message {
            procedure: ProcedureId(1),
            formation: "default".to_owned(),
            group: 0,
            sender: self.pid,
            number: self.number,
            deadline: self.clock() + seconds * 1_000_000,
            said,
        }
    }

    fn notify(&mut self, payload: &str) {
        let sql = format!("select pg_notify('{}', $${payload}$$)", channel("default", 0));
        self.client.query(&sql).expect("anybody may");
    }
}

fn page(port: u16) -> String {
    let mut stream = Stream::connect(&Address::local(port)).expect("somebody listens");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: pooler\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("it answers and closes");
    page
}

fn pause(scene: &Scene) -> Said {
    let rows = scene.rows();
    let target = rows.iter().find(|row| row["target"] == "yes").expect("a target");
    Said::Pause { timeline: target["timeline"].parse().expect("a number"), drain: 1000 }
}

#[test]
fn what_is_forged_copied_late_or_said_without_the_lock_has_no_effect() {
    let port = pooler::port();
    let scene = Scene::with(|setup| {
        let setup = setup.set("metrics_listen_addr", "127.0.0.1").set("metrics_listen_port", i64::from(port));
        setup.set("control_secret", SECRET)
    });
    let (key, forged) = (ControlKey::new(SECRET).expect("a key"), ControlKey::new("guessed").expect("a key"));
    let mut client = scene.pooler.client();
    let server = client.value("select pg_backend_pid()");
    let (mut stranger, mut thief) = (Stranger::new(&scene), Stranger::new(&scene));
    let said = pause(&scene);
    let message = stranger.message(said.clone(), 20);
    stranger.notify("nonsense");
    stranger.notify(&forged.seal(&message));
    // Even who knows the secret needs the lock, ...
    stranger.notify(&key.seal(&message));
    let rejected = |count: u32| {
        let wanted = format!("pooler_formation_rejected_messages_total{{formation=\"main\"}} {count}\n");
        eventually("they do not count", || page(port).contains(&wanted));
    };
    rejected(3);
    let lock = "select pg_advisory_lock(hashtext('pooler/failover'), hashtext('default/0'))";
    stranger.client.query(lock).expect("it is free");
    // ... and has to be in time; and what was said by one session counts from no other.
    let late = stranger.message(said, 0);
    stranger.notify(&key.seal(&late));
    thief.notify(&key.seal(&message));
    rejected(5);
    assert!(page(port).contains("pooler_formation_failovers_total{formation=\"main\",kind=\"planned\"} 0\n"));
    assert_eq!(client.value("select pg_backend_pid()"), server);
    let log = scene.pooler.log();
    assert!(log.contains("does not count: it is not sealed with control_secret") && !log.contains("transactions wait"));
}

#[test]
fn a_pause_ends_by_itself_and_counts_once() {
    let scene = Scene::with(|setup| setup.set("control_secret", SECRET));
    let key = ControlKey::new(SECRET).expect("a key");
    let mut client = scene.pooler.client();
    client.value("select 1");
    let mut coordinator = Stranger::new(&scene);
    let lock = "select pg_advisory_lock(hashtext('pooler/failover'), hashtext('default/0'))";
    coordinator.client.query(lock).expect("it is free");
    let said = pause(&scene);
    let message = key.seal(&coordinator.message(said, 1));
    coordinator.notify(&message);
    eventually("transactions wait", || scene.pooler.log().contains("a planned failover is under way"));
    client.value("select 1");
    coordinator.notify(&message);
    eventually("it is heard", || scene.pooler.log().contains("does not count: it was heard before"));
    client.value("select 1");
    assert_eq!(scene.pooler.log().matches("transactions wait: a planned").count(), 1);
}
