//! The same switchovers behind PgBouncer, which nobody tells anything: its file is changed when the new primary takes
//! writes. `$PGBOUNCER` is the program; `SOAK_FAILOVERS` (20) and `SOAK_WRITERS` (50).

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use lab::{Account, Member, Scratch};

use super::clerks::{Clerks, Work};
use super::{STABLE, median_and_longest, say, wanted};
use crate::harness::stream::Stream;
use crate::harness::{Address, Login, eventually, pooler};
use crate::scene::Scene;

/// A running PgBouncer.
struct Peer {
    child: Child,
    port: u16,
    // Behind the child: what it works in.
    scratch: Scratch,
    account: Account,
}

impl Peer {
    fn start(program: &str, scene: &Scene) -> Peer {
        let account = Account::current().expect("an account");
        let scratch = Scratch::new(&account).expect("a directory");
        let port = pooler::port();
        let ini = scratch.path().join("pgbouncer.ini");
        fs::write(&ini, settings(&scratch, port, scene)).expect("it can be written");
        fs::write(scratch.path().join("users"), "\"app\" \"\"\n").expect("it can be written");
        account.give(&ini).and_then(|()| account.give(&scratch.path().join("users"))).expect("files change hands");
        let mut command = account.command(program);
        command.arg("-q").arg(&ini).stdout(Stdio::null()).stderr(Stdio::null());
        let child = scratch.spawn(&mut command).expect("PGBOUNCER can be started");
        let peer = Peer { child, port, scratch, account };
        eventually("PgBouncer listens", || Stream::connect(&Address::local(port)).is_ok());
        peer
    }

    /// As people do it: another address in the file, and a RELOAD.
    fn follow(&self, scene: &Scene) {
        let (ini, next): (PathBuf, PathBuf) =
            (self.scratch.path().join("pgbouncer.ini"), self.scratch.path().join("next"));
        fs::write(&next, settings(&self.scratch, self.port, scene)).expect("it can be written");
        self.account.give(&next).expect("files change hands");
        fs::rename(&next, &ini).expect("it can be renamed");
        let told = Command::new("/bin/kill").arg("-HUP").arg(self.child.id().to_string()).status();
        assert!(told.is_ok_and(|status| status.success()), "cannot reload PgBouncer");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings(scratch: &Scratch, port: u16, scene: &Scene) -> String {
    let (primary, directory) = (scene.primary_port(), scratch.path().display());
    format!(
        "[databases]\napp = host=127.0.0.1 port={primary} dbname=app user=app\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {directory}/users\n\
         logfile = {directory}/log\npool_mode = transaction\ndefault_pool_size = 50\nserver_login_retry = 1\n"
    )
}

#[test]
#[ignore = "for figures"]
fn switchovers_behind_pgbouncer() {
    let Ok(program) = std::env::var("PGBOUNCER") else {
        return say("PgBouncer", "skipped: PGBOUNCER does not name its program");
    };
    let version = Command::new(&program).arg("--version").output().expect("PGBOUNCER can be run").stdout;
    let version = String::from_utf8_lossy(&version).lines().next().unwrap_or_default().to_owned();
    let (failovers, writers) = (wanted("SOAK_FAILOVERS", 20), wanted("SOAK_WRITERS", 50) as usize);
    let scene = Scene::new();
    let table = scene.table("soak_peer");
    let peer = Peer::start(&program, &scene);
    let clerks = Clerks::start(&Address::local(peer.port), &Login::new("app"), &vec![Work::Single; writers], &table);
    let mut gaps = Vec::new();
    for _ in 0..failovers {
        scene.formation.wait_stable(STABLE).expect("the formation is stable");
        clerks.advance(20 * writers as u64);
        clerks.take_gap();
        let before: Member = scene.primary();
        scene.formation.perform_failover(None).expect("the monitor agrees");
        scene.formation.wait_primary(Some(before), STABLE).expect("another primary");
        peer.follow(&scene);
        clerks.advance(20 * writers as u64);
        gaps.push(clerks.take_gap());
    }
    scene.formation.wait_stable(STABLE).expect("the formation is stable");
    let findings = clerks.dismiss(&scene);
    let (what, (median, longest)) = (format!("{version}, {writers} writers"), median_and_longest(&mut gaps));
    let p99 = findings.percentile(99);
    say(&what, &format!("{failovers} switchovers: longest gap median {median:.3?}, maximum {longest:.3?}"));
    say(&what, &format!("{}; 99 of 100 waits at most {p99:.3?}", findings.all()));
}
