//! Reading entries through their rows: types, names, availability, SET.

use std::path::Path;
use std::time::Duration;

use crate::{Config, FileMode, Loaded, PoolMode, Problems, Secret};

fn load(text: &str) -> Result<Loaded, Problems> {
    Config::from_text(Path::new("x.toml"), text)
}

fn good(text: &str) -> Config {
    load(text).unwrap_or_else(|problems| panic!("{problems}")).config
}

fn bad(text: &str) -> String {
    load(text).expect_err("a bad file was accepted").to_string()
}

#[test]
fn a_pooler_toml_is_read() {
    let config = good(
        "listen_addr = ['10.0.0.1', '::1']\nadmin_users = 'a, b'\nlog_stats = false\ntcp_keepalive = 0\n\
         query_timeout = '200ms'\nserver_lifetime = 0.5\nidle_transaction_timeout = '2h'\nunix_socket_mode = '0770'\n\
         max_db_connections = 0\n[databases.app]\nhost = ['a', '/b']\npool_mode = 'statement'\npassword = 'x'\n\
         server_lifetime = '0s'\n[databases.'*']\n[users.joe]\nquery_wait_timeout = 0\nquery_timeout = 0\n",
    );
    let global = &config.global;
    assert_eq!(global.listen_addr, ["10.0.0.1", "::1"]);
    assert_eq!(global.admin_users, ["a", "b"]);
    assert!(!global.log_stats && !global.tcp_keepalive);
    assert_eq!(global.query_timeout, Some(Duration::from_millis(200)));
    assert_eq!(global.server_lifetime, Duration::from_millis(500));
    assert_eq!(global.idle_transaction_timeout, Some(Duration::from_secs(7200)));
    assert_eq!(global.unix_socket_mode, FileMode(0o770));
    assert_eq!(global.max_db_connections, None);
    let app = &config.databases["app"];
    assert_eq!(app.hosts.len(), 2);
    assert_eq!(app.pool_mode, Some(PoolMode::Statement));
    assert_eq!(app.password, Some(Secret::Plain("x".into())));
    assert_eq!(app.server_lifetime, None, "0 inherits");
    let joe = &config.users["joe"];
    assert_eq!((joe.query_wait_timeout, joe.query_timeout), (Some(None), None), "0 = never here, inherit there");
}

#[test]
fn a_wrong_type_says_what_was_expected_and_found() {
    let text = bad(
        "listen_port = '6432'\nlog_stats = 'yes'\nquery_timeout = '5 parsecs'\nuser = 7\nlisten_addr = [1]\npool_mode = 'fast'\nunix_socket_mode = 777\n",
    );
    for expected in [
        "x.toml:1:1: listen_port: expected a whole number from 0 to 65535, found the text \"6432\"",
        "x.toml:2:1: log_stats: expected true, false, 1 or 0, found the text \"yes\"",
        "x.toml:3:1: query_timeout: expected seconds",
        "x.toml:4:1: user: expected text, found the number 7",
        "x.toml:5:1: listen_addr: expected text with commas, or a list of text, found a list with something other",
        "x.toml:6:1: pool_mode: expected one of session, transaction, statement, found the text \"fast\"",
        "x.toml:7:1: unix_socket_mode: expected octal text",
    ] {
        assert!(text.contains(expected), "{expected}\nnot in\n{text}");
    }
}

#[test]
fn an_unknown_key_names_the_nearest() {
    assert!(
        bad("defualt_pool_size = 1\n")
            .contains("x.toml:1:1: unknown setting \"defualt_pool_size\"; did you mean \"default_pool_size\"?")
    );
    assert!(bad("zzzzzzzzzzzz = 1\n").ends_with("unknown setting \"zzzzzzzzzzzz\""));
    let swallowed = bad("[databases.a]\nhost = 'x'\nlisten_port = 5\n");
    assert!(
        swallowed.contains("x.toml:3:1: unknown key \"listen_port\" in databases.a: it is a global setting"),
        "{swallowed}"
    );
    assert!(bad("[pgbouncer]\nlisten_port = 1\n").contains("top level"));
    assert!(bad("[formation]\n").contains("unknown table [formation]"));
    assert!(bad("[databases]\na = 'host=x'\n").contains("x.toml:2:1: databases.a: expected a table, found the text"));
}

#[test]
fn syntax_errors_and_duplicates_have_places() {
    assert!(bad("listen_port = 1\nlisten_port = 2\n").starts_with("x.toml:2:1: "));
    assert!(bad("listen_port = \n").starts_with("x.toml:1:"));
    assert!(bad("é = 1\n# ünder\nx = 'é' y\n").contains("x.toml:3:9: "), "{}", bad("é = 1\n# ünder\nx = 'é' y\n"));
}

#[test]
fn text_without_quotes_is_named_as_such_and_causes_no_other_complaint() {
    assert_eq!(
        bad("pool_mode = transaction\nunknown = 1\n"),
        "x.toml:1:13: invalid boolean, expected `true`; text needs quotes"
    );
    assert!(bad("[databases.a]\nhost = 127.0.0.1\n").ends_with("text needs quotes"));
}

