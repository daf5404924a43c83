//! LISTEN in transaction mode: one connection listens for all clients of a database, and none of them keeps a server.

use std::time::Duration;

use protocol::messages;

use crate::harness::client::Received;
use crate::harness::{Client, Message, Pooler, Setup, direct, eventually};
use crate::prepared::{parse, run};

const PID: &str = "select pg_backend_pid()";
/// How long nothing must come where nothing may.
const QUIET: Duration = Duration::from_millis(300);

fn served() -> Pooler {
    Setup::new().set("default_pool_size", 3).start()
}

/// Channel and payload.
#[track_caller]
fn said(message: &Message) -> (String, String) {
    assert_eq!(message.tag, b'A', "{message:?}");
    let text = String::from_utf8(message.body[4..].to_vec()).expect("text");
    let mut parts = text.split('\0').map(str::to_owned);
    (parts.next().expect("a channel"), parts.next().expect("a payload"))
}

fn pid(message: &Message) -> u32 {
    u32::from_be_bytes(*message.body.first_chunk().expect("a process id"))
}

/// The next notification, which must come.
#[track_caller]
fn hears(client: &mut Client, channel: &str, payload: &str) {
    assert_eq!(said(&client.message()), (channel.to_owned(), payload.to_owned()));
}

#[track_caller]
fn hears_nothing(client: &mut Client) {
    match client.receive(QUIET) {
        Received::Nothing => {}
        other => panic!("nothing may come: {other:?}"),
    }
}

/// The notifications in an answer.
#[track_caller]
fn heard(answer: &[Message]) -> Vec<(String, String)> {
    answer.iter().filter(|message| message.tag == b'A').map(said).collect()
}

#[test]
fn a_client_that_listens_keeps_no_server() {
    let pooler = served();
    let channel = direct::unique("channel");
    let mut listeners = [(); 8].map(|()| pooler.client());
    for listener in &mut listeners {
        listener.rows(&format!("listen {channel}"));
    }
    let mut sender = pooler.client();
    for word in ["one", "two"] {
        sender.rows(&format!("notify {channel}, '{word}'"));
        listeners.iter_mut().for_each(|listener| hears(listener, &channel, word));
    }
    for listener in &mut listeners {
        listener.rows(&format!("unlisten {channel}"));
    }
    sender.rows(&format!("notify {channel}, 'three'"));
    listeners.iter_mut().for_each(hears_nothing);
    let left = "select count(*) from pg_listening_channels()";
    assert_eq!(sender.value(left), "0");
}

#[test]
fn what_is_rolled_back_is_not_listened_to() {
    let pooler = served();
    let [a, b, c] = ["a", "b", "c"].map(direct::unique);
    let (mut listener, mut sender) = (pooler.client(), pooler.client());
    listener.rows(&format!("begin; listen {a}; rollback"));
    listener.rows("begin");
    listener.rows(&format!("listen {b}"));
    listener.rows("savepoint s");
    listener.rows(&format!("listen {c}"));
    listener.rows("rollback to s");
    listener.rows("commit");
    for channel in [&a, &c, &b] {
        sender.rows(&format!("notify {channel}, 'x'"));
    }
    hears(&mut listener, &b, "x");
    hears_nothing(&mut listener);
}

#[test]
fn an_unlisten_counts_if_it_is_committed() {
    let pooler = served();
    let [a, b] = ["a", "b"].map(direct::unique);
    let mut sender = pooler.client();
    let both = format!("notify {a}, '1'; notify {b}, '2'");
    let cases = [
        (format!("unlisten {a}"), "b"),
        (format!("begin; unlisten {a}; rollback"), "ab"),
        (format!("begin; unlisten {a}; commit"), "b"),
        (format!("begin; savepoint s; unlisten {a}; rollback to s; unlisten {b}; commit"), "a"),
        (format!("begin; unlisten {a}; savepoint s; unlisten {b}; rollback to s; commit"), "b"),
        (format!("begin; unlisten *; listen {b}; commit"), "b"),
        (format!("unlisten {a}; listen {a}; unlisten {b}"), "a"),
        ("discard all".to_owned(), ""),
        ("unlisten *".to_owned(), ""),
        ("begin; unlisten *; rollback".to_owned(), "ab"),
        ("begin; unlisten *; commit".to_owned(), ""),
        ("begin; unlisten nothing; select 1/0; commit".to_owned(), "ab"),
    ];
    for (sql, left) in cases {
        let mut listener = pooler.client();
        listener.rows(&format!("listen {a}; listen {b}"));
        // Word by word, and each statement by itself.
        let statements: Vec<&str> = if sql.starts_with("begin") { sql.split("; ").collect() } else { vec![&sql] };
        for statement in statements {
            let _ = listener.try_rows(statement);
        }
        sender.rows(&both);
        let expected = [(&a, "1", 'a'), (&b, "2", 'b')].into_iter().filter(|(.., name)| left.contains(*name));
        expected.for_each(|(channel, payload, _)| hears(&mut listener, channel, payload));
        hears_nothing(&mut listener);
    }
}

