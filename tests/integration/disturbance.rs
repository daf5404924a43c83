//! Servers that are killed under load: only what was in flight fails, and service is back at once.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::harness::load::{Load, Outcome, transaction_into};
use crate::harness::{Client, Pooler, Report, Setup, direct};
use crate::pause::table;

const POOL: i64 = 4;
const ROUNDS: usize = 5;

fn setup(setup: Setup) -> Setup {
    let setup = setup.set("default_pool_size", POOL).set("max_client_conn", 200);
    setup
        .allow("terminating connection")
        .allow("server conn crashed")
        .allow("closing because")
        .allow("server")
        .allow("pooler error")
}

/// What a client may hear whose server was taken from it; its session goes on.
fn is_loss(report: &Report) -> bool {
    report.severity == "ERROR" && matches!(report.code.as_str(), "40001" | "08007")
}

/// How many rows there may be: what nobody knows of may be there, what was rolled back may not.
fn may_be_there(outcome: &Outcome) -> RangeInclusive<u64> {
    let unknown = outcome.errors.iter().filter(|report| report.code == "08007").count() as u64;
    outcome.done..=outcome.done + unknown
}

fn only_losses(outcome: &Outcome, most: usize) {
    let strange: Vec<_> = outcome.errors.iter().filter(|report| !is_loss(report)).collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert!(outcome.errors.len() <= most, "{} errors, but at most {most} were in flight", outcome.errors.len());
}

#[test]
fn terminating_every_server_fails_only_what_was_in_flight() {
    let table = table();
    let pooler = setup(Setup::new()).start();
    let load = Load::start(20, &pooler.address(), &pooler.login(), transaction_into(&table));
    let kill = format!(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = '{}'",
        pooler.setup.user
    );
    let mut killed = 0;
    for _ in 0..ROUNDS {
        load.advance(50);
        killed += direct::value(&kill).parse::<usize>().expect("a count");
    }
    load.advance(50);
    let outcome = load.finish();
    assert!(killed >= ROUNDS, "there were servers to kill");
    only_losses(&outcome, killed);
    let rows: u64 = direct::value(&format!("select count(*) from {table}")).parse().expect("a count");
    assert!(may_be_there(&outcome).contains(&rows), "{rows} rows, {} acknowledged", outcome.done);
}

#[test]
fn nothing_is_there_by_halves_of_those_who_ignore_errors() {
    let table = direct::unique("pairs");
    direct::ask(&format!("create table {table} (pair uuid); grant all on {table} to app"));
    let pooler = setup(Setup::new()).start();
    let insert = format!("insert into {table} select md5(pg_current_xact_id()::text)::uuid");
    let careless = move |client: &mut Client| {
        let answers = ["begin", &insert, &insert, "commit"].map(|sql| client.try_rows(sql));
        answers.into_iter().try_for_each(|answer| answer.map(drop))
    };
    let load = Load::start(20, &pooler.address(), &pooler.login(), careless);
    let kill = format!(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = '{}'",
        pooler.setup.user
    );
    for _ in 0..4 * ROUNDS {
        load.advance(20);
        direct::ask(&kill);
    }
    let outcome = load.finish();
    let lost = outcome.errors.iter().filter(|report| !is_loss(report)).count();
    assert!(lost == 0 && !outcome.errors.is_empty(), "{:?}", outcome.errors);
    let halves = format!("select count(*) from (select from {table} group by pair having count(*) <> 2) as half");
    assert_eq!(direct::value(&halves), "0");
    let rows: u64 = direct::value(&format!("select count(*) from {table}")).parse().expect("a count");
    assert!(may_be_there(&outcome).contains(&(rows / 2)), "{rows} rows, {} acknowledged", outcome.done);
}

#[test]
fn a_crash_of_the_server_fails_only_what_was_in_flight_and_service_is_back_within_a_second() {
    let postgres = direct::start();
    direct::admin(&postgres).rows("create table rows (id int); grant all on rows to app");
    let pooler = setup(Setup::on(&postgres)).start();
    let load = Load::start(20, &pooler.address(), &pooler.login(), transaction_into("rows"));
    load.advance(100);
    let victim = direct::admin(&postgres).value("select pid from pg_stat_activity where usename = 'app' limit 1");
    postgres.kill_9_backend(victim.parse().expect("a pid")).expect("a backend of ours");
    wait_for_the_server(&pooler, &victim);
    let since = Instant::now();
    load.advance(1);
    let gap = since.elapsed();
    assert!(gap < Duration::from_secs(1), "the server was back, but the pooler took {gap:?} more");
    load.advance(100);
    let outcome = load.finish();
    only_losses(&outcome, POOL as usize);
    let rows: u64 = direct::admin(&postgres).value("select count(*) from rows").parse().expect("a count");
    assert!(may_be_there(&outcome).contains(&rows), "{rows} rows, {} acknowledged", outcome.done);
}

/// Until a direct connection works and the killed backend is history.
fn wait_for_the_server(pooler: &Pooler, victim: &str) {
    let address = crate::harness::Address::local(pooler.setup.server.0);
    let alive = format!("select count(*) from pg_stat_activity where pid = {victim}");
    crate::harness::eventually("the server is back", || {
        let login = crate::harness::Login::new("postgres");
        let Ok(mut client) = login.try_open(&address) else { return false };
        client.try_rows(&alive).is_ok_and(|rows| rows == [[Some("0".to_owned())]])
    });
}

#[test]
fn a_restart_of_the_server_is_waited_for_by_those_in_the_queue() {
    let mut postgres = direct::start();
    let pooler = setup(Setup::on(&postgres)).start();
    pooler.client().rows("select 1");
    postgres.stop().expect("PostgreSQL stops");
    let mut client = pooler.client();
    client.send_query("select 'patience'");
    postgres.restart().expect("PostgreSQL starts");
    assert_eq!(client.answer(), Ok(vec![vec![Some("patience".into())]]));
}

#[test]
fn a_server_killed_in_a_transaction_ends_that_transaction_and_no_other() {
    let pooler = setup(Setup::new()).start();
    let (mut victim, mut bystander) = (pooler.client(), pooler.client());
    victim.rows("begin");
    bystander.rows("begin");
    let pid = victim.value("select pg_backend_pid()");
    direct::ask(&format!("select pg_terminate_backend({pid})"));
    let report = victim.error("select 1");
    assert!(is_loss(&report) && report.code == "40001", "{report}");
    victim.rows("rollback");
    victim.rows("select 1");
    bystander.rows("select 1");
    bystander.rows("commit");
}

#[test]
fn an_idle_server_that_was_killed_is_replaced_unseen() {
    let pooler = setup(Setup::new()).start();
    let mut client = pooler.client();
    for _ in 0..10 {
        let pid = client.value("select pg_backend_pid()");
        direct::ask(&format!("select pg_terminate_backend({pid})"));
        let gone = format!("select count(*) from pg_stat_activity where pid = {pid}");
        crate::harness::eventually("the backend is gone", || direct::value(&gone) == "0");
        assert_ne!(client.value("select pg_backend_pid()"), pid);
    }
}
