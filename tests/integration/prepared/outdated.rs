//! Statements whose tables have changed: each client hears it once, and not from every server again.

use super::*;

/// A statement that returns all columns of a table, and what gives it one more.
pub fn statement_and_change() -> (String, String) {
    let table = table();
    direct::ask(&format!("insert into {table} values (1)"));
    (format!("select * from {table}"), format!("alter table {table} add column more int"))
}

pub fn refused() -> (String, String) {
    ("EZ".into(), "0A000".into())
}

fn ran() -> (String, String) {
    ("2DCZ".into(), "1".into())
}

pub fn describe(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    messages::message(&mut bytes, b'D', |out| out.extend([b"S", name.as_bytes(), b"\0"].concat()));
    messages::sync(&mut bytes);
    bytes
}

#[test]
fn the_error_comes_once_with_one_server() {
    let pooler = servers(1).start();
    let mut client = pooler.client();
    let (sql, change) = statement_and_change();
    for name in ["s", "t"] {
        prepare(&mut client, name, &sql);
        assert_eq!(execute(&mut client, name), ran());
    }
    direct::ask(&change);
    assert_eq!(execute(&mut client, "s"), refused());
    for name in ["s", "t", "s"] {
        assert_eq!(execute(&mut client, name), ran());
    }
}

/// Each server knew the statement under the same name: the client met the error on every one of them, and for ever.
#[test]
fn the_error_comes_once_with_several_servers() {
    let mut gate = Gate::new();
    let mut client = gate.pooler.client();
    let (sql, change) = statement_and_change();
    prepare_on_both(&mut gate, &mut client, &sql);
    direct::ask(&change);
    assert_eq!(execute(&mut client, "s"), refused());
    for which in [0, 1, 0] {
        gate.open(which);
        assert_eq!(execute(&mut client, "s"), ran());
    }
}

#[track_caller]
fn prepare_on_both(gate: &mut Gate, client: &mut Client, sql: &str) {
    gate.open(0);
    prepare(client, "s", sql);
    for which in [0, 1] {
        gate.open(which);
        assert_eq!(execute(client, "s"), ran());
    }
}

#[test]
fn what_is_prepared_again_after_the_error_is_new_on_all_servers() {
    let mut gate = Gate::new();
    let mut client = gate.pooler.client();
    let (sql, change) = statement_and_change();
    prepare_on_both(&mut gate, &mut client, &sql);
    direct::ask(&change);
    assert_eq!(execute(&mut client, "s"), refused());
    let mut closing = Vec::new();
    messages::message(&mut closing, b'C', |out| out.extend_from_slice(b"Ss\0"));
    messages::sync(&mut closing);
    assert_eq!(told(&mut client, &closing).0, "3Z");
    prepare(&mut client, "s", &sql);
    let mut other = gate.pooler.client();
    prepare(&mut other, "of another", &sql);
    for which in [0, 1] {
        gate.open(which);
        assert_eq!(execute(&mut client, "s"), ran());
        assert_eq!(execute(&mut other, "of another"), ran());
    }
}

/// Its columns are not what it was told: silence would have it read one for the other.
#[test]
fn a_client_hears_it_also_where_another_has_heard_it_before() {
    let pooler = servers(1).start();
    let (mut one, mut two) = (pooler.client(), pooler.client());
    let (sql, change) = statement_and_change();
    prepare(&mut one, "s", &sql);
    prepare(&mut two, "s", &sql);
    assert_eq!(execute(&mut two, "s"), ran());
    direct::ask(&change);
    for client in [&mut one, &mut two] {
        assert_eq!(execute(client, "s"), refused());
        assert_eq!(execute(client, "s"), ran());
    }
}

#[test]
fn a_describe_may_hear_it_and_a_block_fails_of_it() {
    let pooler = servers(1).start();
    let mut client = pooler.client();
    let (sql, change) = statement_and_change();
    prepare(&mut client, "s", &sql);
    assert_eq!(told(&mut client, &describe("s")).0, "tTZ");
    direct::ask(&change);
    client.rows("begin");
    assert_eq!(told(&mut client, &describe("s")), ("tEZ".into(), "0A000".into()));
    assert_eq!(execute(&mut client, "s").1, "25P02");
    client.rows("rollback");
    assert_eq!(told(&mut client, &describe("s")).0, "tTZ");
}

/// All of them were sent under the old name.
#[test]
fn in_a_pipeline_the_error_comes_as_often_as_from_postgresql() {
    let pooler = servers(1).start();
    let mut client = pooler.client();
    let (sql, change) = statement_and_change();
    prepare(&mut client, "s", &sql);
    execute(&mut client, "s");
    direct::ask(&change);
    let mut bytes = Vec::new();
    [(); 2].iter().for_each(|()| run(&mut bytes, "s"));
    assert_eq!(told(&mut client, &bytes), refused());
    assert_eq!(told(&mut client, b""), refused());
    assert_eq!(execute(&mut client, "s"), ran());
}
