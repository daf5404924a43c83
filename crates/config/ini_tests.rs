//! The ini dialect: each trap of PgBouncer's own grammar.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::{Config, Loaded, Problems};

fn load(text: &str) -> Result<Loaded, Problems> {
    Config::from_text(Path::new("x.ini"), text)
}

fn good(text: &str) -> Config {
    load(text).unwrap_or_else(|problems| panic!("{problems}")).config
}

fn bad(text: &str) -> String {
    load(text).expect_err("a bad file was accepted").to_string()
}

#[test]
fn a_pgbouncer_ini_is_read() {
    let config = good(
        "; the pooler\n[databases]\napp = host=10.0.0.1,/run/pg port=5433 dbname=prod pool_size=5 reserve_pool=2\n\
         * = host=::1\n'my db' = user=joe password='it''s'\n[users]\njoe = pool_mode=Session query_timeout=5\n\
         [pgbouncer]\nlisten_addr = *, ::1\npool_mode = TRANSACTION\nlog_stats=0\r\npidfile = \n",
    );
    assert_eq!(config.global.listen_addr, ["*", "::1"]);
    assert_eq!(config.global.pool_mode, crate::PoolMode::Transaction);
    assert!(!config.global.log_stats);
    let app = &config.databases["app"];
    assert_eq!(app.hosts, [crate::Host::Tcp("10.0.0.1".into()), crate::Host::Unix("/run/pg".into())]);
    assert_eq!((app.port, app.server_dbname()), (5433, "prod"));
    assert_eq!((app.pool_size, app.reserve_pool_size), (Some(Some(5)), Some(2)));
    assert_eq!(config.databases["my db"].password.as_ref().map(crate::Secret::reveal), Some("it's"));
    assert_eq!(config.users["joe"].query_timeout, Some(Duration::from_secs(5)));
}

#[test]
fn a_trailing_comment_is_part_of_the_value() {
    let loaded = load("[pgbouncer]\nserver_reset_query = DISCARD ALL ; always\n").unwrap();
    assert_eq!(loaded.config.global.server_reset_query, "DISCARD ALL ; always");
    assert!(loaded.warnings.iter().any(|w| w.line == 2 && w.message.contains("part of the value")));
    assert!(bad("[pgbouncer]\nlisten_port = 6432 ; the port\n").contains("x.ini:2:1: listen_port: expected"));
}

#[test]
fn numbers_and_times_follow_c() {
    let global =
        good("[pgbouncer]\ndefault_pool_size=0x20\nunix_socket_mode=0770\nserver_lifetime=1.5\nquery_wait_timeout=0\n")
            .global;
    assert_eq!(global.default_pool_size, Some(32));
    assert_eq!(global.unix_socket_mode.0, 0o770);
    assert_eq!(global.server_lifetime, Duration::from_millis(1500));
    assert_eq!(global.query_wait_timeout, None);
    for wrong in [
        "server_lifetime=5s",
        "server_lifetime=-1",
        "server_lifetime=inf",
        "server_lifetime=1e99",
        "query_timeout=0.0000001",
        "log_stats=yes",
        "log_stats=2",
    ] {
        bad(&format!("[pgbouncer]\n{wrong}\n"));
    }
}

#[test]
fn a_section_must_come_first_and_be_known() {
    assert!(bad("listen_port = 1\n[pgbouncer]\n").contains("x.ini:1:1: listen_port: stands before"));
    assert!(bad("[pgbouncer]\n[databaes]\n").contains("x.ini:2:1: unknown section [databaes]"));
    assert!(bad("[databases]\n").contains("[pgbouncer] is missing"));
    assert!(bad("[pgbouncer\n").contains("bracket"));
}

#[test]
fn double_quoted_keys_are_a_syntax_error() {
    assert!(
        bad("[pgbouncer]\n[databases]\n \"my db\" = host=x\n")
            .contains("x.ini:3:2: keys are quoted with single quotes")
    );
    assert!(bad("[pgbouncer]\n[databases]\n'my db = host=x\n").contains("closing quote"));
}

#[test]
fn a_header_does_not_end_its_line() {
    assert_eq!(good("[databases] [pgbouncer] ; comment\n[pgbouncer] listen_port = 1\n").global.listen_port, 1);
    assert!(bad("[databases] [pgbouncer]  pool = 1\n").starts_with("x.ini:1:26: unknown setting"));
    // A line of many headers must not exhaust the stack.
    good(&"[pgbouncer]".repeat(200_000));
}

#[test]
fn every_problem_is_reported_with_its_place() {
    let text =
        bad("[pgbouncer]\nlisten_port = x\n\n  pool_mod = session\n[databases]\na = host=x prt=1 pool_size=ten\n");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("x.ini:2:1: listen_port: expected a whole number"), "{text}");
    assert!(lines[1].starts_with("x.ini:4:3: unknown setting \"pool_mod\"; did you mean \"pool_mode\"?"), "{text}");
    assert!(lines[2].starts_with("x.ini:6:12: unknown key \"prt\" in databases.a; did you mean \"port\"?"), "{text}");
    assert!(lines[3].starts_with("x.ini:6:18: pool_size: expected"), "{text}");
}

#[test]
fn an_included_file_may_set_a_key_again() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other.ini");
    fs::write(&other, "listen_port = 2\n[databases]\nb = host=b\n").unwrap();
    let text = format!("[pgbouncer]\nlisten_port = 1\n%include {} \nc = host=c\n", other.display());
    let loaded = load(&text).unwrap();
    assert_eq!(loaded.config.global.listen_port, 2);
    assert_eq!(loaded.config.databases.len(), 2, "the section of the included file goes on");
    assert!(loaded.warnings[0].message.contains("replaces what x.ini:2 says"), "{:?}", loaded.warnings);
    assert!(
        bad("[pgbouncer]\nlisten_port=1\nlisten_port=2\n").contains("x.ini:3:1: listen_port: is already set in line 2")
    );
    assert!(bad("[pgbouncer]\n[users]\na=pool_size=1\na=pool_size=2\n").contains("x.ini:4:1: users.a: is already set"));
}

#[test]
fn including_is_bounded_and_a_missing_file_is_an_error() {
    assert!(
        bad("[pgbouncer]\n%include /does/not/exist.ini\n")
            .contains("x.ini:2:1: %include /does/not/exist.ini: cannot be read")
    );
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("own.ini");
    fs::write(&own, format!("%include {0}\n%include {0}\n", own.display())).unwrap();
    let problems = load(&format!("[pgbouncer]\n%include {}\n", own.display())).unwrap_err();
    assert!(problems.to_string().contains("deep"));
    assert!(problems.0.len() <= 200);
}

#[test]
fn a_formation_is_a_line_of_its_section() {
    let config = good(
        "[pgbouncer]\n[formations]\nmain = monitor='postgres://u@m:1/?sslmode=require' formation=eu group=2\n\
         [databases]\napp = formation=main dbname=app\nread = formation=main role=standby max_lag=1048576\n",
    );
    let main = &config.formations["main"];
    assert_eq!((main.formation.as_str(), main.group, main.monitor.hosts.len()), ("eu", 2, 1));
    assert_eq!(config.databases["read"].max_lag, Some(1 << 20));
    let wrong = "[pgbouncer]\n[formations]\nmain = group=0 monitor=h\n";
    assert!(bad(wrong).starts_with("x.ini:3:16: monitor: expected a URI, postgres://"), "{}", bad(wrong));
}

#[test]
fn ports_of_databases_are_not_zero() {
    assert!(bad("[pgbouncer]\n[databases]\na = port=0\n").contains("port: must be from 1 to 65535, not 0"));
}
