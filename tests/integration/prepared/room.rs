//! Statements for which there is no room: each is an error that names the setting, and the session lives.

use super::*;

/// A text of about so many bytes, unlike the others'.
fn text(bytes: usize, unlike: &str) -> String {
    format!("select length('{}'), '{unlike}'", "x".repeat(bytes))
}

fn limited(setting: &str, bytes: i64) -> Pooler {
    servers(1).set(setting, bytes).allow(setting).start()
}

#[track_caller]
fn refused(client: &mut Client, name: &str, sql: &str, setting: &str) {
    let mut bytes = Vec::new();
    parse(&mut bytes, name, sql);
    run(&mut bytes, name);
    client.send(&bytes);
    let answer = client.until(b'Z');
    assert_eq!(answer.iter().map(|message| message.tag).collect::<Vec<_>>(), b"EZ");
    let report = answer[0].report();
    assert_eq!((report.severity.as_str(), report.code.as_str()), ("ERROR", "53400"));
    assert!(report.message.contains(setting), "{}", report.message);
}

#[test]
fn a_client_may_not_prepare_without_end() {
    let pooler = limited("max_client_prepared_bytes", 4096);
    let mut client = pooler.client();
    for name in ["one", "two", "three"] {
        prepare(&mut client, name, &text(1000, name));
    }
    refused(&mut client, "four", &text(1000, "four"), "max_client_prepared_bytes");
    refused(&mut client, "long", &text(1 << 20, "long"), "max_client_prepared_bytes");
    assert_eq!(execute(&mut client, "four").1, "26000");
    assert_eq!(execute(&mut client, "three").1, "1000");
    client.rows("deallocate one");
    prepare(&mut client, "four", &text(1000, "four"));
    assert_eq!(execute(&mut client, "four").1, "1000");
    prepare(&mut client, "", &text(10_000, "unnamed"));
}

#[test]
fn what_follows_a_statement_too_many_is_skipped_and_its_block_fails() {
    let pooler = limited("max_client_prepared_bytes", 4096);
    let mut client = pooler.client();
    let mut bytes = Vec::new();
    parse(&mut bytes, "", "select 'unnamed'");
    parse(&mut bytes, "before", "select 'before'");
    parse(&mut bytes, "long", &text(5000, ""));
    parse(&mut bytes, "behind", "select 'behind'");
    messages::sync(&mut bytes);
    run(&mut bytes, "before");
    assert_eq!(told(&mut client, &bytes), ("11EZ".into(), "53400".into()));
    assert_eq!(told(&mut client, b"").1, "before");
    assert_eq!(execute(&mut client, "behind").1, "26000");
    assert_eq!(execute(&mut client, "").1, "unnamed");
    client.rows("begin");
    for _ in 0..2 {
        refused(&mut client, "long", &text(5000, ""), "max_client_prepared_bytes");
    }
    assert_eq!(execute(&mut client, "before").1, "25P02");
    client.rows("rollback");
}

#[test]
fn all_clients_together_may_not_prepare_without_end() {
    let pooler = limited("max_prepared_bytes", 4096);
    let (mut one, mut two) = (pooler.client(), pooler.client());
    for name in ["one", "two", "three"] {
        prepare(&mut one, name, &text(1000, name));
    }
    refused(&mut two, "four", &text(1000, "four"), "max_prepared_bytes");
    prepare(&mut two, "equal", &text(1000, "three"));
    one.rows("deallocate all");
    prepare(&mut two, "four", &text(1000, "four"));
    assert_eq!(execute(&mut two, "four").1, "1000");
    drop(one);
}
