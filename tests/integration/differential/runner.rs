//! Runs a conversation on both sides and compares.

use std::io::Write;
use std::sync::LazyLock;
use std::thread;

use super::script::{Batch, Wait, parse};
use crate::harness::{Address, Client, Login, Message, Pooler, Setup, direct, eventually};

/// Longer conversations are not sent byte by byte: each byte is a system call on both sides.
const BYTEWISE_LIMIT: usize = 8192;

static TRANSACTION: LazyLock<Pooler> = LazyLock::new(|| start("transaction"));
static SESSION: LazyLock<Pooler> = LazyLock::new(|| start("session"));

/// One server per pool, and a pool per conversation: what a conversation leaves on its server is its own.
fn start(mode: &str) -> Pooler {
    let setup = Setup::new().set("pool_mode", mode).set("default_pool_size", 1).set("max_client_conn", 1000);
    setup.without_database("app").database("*").database_set("*", "dbname", "app").start()
}

/// Declares tests, each a name and a conversation.
macro_rules! conversations {
    ($($name:ident: $text:literal;)*) => {
        $(#[test] fn $name() { crate::differential::runner::check($text); })*
    };
}
pub(super) use conversations;

/// Runs the conversation direct, pooled in both modes, and byte by byte.
#[track_caller]
pub fn check(text: &str) {
    let mut batches = parse(text);
    if batches.last().is_some_and(|last| last.wait != Wait::Closed) {
        // Whatever happened before, the conversation is in step at its end.
        batches.extend(parse("Q select 'the end'"));
    }
    let address = Address::local(direct::shared().port());
    let expected = run(Login::new("app").open(&address), &batches, Pace::Batches);
    let size: usize = batches.iter().map(|batch| batch.bytes.len()).sum();
    compare(&TRANSACTION, Pace::Batches, &batches, &expected);
    compare(&SESSION, Pace::Batches, &batches, &expected);
    if size <= BYTEWISE_LIMIT {
        compare(&TRANSACTION, Pace::Bytes, &batches, &expected);
    }
}

#[derive(Clone, Copy, Debug)]
enum Pace {
    Batches,
    Bytes,
}

#[track_caller]
fn compare(pooler: &Pooler, pace: Pace, batches: &[Batch], expected: &[Message]) {
    let database = direct::unique("conversation");
    let client = pooler.login().database(&database).open(&pooler.address());
    let got = run(client, batches, pace);
    let mode = if std::ptr::eq(pooler, &*SESSION) { "session mode" } else { "transaction mode" };
    for (number, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!(got == expected, "message {number}, {pace:?}, {mode}\nexpected {expected:?}\ngot      {got:?}");
    }
    assert_eq!(got.len(), expected.len(), "{pace:?}, {mode}\nexpected {expected:?}\ngot      {got:?}");
    judge(pooler, &database);
}

/// The conversation's pool is at rest, and the log has nothing to say about it.
#[track_caller]
fn judge(pooler: &Pooler, database: &str) {
    let mut console = pooler.console();
    eventually("the pool is at rest", || {
        let rows = console.show("POOLS");
        let mut pools = rows.iter().filter(|row| row["database"] == database);
        pools.all(|row| ["cl_active", "cl_waiting", "sv_active", "sv_tested"].iter().all(|column| row[*column] == "0"))
    });
    let log = pooler.log();
    let about = |line: &&str| line.contains(database) || line.contains("panicked");
    let mut loud = log.lines().filter(about).filter(|line| !line.contains("LOG") && !line.contains("INFO"));
    assert_eq!(loud.next(), None);
}

/// Sends and reads at the same time, or a long pipeline would fill both directions and stop.
#[track_caller]
fn run(mut client: Client, batches: &[Batch], pace: Pace) -> Vec<Message> {
    let mut messages = Vec::new();
    for batch in batches {
        let mut writer = client.stream.try_clone().expect("a second handle");
        thread::scope(|scope| {
            scope.spawn(move || {
                let sent = match pace {
                    Pace::Batches => writer.write_all(&batch.bytes),
                    Pace::Bytes => batch.bytes.chunks(1).try_for_each(|byte| writer.write_all(byte)),
                };
                // Who closes on a message's header does not wait for its body.
                let may_close = batch.wait == Wait::Closed;
                assert!(sent.is_ok() || may_close, "the peer reads: {sent:?}");
            });
            messages.extend(read(&mut client, batch.wait));
        });
    }
    if batches.last().is_some_and(|last| last.wait != Wait::Closed) {
        client.bye();
    }
    messages
}

#[track_caller]
fn read(client: &mut Client, wait: Wait) -> Vec<Message> {
    match wait {
        Wait::Closed => client.until_closed(),
        Wait::Messages(tag, count) => (0..count).flat_map(|_| client.until(tag)).collect(),
    }
}