/// What was given up came back, because the server had forgotten that it had been told.
#[test]
fn what_is_given_up_and_begun_at_once_is_told_apart() {
    let pooler = served();
    let [a, b] = ["a", "b"].map(direct::unique);
    let (mut listener, mut sender) = (pooler.client(), pooler.client());
    listener.rows(&format!("listen {a}"));
    let mut bytes = Vec::new();
    for sql in ["discard all".to_owned(), format!("listen {b}"), "reset all".to_owned(), "unlisten nothing".to_owned()]
    {
        messages::query(&mut bytes, sql.as_bytes());
    }
    listener.send(&bytes);
    (0..4).for_each(|_| drop(listener.until(b'Z')));
    sender.rows(&format!("notify {a}; notify {b}"));
    hears(&mut listener, &b, "");
    hears_nothing(&mut listener);
}

#[test]
fn a_notification_waits_for_the_end_of_a_block() {
    let pooler = served();
    let channel = direct::unique("channel");
    let (mut listener, mut sender) = (pooler.client(), pooler.client());
    listener.rows(&format!("listen {channel}"));
    listener.rows("begin; select 1");
    sender.rows(&format!("notify {channel}, 'x'"));
    hears_nothing(&mut listener);
    assert_eq!(heard(&listener.ask("select 2")), []);
    assert_eq!(heard(&listener.ask("commit")), [(channel, "x".to_owned())]);
}

#[test]
fn a_client_knows_its_own_notifications() {
    let pooler = served();
    let channel = direct::unique("channel");
    let (mut listener, mut other) = (pooler.client(), pooler.client());
    let mine = listener.key_data().0;
    // On its own server, on the one that listens for it, and by a function.
    for sql in [
        format!("listen {channel}; notify {channel}, 'x'"),
        format!("notify {channel}, 'x'"),
        format!("select pg_notify('{channel}', 'x')"),
        format!("begin; notify {channel}, 'x'; commit"),
    ] {
        let answer = listener.ask(&sql);
        let own: Vec<_> = answer.iter().filter(|message| message.tag == b'A').collect();
        assert_eq!(own.iter().map(|message| pid(message)).collect::<Vec<_>>(), [mine], "{sql}: {answer:?}");
    }
    // To begin and to notify at once, by a client that listens already.
    let more = format!("{channel}_more");
    let answer = listener.ask(&format!("listen {more}; notify {more}, '1'; notify {channel}, '2'"));
    let mut both = heard(&answer);
    both.sort();
    assert_eq!(both, [(channel.clone(), "2".to_owned()), (more, "1".to_owned())], "{answer:?}");
    other.rows(&format!("notify {channel}, 'y'"));
    let foreign = listener.message();
    assert_eq!(said(&foreign).1, "y");
    assert_ne!(pid(&foreign), mine);
    let backend: u32 =
        direct::value(&format!("select pg_backend_pid() from pg_notify('{channel}', 'z')")).parse().expect("a number");
    assert_eq!(pid(&listener.message()), backend, "others' process ids are as they are");
}

