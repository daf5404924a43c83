//! The lab against real PostgreSQL: what starts, answers, ends, and leaves nothing behind.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lab::{Account, LabError, Options, Postgres, Scratch};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(30);

fn start() -> Postgres {
    Postgres::start(Options::default()).unwrap()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A zombie has ended: only its parent has not looked yet.
fn is_running(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/cwd")).read_link().is_ok()
}

#[test]
fn every_role_logs_in_the_way_it_is_meant_to() {
    let postgres = start();
    for user in ["postgres", "app", "app_scram", "app_md5", "app_plain"] {
        for database in ["app", "other"] {
            let who = postgres.psql_as(user, database, "select current_user || ' ' || current_database()").unwrap();
            assert_eq!(who, format!("{user} {database}"));
        }
    }
    let kinds = "select rolname || ' ' || left(rolpassword, 3) from pg_authid where rolpassword is not null order by 1";
    assert_eq!(postgres.psql(kinds).unwrap(), "app_md5 md5\napp_plain SCR\napp_scram SCR");
    let rules = "select user_name[1] || ' ' || auth_method from pg_hba_file_rules \
                 where type = 'host' order by line_number";
    let rules = postgres.psql(rules).unwrap();
    assert!(rules.starts_with("app_scram scram-sha-256\napp_md5 md5\napp_plain password\nall trust"), "{rules}");
}

#[test]
fn an_sql_error_is_an_error_with_the_servers_words() {
    let error = start().psql("select 1/0").unwrap_err();
    assert!(matches!(&error, LabError::Failed { stderr, .. } if stderr.contains("division by zero")), "{error}");
}

#[test]
fn options_reach_the_server() {
    let options = Options { max_connections: 23, ..Options::default() };
    let options = options.conf("work_mem = '5MB'").hba("host other app_md5 samehost reject").file("note", "words");
    let postgres = Postgres::start(options).unwrap();
    assert_eq!(postgres.psql("show max_connections").unwrap(), "23");
    assert_eq!(postgres.psql("show work_mem").unwrap(), "5MB");
    assert_eq!(postgres.psql("select pg_read_file('note')").unwrap(), "words");
    assert!(postgres.psql_as("app_md5", "other", "select 1").is_err());
    assert!(postgres.psql_as("app_md5", "app", "select 1").is_ok());
}

#[test]
fn a_setting_that_postgresql_refuses_is_reported_with_its_log() {
    let error = Postgres::start(Options::default().conf("no_such_setting = 1")).unwrap_err();
    assert!(matches!(&error, LabError::NotReady { log } if log.contains("no_such_setting")), "{error}");
}

#[test]
fn a_restart_keeps_port_and_data() {
    let mut postgres = start();
    postgres.psql("create table t as select 7 as n").unwrap();
    let (port, pid) = (postgres.port(), postgres.pid());
    postgres.restart().unwrap();
    assert_eq!(postgres.port(), port);
    assert_ne!(postgres.pid(), pid);
    assert_eq!(postgres.psql("select n from t").unwrap(), "7");
}

#[test]
fn a_stopped_server_answers_nobody_until_it_is_restarted() {
    let mut postgres = start();
    postgres.stop().unwrap();
    assert_eq!(postgres.pid(), None);
    assert!(postgres.psql("select 1").is_err());
    assert!(!postgres.has_ended().unwrap());
    postgres.restart().unwrap();
    assert_eq!(postgres.psql("select 1").unwrap(), "1");
}

#[test]
fn a_crashed_server_recovers_what_was_committed() {
    let mut postgres = start();
    postgres.psql("create table t as select 7 as n").unwrap();
    postgres.crash().unwrap();
    postgres.restart().unwrap();
    assert_eq!(postgres.psql("select n from t").unwrap(), "7");
    assert!(postgres.log().contains("automatic recovery in progress"), "{}", postgres.log());
}

#[test]
fn killing_a_backend_makes_postgresql_recover() {
    let postgres = start();
    let checkpointer = "select pid from pg_stat_activity where backend_type = 'checkpointer'";
    let victim = postgres.psql(checkpointer).unwrap();
    postgres.kill_9_backend(victim.parse().unwrap()).unwrap();
    eventually("the server has another checkpointer", || {
        postgres.psql(checkpointer).is_ok_and(|found| !found.is_empty() && found != victim)
    });
}

#[test]
fn only_backends_of_this_server_can_be_killed() {
    let (postgres, stranger) = (start(), start());
    let pid = stranger.psql("select pid from pg_stat_activity where backend_type = 'checkpointer'").unwrap();
    for pid in [pid.parse().unwrap(), std::process::id(), stranger.pid().unwrap(), 0] {
        assert!(matches!(postgres.kill_9_backend(pid), Err(LabError::NotABackend(_))));
    }
}

#[test]
fn a_dropped_server_leaves_nothing_behind() {
    let postgres = start();
    let (pid, directory) = (postgres.pid().unwrap(), postgres.socket_dir().to_owned());
    assert!(is_running(pid) && directory.exists());
    drop(postgres);
    assert!(!is_running(pid) && !directory.exists());
}

#[test]
fn a_scratch_directory_takes_its_processes_along() {
    let scratch = Scratch::new(&Account::current().unwrap()).unwrap();
    let mut inside = scratch.spawn(Command::new("sleep").arg("600")).unwrap();
    drop(scratch);
    assert!(!is_running(inside.id()));
    inside.wait().unwrap();
}

/// The `lab` program with what it said up to its line `ready`.
struct Program {
    process: Child,
    said: Vec<String>,
}

impl Program {
    fn start(arguments: &[&str]) -> Program {
        let mut process = Command::new(env!("CARGO_BIN_EXE_lab"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = Vec::new();
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            said.push(line.unwrap());
            if said.last().is_some_and(|line| line.starts_with("ready ")) {
                return Program { process, said };
            }
        }
        panic!("lab ended ({:?}) after saying {said:?}", process.wait());
    }

    fn word(&self, key: &str) -> &str {
        self.said.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).unwrap()
    }

    fn end(&mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_raw(self.process.id() as i32).unwrap(), signal).unwrap();
        self.process.wait().unwrap()
    }
}

