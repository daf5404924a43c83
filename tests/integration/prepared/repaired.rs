//! Statements whose tables have changed, and whose clients do not hear of it: the batch tells them the columns, or these
//! are what they were told last. The batches are those of drivers.

use super::outdated::{describe, refused, statement_and_change};
use super::*;

/// As pgx, psycopg and node-postgres do it: the portal is described each time, with these formats of the results.
fn described(name: &str, formats: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let count = [0, formats.len() as u8];
    let formats: Vec<u8> = formats.iter().flat_map(|format| [0, *format]).collect();
    let bind = [b"\0", name.as_bytes(), &[0; 5], &count, &formats].concat();
    messages::message(&mut bytes, b'B', |out| out.extend(bind));
    messages::message(&mut bytes, b'D', |out| out.extend(b"P\0"));
    messages::message(&mut bytes, b'E', |out| out.extend_from_slice(&[0; 5]));
    messages::sync(&mut bytes);
    bytes
}

/// As tokio-postgres, asyncpg and lib/pq do it: prepared and described in one batch, and then only executed.
fn prepare_and_describe(name: &str, sql: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    parse(&mut bytes, name, sql);
    bytes.extend(describe(name));
    bytes
}

/// As JDBC does it: all in one batch, and then only executed.
fn prepare_and_execute(name: &str, sql: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    parse(&mut bytes, name, sql);
    bytes.extend(described(name, &[]));
    bytes
}

fn close(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    messages::message(&mut bytes, b'C', |out| out.extend([b"S", name.as_bytes(), b"\0"].concat()));
    messages::sync(&mut bytes);
    bytes
}

/// Number of columns that the client is told, and of those in the first row.
#[track_caller]
fn columns(client: &mut Client, bytes: &[u8]) -> (usize, usize) {
    client.send(bytes);
    let answer = client.until(b'Z');
    let told = answer.iter().find(|message| message.tag == b'T').expect("a RowDescription");
    let row = answer.iter().find(|message| message.tag == b'D').expect("a row");
    (usize::from(told.body[1]), row.values().len())
}

#[test]
fn who_describes_each_portal_never_hears_of_it() {
    let mut gate = Gate::new();
    let mut client = gate.pooler.client();
    let (sql, change) = statement_and_change();
    gate.open(0);
    assert_eq!(told(&mut client, &prepare_and_describe("s", &sql)).0, "1tTZ");
    for which in [0, 1] {
        gate.open(which);
        assert_eq!(columns(&mut client, &described("s", &[0])), (1, 1));
    }
    direct::ask(&change);
    for which in [0, 1, 0] {
        gate.open(which);
        assert_eq!(columns(&mut client, &described("s", &[0])), (2, 2));
    }
}

/// The second attempt would be refused for the number of formats, and the driver would not know that its statement is
/// what is wrong.
#[test]
fn who_names_a_format_for_each_column_hears_why_they_are_too_few() {
    let pooler = servers(1).start();
    let mut client = pooler.client();
    let (sql, change) = statement_and_change();
    let sql = sql.replace('*', "*, 1 as one");
    told(&mut client, &prepare_and_describe("s", &sql));
    assert_eq!(columns(&mut client, &described("s", &[0, 0])), (2, 2));
    direct::ask(&change);
    assert_eq!(told(&mut client, &described("s", &[0, 0])), refused());
    assert_eq!(columns(&mut client, &described("s", &[0, 0, 0])), (3, 3));
}

/// tokio-postgres parses anew each time, and heard the error of the statement that another client, or itself, had
/// prepared before the table changed.
#[test]
fn who_prepares_anew_never_hears_what_a_server_knows_of_old() {
    let pooler = servers(1).start();
    let (mut old, mut client) = (pooler.client(), pooler.client());
    let (sql, change) = statement_and_change();
    told(&mut old, &prepare_and_describe("s0", &sql));
    direct::ask(&change);
    assert_eq!(told(&mut client, &prepare_and_describe("s1", &sql)).0, "1tTZ");
    assert_eq!(execute(&mut client, "s1").0, "2DCZ");
    // It is closed in the same write as the next is prepared.
    client.send(&[close("s1"), prepare_and_describe("s1", &sql)].concat());
    let tags = |answer: Vec<crate::harness::Message>| answer.iter().map(|one| char::from(one.tag)).collect::<String>();
    assert_eq!(tags(client.until(b'Z')), "3Z");
    assert_eq!(tags(client.until(b'Z')), "1tTZ");
    assert_eq!(execute(&mut old, "s0"), refused(), "its columns are not what it was told");
}