#[test]
fn what_is_not_available_is_refused_plainly() {
    for (line, reason) in [
        (
            "so_reuseport = true",
            "so_reuseport: sharing a port is not available in this version: one process uses every core; only \"0\" works",
        ),
        ("auth_type = 'ldap'", "expected one of any, trust"),
        ("auth_ldap_options = 'x'", "auth_ldap_options: LDAP is not available in this version; leave it out"),
        ("syslog = 1", "syslog"),
        ("peer_id = 1", "peering"),
        ("dns_zone_check_period = 1", "operating system"),
        ("resolv_conf = 'f'", "operating system"),
        ("[peers.1]\nhost = 'x'", "x.toml:1:8: peers.1: peering is not available"),
    ] {
        let text = bad(line);
        assert!(text.contains(reason), "{line}: {text}");
    }
}

#[test]
fn what_works_and_what_changes_nothing_is_accepted() {
    for line in [
        "disable_pqexec = 1",
        "server_tls_sslmode = 'allow'",
        "client_tls_sslmode = 'disable'",
        "auth_hba_file = ''",
        "syslog = 0",
    ] {
        good(line);
    }
    let loaded = load("client_tls_dheparams = 'legacy'\n").unwrap();
    assert!(loaded.warnings.iter().any(|w| w.message.starts_with("client_tls_dheparams: has no effect")));
}

#[test]
fn a_missing_file_is_a_problem_with_a_place() {
    let problems = Config::load(Path::new("/does/not/exist.toml")).unwrap_err();
    assert!(problems.to_string().starts_with("/does/not/exist.toml:1:1: cannot be read: "), "{problems}");
}

#[test]
fn a_file_that_is_not_utf8_is_named_with_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pooler.toml");
    std::fs::write(&path, b"listen_port = 1\nuser = \"\xff\"\n").unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().ends_with("pooler.toml:2:1: is not UTF-8"));
}

#[test]
fn auth_file_problems_stop_the_load() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("userlist.txt");
    let text = format!("auth_file = '{}'\n", users.display());
    assert!(bad(&text).contains("x.toml:1:1: auth_file: "));
    std::fs::write(&users, "\"joe\" \"pw\"\nbroken\n").unwrap();
    assert!(bad(&text).ends_with("userlist.txt:2:1: expected the user's name in double quotes"));
    std::fs::write(&users, "\"joe\" \"pw\"\n").unwrap();
    assert_eq!(good(&text).userlist["joe"], Secret::Plain("pw".into()));
}

#[test]
fn files_of_rules_and_maps_are_read_with_the_configuration_and_compared() {
    let dir = tempfile::tempdir().unwrap();
    let [hba, ident] = ["hba.conf", "ident.conf"].map(|name| dir.path().join(name));
    let text =
        format!("auth_type = 'hba'\nauth_hba_file = '{}'\nauth_ident_file = '{}'\n", hba.display(), ident.display());
    assert!(bad(&text).contains("x.toml:2:1: auth_hba_file: ") && bad(&text).contains("x.toml:3:1: auth_ident_file: "));
    std::fs::write(&hba, "local all all peer map=m\n").unwrap();
    std::fs::write(&ident, "m root admin\n").unwrap();
    let config = good(&text);
    let map = config.hba.rules()[0].map.as_deref();
    assert!(config.ident.allows(map, "root", "admin"));
    assert!(!config.diff(&good(&text)).rules_changed);
    std::fs::write(&ident, "m root all\n").unwrap();
    assert!(config.diff(&good(&text)).rules_changed);
    std::fs::write(&hba, "local all all nothing\nhost all\n").unwrap();
    let problems = bad(&text);
    let lines: Vec<&str> = problems.lines().collect();
    assert!(lines[0].contains("hba.conf:1:15: unknown method \"nothing\"; expected one of trust, "), "{problems}");
    assert!(lines[1].ends_with("hba.conf:2:1: the line ends before the user"), "{problems}");
}

#[test]
fn set_reads_the_file_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hba.conf");
    let file = path.display().to_string();
    std::fs::write(&path, "host all all all md5\n").unwrap();
    let config = Config::default();
    assert!(config.set("auth_type", "hba").unwrap_err().contains("needs auth_hba_file"));
    let with_rules = config.set("auth_hba_file", &file).unwrap();
    assert_eq!(with_rules.set("auth_type", "hba").unwrap().hba.rules().len(), 1);
    assert!(with_rules.set("auth_hba_file", "").unwrap().hba.rules().is_empty());
    assert!(config.set("auth_file", "/does/not/exist").unwrap_err().starts_with("auth_file: /does/not/exist cannot"));
    std::fs::write(&path, "host all all all\n").unwrap();
    let message = config.set("auth_hba_file", &file).unwrap_err();
    assert!(message.ends_with("hba.conf:1:1: the line ends before the method"), "{message}");
}

#[test]
fn set_changes_what_a_reload_could_change() {
    let config = Config::default();
    assert_eq!(config.set("query_timeout", "2.5").unwrap().global.query_timeout, Some(Duration::from_millis(2500)));
    assert_eq!(
        config.set("listen_port", "what"),
        Ok(config.clone()),
        "start-only settings are accepted without effect"
    );
    assert!(config.set("query_timeuot", "1").unwrap_err().contains("did you mean \"query_timeout\""));
    assert!(config.set("query_timeout", "5s").is_err());
    assert!(config.set("min_pool_size", "21").unwrap_err().contains("more than pool size"));
    assert!(config.set("client_tls_sslmode", "require").unwrap_err().contains("needs client_tls_key_file"));
    assert!(config.set("syslog", "1").unwrap_err().contains("not available"));
    assert!(config.set("max_login_packet_size", "100").unwrap_err().contains("from 1024"));
}
