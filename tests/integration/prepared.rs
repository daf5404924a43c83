//! Prepared statements in transaction mode: one name, whichever server the client has.

mod abuse;
mod outdated;
mod repaired;
mod room;

use protocol::messages;

use crate::harness::{Client, Pooler, Setup, direct};
use crate::pause::table;

fn servers(count: i64) -> Setup {
    Setup::new().set("default_pool_size", count)
}

pub fn parse(out: &mut Vec<u8>, name: &str, sql: &str) {
    messages::message(out, b'P', |out| {
        messages::cstr(out, name.as_bytes());
        messages::cstr(out, sql.as_bytes());
        out.extend_from_slice(&[0; 2]);
    });
}

pub fn run(out: &mut Vec<u8>, name: &str) {
    messages::message(out, b'B', |out| out.extend([b"\0", name.as_bytes(), &[0; 7]].concat()));
    messages::message(out, b'E', |out| out.extend_from_slice(&[0; 5]));
    messages::sync(out);
}

/// Tags of the answers up to ReadyForQuery, and the first value or SQLSTATE.
#[track_caller]
fn told(client: &mut Client, bytes: &[u8]) -> (String, String) {
    client.send(bytes);
    let answer = client.until(b'Z');
    let tags = answer.iter().map(|message| char::from(message.tag)).collect();
    let first = answer.iter().find_map(|message| match message.tag {
        b'D' => message.values().into_iter().next().flatten(),
        b'E' => Some(message.report().code),
        _ => None,
    });
    (tags, first.unwrap_or_default())
}

#[track_caller]
fn prepare(client: &mut Client, name: &str, sql: &str) {
    let mut bytes = Vec::new();
    parse(&mut bytes, name, sql);
    messages::sync(&mut bytes);
    assert_eq!(told(client, &bytes).0, "1Z");
}

#[track_caller]
fn execute(client: &mut Client, name: &str) -> (String, String) {
    let mut bytes = Vec::new();
    run(&mut bytes, name);
    told(client, &bytes)
}

/// Runs `name` on both servers of a pool of two, whichever of them knows it already.
#[track_caller]
fn execute_on_both(pooler: &Pooler, client: &mut Client, name: &str) -> [String; 2] {
    let mut blocker = pooler.client();
    [(); 2].map(|()| {
        client.rows("begin");
        let pid = client.value("select pg_backend_pid()");
        let answer = execute(client, name);
        assert_eq!(answer.0, "2DCZ", "{answer:?}");
        blocker.rows("begin");
        client.rows("commit");
        // Whoever comes next gets the server that this client has just left.
        assert_ne!(blocker.value("select pg_backend_pid()"), pid);
        let again = execute(client, name);
        blocker.rows("commit");
        again.1
    })
}

#[test]
fn a_statement_follows_its_client_to_every_server() {
    let pooler = servers(2).start();
    let mut client = pooler.client();
    prepare(&mut client, "s", "select 'it is me'");
    for _ in 0..5 {
        assert_eq!(execute_on_both(&pooler, &mut client, "s"), ["it is me", "it is me"]);
    }
}

#[test]
fn two_clients_may_give_one_name_to_two_statements() {
    let pooler = servers(1).start();
    let (mut one, mut two) = (pooler.client(), pooler.client());
    prepare(&mut one, "s", "select 1");
    prepare(&mut two, "s", "select 2");
    for _ in 0..3 {
        assert_eq!(execute(&mut one, "s").1, "1");
        assert_eq!(execute(&mut two, "s").1, "2");
    }
}

#[test]
fn the_statement_used_least_makes_room_and_comes_back() {
    let pooler = servers(1).set("max_prepared_statements", 2).start();
    let mut client = pooler.client();
    for number in 0..5 {
        prepare(&mut client, &format!("s{number}"), &format!("select {number}"));
    }
    for number in [0, 4, 1, 3, 2, 0] {
        assert_eq!(execute(&mut client, &format!("s{number}")).1, number.to_string());
    }
    assert_eq!(client.value("select count(*) from pg_prepared_statements"), "2");
}

