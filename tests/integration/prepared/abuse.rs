//! Names and texts at their limits and past them, clients that never close anything, and names that nobody has given.

use super::*;

#[test]
fn a_name_may_be_long_and_one_that_is_too_long_ends_only_its_session() {
    let pooler = servers(1).allow("packet").start();
    let mut client = pooler.client();
    for len in [1, 63, 64, 65, 5000, 60_000] {
        let name = "n".repeat(len);
        prepare(&mut client, &name, &format!("select {len}"));
        assert_eq!(execute(&mut client, &name), ("2DCZ".into(), len.to_string()));
    }
    let mut bytes = Vec::new();
    parse(&mut bytes, &"n".repeat(100_000), "select 1");
    client.send(&bytes);
    assert_eq!(client.last_words().severity, "FATAL");
    assert_eq!(pooler.client().value("select 1"), "1");
}

#[test]
fn thousands_of_statements_that_nobody_closes_all_work_and_a_server_knows_no_more_than_it_may() {
    let pooler = servers(2).start();
    let mut clients = [pooler.client(), pooler.client()];
    for (at, client) in clients.iter_mut().enumerate() {
        for round in 0..30 {
            let mut bytes = Vec::new();
            for number in 0..100 {
                let name = format!("s{round}_{number}");
                parse(&mut bytes, &name, &format!("select {}", at * 10_000 + round * 100 + number));
                messages::message(&mut bytes, b'B', |out| out.extend([b"\0", name.as_bytes(), &[0; 7]].concat()));
                messages::message(&mut bytes, b'E', |out| out.extend_from_slice(&[0; 5]));
            }
            messages::sync(&mut bytes);
            let (tags, first) = told(client, &bytes);
            assert_eq!((tags.len(), first), (401, (at * 10_000 + round * 100).to_string()));
        }
    }
    for (at, client) in clients.iter_mut().enumerate() {
        for number in [0, 1, 1500, 2999] {
            let name = format!("s{}_{}", number / 100, number % 100);
            assert_eq!(execute(client, &name).1, (at * 10_000 + number).to_string());
        }
        let known: usize = client.value("select count(*) from pg_prepared_statements").parse().unwrap();
        assert!(known <= 200, "{known}");
    }
}

#[test]
fn what_does_not_exist_and_what_is_nonsense_is_postgresqls_error_and_the_session_lives() {
    let pooler = servers(1).start();
    let mut client = pooler.client();
    let cases = [
        ("execute nobody", "26000"),
        ("execute nobody(1, 'x')", "26000"),
        ("deallocate nobody", "26000"),
        ("set nonsense = 1", "42704"),
        ("set work_mem = 'nonsense'", "22023"),
        ("set", "42601"),
        ("reset nonsense", "42704"),
        ("set role nobody", "22023"),
        ("select set_config('nonsense', '1', false)", "42704"),
        ("prepare", "42601"),
    ];
    for (sql, code) in cases {
        assert_eq!(client.error(sql).code, code, "{sql}");
        assert_eq!(client.value("select 1"), "1");
        let mut bytes = Vec::new();
        parse(&mut bytes, "s", sql);
        run(&mut bytes, "s");
        let (tags, found) = told(&mut client, &bytes);
        assert!(tags.ends_with("EZ") && found == code, "{sql}: {tags} {found}");
        client.send(&{
            let mut bytes = Vec::new();
            messages::message(&mut bytes, b'C', |out| out.extend(b"Ss\0"));
            messages::sync(&mut bytes);
            bytes
        });
        client.until(b'Z');
    }
}

/// It is as the manual says, and not as PostgreSQL has it: there the two are one.
#[test]
fn names_of_sql_and_of_the_protocol_do_not_see_each_other() {
    let pooler = servers(2).start();
    let mut client = pooler.client();
    prepare(&mut client, "s", "select 'protocol'");
    assert_eq!(client.error("execute s").code, "26000");
    client.rows("prepare s as select 'sql'");
    assert_eq!((client.value("execute s"), execute(&mut client, "s").1), ("sql".into(), "protocol".into()));
    client.rows("prepare t as select 't'");
    assert_eq!(execute(&mut client, "t").1, "26000");
    assert_eq!(client.error("execute t").code, "26000");
    client.rows("deallocate all");
    assert_eq!((client.error("execute s").code, execute(&mut client, "s").1), ("26000".into(), "26000".into()));
}
