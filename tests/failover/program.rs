//! `pooler failover`, as an operator runs it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::harness::pooler::PROGRAM;
use crate::harness::{Pooler, Setup};
use crate::scene::Scene;
use crate::writers::Writers;

fn begin(scene: &Scene, words: &[&str]) -> Child {
    begin_with(&scene.pooler, "pooler.toml", words)
}

fn begin_with(pooler: &Pooler, config: &str, words: &[&str]) -> Child {
    let mut command = Command::new(PROGRAM);
    command.arg("failover").arg(pooler.path(config)).args(words);
    command.env_remove("PGUSER").env_remove("PGPASSWORD");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be run")
}

/// Its exit code, and all it said.
fn end(program: Child) -> (Option<i32>, String) {
    let output = program.wait_with_output().expect("its output can be read");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    eprintln!("{said}");
    (output.status.code(), said)
}

#[test]
fn the_program_moves_the_primary_and_tells_each_step() {
    let scene = Scene::new();
    let table = scene.table("program");
    let before = scene.primary();
    let writers = Writers::start(&scene, 8, &table);
    let (code, said) = end(begin(&scene, &["--formation", "main"]));
    assert_eq!(code, Some(0), "{said}");
    for step in ["lock: ", "check: ", "poolers: ", "checkpoint: ", "pause: ", "commit: ", "open: "] {
        assert!(said.contains(&format!(" s  {step}")), "no {step} in {said}");
    }
    writers.advance(100);
    let outcome = writers.finish(&scene);
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    assert_ne!(scene.primary(), before);
}

#[test]
fn the_exit_code_says_how_it_ended() {
    let scene = Scene::new();
    let before = scene.primary();
    let (code, said) = end(begin(&scene, &["--dry-run"]));
    assert!(code == Some(0) && said.contains("a failover is possible; nothing was done"), "{said}");
    let (code, said) = end(begin(&scene, &["--to", "nobody"]));
    assert!(code == Some(1) && said.contains("there is no node \"nobody\""), "{said}");
    let mut client = scene.pooler.client();
    client.rows("begin");
    client.rows("select 1");
    let mut program = begin(&scene, &[]);
    let mut steps = BufReader::new(program.stdout.take().expect("a pipe")).lines();
    assert!(steps.any(|step| step.is_ok_and(|step| step.contains("checkpoint: "))), "it ends");
    assert_eq!(end(begin(&scene, &[])).0, Some(2), "there is one already");
    let interrupted = Command::new("/bin/kill").arg("-INT").arg(program.id().to_string()).status();
    assert!(interrupted.is_ok_and(|status| status.success()));
    steps.for_each(drop);
    let (code, said) = end(program);
    assert!(code == Some(3) && said.contains("given up"), "{said}");
    client.rows("commit");
    assert_eq!(scene.primary(), before);
}

#[test]
fn the_console_is_reached_over_tls_where_there_is_no_socket() {
    let pooler = Setup::at((1, String::new()), "app").tls("require").start();
    let listen = format!("listen_addr = '127.0.0.1'\nlisten_port = {}\nunix_socket_dir = ''", pooler.port);
    let users = pooler.path("userlist.txt");
    let text = format!("{listen}\nadmin_users = 'admin'\nauth_file = '{}'\n", users.display());
    pooler.write("remote.toml", &text);
    let (code, said) = end(begin_with(&pooler, "remote.toml", &[]));
    assert!(code == Some(1) && said.contains("no formation is followed"), "{said}");
    pooler.write("remote.toml", &text.replace("'admin'", "'nobody'"));
    let (code, said) = end(begin_with(&pooler, "remote.toml", &[]));
    assert!(code == Some(1) && said.contains("as nobody") && said.contains("PGPASSWORD"), "{said}");
}