#[test]
fn an_unknown_name_and_one_given_twice_are_postgresqls_errors_and_the_session_lives() {
    let pooler = servers(1).start();
    let mut client = pooler.client();
    assert_eq!(execute(&mut client, "nobody"), ("EZ".into(), "26000".into()));
    prepare(&mut client, "s", "select 1");
    let mut twice = Vec::new();
    parse(&mut twice, "s", "select 2");
    messages::sync(&mut twice);
    assert_eq!(told(&mut client, &twice), ("EZ".into(), "42P05".into()));
    assert_eq!(execute(&mut client, "s").1, "1");
}

#[test]
fn a_parse_that_fails_registers_nothing() {
    let pooler = servers(1).start();
    let mut client = pooler.client();
    let mut wrong = Vec::new();
    parse(&mut wrong, "s", "selec");
    messages::sync(&mut wrong);
    assert_eq!(told(&mut client, &wrong).1, "42601");
    prepare(&mut client, "s", "select 7");
    assert_eq!(execute(&mut client, "s").1, "7");
}

#[test]
fn discard_all_and_deallocate_all_forget_every_statement() {
    for sql in ["discard all", "deallocate all"] {
        let pooler = servers(1).start();
        let (mut client, mut other) = (pooler.client(), pooler.client());
        prepare(&mut client, "s", "select 1");
        prepare(&mut other, "t", "select 1");
        client.rows(sql);
        assert_eq!(execute(&mut client, "s").1, "26000");
        assert_eq!(execute(&mut other, "t").1, "1");
        prepare(&mut client, "s", "select 3");
        assert_eq!(execute(&mut client, "s").1, "3");
    }
}

#[test]
fn a_literal_means_what_it_meant_to_the_client_that_wrote_it() {
    let pooler = servers(1).start();
    let open = |style| pooler.login().with("DateStyle", style).open(&pooler.address());
    let (mut american, mut european) = (open("ISO, MDY"), open("ISO, DMY"));
    for client in [&mut american, &mut european] {
        prepare(client, "s", "select '01/02/2026'::date");
    }
    assert_eq!(execute(&mut american, "s").1, "2026-01-02");
    assert_eq!(execute(&mut european, "s").1, "2026-02-01");
}

#[test]
fn nobody_runs_what_another_has_left_behind() {
    let pooler = servers(1).start();
    let (mut one, mut two) = (pooler.client(), pooler.client());
    prepare(&mut one, "", "select 'a secret'");
    assert_eq!(execute(&mut two, "").1, "26000");
    let function = direct::unique("prepares");
    let body = "begin execute 'prepare shared as select 1'; end";
    direct::ask(&format!("create function {function}() returns void language plpgsql as $${body}$$"));
    one.rows(&format!("select {function}()"));
    assert_eq!(execute(&mut two, "shared").1, "26000");
    prepare(&mut one, "s", "select 'a secret'");
    assert_eq!(execute(&mut two, "POOLER_1").1, "26000");
}

#[test]
fn a_parse_in_pieces_disturbs_nobody() {
    let pooler = servers(1).set("workers", 1).start();
    let (mut slow, mut other) = (pooler.client(), pooler.client());
    let mut bytes = Vec::new();
    parse(&mut bytes, "s", "select 5");
    run(&mut bytes, "s");
    slow.send(&bytes[..9]);
    assert_eq!(told(&mut slow, &bytes[9..]).1, "5");
    assert_eq!(other.value("select 6"), "6");
}

/// A pool of two servers, of which one is free at a time.
struct Gate {
    // Before the pooler, whose end wants its pools at rest.
    blockers: [Client; 2],
    pooler: Pooler,
    pids: [String; 2],
    free: Option<usize>,
}

impl Gate {
    fn new() -> Gate {
        let pooler = servers(2).start();
        let mut blockers = [pooler.client(), pooler.client()];
        let pids = blockers.each_mut().map(|blocker| {
            blocker.rows("begin");
            blocker.value("select pg_backend_pid()")
        });
        Gate { blockers, pooler, pids, free: None }
    }