#[test]
fn any_name_and_any_payload_arrive() {
    let pooler = served();
    let (mut listener, mut sender) = (pooler.client(), pooler.client());
    let long = "n".repeat(80);
    for (name, known) in [
        ("\"Mixed Case\"", "Mixed Case"),
        ("\"with \"\"quotes\"\" ; and 'more'\"", "with \"quotes\" ; and 'more'"),
        ("\"$pooler$ $x$\"", "$pooler$ $x$"),
        ("FOLDED", "folded"),
        ("\"ümläut\"", "ümläut"),
        (long.as_str(), &long[..63]),
    ] {
        listener.rows(&format!("listen {name}"));
        for size in [0, 1, 7_999] {
            let payload = "p".repeat(size);
            sender.rows(&format!("notify {name}, '{payload}'"));
            hears(&mut listener, known, &payload);
        }
        listener.rows(&format!("unlisten {name}"));
        sender.rows(&format!("notify {name}, 'more'"));
        hears_nothing(&mut listener);
    }
}

#[test]
fn users_of_one_database_hear_each_other() {
    let (channel, role) = (direct::unique("channel"), direct::unique("role"));
    direct::ask(&direct::make_role(&role));
    let pooler = served_with(|setup| setup.secret(&role, "secret"));
    let mut listener = pooler.client();
    let mut other = crate::harness::Login::new(&role).open(&pooler.address());
    listener.rows(&format!("listen {channel}"));
    other.rows(&format!("listen {channel}"));
    other.rows(&format!("notify {channel}, 'x'"));
    hears(&mut listener, &channel, "x");
    listener.rows(&format!("notify {channel}, 'y'"));
    eventually(
        "both have come",
        || matches!(other.receive(QUIET), Received::Message(message) if message.tag == b'A' && said(&message).1 == "y"),
    );
}

#[test]
fn what_is_sent_while_a_listener_vanishes_harms_nobody() {
    let pooler = served();
    let channel = direct::unique("channel");
    let mut sender = pooler.client();
    for round in 0..20 {
        let mut stays = pooler.client();
        let mut leaves = pooler.client();
        stays.rows(&format!("listen {channel}"));
        leaves.send_query(&format!("listen {channel}"));
        if round % 2 == 0 {
            leaves.until(b'Z');
        }
        drop(leaves);
        sender.rows(&format!("notify {channel}, '{round}'"));
        hears(&mut stays, &channel, &round.to_string());
    }
    eventually("nobody listens", || {
        listening(&pooler).is_none_or(|(clients, channels, _)| (clients, channels) == (0, 0))
    });
}

/// Clients, channels and the server's process id, by SHOW LISTENERS.
fn listening(pooler: &Pooler) -> Option<(usize, usize, String)> {
    let row = pooler.console().show("LISTENERS").into_iter().next()?;
    let count = |name: &str| row[name].parse().expect("a number");
    Some((count("clients"), count("channels"), row["remote_pid"].clone()))
}

#[test]
fn a_client_may_listen_to_ten_thousand_channels_and_not_to_more() {
    let pooler = served_with(|setup| setup.allow("max_client_channels"));
    let mut listener = pooler.client();
    let channels: Vec<String> = (0..10_000).map(|number| format!("many_{number}")).collect();
    for some in channels.chunks(2500) {
        listener.rows(&some.iter().map(|name| format!("listen {name};")).collect::<String>());
    }
    let report = listener.error("listen one_more");
    assert_eq!((report.severity.as_str(), report.code.as_str()), ("ERROR", "53400"));
    assert_eq!(report.message, "too many channels (max_client_channels)");
    pooler.client().rows("notify many_0, 'first'; notify many_9999, 'last'; notify one_more");
    hears(&mut listener, "many_0", "first");
    hears(&mut listener, "many_9999", "last");
    hears_nothing(&mut listener);
    assert_eq!(listener.value("select count(*) from pg_listening_channels()"), "10000");
    listener.rows("unlisten many_1");
    listener.rows("listen one_more");
    assert_eq!(listening(&pooler).map(|(clients, channels, _)| (clients, channels)), Some((1, 10_000)));
}

#[test]
fn who_asks_for_too_many_channels_at_once_is_sent_away() {
    for setting in ["max_client_channels", "max_db_channels"] {
        let pooler = served_with(|setup| setup.set(setting, 2).allow("too many channels"));
        let (mut first, mut second) = (pooler.client(), pooler.client());
        first.rows("listen a; listen b");
        second.send_query("listen a; listen b; listen c");
        let report = second.last_words();
        assert_eq!((report.severity.as_str(), report.code.as_str()), ("FATAL", "53400"));
        assert_eq!(report.message, format!("cannot listen for this client: too many channels ({setting})"));
        first.rows("notify b, 'x'");
        eventually("only one is left", || {
            listening(&pooler).is_some_and(|(clients, channels, _)| (clients, channels) == (1, 2))
        });
    }
}