fn postgres_is_gone_after(signal: Signal) -> ExitStatus {
    let mut lab = Program::start(&["postgres"]);
    let (pid, directory) = (lab.word("pid").parse().unwrap(), PathBuf::from(lab.word("directory")));
    assert!(is_running(pid) && directory.exists());
    let status = lab.end(signal);
    eventually("postgres has ended", || !is_running(pid));
    eventually("its directory is gone", || !directory.exists());
    status
}

#[test]
fn nothing_stays_after_ctrl_c() {
    assert!(postgres_is_gone_after(Signal::INT).success());
}

#[test]
fn nothing_stays_after_kill_9_of_the_owner() {
    assert!(!postgres_is_gone_after(Signal::KILL).success());
}

fn failing_run(arguments: &[&str]) -> String {
    let mut process =
        Command::new(env!("CARGO_BIN_EXE_lab")).arg("run").args(arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = String::new();
    process.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(1), "{stderr}");
    stderr
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = failing_run(&["--pooler", "/bin/true", "--port", &port, "--metrics-port", "0"]);
    assert!(said.contains(&format!("port {port} on 127.0.0.1, for the pooler, is not free")), "{said}");
    let said = failing_run(&["--pooler", "/bin/true", "--port", "0", "--metrics-port", &port]);
    assert!(said.contains(&format!("port {port} on 127.0.0.1, for the metrics page, is not free")), "{said}");
}

#[test]
fn a_pooler_that_ends_by_itself_is_reported_with_its_log() {
    // cat, given the configuration file, prints it to the log and ends.
    let said = failing_run(&["--pooler", "/bin/cat", "--port", "0", "--metrics-port", "0"]);
    assert!(said.contains("the pooler ended by itself (exit status: 0)"), "{said}");
    assert!(said.contains("pool_mode = \"transaction\""), "{said}");
}
