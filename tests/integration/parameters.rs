//! Session parameters follow their client from server to server.

use crate::harness::{Address, Client, Pooler, Setup, direct, eventually};

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
    let pooler = two_servers().also("parameter").also("does not exist").also("permission denied");
    for (name, value) in [
        ("TimeZone", "Nowhere/Land"),
        ("work_mem", "much"),
        ("no_such_parameter", "1"),
        ("log_statement", "all"),
        ("role", "nobody_at_all"),
        ("options", "-c work_mem=much"),
    ] {
        let login = |user: &str| crate::harness::Login::new(user).with(name, value);
        let direct = login(&pooler.setup.user).try_open(&Address::local(direct::shared().port()));
        let expected = direct.expect_err("a bad parameter");
        let mut client = pooler.login().with(name, value).open(&pooler.address());
        client.send_query("select 1");
        let report = client.last_words();
        assert_eq!((report.severity, report.code), ("FATAL".into(), expected.code), "{name}");
    }
    pooler.client().rows("select 1");
}

#[test]
fn any_startup_parameter_follows_its_client_unless_it_is_ignored() {
    let pooler = two_servers();
    let login = |number: usize| {
        pooler
            .login()
            .with("extra_float_digits", ["3", "0"][number % 2])
            .with("work_mem", &format!("{}kB", 1000 + number))
            .with("search_path", "pg_catalog, public")
            .with("app.number", &number.to_string())
            .with("options", "-c statement_timeout=7s -c work_mem=99kB")
    };
    let mut clients: Vec<_> = (0..5).map(|number| login(number).open(&pooler.address())).collect();
    for round in 0..4 {
        for number in 0..clients.len() {
            let other = (number + round + 1) % clients.len();
            clients[other].rows("begin");
            let shown = clients[number].rows(
                "select current_setting('extra_float_digits'), current_setting('work_mem'), \
                 current_setting('search_path'), current_setting('app.number'), current_setting('statement_timeout')",
            );
            let work_mem = format!("{}kB", 1000 + number);
            let expected =
                [["3", "0"][number % 2], &work_mem, "pg_catalog, public", &number.to_string(), "7s"].map(String::from);
            assert_eq!(shown, [expected.map(Some)]);
            clients[other].rows("commit");
        }
    }
    let mut plain = pooler.client();
    assert_eq!(
        plain.value(
            "select count(*) from pg_settings where source = 'session' and name not in ('TimeZone', \
        'DateStyle', 'IntervalStyle', 'client_encoding', 'application_name', 'standard_conforming_strings')"
        ),
        "0"
    );
    let ignoring = Setup::new().set("ignore_startup_parameters", "work_mem, extra_float_digits, options").start();
    let login =
        ignoring.login().with("work_mem", "1MB").with("extra_float_digits", "3").with("options", "-c work_mem=1MB");
    assert_eq!(login.open(&ignoring.address()).value("show work_mem"), "4MB");
}

#[test]
fn options_may_set_what_servers_report() {
    let pooler = two_servers().also("unsupported");
    let login =
        pooler.login().with("options", "-c TimeZone=Asia/Tokyo --datestyle=German -capplication_name=by\\ option");
    let mut client = login.open(&pooler.address());
    let rows = client.rows("select current_setting('TimeZone'), current_setting('application_name')");
    assert_eq!(rows, [[Some("Asia/Tokyo".into()), Some("by option".into())]]);
    assert!(client.value("show datestyle").starts_with("German"));
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
