//! The admin console: columns that exporters depend on, counts that are true, commands and their errors.

use std::time::{Duration, Instant};

use protocol::messages;

use crate::harness::{Console, Login, Setup, direct, eventually};
use crate::pause::backends;

/// What SHOW answers, in PgBouncer's order.
const COLUMNS: [(&str, &str); 17] = [
    ("CLIENTS", SOCKET_WITH_PINS),
    ("SERVERS", SOCKET_WITH_PINS),
    ("SOCKETS", SOCKET_WITH_BUFFERS),
    ("ACTIVE_SOCKETS", SOCKET_WITH_BUFFERS),
    ("CONFIG", "key value default changeable"),
    (
        "DATABASES",
        "name host port database force_user pool_size min_pool_size reserve_pool_size server_lifetime pool_mode \
      load_balance_hosts max_connections current_connections max_client_connections current_client_connections paused disabled",
    ),
    ("DNS_HOSTS", "hostname ttl addrs"),
    ("DNS_ZONES", "zonename serial count"),
    ("LISTS", "list items"),
    ("MEM", "name size used free memtotal"),
    ("PEERS", "peer_id host port pool_size"),
    (
        "POOLS",
        "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active sv_active_cancel \
      sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode load_balance_hosts",
    ),
    ("STATE", "key value"),
    (
        "STATS_TOTALS",
        "database server_assignment_count xact_count query_count bytes_received bytes_sent xact_time query_time \
      wait_time client_parse_count server_parse_count bind_count client_login_count",
    ),
    ("TOTALS", "name value"),
    (
        "USERS",
        "name pool_size reserve_pool_size pool_mode max_user_connections current_connections \
      max_user_client_connections current_client_connections",
    ),
    ("VERSION", "version"),
];
const SOCKET_WITH_PINS: &str = "type user database replication state addr port local_addr local_port connect_time request_time \
    wait wait_us close_needed ptr link remote_pid tls application_name prepared_statements id pinned";
const SOCKET_WITH_BUFFERS: &str = "type user database replication state addr port local_addr local_port connect_time request_time \
    wait wait_us close_needed ptr link remote_pid tls application_name prepared_statements id recv_pos pkt_pos pkt_remain \
    send_pos send_remain pkt_avail send_avail";

#[test]
fn every_show_has_pgbouncers_columns() {
    let pooler = Setup::new().start();
    pooler.client().rows("select 1");
    let mut console = pooler.console();
    for (what, columns) in COLUMNS {
        assert_eq!(
            console.columns(what).join(" "),
            columns.split_whitespace().collect::<Vec<_>>().join(" "),
            "SHOW {what}"
        );
    }
    let stats = console.columns("STATS");
    assert_eq!(stats.len(), 25);
    assert_eq!(
        (stats[1].as_str(), stats[13].as_str()),
        ("total_server_assignment_count", "avg_server_assignment_count")
    );
    assert_eq!(console.columns("STATS_AVERAGES").last().map(String::as_str), Some("avg_client_login_count"));
}

#[test]
fn pools_clients_and_servers_are_counted_truly() {
    let pooler = Setup::new().set("default_pool_size", 2).start();
    let user = pooler.setup.user.clone();
    let mut clients: Vec<_> = (0..4).map(|_| pooler.client()).collect();
    let (busy, rest) = clients.split_at_mut(2);
    busy.iter_mut().for_each(|client| drop(client.rows("begin")));
    rest[0].send_query("select 1");
    let mut console = pooler.console();
    eventually("one waits", || console.count(&user, "cl_waiting") == 1);
    let pool = console.pool(&user);
    let counts =
        ["cl_active", "cl_waiting", "sv_active", "sv_idle", "sv_used", "sv_login"].map(|column| pool[column].as_str());
    assert_eq!(counts, ["3", "1", "2", "0", "0", "0"]);
    assert_eq!(pool["pool_mode"], "transaction");
    let clients_listed = console.show("CLIENTS");
    let waiting: Vec<_> = clients_listed.iter().filter(|row| row["state"] == "waiting").collect();
    assert_eq!(waiting.len(), 1, "{clients_listed:?}");
    let servers = console.show("SERVERS");
    assert_eq!(servers.iter().filter(|row| row["user"] == user && row["state"] == "active").count(), 2);
    busy.iter_mut().for_each(|client| drop(client.rows("commit")));
    assert!(rest[0].answer().is_ok());
    eventually("all are idle", || console.count(&user, "sv_idle") == 2 && console.count(&user, "sv_active") == 0);
}

