//! A planned failover among three nodes, step by step: a stage plays the monitor and its keepers.

use failover::{Hint, NodeId, NodeState};

use crate::command::Failover;
use crate::harness::stream::Address;
use crate::harness::{Client, Login, Pooler, Setup, eventually};
use crate::stage::{As, Stage, await_row};

/// What the monitor does when it is told.
const SWITCHOVER: &str = "\
create function pooler.switchover(text, int) returns void language sql as
    $$ update pooler.nodes set goalstate = 'draining', statechangetime = clock_timestamp() where nodeid = 1 $$";

/// A keeper that waits for its monitor's word.
fn keeper(stage: &Stage) -> Client {
    let mut keeper = Login::new("postgres").open(&Address::local(stage.monitor.port()));
    keeper.rows("listen state");
    keeper
}

/// Waits until that is notified.
fn await_hint(keeper: &mut Client, node: i64, reported: &str, goal: &str) {
    let wanted = (NodeId(node), NodeState::parse(reported), NodeState::parse(goal));
    loop {
        let message = keeper.message();
        let payload = message.body.get(4..).and_then(|words| words.split(|byte| *byte == 0).nth(1));
        let hint = payload.and_then(|payload| Hint::parse(std::str::from_utf8(payload).ok()?));
        let hint = hint.unwrap_or_else(|| panic!("{message:?}"));
        assert_eq!((&*hint.formation, hint.group), ("default", 0));
        if (hint.node, hint.reported, hint.goal) == wanted {
            return;
        }
    }
}

/// The monitor has chosen the second node, and has not heard yet that the first one has stopped.
fn elect(stage: &Stage) {
    stage.go(1, "primary", "report_lsn");
    stage.go(3, "secondary", "report_lsn");
    stage.go(2, "report_lsn", "prepare_promotion");
}

fn of_three(edit: impl FnOnce(Setup) -> Setup) -> (Stage, Pooler) {
    let stage = Stage::of(&[As::Writable, As::Recovering, As::Recovering]);
    stage.write(SWITCHOVER);
    let pooler = stage.pooler(edit);
    (stage, pooler)
}

#[test]
fn what_the_winner_of_an_election_has_slept_over_is_repeated_to_it() {
    let (stage, pooler) = of_three(|setup| setup);
    let mut keeper = keeper(&stage);
    let mut failover = Failover::begin(&pooler, "");
    failover.await_step("commit");
    elect(&stage);
    // Again and again, for as long as it does not move.
    for _ in 0..2 {
        await_hint(&mut keeper, 2, "report_lsn", "prepare_promotion");
    }
    stage.nodes[1].psql("select pg_promote()").expect("it can be promoted");
    stage.state(1, "join_secondary");
    stage.state(2, "wait_primary");
    failover.end().expect("there is a successor");
}

#[test]
fn the_winner_of_an_election_is_opened_early_once_the_old_primary_takes_part_in_it() {
    let (stage, pooler) = of_three(|setup| setup.set("failover_early_open", true));
    let mut client = pooler.client();
    assert_eq!(client.value("show port"), stage.port(1));
    let mut failover = Failover::begin(&pooler, "");
    failover.await_step("commit");
    client.send_query("show port");
    elect(&stage);
    stage.go(2, "prepare_promotion", "wait_primary");
    stage.nodes[1].psql("select pg_promote()").expect("it can be promoted");
    await_row(&pooler, "it is promoted", |row| row["node"] == "node2" && row["timeline"] == "2");
    assert!(!pooler.log().contains("epoch 2"), "nobody knows that the old primary has stopped");
    stage.go(1, "report_lsn", "join_secondary");
    assert_eq!(client.answer().expect("it has only waited")[0][0], Some(stage.port(2)));
    failover.end().expect("there is a successor");
    assert!(pooler.log().contains(", early, epoch 2"));
    // A session that keeps its server is ended when there is a better one; a transaction may end first.
    let mut busy = pooler.client();
    client.rows("create temporary table kept (number int)");
    busy.rows("begin");
    assert_eq!([&mut client, &mut busy].map(|client| client.value("show synchronous_commit")), ["local", "local"]);
    stage.state(2, "wait_primary");
    eventually("it is an ordinary one", || pooler.log().contains("is writable by default now"));
    let last = client.last_words();
    assert_eq!((last.severity.as_str(), last.code.as_str()), ("FATAL", "08006"), "{last}");
    assert_eq!(busy.value("show synchronous_commit"), "local");
    busy.rows("commit");
    assert_eq!(busy.value("show synchronous_commit"), "on");
}