#[test]
fn a_batch_behind_another_one_is_repaired_by_itself() {
    let pooler = servers(1).start();
    let (mut old, mut client) = (pooler.client(), pooler.client());
    let (sql, change) = statement_and_change();
    told(&mut old, &prepare_and_describe("s", &sql));
    prepare(&mut client, "s0", "select 7");
    direct::ask(&change);
    client.send(&[close("s0"), prepare_and_describe("s1", &sql)].concat());
    for expected in ["3Z", "1tTZ"] {
        let answer: String = client.until(b'Z').iter().map(|message| char::from(message.tag)).collect();
        assert_eq!(answer, expected);
    }
    assert_eq!(execute(&mut client, "s1").0, "2DCZ");
    assert_eq!(execute(&mut client, "s0").1, "26000");
}

#[test]
fn who_was_told_the_new_columns_elsewhere_does_not_hear_that_a_server_knows_the_old_ones() {
    let mut gate = Gate::new();
    let (mut old, mut client) = (gate.pooler.client(), gate.pooler.client());
    let (sql, change) = statement_and_change();
    gate.open(0);
    told(&mut old, &prepare_and_describe("s", &sql));
    direct::ask(&change);
    gate.open(1);
    assert_eq!(told(&mut client, &prepare_and_describe("s", &sql)).0, "1tTZ");
    gate.open(0);
    assert_eq!(execute(&mut client, "s").0, "2DCZ");
    assert_eq!(execute(&mut old, "s"), refused());
}

#[test]
fn who_was_told_the_old_columns_hears_it() {
    let pooler = servers(1).start();
    let mut client = pooler.client();
    let (sql, change) = statement_and_change();
    told(&mut client, &prepare_and_describe("s", &sql));
    assert_eq!(execute(&mut client, "s").0, "2DCZ");
    direct::ask(&change);
    assert_eq!(execute(&mut client, "s"), refused());
    told(&mut client, &close("s"));
    assert_eq!(told(&mut client, &prepare_and_describe("s", &sql)).0, "1tTZ");
    assert_eq!(execute(&mut client, "s").0, "2DCZ");
}

/// What a portal's description told is not remembered, so nothing is certain.
#[test]
fn who_describes_only_the_first_portal_hears_it_unless_it_prepares_in_the_same_batch() {
    let pooler = servers(1).start();
    let (mut old, mut client) = (pooler.client(), pooler.client());
    let (sql, change) = statement_and_change();
    assert_eq!(columns(&mut old, &prepare_and_execute("S_1", &sql)), (1, 1));
    assert_eq!(execute(&mut old, "S_1").0, "2DCZ");
    direct::ask(&change);
    assert_eq!(columns(&mut client, &prepare_and_execute("S_1", &sql)), (2, 2));
    assert_eq!(execute(&mut client, "S_1").0, "2DCZ");
    assert_eq!(execute(&mut old, "S_1"), refused());
    told(&mut old, &close("S_1"));
    assert_eq!(columns(&mut old, &prepare_and_execute("S_2", &sql)), (2, 2));
}

#[test]
fn what_is_repaired_is_done_once() {
    let pooler = servers(1).start();
    let mut client = pooler.client();
    let table = table();
    told(&mut client, &prepare_and_describe("s", &format!("insert into {table} values (1) returning *")));
    assert_eq!(columns(&mut client, &described("s", &[])), (1, 1));
    direct::ask(&format!("alter table {table} add column more int"));
    assert_eq!(columns(&mut client, &described("s", &[])), (2, 2));
    assert_eq!(direct::value(&format!("select count(*) from {table}")), "2");
}

#[test]
fn two_outdated_statements_in_one_batch_are_one_too_many_and_the_session_goes_on() {
    let pooler = servers(1).start();
    let mut client = pooler.client();
    let changes = [1, 2].map(|number| {
        let (sql, change) = statement_and_change();
        told(&mut client, &prepare_and_describe(&format!("s{number}"), &sql));
        change
    });
    changes.iter().for_each(|change| drop(direct::ask(change)));
    let both: Vec<u8> = ["s1", "s2"]
        .iter()
        .flat_map(|name| {
            let one = described(name, &[]);
            one[..one.len() - 5].to_vec()
        })
        .collect();
    let mut bytes = both.clone();
    messages::sync(&mut bytes);
    assert_eq!(told(&mut client, &bytes).1, "1");
    let answer = told(&mut client, &bytes).0;
    assert_eq!(answer, "2TDC2TDCZ");
}