#[test]
fn clients_and_servers_are_linked_and_named() {
    let pooler = Setup::new().start();
    let mut client = pooler.login().with("application_name", "the app").open(&pooler.address());
    client.rows("begin");
    let pid = client.value("select pg_backend_pid()");
    let mut console = pooler.console();
    let find = |rows: Vec<crate::harness::console::Row>| {
        rows.into_iter().find(|row| row["user"] == pooler.setup.user).expect("it is listed")
    };
    let (listed, server) = (find(console.show("CLIENTS")), find(console.show("SERVERS")));
    assert_eq!((listed["type"].as_str(), server["type"].as_str()), ("C", "S"));
    assert_eq!((&listed["link"], &server["link"]), (&server["ptr"], &listed["ptr"]));
    assert_eq!((server["remote_pid"].as_str(), listed["application_name"].as_str()), (pid.as_str(), "the app"));
    assert_eq!((listed["state"].as_str(), server["state"].as_str()), ("active", "active"));
    client.rows("commit");
}

#[test]
fn stats_count_queries_transactions_and_bytes() {
    let pooler = Setup::new().start();
    let mut client = pooler.client();
    let mut console = pooler.console();
    let totals = |console: &mut Console| {
        let rows = console.show("STATS_TOTALS");
        let row = rows.into_iter().find(|row| row["database"] == "app").expect("the database is listed");
        ["xact_count", "query_count", "server_assignment_count", "bytes_received", "bytes_sent"]
            .map(|column| row[column].parse::<i64>().expect("a number"))
    };
    client.rows("select 1");
    pooler.quiet();
    let before = totals(&mut console);
    (0..7).for_each(|_| drop(client.rows("select 1")));
    client.rows("begin");
    client.rows("select 1");
    client.rows("commit");
    pooler.quiet();
    let after = totals(&mut console);
    let grown: Vec<i64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!(grown[..3], [8, 10, 8]);
    assert!(grown[3] > 100 && grown[4] > 400, "{grown:?}");
}

#[test]
fn commands_are_forgiving_about_case_blanks_and_semicolons() {
    let pooler = Setup::new().start();
    let mut console = pooler.console();
    for command in ["show pools", "  Show   POOLS ; ", "SHOW \"pools\"", "select pools"] {
        assert_eq!(console.run(command), "SHOW", "{command}");
    }
}

#[test]
fn unknown_commands_are_errors_and_the_console_goes_on() {
    let pooler = Setup::new().start();
    let mut console = pooler.console();
    for command in
        ["nonsense", ";", "", "SHOW", "SHOW NOTHING", "SELECT 1", "BEGIN", "SHOW POOLS; SHOW POOLS", "KILL a b"]
    {
        let report = console.error(command);
        assert_eq!(report.severity, "ERROR", "{command}: {report}");
    }
    assert_eq!(console.error("nonsense").message, "invalid command 'nonsense', use SHOW HELP;");
    let help = console.client.ask("SHOW HELP");
    let notice = help.iter().find(|message| message.tag == b'N').expect("help is a notice").report();
    assert_eq!(notice.message, "Console usage");
    assert!(notice.detail.contains("SHOW") && notice.detail.contains("PAUSE"), "{}", notice.detail);
}

