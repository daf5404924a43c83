//! The command line: check, version, help, and what keeps the program from starting.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use lab::{Account, Scratch};

use crate::harness::pooler::PROGRAM;
use crate::harness::stream::Stream;
use crate::harness::{Address, Pooler, Setup, eventually};

const LIMIT: Duration = Duration::from_secs(20);

/// Runs the program in the pooler's directory to its end.
#[track_caller]
pub fn run(pooler: &Pooler, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).current_dir(pooler.path("")).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program can be run");
    let deadline = Instant::now() + LIMIT;
    while child.try_wait().expect("the child can be asked").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("the child can be killed");
            panic!("{arguments:?} does not end: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("the output can be read")
}

/// Runs a second program with a configuration in the pooler's directory for as long as `work` takes.
#[track_caller]
pub fn with_program(pooler: &Pooler, config: &str, port: u16, work: impl FnOnce(&Address)) {
    let account = Account::current().expect("an account");
    let scratch = Scratch::new(&account).expect("a scratch directory");
    let mut command = Command::new(PROGRAM);
    if let Some(name) = account.name() {
        command.args(["-u", name]);
    }
    let mut child = scratch.spawn(command.arg(pooler.path(config))).expect("the program can be run");
    let address = Address::local(port);
    eventually("it listens", || Stream::connect(&address).is_ok());
    work(&address);
    child.kill().expect("the child can be killed");
    child.wait().expect("the child can be waited for");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn check_prints_the_settled_configuration_and_succeeds() {
    let pooler = Setup::new().set("default_pool_size", 13).start();
    let output = run(&pooler, &["check", "pooler.toml"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let settled = text(&output.stdout);
    assert!(settled.contains("default_pool_size = 13") && settled.contains("[databases"), "{settled}");
    pooler.write("settled.toml", &settled);
    let again = run(&pooler, &["check", "settled.toml"]);
    assert_eq!((again.status.code(), text(&again.stdout)), (Some(0), settled));
}

#[test]
fn check_names_file_line_and_column_of_every_problem() {
    let pooler = Setup::new().start();
    pooler.write("bad.toml", "pool_mode = 'transaction'\nno_such_setting = 1\ndefault_pool_size = 'many'\n");
    let output = run(&pooler, &["check", "bad.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let problems = text(&output.stderr);
    assert!(problems.contains("bad.toml:2:1: "), "{problems}");
    assert!(problems.contains("bad.toml:3:1: "), "{problems}");
    pooler.write("bad.ini", "[pgbouncer]\npool_mode = transaction\nno_such_setting = 1\n");
    let problems = text(&run(&pooler, &["check", "bad.ini"]).stderr);
    assert!(problems.contains("bad.ini:3:1: "), "{problems}");
    let missing = run(&pooler, &["check", "missing.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("missing.toml"), "{missing:?}");
}

#[test]
fn check_connect_tries_the_servers() {
    let setup = Setup::new();
    let user = setup.user.clone();
    let pooler = setup.database_set("app", "user", user.as_str()).start();
    let good = run(&pooler, &["check", "pooler.toml", "--connect"]);
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    let port = crate::harness::pooler::port().to_string();
    let config = std::fs::read_to_string(pooler.path("pooler.toml")).expect("the file is there");
    pooler
        .write("nobody.toml", &config.replace(&format!("port = {}", pooler.setup.server.0), &format!("port = {port}")));
    let bad = run(&pooler, &["check", "nobody.toml", "--connect"]);
    assert_eq!(bad.status.code(), Some(1), "{bad:?}");
    assert!(text(&bad.stderr).contains(&port), "{bad:?}");
}

#[test]
fn import_writes_toml_that_check_accepts() {
    let pooler = Setup::new().start();
    pooler.write(
        "pgbouncer.ini",
        "[databases]\napp = host=127.0.0.1 port=5433\n[pgbouncer]\nlisten_addr = *\npool_mode = transaction\n",
    );
    let output = run(&pooler, &["import", "pgbouncer.ini"]);
    assert!(output.status.success(), "{output:?}");
    pooler.write("imported.toml", &text(&output.stdout));
    assert_eq!(run(&pooler, &["check", "imported.toml"]).status.code(), Some(0));
}

#[test]
fn monitor_sql_prints_what_a_monitor_needs() {
    let pooler = Setup::new().start();
    pooler.write(
        "formations.toml",
        "[formations.main]\nmonitor = 'postgres://watcher:hunter2@monitor.internal'\n\
         [formations.other]\nmonitor = 'postgres://watcher@elsewhere'\n[databases.app]\nformation = 'main'\n",
    );
    let printed = run(&pooler, &["monitor-sql", "formations.toml", "--formation", "main"]);
    let sql = text(&printed.stdout);
    assert!(printed.status.success() && printed.stderr.is_empty(), "{printed:?}");
    assert!(sql.contains("grant select on pooler.nodes to \"watcher\";") && !sql.contains("hunter2"), "{sql}");
    let all = text(&run(&pooler, &["monitor-sql", "formations.toml"]).stdout);
    assert_eq!((sql.matches("create view").count(), all.matches("create view").count()), (1, 2));
    for arguments in [&["monitor-sql"][..], &["monitor-sql", "formations.toml", "--formation", "mian"]] {
        let refused = run(&pooler, arguments);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(refused.stdout.is_empty() && text(&refused.stderr).contains("formation"), "{refused:?}");
    }
    let settled = run(&pooler, &["check", "formations.toml"]);
    assert!(text(&settled.stdout).contains("postgres://watcher:********@monitor.internal/"), "{settled:?}");
}

#[test]
fn version_and_help_are_printed() {
    let pooler = Setup::new().start();
    let version = run(&pooler, &["--version"]);
    assert!(version.status.success());
    let first = text(&version.stdout).lines().next().expect("a line").to_owned();
    assert!(first.contains(env!("CARGO_PKG_VERSION")), "{first}");
    assert_eq!(pooler.console().client.value("SHOW VERSION"), first);
    assert_eq!(run(&pooler, &["-V"]).stdout, version.stdout);
    let help = run(&pooler, &["--help"]);
    assert!(help.status.success());
    for word in ["check", "--quiet", "--verbose", "--user"] {
        assert!(text(&help.stdout).contains(word), "no {word} in the help");
    }
}

#[test]
fn a_bad_start_ends_with_one_and_a_reason() {
    let pooler = Setup::new().start();
    pooler.write("bad.toml", "default_pool_size = 'many'\n");
    for arguments in [&["bad.toml"][..], &["missing.toml"], &["--no-such-flag"]] {
        let output = run(&pooler, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?} says nothing");
    }
}

#[test]
fn a_port_that_is_taken_is_fatal() {
    let pooler = Setup::new().start();
    let output = run(&pooler, &["pooler.toml"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("FATAL"), "{output:?}");
    pooler.client().rows("select 1");
}

#[test]
fn the_pidfile_names_the_process_and_goes_away() {
    let scratch = Scratch::new(&Account::current().expect("an account")).expect("a directory");
    let path = scratch.path().join("pooler.pid");
    let mut pooler = Setup::new().set("pidfile", path.to_str().expect("UTF-8")).start();
    let pid = std::fs::read_to_string(&path).expect("the file is there");
    assert_eq!(pid.trim(), pooler.pid().to_string());
    pooler.signal("TERM");
    assert!(pooler.ending().success());
    assert!(!path.exists(), "the pid file is left behind");
}
