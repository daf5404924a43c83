//! A real formation: it starts, changes its primary, survives accidents, and leaves nothing behind.
//!
//! One formation is shared by what can follow one another, because starting one takes seconds.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lab::{Cable, Formation, FormationOptions, LabError, Member, Part};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(60);
const NODES: [Member; 2] = [Member::Node(1), Member::Node(2)];

fn other(node: Member) -> Member {
    if node == NODES[0] { NODES[1] } else { NODES[0] }
}

/// With the time it took: shown by `cargo test -- --nocapture`.
fn timed<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = act();
    println!("{what}: {} ms", started.elapsed().as_millis());
    result
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_formation_survives_everything_and_leaves_nothing_behind() {
    let mut formation = timed("up", || Formation::start(FormationOptions::default()).unwrap());
    println!("{}", formation.directory().display());
    every_role_logs_in(&formation);
    a_pooler_reads_the_nodes_and_nothing_else(&formation);
    a_switchover_moves_the_primary_and_the_old_one_rejoins(&formation);
    a_killed_server_is_started_again(&formation);
    a_killed_primary_is_replaced_in_time_and_comes_back_as_a_standby(&formation);
    a_frozen_primary_is_replaced_and_stands_back_when_it_thaws(&formation);
    without_a_monitor_there_is_no_word_on_the_primary_but_there_are_writes(&formation);
    maintenance_takes_a_node_out_and_back(&formation);
    a_node_can_be_added_and_dropped(&mut formation);
    let traces = Traces::of(formation.directory());
    assert!(traces.processes().len() > 10 && traces.kernel_objects().len() == 6);
    // A panic of the owner is a drop like any other.
    let owned = AssertUnwindSafe(formation);
    timed("drop", || {
        catch_unwind(move || {
            let _owned = owned;
            resume_unwind(Box::new(()))
        })
        .unwrap_err()
    });
    traces.assert_gone();
}

fn every_role_logs_in(formation: &Formation) {
    for node in NODES {
        for user in ["app", "app_scram", "app_md5", "app_plain"] {
            assert_eq!(formation.psql_as(node, user, "app", "select current_user").unwrap(), user);
        }
    }
    let primary = formation.primary().unwrap();
    assert_eq!(primary, NODES[0]);
    formation.psql_as(primary, "app", "app", "create table written (n int)").unwrap();
    let standbys = "select sync_state from pg_stat_replication";
    eventually("the standby is synchronous", || formation.psql(primary, standbys).is_ok_and(|state| state == "quorum"));
}

fn write(formation: &Formation, number: u32) {
    let primary = formation.primary().unwrap();
    formation.psql_as(primary, "app", "app", &format!("insert into written values ({number})")).unwrap();
}

fn written(formation: &Formation) -> String {
    let primary = formation.primary().unwrap();
    formation.psql(primary, "select string_agg(n::text, ' ' order by n) from written").unwrap()
}

fn a_pooler_reads_the_nodes_and_nothing_else(formation: &Formation) {
    let ask = |sql: &str| formation.psql_as(Member::Monitor, "pooler_monitor", "pg_auto_failover", sql);
    let ports = || ask("select string_agg(nodeport::text, ' ' order by nodename) from pooler.nodes").unwrap();
    let own = NODES.map(|node| formation.address(node).unwrap().port());
    assert_eq!(ports(), format!("{} {}", own[0], own[1]));
    let refused = ask("select pgautofailover.perform_failover('default', 0)").unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");

    let cable = Cable::to(formation.address(NODES[1]).unwrap()).unwrap();
    formation.detour(NODES[1], Some(cable.address().port())).unwrap();
    assert_eq!(ports(), format!("{} {}", own[0], cable.address().port()));
    let mut client = lab::Client::connect(cable.address(), "app", "app").unwrap();
    assert_eq!(client.rows("select 1, null, 'x'").unwrap(), [["1", "", "x"]]);
    cable.cut().unwrap();
    assert!(client.query("select 1").is_err());
    formation.detour(NODES[1], None).unwrap();
    assert_eq!(ports(), format!("{} {}", own[0], own[1]));
}

fn a_switchover_moves_the_primary_and_the_old_one_rejoins(formation: &Formation) {
    write(formation, 1);
    let moved = formation.switchover(None).unwrap();
    println!("switchover: writable {:?}, stable {:?}", moved.writable_after, moved.stable_after);
    assert_eq!((moved.from, moved.to), (NODES[0], NODES[1]));
    assert_eq!(formation.primary(), Some(NODES[1]));
    assert_eq!(formation.switchover(Some(NODES[0])).unwrap().to, NODES[0]);
    assert_eq!(written(formation), "1");
}