    /// Lets clients have this server and no other.
    #[track_caller]
    fn open(&mut self, which: usize) {
        if self.free == Some(which) {
            return;
        }
        if let Some(free) = self.free {
            self.blockers[free].rows("begin");
        }
        self.blockers[which].rows("commit");
        self.free = Some(which);
        assert_eq!(self.pooler.client().value("select pg_backend_pid()"), self.pids[which]);
    }
}

#[test]
fn the_unnamed_statement_follows_its_client_to_every_server() {
    let mut gate = Gate::new();
    let mut client = gate.pooler.client();
    gate.open(0);
    prepare(&mut client, "", "select 'it is me'");
    for which in [1, 0, 0, 1] {
        gate.open(which);
        assert_eq!(execute(&mut client, ""), ("2DCZ".into(), "it is me".into()));
        let mut described = Vec::new();
        messages::message(&mut described, b'D', |out| out.extend_from_slice(b"S\0"));
        messages::sync(&mut described);
        assert_eq!(told(&mut client, &described).0, "tTZ");
    }
}

#[test]
fn the_unnamed_statement_of_one_is_never_anothers() {
    let mut gate = Gate::new();
    let (mut one, mut two, mut none) = (gate.pooler.client(), gate.pooler.client(), gate.pooler.client());
    gate.open(0);
    prepare(&mut one, "", "select 'of one'");
    gate.open(1);
    prepare(&mut two, "", "select 'of two'");
    for which in [0, 1] {
        gate.open(which);
        assert_eq!(execute(&mut two, "").1, "of two");
        assert_eq!(execute(&mut none, ""), ("EZ".into(), "26000".into()));
        assert_eq!(execute(&mut one, "").1, "of one");
        assert_eq!(execute(&mut none, "").1, "26000");
    }
}

#[test]
fn what_destroys_the_unnamed_statement_destroys_it_for_all_servers() {
    let mut gate = Gate::new();
    let mut client = gate.pooler.client();
    let mut failing = Vec::new();
    parse(&mut failing, "", "selec");
    messages::sync(&mut failing);
    let mut closing = Vec::new();
    messages::message(&mut closing, b'C', |out| out.extend_from_slice(b"S\0"));
    messages::sync(&mut closing);
    let mut asking = Vec::new();
    messages::query(&mut asking, b"select 1");
    for end in [failing, closing, asking] {
        gate.open(0);
        prepare(&mut client, "", "select 'gone'");
        told(&mut client, &end);
        gate.open(1);
        assert_eq!(execute(&mut client, ""), ("EZ".into(), "26000".into()));
    }
}

#[test]
fn an_unnamed_statement_that_cannot_be_parsed_again_is_the_clients_error() {
    let mut gate = Gate::new();
    let mut client = gate.pooler.client();
    let table = table();
    gate.open(0);
    prepare(&mut client, "", &format!("select * from {table}"));
    gate.open(1);
    direct::ask(&format!("alter table {table} rename to {table}_away"));
    assert_eq!(execute(&mut client, ""), ("EZ".into(), "42P01".into()));
    direct::ask(&format!("alter table {table}_away rename to {table}"));
    assert_eq!(execute(&mut client, "").0, "2CZ");
}

#[test]
fn an_unnamed_statement_that_is_too_large_lives_as_long_as_its_transaction() {
    let pooler = servers(1).start();
    let mut client = pooler.client();
    let long = format!("select length('{}')", "x".repeat(1 << 16));
    prepare(&mut client, "s", "commit");
    prepare(&mut client, "b", "begin");
    execute(&mut client, "b");
    prepare(&mut client, "", &long);
    assert_eq!(execute(&mut client, "").1, "65536");
    execute(&mut client, "s");
    assert_eq!(execute(&mut client, ""), ("EZ".into(), "26000".into()));
    prepare(&mut client, "", "select 'short'");
    assert_eq!(execute(&mut client, "").1, "short");
}