#[test]
fn who_lags_too_far_behind_is_told_and_the_others_are_not_harmed() {
    let pooler = served_with(|setup| setup.set("max_pending_notifications", 65_536).allow("max_pending_notifications"));
    let channel = direct::unique("channel");
    let [mut listener, mut in_block, mut deaf, mut sender] = [(); 4].map(|()| pooler.client());
    for client in [&mut listener, &mut in_block, &mut deaf] {
        client.rows(&format!("listen {channel}"));
    }
    in_block.rows("begin; select 1");
    let payload = "p".repeat(7000);
    for number in 0..3000 {
        sender.rows(&format!("notify {channel}, '{number} {payload}'"));
        let (_, heard) = said(&listener.message());
        assert!(heard.starts_with(&format!("{number} ")), "{number}");
    }
    // A block may end before.
    in_block.send_query("commit");
    for client in [&mut in_block, &mut deaf] {
        let all = client.until_closed();
        let before = all.iter().filter(|message| message.tag == b'A').map(|message| said(message).1);
        let numbers: Vec<usize> =
            before.map(|text| text.split(' ').next().expect("a number").parse().expect("a number")).collect();
        assert!(numbers.iter().copied().eq(0..numbers.len()), "without a gap: {numbers:?}");
        let report = all.last().filter(|last| last.tag == b'E').map(Message::report);
        println!("{} notifications before {report:?}", numbers.len());
        // One that does not read at all may be gone before it can be told.
        if let Some(report) = report {
            assert_eq!((report.severity.as_str(), report.code.as_str()), ("FATAL", "53400"));
            assert_eq!(report.message, "too many notifications wait for this client (max_pending_notifications)");
        }
    }
    eventually("one is left", || listening(&pooler).is_some_and(|(clients, ..)| clients == 1));
}

#[test]
fn a_listening_connection_that_is_lost_ends_its_listeners() {
    let pooler = served_with(|setup| setup.allow("listening connection is lost").allow("was lost"));
    let channel = direct::unique("channel");
    let (mut idle, mut busy, mut other) = (pooler.client(), pooler.client(), pooler.client());
    idle.rows(&format!("listen {channel}"));
    busy.rows(&format!("listen {channel}"));
    busy.rows("begin; select 1");
    let (_, _, pid) = listening(&pooler).expect("somebody listens");
    assert_eq!(
        direct::value(&format!("select application_name from pg_stat_activity where pid = {pid}")),
        "pooler: listens for app"
    );
    direct::ask(&format!("select pg_terminate_backend({pid})"));
    eventually("another one would be used", || listening(&pooler).is_none());
    assert_eq!(busy.value("select 2"), "2", "a block may end before");
    busy.send_query("commit");
    for client in [&mut idle, &mut busy] {
        let report = client.last_words();
        assert_eq!((report.severity.as_str(), report.code.as_str()), ("FATAL", "08006"));
        assert!(report.message.contains("the connection that listens"), "{report}");
    }
    other.rows(&format!("listen {channel}"));
    other.rows(&format!("notify {channel}, 'again'"));
}

#[test]
fn a_reload_that_moves_the_database_ends_its_listeners() {
    let mut pooler = served_with(|setup| setup.allow("listening connection is lost").allow("was lost"));
    let channel = direct::unique("channel");
    let mut listener = pooler.client();
    listener.rows(&format!("listen {channel}"));
    pooler.rewrite(|setup| setup.set("log_stats", true));
    pooler.console().run("RELOAD");
    pooler.client().rows(&format!("notify {channel}, 'still'"));
    hears(&mut listener, &channel, "still");
    pooler.rewrite(|setup| {
        setup.database_set("app", "application_name", "moved").database_set("app", "dbname", "postgres")
    });
    pooler.console().run("RELOAD");
    assert_eq!(listener.last_words().code, "08006");
}