fn a_killed_server_is_started_again(formation: &Formation) {
    let primary = formation.primary().unwrap();
    let started = || formation.psql(primary, "select pg_postmaster_start_time()");
    let before = started().unwrap();
    formation.kill_postgres(primary).unwrap();
    timed("kill postgres", || eventually("the server is back", || started().is_ok_and(|after| after != before)));
}

fn a_killed_primary_is_replaced_in_time_and_comes_back_as_a_standby(formation: &Formation) {
    formation.wait_stable(LIMIT).unwrap();
    write(formation, 2);
    let old = formation.primary().unwrap();
    let limit = formation.profile().failover_limit();
    formation.kill(old).unwrap();
    assert_eq!(formation.condition(old), "stopped");
    assert_eq!(formation.primary(), None);
    let new = timed("kill", || formation.wait_primary(Some(old), limit).unwrap());
    assert_eq!(new, other(old));
    assert_eq!(written(formation), "1 2");
    timed("restart after kill", || formation.restart(old).unwrap());
    timed("stable after kill", || formation.wait_stable(LIMIT).unwrap());
    assert_eq!(formation.psql(old, "select pg_is_in_recovery()").unwrap(), "t");
}

fn a_frozen_primary_is_replaced_and_stands_back_when_it_thaws(formation: &Formation) {
    let old = formation.primary().unwrap();
    formation.freeze(old, Part::All).unwrap();
    assert_eq!(formation.condition(old), "frozen");
    timed("freeze", || formation.wait_primary(Some(old), LIMIT).unwrap());
    formation.thaw(old).unwrap();
    timed("stable after thaw", || formation.wait_stable(LIMIT).unwrap());
    assert_eq!(formation.primary(), Some(other(old)));
}

fn without_a_monitor_there_is_no_word_on_the_primary_but_there_are_writes(formation: &Formation) {
    let primary = formation.primary().unwrap();
    formation.kill(Member::Monitor).unwrap();
    assert_eq!(formation.primary(), None);
    assert!(formation.takes_writes(primary));
    timed("restart of the monitor", || formation.restart(Member::Monitor).unwrap());
    formation.wait_stable(LIMIT).unwrap();
    assert_eq!(formation.primary(), Some(primary));
    formation.freeze(Member::Monitor, Part::All).unwrap();
    assert!(formation.states().is_err());
    formation.up().unwrap();
}

fn maintenance_takes_a_node_out_and_back(formation: &Formation) {
    let standby = other(formation.primary().unwrap());
    let state = || formation.states().unwrap().into_iter().find(|state| state.node == standby).unwrap().reported;
    timed("maintenance on", || formation.maintenance(standby, true).unwrap());
    assert_eq!(state(), "maintenance");
    timed("maintenance off", || formation.maintenance(standby, false).unwrap());
    formation.wait_stable(LIMIT).unwrap();
    assert_eq!(state(), "secondary");
}

fn a_node_can_be_added_and_dropped(formation: &mut Formation) {
    let third = timed("add node", || formation.add_async_node().unwrap());
    assert_eq!(third, Member::Node(3));
    assert_eq!(formation.psql(third, "select pg_is_in_recovery()").unwrap(), "t");
    timed("clean stop", || formation.stop(third).unwrap());
    timed("drop node", || formation.drop_node(third).unwrap());
    assert!(matches!(formation.address(third), Err(LabError::NoMember(_))));
    formation.wait_stable(LIMIT).unwrap();
}

/// What a formation leaves, if it leaves anything.
struct Traces {
    directory: PathBuf,
    /// The ids of semaphores and shared memory, each with its table in /proc/sysvipc.
    objects: Vec<(&'static str, String)>,
}

impl Traces {
    fn of(directory: &Path) -> Traces {
        let mut objects = Vec::new();
        let data = fs::read_dir(directory.join("data")).unwrap().map(|entry| entry.unwrap().path());
        // Beside the members there is a directory of base backups.
        for data in data.filter(|data| data.join("postmaster.pid").exists()) {
            let word = |file: &Path, line: usize, place: usize| {
                let text = fs::read_to_string(file).unwrap();
                text.lines().nth(line).unwrap().split_whitespace().nth(place).unwrap().to_owned()
            };
            let run = directory.join("run/pg_autoctl").join(data.strip_prefix("/").unwrap());
            objects.push(("sem", word(&run.join("pg_autoctl.pid"), 4, 0)));
            objects.push(("shm", word(&data.join("postmaster.pid"), 6, 1)));
        }
        Traces { directory: directory.to_owned(), objects }
    }