#[test]
fn only_administrators_may_change_things() {
    let pooler = Setup::new().allow("not allowed").start();
    let mut reader = Console::open(&pooler.address(), "stats");
    reader.show("POOLS");
    for command in ["PAUSE", "RELOAD", "SHUTDOWN", "KILL app", "SET default_pool_size = 1", "SHOW FDS", "DISABLE app"] {
        assert_eq!(reader.error(command).message, "admin access needed", "{command}");
    }
    let stranger = pooler.login().database("pgbouncer").try_open(&pooler.address()).expect_err("not for everybody");
    assert_eq!((stranger.severity.as_str(), stranger.message.as_str()), ("FATAL", "not allowed"));
}

#[test]
fn drivers_get_the_answers_they_ask_for_at_connect() {
    let pooler = Setup::new().start();
    let mut console = pooler.console();
    assert!(console.client.parameter("server_version").ends_with("/bouncer"));
    assert_eq!(console.client.parameter("client_encoding"), "UTF8");
    for (name, value) in [("client_encoding", "UTF-8"), ("standard_conforming_strings", "on"), ("timezone", "GMT")] {
        assert_eq!(console.client.value(&format!("SHOW {name}")), value);
    }
    let answer = console.client.ask("SET client_encoding = 'UTF8'");
    assert_eq!((answer[0].tag, answer[0].report().message.as_str()), (b'N', "SET ignored"));
}

#[test]
fn set_changes_a_setting_until_the_next_reload() {
    let pooler = Setup::new().set("default_pool_size", 3).start();
    let mut console = pooler.console();
    assert!(console.run("SET default_pool_size = 7").starts_with("SET"));
    assert_eq!(console.setting("default_pool_size"), "7");
    console.run("SET query_wait_timeout TO '33'");
    assert_eq!(console.setting("query_wait_timeout"), "33");
    for command in ["SET no_such_setting = 1", "SET default_pool_size = 'many'"] {
        assert!(console.error(command).message.contains("SET failed"), "{command}");
    }
    console.run("RELOAD");
    assert_eq!(console.setting("default_pool_size"), "3");
}

#[test]
fn the_extended_protocol_works_on_the_console() {
    let pooler = Setup::new().start();
    let mut console = pooler.console();
    let mut batch = Vec::new();
    messages::extended_query(&mut batch, b"SHOW VERSION", &[]);
    console.client.send(&batch);
    let rows = console.client.answer();
    assert!(rows.as_ref().is_ok_and(|rows| rows.len() == 1), "{rows:?}");
    batch.clear();
    messages::extended_query(&mut batch, b"nonsense", &[]);
    console.client.send(&batch);
    assert_eq!(console.client.answer().expect_err("an error").severity, "ERROR");
    console.show("POOLS");
}

#[test]
fn kill_drops_clients_and_servers_until_resume() {
    let pooler = Setup::new().allow("database removed").start();
    let mut client = pooler.client();
    client.rows("begin");
    let mut console = pooler.console();
    assert_eq!(console.run("KILL app"), "KILL");
    assert_eq!(client.last_words().message, "database removed");
    eventually("the servers are gone", || backends(&pooler) == 0);
    console.run("RESUME app");
    pooler.client().rows("select 1");
}

#[test]
fn kill_client_drops_one_client() {
    let pooler = Setup::new().allow("admin forced disconnect").start();
    let (mut victim, mut other) =
        (pooler.login().with("application_name", "victim").open(&pooler.address()), pooler.client());
    victim.rows("select 1");
    let mut console = pooler.console();
    let rows = console.show("CLIENTS");
    let row = rows.iter().find(|row| row["application_name"] == "victim").expect("it is listed");
    assert_eq!(console.run(&format!("KILL_CLIENT {}", row["id"])), "KILL_CLIENT");
    let report = victim.last_words();
    assert_eq!((report.code.as_str(), report.message.as_str()), ("57P01", "admin forced disconnect"));
    other.rows("select 1");
    assert_eq!(console.error("KILL_CLIENT 999999").message, "client not found");
}