/// A LISTEN that nobody sees is left on the server, which is closed as soon as that shows.
#[test]
fn a_server_that_listens_by_a_hidden_listen_is_closed() {
    let pooler = served_with(|setup| setup.set("default_pool_size", 1));
    let (channel, function) = (direct::unique("channel"), direct::unique("hidden"));
    direct::ask(&format!(
        "create function {function}() returns void language plpgsql as 'begin listen {channel}; end'"
    ));
    let mut client = pooler.client();
    client.rows(&format!("select {function}()"));
    let pid = client.value(PID);
    direct::ask(&format!("notify {channel}"));
    eventually("another server is used", || client.value(PID) != pid);
    // In a DO it is seen.
    client.rows(&format!("do $$ begin perform {function}(); listen {channel}; end $$"));
    direct::ask(&format!("notify {channel}, 'x'"));
    hears(&mut client, &channel, "x");
}

fn served_with(more: impl FnOnce(Setup) -> Setup) -> Pooler {
    more(Setup::new().set("default_pool_size", 3)).start()
}

/// The numbers of clients, channels and deliveries; `LISTEN_DELIVERIES` sets the last one, and the others with it.
fn crowd() -> (usize, usize, usize) {
    let deliveries = std::env::var("LISTEN_DELIVERIES").ok().map_or(5_000, |text| text.parse().expect("a number"));
    if deliveries >= 100_000 { (1000, 100, deliveries) } else { (100, 20, deliveries) }
}

#[test]
fn a_crowd_of_listeners_hears_everything_once_and_in_order() {
    let (clients, channels, deliveries) = crowd();
    let pooler = served_with(|setup| setup.set("max_client_conn", 2000));
    let prefix = direct::unique("crowd");
    let mut listeners: Vec<Client> = (0..clients).map(|_| pooler.client()).collect();
    for (number, listener) in listeners.iter_mut().enumerate() {
        listener.rows(&format!("listen {prefix}_{}", number % channels));
    }
    let (mut sender, mut second) = (pooler.client(), pooler.client());
    let per_listener = deliveries / clients;
    let began = std::time::Instant::now();
    for number in 0..per_listener {
        for channel in 0..channels {
            let sender = if channel % 2 == 0 { &mut sender } else { &mut second };
            sender.rows(&format!("notify {prefix}_{channel}, '{number}'"));
        }
    }
    let sent = began.elapsed();
    for (number, listener) in listeners.iter_mut().enumerate() {
        let channel = format!("{prefix}_{}", number % channels);
        for count in 0..per_listener {
            hears(listener, &channel, &count.to_string());
        }
    }
    let read = began.elapsed();
    println!(
        "{deliveries} deliveries to {clients} clients on {channels} channels: sent in {sent:?}, all read after {read:?}"
    );
    for listener in &mut listeners {
        assert!(matches!(listener.receive(Duration::from_millis(1)), Received::Nothing), "nothing comes twice");
    }
    let pids = direct::ask("select count(*) from pg_stat_activity where application_name = 'pooler: listens for app'");
    assert!(!pids.is_empty());
}

#[test]
fn a_stream_that_flows_while_clients_begin_to_listen_has_no_gap() {
    let pooler = served();
    let channel = direct::unique("stream");
    let mut first = pooler.client();
    first.rows(&format!("listen {channel}"));
    let senders: Vec<_> = (0..3)
        .map(|sender| {
            let (mut client, channel) = (pooler.client(), channel.clone());
            std::thread::spawn(move || {
                for number in 0..1000 {
                    client.rows(&format!("notify {channel}, '{sender} {number}'"));
                }
            })
        })
        .collect();
    let mut listeners: Vec<(Client, Vec<String>)> = Vec::new();
    for _ in 0..40 {
        let mut client = pooler.client();
        let heard: Vec<_> =
            client.ask(&format!("listen {channel}")).iter().filter(|message| message.tag == b'A').map(said).collect();
        listeners.push((client, heard.into_iter().map(|(_, payload)| payload).collect()));
    }
    senders.into_iter().for_each(|sender| sender.join().expect("all is sent"));
    pooler.client().rows(&format!("notify {channel}, 'end'"));
    let rest = |client: &mut Client, heard: &mut Vec<String>| {
        while heard.last().is_none_or(|last| last != "end") {
            heard.push(said(&client.message()).1);
        }
    };
    let mut all = Vec::new();
    rest(&mut first, &mut all);
    assert_eq!(all.len(), 3001);
    for (client, heard) in &mut listeners {
        rest(client, heard);
        assert_eq!(heard[..], all[all.len() - heard.len()..], "all from its first one on, in the same order");
    }
}