    fn processes(&self) -> Vec<PathBuf> {
        let all = fs::read_dir("/proc").unwrap().flatten().map(|process| process.path());
        all.filter(|process| fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&self.directory)))
            .collect()
    }

    fn kernel_objects(&self) -> Vec<&(&'static str, String)> {
        let exists = |table: &str, id: &str| {
            let text = fs::read_to_string(format!("/proc/sysvipc/{table}")).unwrap();
            text.lines().any(|line| line.split_whitespace().nth(1) == Some(id))
        };
        self.objects.iter().filter(|(table, id)| exists(table, id)).collect()
    }

    fn assert_gone(&self) {
        eventually("the directory is gone", || !self.directory.exists());
        assert_eq!(self.processes(), [] as [PathBuf; 0]);
        assert_eq!(self.kernel_objects(), [] as [&(&str, String); 0]);
    }
}

fn lab(directory: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.arg("formation").arg("--directory").arg(directory).args(words).stdin(Stdio::null());
    command
}

fn say(directory: &Path, words: &[&str]) -> String {
    let output = lab(directory, words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The program that owns a formation; a failed test does not leave it running.
struct Owner(Child);

impl Owner {
    fn start(directory: &Path) -> Owner {
        let mut command = lab(directory, &["--nodes", "1", "--profile", "fastest"]);
        let mut owner = Owner(command.stdout(Stdio::piped()).spawn().unwrap());
        let said = BufReader::new(owner.0.stdout.take().unwrap()).lines();
        let ready = said.map_while(Result::ok).any(|line| line.starts_with("ready "));
        assert!(ready, "lab ended: {:?}", owner.0.wait());
        owner
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn make_private(directory: &Path) {
    fs::DirBuilder::new().mode(0o700).create(directory).unwrap();
    lab::Account::current().unwrap().give(directory).unwrap();
}

#[test]
fn nothing_stays_after_ctrl_c_or_kill_9_of_the_owner() {
    let parent = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir_in("/tmp").unwrap();
    let directory = parent.path().join("formation");
    make_private(&directory);
    // As if the machine had been switched off under an earlier formation.
    fs::write(directory.join("formation.lock"), "").unwrap();
    fs::create_dir_all(directory.join("data/node1")).unwrap();
    for signal in [Signal::INT, Signal::KILL] {
        let mut owner = Owner::start(&directory);
        let traces = Traces::of(&directory);
        let in_use = lab(&directory, &[]).output().unwrap();
        assert!(String::from_utf8_lossy(&in_use.stderr).contains("runs in"), "{in_use:?}");
        say(&directory, &["kill", "node1"]);
        assert!(say(&directory, &["status"]).contains("stopped"));
        say(&directory, &["restart", "node1"]);
        say(&directory, &["freeze", "node1", "--part", "keeper"]);
        say(&directory, &["up"]);
        assert!(say(&directory, &["primary"]).starts_with("node1 127.0.0.1:"));
        assert!(say(&directory, &["status"]).contains("runs, takes writes"));
        let after_restart = Traces::of(&directory);
        say(&directory, &["freeze", "node1"]);
        kill_process(Pid::from_raw(owner.0.id() as i32).unwrap(), signal).unwrap();
        assert_eq!(owner.0.wait().unwrap().success(), signal == Signal::INT);
        traces.assert_gone();
        after_restart.assert_gone();
    }
    let refused = lab(&directory, &["status"]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no formation runs in"), "{refused:?}");
}

#[test]
fn a_directory_with_other_things_in_it_is_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("formation");
    make_private(&directory);
    fs::write(directory.join("letter"), "dear").unwrap();
    let options = FormationOptions { directory: Some(directory.clone()), ..FormationOptions::default() };
    assert!(matches!(Formation::start(options), Err(LabError::NotEmpty(_))));
    assert_eq!(fs::read_to_string(directory.join("letter")).unwrap(), "dear");
}

#[test]
fn without_pg_auto_failover_the_program_says_what_to_install() {
    let bin = tempfile::tempdir().unwrap();
    for program in ["initdb", "postgres", "psql"] {
        fs::write(bin.path().join(program), "").unwrap();
    }
    let failed = lab(&bin.path().join("formation"), &[]).env("PGBIN", bin.path()).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(said.contains("pgautofailover.so is missing") && said.contains("postgresql-15-auto-failover"), "{said}");
}