#[test]
fn disable_refuses_new_clients_and_keeps_the_others() {
    let pooler = Setup::new().allow("is disabled").start();
    let mut client = pooler.client();
    let mut console = pooler.console();
    assert_eq!(console.run("DISABLE app"), "DISABLE");
    let report = pooler.login().try_open(&pooler.address()).expect_err("disabled");
    assert_eq!((report.severity.as_str(), report.message.as_str()), ("FATAL", "database \"app\" is disabled"));
    client.rows("select 1");
    assert_eq!(console.run("ENABLE app"), "ENABLE");
    pooler.client().rows("select 1");
    assert_eq!(console.error("DISABLE").message, "a database is required");
    assert_eq!(console.error("DISABLE nowhere").message, "no such database: nowhere");
}

#[test]
fn reconnect_gives_new_servers_and_wait_close_waits_for_the_old() {
    let pooler = Setup::new().start();
    let (mut client, mut busy) = (pooler.client(), pooler.client());
    busy.rows("begin");
    let old = busy.value("select pg_backend_pid()");
    let mut console = pooler.console();
    assert_eq!(console.run("RECONNECT app"), "RECONNECT");
    assert_eq!(busy.value("select pg_backend_pid()"), old, "a transaction keeps its server");
    console.client.send_query("WAIT_CLOSE app");
    client.rows("select 1");
    let silent = console.client.receive(Duration::from_millis(50));
    assert!(matches!(silent, crate::harness::client::Received::Nothing), "{silent:?}");
    busy.rows("commit");
    let answer = console.client.until(b'Z');
    assert_eq!(answer[0].text(), "WAIT_CLOSE");
    assert_ne!(busy.value("select pg_backend_pid()"), old);
}

#[test]
fn the_console_answers_at_once_however_full_the_pooler_is() {
    let setup = Setup::new().set("max_client_conn", 30).set("default_pool_size", 1);
    let pooler = setup.start();
    let mut clients: Vec<_> = (0..30).map(|_| pooler.client()).collect();
    clients[0].rows("begin");
    clients[1..].iter_mut().for_each(|client| client.send_query("select 1"));
    let since = Instant::now();
    let mut console = pooler.console();
    console.show("POOLS");
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    clients[0].rows("commit");
    clients[1..].iter_mut().for_each(|client| assert!(client.answer().is_ok()));
}

#[test]
fn the_alias_pooler_is_the_console_too() {
    let pooler = Setup::new().start();
    let mut client = Login::new("admin").database("pooler").open(&pooler.address());
    assert!(client.value("SHOW VERSION").contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_operator_on_the_unix_socket_needs_no_password() {
    let pooler = Setup::new().allow("pooler error").start();
    let directory = pooler.path("");
    let postgres = direct::shared();
    // Under the pooler's own account, which for root is another one.
    let mut psql = postgres.account().command(postgres.bin().join("psql"));
    psql.args(["-XAt", "-U", "pgbouncer", "-p", &pooler.port.to_string(), "-c", "SHOW VERSION", "-h"]).arg(directory);
    let output = psql.arg("pgbouncer").current_dir("/").output().expect("psql can be run");
    assert!(output.status.success(), "{output:?}");
    let stranger = Login::new("pgbouncer").database("pgbouncer").try_open(&pooler.address()).expect_err("not over TCP");
    assert_eq!(stranger.severity, "FATAL");
}

#[test]
fn show_lists_counts_what_is_there() {
    let pooler = Setup::new().database("other").start();
    let _clients = (pooler.client(), pooler.client());
    let mut console = pooler.console();
    let rows = console.show("LISTS");
    let item = |name: &str| {
        rows.iter().find(|row| row["list"] == name).unwrap_or_else(|| panic!("no {name}"))["items"].clone()
    };
    assert_eq!(item("databases"), "3");
    assert_eq!(item("used_clients"), "3");
    assert_eq!(rows.len(), 14);
}