#[test]
fn drivers_that_send_all_at_once_are_served_too() {
    let pooler = served();
    let [a, b] = ["a", "b"].map(direct::unique);
    let (mut listener, mut sender) = (pooler.client(), pooler.client());
    let mut batch = |statements: &[&str]| {
        let mut bytes = Vec::new();
        for statement in statements {
            parse(&mut bytes, "", statement);
            messages::message(&mut bytes, b'B', |out| out.extend_from_slice(&[0; 8]));
            messages::message(&mut bytes, b'E', |out| out.extend_from_slice(&[0; 5]));
        }
        messages::sync(&mut bytes);
        listener.send(&bytes);
        assert!(listener.until(b'Z').iter().all(|message| message.tag != b'E'));
    };
    batch(&[&format!("listen {a}"), &format!("listen {b}")]);
    batch(&["begin", &format!("unlisten {a}")]);
    batch(&["commit"]);
    let mut named = Vec::new();
    parse(&mut named, "s", &format!("unlisten {b}"));
    run(&mut named, "s");
    listener.send(&named);
    listener.until(b'Z');
    sender.rows(&format!("notify {a}; notify {b}"));
    hears_nothing(&mut listener);
}

#[test]
fn what_listens_is_shown() {
    let port = crate::harness::pooler::port();
    let pooler =
        served_with(|setup| setup.set("metrics_listen_addr", "127.0.0.1").set("metrics_listen_port", i64::from(port)));
    let channel = direct::unique("channel");
    let mut listener = pooler.client();
    listener.rows(&format!("listen {channel}; listen more"));
    listener.rows(&format!("notify {channel}"));
    let row = pooler.console().show("LISTENERS").remove(0);
    let shown =
        ["database", "encoding", "clients", "channels", "deliveries", "pending_bytes"].map(|name| row[name].as_str());
    assert_eq!(shown, ["app", "UTF8", "1", "2", "1", "0"]);
    let (_, page) = crate::metrics::get(&crate::harness::Address::local(port), "/metrics");
    for line in [
        "pooler_listening_clients{database=\"app\",encoding=\"UTF8\"} 1.0",
        "pooler_listening_channels{database=\"app\",encoding=\"UTF8\"} 2.0",
        "pooler_notifications_total 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    listener.bye();
    eventually("it is closed when nobody listens", || pooler.console().show("LISTENERS").is_empty());
}

#[test]
fn a_session_that_is_pinned_is_listened_for_as_well() {
    let pooler = served();
    let [a, b] = ["a", "b"].map(direct::unique);
    let (mut listener, mut sender) = (pooler.client(), pooler.client());
    listener.rows(&format!("listen {a}"));
    listener.rows(&format!("create temp table mine (id int); listen {b}"));
    sender.rows(&format!("notify {a}, '1'; notify {b}, '2'"));
    hears(&mut listener, &a, "1");
    hears(&mut listener, &b, "2");
    listener.rows(&format!("unlisten {a}; drop table mine"));
    sender.rows(&format!("notify {a}, '3'; notify {b}, '4'"));
    hears(&mut listener, &b, "4");
    hears_nothing(&mut listener);
}

#[test]
fn a_client_that_changes_its_encoding_is_told_in_that_of_its_listen() {
    let pooler = served();
    let (mut listener, mut sender) = (pooler.client(), pooler.client());
    listener.rows("listen \"grün\"");
    listener.rows("set client_encoding = 'LATIN1'");
    listener.rows("listen plain");
    sender.rows("notify \"grün\", 'ü'; notify plain, 'ü'");
    let mut bodies = [listener.message().body[4..].to_vec(), listener.message().body[4..].to_vec()];
    bodies.sort();
    assert_eq!(bodies, ["grün\0ü\0".as_bytes().to_vec(), b"plain\0\xfc\0".to_vec()]);
}
