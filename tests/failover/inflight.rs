//! Transactions that are under way when the primary is lost.

use std::time::Duration;

use crate::scene::Scene;
use crate::writers::{Manner, Outcome, Writers};

const LIMIT: Duration = Duration::from_secs(30);
const MANNERS: [Manner; 9] = [
    Manner::Single,
    Manner::Careful,
    Manner::Careless,
    Manner::Single,
    Manner::Careful,
    Manner::Careless,
    Manner::Single,
    Manner::Careful,
    Manner::Careless,
];

/// Every session goes on, and hears at most one error, which says what became of its transaction.
#[track_caller]
fn each_is_told_once(outcome: &Outcome) {
    let known = |code: &str| matches!(code, "40001" | "08007");
    assert!(outcome.errors.iter().all(|report| report.severity == "ERROR" && known(&report.code)), "{outcome:?}");
    assert!(outcome.ended == 0 && outcome.most_errors <= 1, "{outcome:?}");
}

#[test]
fn a_primary_that_dies_leaves_no_transaction_by_halves_and_no_session_without_an_answer() {
    let scene = Scene::new();
    let table = scene.table("inflight_kill");
    let mut holder = scene.pooler.client();
    holder.rows("begin");
    holder.rows(&format!("insert into {table} values (1000, 1)"));
    let before = scene.primary();
    let writers = Writers::start_as(&scene.pooler, &MANNERS, &table);
    scene.formation.kill(before).expect("it can be killed");
    scene.formation.wait_primary(Some(before), LIMIT).expect("another primary");
    writers.advance(200);
    let lost = holder.error(&format!("insert into {table} values (1000, 2)"));
    assert_eq!((lost.severity.as_str(), lost.code.as_str()), ("ERROR", "40001"), "{lost}");
    holder.rows("commit");
    each_is_told_once(&writers.finish(&scene));
    assert_eq!(holder.value("select 1"), "1");
}

#[test]
fn a_switchover_by_somebody_else_leaves_every_session() {
    let scene = Scene::new();
    let table = scene.table("inflight_switchover");
    let before = scene.primary();
    let writers = Writers::start_as(&scene.pooler, &MANNERS, &table);
    scene.formation.perform_failover(None).expect("the monitor agrees");
    scene.formation.wait_primary(Some(before), LIMIT).expect("another primary");
    writers.advance(200);
    each_is_told_once(&writers.finish(&scene));
}
