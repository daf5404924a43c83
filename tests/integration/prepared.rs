//! Prepared statements in transaction mode: one name, whichever server the client has.

use protocol::messages;

use crate::harness::{Client, Pooler, Setup};

fn servers(count: i64) -> Setup {
    Setup::new().set("default_pool_size", count)
}

fn parse(out: &mut Vec<u8>, name: &str, sql: &str) {
    messages::message(out, b'P', |out| {
        messages::cstr(out, name.as_bytes());
        messages::cstr(out, sql.as_bytes());
        out.extend_from_slice(&[0; 2]);
    });
}

fn run(out: &mut Vec<u8>, name: &str) {
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
    one.rows("prepare shared as select 'a secret'");
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

#[test]
fn a_client_may_not_prepare_without_end() {
    let pooler = servers(1).allow("prepared statements take more than").start();
    let mut client = pooler.client();
    let text = format!("select '{}'", "x".repeat(1 << 20));
    for number in 0..15 {
        prepare(&mut client, &format!("s{number}"), &format!("{text} || {number}"));
    }
    let mut bytes = Vec::new();
    parse(&mut bytes, "one too many", &format!("{text} || 16"));
    client.send(&bytes);
    assert_eq!(client.last_words().code, "54000");
}
