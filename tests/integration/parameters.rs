//! Session parameters follow their client from server to server.

use crate::harness::{Client, Pooler, Setup, eventually};

const TRACKED: [(&str, [&str; 3]); 6] = [
    ("application_name", ["alpha", "beta", "it's \\ odd"]),
    ("client_encoding", ["UTF8", "LATIN1", "SQL_ASCII"]),
    ("DateStyle", ["ISO, MDY", "German, DMY", "SQL, DMY"]),
    ("TimeZone", ["UTC", "Europe/Paris", "Asia/Tokyo"]),
    ("IntervalStyle", ["postgres", "iso_8601", "sql_standard"]),
    ("standard_conforming_strings", ["on", "off", "on"]),
];

fn two_servers() -> Pooler {
    Setup::new().set("default_pool_size", 2).start()
}

/// What the server that serves this client now thinks; the odd client's values never repeat its neighbour's.
#[track_caller]
fn check(client: &mut Client, number: usize) {
    let settings = TRACKED.map(|(name, _)| format!("current_setting('{name}')")).join(", ");
    let rows = client.rows(&format!("select {settings}"));
    let expected = TRACKED.map(|(_, values)| Some(values[number % 3].to_owned()));
    assert_eq!(rows, [expected]);
}

/// Clients are served in pairs, so that each gets either server.
fn take_turns(clients: &mut [Client]) {
    for round in 0..6 {
        for number in 0..clients.len() {
            let partner = (number + 1 + round) % clients.len();
            if partner != number {
                clients[partner].rows("begin");
            }
            check(&mut clients[number], number);
            if partner != number {
                check(&mut clients[partner], partner);
                clients[partner].rows("commit");
            }
        }
    }
}

#[test]
fn parameters_given_at_startup_follow_their_client() {
    let pooler = two_servers();
    let logins = (0..9).map(|number| {
        TRACKED.iter().fold(pooler.login(), |login, (name, values)| login.with(name, values[number % 3]))
    });
    let mut clients: Vec<_> = logins.map(|login| login.open(&pooler.address())).collect();
    take_turns(&mut clients);
}

#[test]
fn parameters_changed_by_set_follow_their_client() {
    let pooler = two_servers();
    let mut clients: Vec<_> = (0..9).map(|_| pooler.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        for (name, values) in TRACKED {
            client.rows(&format!("select set_config('{name}', $q${}$q$, false)", values[number % 3]));
        }
    }
    take_turns(&mut clients);
}

#[test]
fn a_changed_parameter_is_reported_to_its_client_only() {
    let pooler = Setup::new().set("default_pool_size", 1).start();
    let (mut first, mut second) = (pooler.client(), pooler.client());
    let answer = first.ask("set timezone = 'Asia/Tokyo'");
    let reported = answer.iter().filter(|message| message.tag == b'S').map(|message| message.parameter());
    assert_eq!(reported.collect::<Vec<_>>(), [("TimeZone".into(), "Asia/Tokyo".into())]);
    let answer = second.ask("show timezone");
    assert!(answer.iter().all(|message| message.tag != b'S'), "{answer:?}");
    assert_eq!(second.value("show timezone"), "UTC");
    assert_eq!(first.value("show timezone"), "Asia/Tokyo");
}

#[test]
fn the_greeting_reports_what_the_client_asked_for() {
    let pooler = two_servers();
    pooler.client().rows("select 1");
    let login = pooler.login().with("application_name", "mine").with("TimeZone", "Europe/Paris");
    let client = login.open(&pooler.address());
    assert_eq!(client.parameter("application_name"), "mine");
    assert_eq!(client.parameter("TimeZone"), "Europe/Paris");
    assert_eq!(client.parameter("server_encoding"), "UTF8");
    assert!(client.parameter("server_version").starts_with(|first: char| first.is_ascii_digit()));
}

#[test]
fn a_rolled_back_set_is_forgotten() {
    let pooler = two_servers();
    let mut client = pooler.client();
    client.rows("begin");
    client.rows("set timezone = 'Asia/Tokyo'");
    client.rows("rollback");
    assert_eq!(client.value("show timezone"), "UTC");
}

#[test]
fn a_bad_parameter_is_reported_with_the_first_query() {
    let pooler = two_servers().also("invalid server parameter");
    let mut client = pooler.login().with("TimeZone", "Nowhere/Land").open(&pooler.address());
    client.send_query("select 1");
    let report = client.last_words();
    assert_eq!((report.severity.as_str(), report.message.as_str()), ("FATAL", "invalid server parameter"));
    pooler.client().rows("select 1");
}

#[test]
fn an_unsupported_startup_parameter_is_refused_and_can_be_ignored() {
    let pooler = two_servers().also("unsupported startup parameter");
    let refused = pooler.login().with("work_mem", "1MB").try_open(&pooler.address()).expect_err("unsupported");
    assert_eq!(
        (refused.severity.as_str(), refused.message.as_str()),
        ("FATAL", "unsupported startup parameter: work_mem")
    );
    let ignoring = Setup::new().set("ignore_startup_parameters", "work_mem, extra_float_digits").start();
    let login = ignoring.login().with("work_mem", "1MB").with("extra_float_digits", "3");
    login.open(&ignoring.address()).rows("select 1");
}

#[test]
fn options_may_set_what_is_tracked() {
    let pooler = two_servers().also("unsupported");
    let login =
        pooler.login().with("options", "-c TimeZone=Asia/Tokyo --datestyle=German -capplication_name=by\\ option");
    let mut client = login.open(&pooler.address());
    let rows = client.rows("select current_setting('TimeZone'), current_setting('application_name')");
    assert_eq!(rows, [[Some("Asia/Tokyo".into()), Some("by option".into())]]);
    assert!(client.value("show datestyle").starts_with("German"));
    let unknown =
        pooler.login().with("options", "-c work_mem=1MB").try_open(&pooler.address()).expect_err("unsupported");
    assert_eq!(unknown.message, "unsupported startup parameter in options: work_mem");
    let strange = pooler.login().with("options", "-x").try_open(&pooler.address()).expect_err("unsupported");
    assert_eq!(
        strange.message,
        "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed"
    );
}

#[test]
fn application_name_add_host_appends_the_address() {
    let pooler = Setup::new().set("application_name_add_host", true).start();
    let mut named = pooler.login().with("application_name", "mine").open(&pooler.address());
    let name = named.value("show application_name");
    assert!(name.starts_with("mine - 127.0.0.1:"), "{name}");
    let name = pooler.client().value("show application_name");
    assert!(name.starts_with("app - 127.0.0.1:"), "{name}");
}

#[test]
fn parameters_survive_the_loss_of_the_server() {
    let pooler = two_servers();
    let mut client = pooler.login().with("application_name", "steady").open(&pooler.address());
    client.rows("set timezone = 'Asia/Tokyo'");
    let mut console = pooler.console();
    console.run("RECONNECT");
    eventually("all servers are new", || console.try_run("WAIT_CLOSE").is_ok());
    let rows = client.rows("select current_setting('application_name'), current_setting('timezone')");
    assert_eq!(rows, [[Some("steady".into()), Some("Asia/Tokyo".into())]]);
}

#[test]
fn a_databases_own_parameters_are_its_servers_defaults() {
    let setup = Setup::new().database_set("app", "timezone", "Europe/Paris").database_set("app", "datestyle", "German");
    let pooler = setup.start();
    let mut client = pooler.client();
    assert_eq!(client.value("show timezone"), "Europe/Paris");
    assert_eq!(client.parameter("TimeZone"), "Europe/Paris");
}
