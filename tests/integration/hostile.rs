//! Clients that break the protocol, do not read, or close half of their socket.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use protocol::messages;

use crate::harness::{Client, Pooler, Setup};

fn pooler() -> Pooler {
    Setup::new().set("default_pool_size", 2).allow("pooler error").start()
}

#[track_caller]
fn ends_with_protocol_violation(mut client: Client, bytes: &[u8]) {
    client.send(bytes);
    let messages = client.until_closed();
    let last = messages.last().unwrap_or_else(|| panic!("closed without a word after {bytes:?}")).report();
    assert_eq!((last.severity.as_str(), last.code.as_str()), ("FATAL", "08P01"), "{last} after {bytes:?}");
}

/// What no client may send.
fn violations() -> Vec<Vec<u8>> {
    let mut sync_with_body = Vec::new();
    messages::message(&mut sync_with_body, b'S', |out| out.push(0));
    vec![
        vec![b'Q', 0, 0, 0, 0],
        vec![b'Q', 0, 0, 0, 3],
        vec![b'Q', 0xff, 0xff, 0xff, 0xff],
        vec![b'Z', 0, 0, 0, 5, b'I'],
        vec![0, 0, 0, 0, 4],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![b'p', 0, 0, 0, 5, 0],
        sync_with_body,
    ]
}

#[test]
fn an_idle_client_that_breaks_the_protocol_is_ended_with_a_word() {
    let pooler = pooler();
    for bytes in violations() {
        ends_with_protocol_violation(pooler.client(), &bytes);
    }
    pooler.client().rows("select 1");
}

#[test]
fn a_client_that_breaks_the_protocol_in_a_transaction_is_rolled_back() {
    let pooler = pooler();
    let table = crate::pause::table();
    for bytes in violations() {
        let mut client = pooler.client();
        client.rows("begin");
        client.rows(&format!("insert into {table} values (1)"));
        ends_with_protocol_violation(client, &bytes);
    }
    assert_eq!(pooler.client().value(&format!("select count(*) from {table}")), "0");
}

#[test]
fn a_violation_behind_a_good_query_does_not_spoil_the_pool() {
    let pooler = pooler();
    let mut bytes = Vec::new();
    messages::query(&mut bytes, b"select pg_sleep(0.05)");
    bytes.extend([b'!', 0, 0, 0, 4]);
    for _ in 0..5 {
        let mut client = pooler.client();
        client.send(&bytes);
        client.until_closed();
    }
    pooler.client().rows("select 1");
}

#[test]
fn a_message_above_max_packet_size_is_refused() {
    let pooler = Setup::new().set("max_packet_size", 10_000).allow("pooler error").start();
    let mut client = pooler.client();
    let small = format!("select length('{}')", "x".repeat(9_000));
    assert_eq!(client.value(&small), "9000");
    client.send_query(&format!("select length('{}')", "x".repeat(11_000)));
    assert_eq!(client.last_words().severity, "FATAL");
}

#[test]
fn simple_queries_can_be_disallowed() {
    let pooler = Setup::new().set("disable_pqexec", true).allow("PQexec disallowed").start();
    let mut client = pooler.client();
    let mut batch = Vec::new();
    messages::extended_query(&mut batch, b"select 'fine'", &[]);
    client.send(&batch);
    assert!(client.answer().is_ok());
    client.send_query("select 1");
    assert_eq!(client.last_words().message, "PQexec disallowed");
}

#[test]
fn a_client_that_stops_reading_costs_no_memory_and_stops_nobody() {
    let pooler = pooler();
    let mut slow = pooler.client();
    slow.send_query("select repeat('x', 1000000) from generate_series(1, 200)");
    slow.until(b'T');
    let mut quick = pooler.client();
    let since = Instant::now();
    for _ in 0..200 {
        quick.rows("select 1");
    }
    assert!(since.elapsed() < Duration::from_secs(10), "others were slowed down: {:?}", since.elapsed());
    let memory = resident_megabytes(&pooler);
    assert!(memory < 150, "{memory} MB for a client that does not read");
    let rows = slow.until(b'Z').iter().filter(|message| message.tag == b'D').count();
    assert_eq!(rows, 200);
}

pub fn resident_megabytes(pooler: &Pooler) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pooler.pid())).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") / 1024
}

#[test]
fn clients_that_never_read_small_answers_stop_nobody() {
    let pooler = pooler();
    let mut deaf: Vec<_> = (0..20).map(|_| pooler.client()).collect();
    for client in &mut deaf {
        client.send_query("select 'unheard'");
    }
    let mut other = pooler.client();
    for _ in 0..20 {
        other.rows("select 1");
    }
}

#[test]
fn a_half_closed_client_leaves_nothing_behind() {
    let pooler = pooler();
    for sql in ["select 1", "begin", "select repeat('x', 100000) from generate_series(1, 100)"] {
        let mut client = pooler.client();
        client.send_query(sql);
        client.stream.half_close().expect("we can close our side");
        client.until_closed();
    }
    let mut idle = pooler.client();
    idle.stream.half_close().expect("we can close our side");
    assert_eq!(idle.until_closed(), []);
    pooler.client().rows("select 1");
}

#[test]
fn a_copy_in_larger_than_every_buffer_into_a_waiting_table_does_not_deadlock() {
    let pooler = pooler();
    let mut client = pooler.client();
    client.send_query("copy sink from stdin");
    client.until(b'G');
    let mut writer = client.stream.try_clone().expect("a second handle");
    thread::scope(|scope| {
        scope.spawn(move || {
            use std::io::Write;
            let mut data = Vec::new();
            messages::message(&mut data, b'd', |out| {
                out.extend_from_slice(&b"1\tsome text for the row\n".repeat(1000))
            });
            for _ in 0..200 {
                writer.write_all(&data).expect("the pooler reads");
            }
            writer.write_all(&[b'c', 0, 0, 0, 4]).expect("the pooler reads");
        });
        let answer = client.until(b'Z');
        assert_eq!(answer[0].text(), "COPY 200000");
    });
}

#[test]
fn a_pipeline_whose_answers_fill_every_buffer_does_not_deadlock() {
    let pooler = pooler();
    let mut client = pooler.client();
    let mut batch = Vec::new();
    messages::extended_query(&mut batch, b"select repeat('a', 20000), $1::text", &[&[b'b'; 20_000]]);
    let mut writer = client.stream.try_clone().expect("a second handle");
    thread::scope(|scope| {
        scope.spawn(move || {
            use std::io::Write;
            (0..300).for_each(|_| writer.write_all(&batch).expect("the pooler reads"));
        });
        (0..300).for_each(|_| assert!(client.answer().is_ok()));
    });
}