/// The Parse that the Bind needed was skipped with it: the next batch must not rely on it.
#[test]
fn what_an_error_made_the_server_skip_is_told_again() {
    let mut gate = Gate::new();
    let mut client = gate.pooler.client();
    gate.open(0);
    prepare(&mut client, "s", "select 'told'");
    gate.open(1);
    let mut bytes = Vec::new();
    parse(&mut bytes, "wrong", "selec");
    run(&mut bytes, "s");
    run(&mut bytes, "s");
    client.send(&bytes);
    assert_eq!(client.until(b'Z').len(), 2);
    let tags: String = client.until(b'Z').iter().map(|message| char::from(message.tag)).collect();
    assert_eq!(tags, "2DCZ");
}

/// What a server had skipped was taken back only behind the DISCARD ALL, which had taken the statement away after all.
#[test]
fn what_a_client_that_is_gone_made_the_server_skip_is_taken_back_in_order() {
    let pooler = servers(1).set("max_prepared_statements", 1).start();
    let (mut client, mut gone) = (pooler.client(), pooler.client());
    prepare(&mut client, "s", "select 'told again'");
    let mut bytes = Vec::new();
    messages::query(&mut bytes, b"select pg_sleep(0.2)");
    parse(&mut bytes, "", "selec");
    parse(&mut bytes, "t", "select 'in the place of the other'");
    messages::sync(&mut bytes);
    messages::query(&mut bytes, b"discard all");
    gone.send(&bytes);
    std::thread::sleep(std::time::Duration::from_millis(50));
    drop(gone);
    assert_eq!(execute(&mut client, "s").1, "told again");
}

#[test]
fn deallocate_takes_a_name_away_on_a_server_that_never_knew_it_and_disturbs_nobody() {
    let mut gate = Gate::new();
    let (mut client, mut other) = (gate.pooler.client(), gate.pooler.client());
    gate.open(0);
    prepare(&mut client, "s", "select 'shared'");
    prepare(&mut other, "s", "select 'shared'");
    gate.open(1);
    assert_eq!(client.ask("deallocate s").first().map(|message| message.tag), Some(b'C'));
    for which in [0, 1] {
        gate.open(which);
        assert_eq!(execute(&mut client, "s").1, "26000");
        assert_eq!(execute(&mut other, "s").1, "shared");
    }
    assert_eq!(client.error("deallocate s").message, "prepared statement \"s\" does not exist");
    assert_eq!(client.value("select count(*) from pg_prepared_statements where name not like 'POOLER%'"), "0");
}

#[test]
fn whoever_deallocates_all_or_a_name_of_ours_disturbs_nobody() {
    let pooler = servers(1).start();
    let (mut client, mut other) = (pooler.client(), pooler.client());
    prepare(&mut other, "s", "select 'unharmed'");
    for text in ["deallocate all", "discard all", "select 1; deallocate \"POOLER_1\"", "deallocate \"POOLER_1\""] {
        execute(&mut other, "s");
        client.rows(text);
        assert_eq!(execute(&mut other, "s").1, "unharmed", "{text}");
    }
    prepare(&mut client, "d", "deallocate \"POOLER_1\"");
    execute(&mut client, "d");
    assert_eq!(execute(&mut other, "s").1, "unharmed");
}

/// Where the first bytes end within the name, nothing is known of the statement yet but that it is long.
#[test]
fn a_long_statement_whose_name_arrives_in_pieces_is_not_too_long() {
    let pooler = servers(1).start();
    let mut client = pooler.client();
    let mut bytes = Vec::new();
    parse(&mut bytes, "name", &format!("select length('{}')", "x".repeat(1 << 17)));
    run(&mut bytes, "name");
    client.send(&bytes[..7]);
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(told(&mut client, &bytes[7..]), ("12DCZ".into(), "131072".into()));
}

/// A server that takes in data answers nothing before its end: what waits for an answer must not wait there.
#[test]
fn a_parse_amid_a_copy_is_an_error_and_not_waited_for() {
    let pooler = servers(1).start();
    let mut client = pooler.client();
    prepare(&mut client, "s", "select 1");
    let table = table();
    client.send_query(&format!("set work_mem = '1MB'; copy {table} from stdin"));
    client.until(b'G');
    let mut bytes = Vec::new();
    run(&mut bytes, "s");
    client.send(&bytes);
    assert_eq!(client.until(b'E').pop().map(|message| message.report().code), Some("08P01".into()));
}
