//! The lab against real PostgreSQL: what starts, answers, ends, and leaves nothing behind.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lab::{Account, Authority, LabError, Options, Postgres, Scratch};
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
    let expected = "app_scram scram-sha-256\napp_md5 md5\napp_plain password\napp_cert reject\nall trust";
    assert!(rules.starts_with(expected), "{rules}");
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

const OVER_TLS: &str = "select coalesce(version, 'plain') from pg_stat_ssl where pid = pg_backend_pid()";

#[test]
fn a_server_with_tls_proves_who_it_is_and_still_takes_plain_logins() {
    let postgres = Postgres::start(Options::default().tls()).unwrap();
    let ca = postgres.authority().unwrap().ca.display();
    for host in ["localhost", "127.0.0.1"] {
        let proven = format!("app?host={host}&hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={ca}");
        assert_eq!(postgres.psql_as("app_scram", &proven, OVER_TLS).unwrap(), "TLSv1.3");
    }
    assert_eq!(postgres.psql_as("app_scram", "app?sslmode=disable", OVER_TLS).unwrap(), "plain");
}

#[test]
fn the_certified_role_needs_its_certificate() {
    let postgres = Postgres::start(Options::default().tls()).unwrap();
    let Authority { client_cert, client_key, .. } = postgres.authority().unwrap();
    let certified = format!("app?sslmode=require&sslcert={}&sslkey={}", client_cert.display(), client_key.display());
    let who = "select current_user || ' ' || client_dn from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(postgres.psql_as("app_cert", &certified, who).unwrap(), "app_cert /CN=app_cert");
    assert!(postgres.psql_as("app_cert", "app?sslmode=require", "select 1").is_err());
    assert!(postgres.psql_as("app_cert", "app?sslmode=disable", "select 1").is_err());
}

#[test]
fn an_authority_of_ones_own_is_trusted_by_nobody_else() {
    let postgres = Postgres::start(Options::default().tls()).unwrap();
    let scratch = Scratch::new(postgres.account()).unwrap();
    let stranger = Authority::make(scratch.path(), postgres.account()).unwrap();
    let path = format!("app?sslmode=verify-ca&sslrootcert={}", stranger.ca.display());
    let error = postgres.psql_as("app", &path, "select 1").unwrap_err();
    assert!(error.to_string().contains("certificate verify failed"), "{error}");
}

#[test]
fn without_tls_there_is_no_authority_and_the_certified_role_is_refused() {
    let postgres = start();
    assert!(postgres.authority().is_none());
    assert!(postgres.psql_as("app_cert", "app", "select 1").is_err());
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

/// What `lab logins` prints, by its keys.
fn logins(port: u16, arguments: &[&str]) -> impl Fn(&str) -> f64 + use<> {
    let port = port.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.args(["logins", "--port", &port, "--user", "app_scram", "--database", "app"]).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    move |key| said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).unwrap().parse().unwrap()
}

#[test]
fn logins_at_a_rate_are_neither_more_nor_fewer() {
    let postgres = Postgres::start(Options::default().tls().conf("log_connections = on")).unwrap();
    let said = logins(postgres.port(), &["--password", "secret", "--seconds", "1", "--rate", "20", "--tls", "--query"]);
    assert_eq!((said("succeeded") + said("missed"), said("failed")), (20.0, 0.0));
    let log = postgres.log();
    let seen = log.matches("connection authorized: user=app_scram database=app SSL enabled (protocol=TLSv1.3").count();
    assert_eq!(seen as f64, said("succeeded"), "{log}");
}

#[test]
fn logins_that_fail_are_counted_as_failed() {
    let said = logins(start().port(), &["--password", "wrong", "--seconds", "0.2", "--clients", "2"]);
    assert_eq!(said("succeeded"), 0.0);
    assert!(said("failed") > 0.0);
}

#[test]
fn the_floor_takes_the_labs_password_only() {
    let scratch = Scratch::new(&Account::current().unwrap()).unwrap();
    let Authority { server_cert, server_key, .. } =
        Authority::make(scratch.path(), &Account::current().unwrap()).unwrap();
    let certificate = ["--cert", server_cert.to_str().unwrap(), "--key", server_key.to_str().unwrap()];
    for (server, client) in [(&certificate[..], &["--tls"][..]), (&[], &[])] {
        let port = lab::free_port().unwrap();
        let port_word = port.to_string();
        let mut floor = Command::new(env!("CARGO_BIN_EXE_lab"));
        let mut floor = scratch.spawn(floor.args(["floor", "--port", &port_word]).args(server)).unwrap();
        eventually("the floor listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let said = logins(port, &[&["--password", "secret", "--seconds", "0.3", "--clients", "2"], client].concat());
        let refused = logins(port, &[&["--password", "wrong", "--seconds", "0.1", "--clients", "2"], client].concat());
        kill_process(Pid::from_raw(floor.id() as i32).unwrap(), Signal::INT).unwrap();
        assert!(floor.wait().unwrap().success());
        assert!(said("succeeded") > 0.0 && said("failed") == 0.0);
        assert_eq!(refused("succeeded"), 0.0);
    }
}

#[test]
fn idle_clients_stay_until_their_input_ends() {
    let postgres = Postgres::start(Options::default().tls()).unwrap();
    let mut clients = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["idle-clients", "127.0.0.1", &postgres.port().to_string(), "app", "app", "3", "--tls"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(clients.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "READY\n");
    let count = "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) where ssl and usename = 'app'";
    assert_eq!(postgres.psql(count).unwrap(), "3");
    drop(clients.stdin.take());
    assert!(clients.wait().unwrap().success());
}

#[test]
fn the_program_names_the_certificates_of_a_server_with_tls() {
    let mut lab = Program::start(&["postgres", "--tls", "--hba", "host all app_md5 samehost reject"]);
    for key in ["ca", "server_cert", "server_key", "client_cert", "client_key"] {
        assert!(Path::new(lab.word(key)).is_file(), "{key}");
    }
    let ca = PathBuf::from(lab.word("ca"));
    assert!(lab.end(Signal::INT).success());
    assert!(!ca.exists());
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
    let said = failing_run(&["--alone", "--pooler", "/bin/cat", "--port", "0", "--metrics-port", "0"]);
    assert!(said.contains("the pooler ended by itself (exit status: 0)"), "{said}");
    assert!(said.contains("[users.postgres]"), "{said}");
}
