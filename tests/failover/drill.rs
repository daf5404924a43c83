//! `pooler drill failover`, as an operator or a timer runs it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use crate::harness::pooler::PROGRAM;
use crate::scene::Scene;

/// Begins a drill.
pub fn begin(scene: &Scene, words: &[&str]) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(["drill", "failover"]).arg(scene.pooler.path("pooler.toml")).args(words);
    command.env_remove("PGUSER").env_remove("PGPASSWORD").env_remove("POOLER_DRILL_PASSWORD");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be run")
}

/// Its exit code, and all it said.
pub fn end(program: Child) -> (Option<i32>, String) {
    let output = program.wait_with_output().expect("its output can be read");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    eprintln!("{said}");
    (output.status.code(), said)
}

#[track_caller]
pub fn nothing_is_left(scene: &Scene) {
    let tables = "select count(*) from pg_class where relname like 'pooler\\_drill\\_%'";
    assert_eq!(scene.formation.psql(scene.primary(), tables).expect("it can be asked"), "0");
}

#[test]
fn a_planned_drill_measures_the_failover_and_leaves_only_its_findings() {
    let scene = Scene::new();
    let before = scene.primary();
    let findings = tempfile::tempdir().expect("a directory");
    let path = findings.path().join("drill.prom");
    let (code, said) = end(begin(&scene, &["--yes", "--target", "30", "--textfile", path.to_str().expect("UTF-8")]));
    assert_eq!(code, Some(0), "{said}");
    assert_ne!(scene.primary(), before);
    for words in [" s  pause: ", " s  open: ", " 0 lost, 0 doubled\n", "errors                   none; 0 sessions"] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    nothing_is_left(&scene);
    let page = fs::read_to_string(&path).expect("the findings are there");
    let value = |name: &str| {
        let start = format!("pooler_drill_{name}{{formation=\"main\",kind=\"planned\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&start));
        line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("no {name} in {page}"))
    };
    let values = ["last_success", "last_exit_code", "lost_rows", "doubled_rows", "ended_sessions"].map(value);
    assert_eq!(values, [1.0, 0.0, 0.0, 0.0, 0.0]);
    // Transactions are held before another primary writes, and whoever waits, waits for that.
    assert!(value("detect_seconds") <= value("writable_seconds"), "{page}");
    assert!(value("gap_seconds") > 0.0 && value("gap_seconds") < 30.0, "{page}");
    assert_eq!(fs::read_dir(findings.path()).expect("it is there").count(), 1, "no draft stays");
}

#[test]
fn what_cannot_be_drilled_is_refused_and_touches_nothing() {
    let scene = Scene::new();
    let before = scene.primary();
    let findings = tempfile::tempdir().expect("a directory");
    let path = findings.path().join("drill.prom");
    let textfile = ["--textfile", path.to_str().expect("UTF-8")];
    let drill = |words: &[&str]| end(begin(&scene, &[words, &textfile].concat()));
    let (code, said) = drill(&["--planned"]);
    assert!(code == Some(1) && said.contains("needs --yes") && said.contains(&before.to_string()), "{said}");
    assert!(!path.exists(), "who has not been asked has no findings");
    let (code, said) = drill(&["--yes", "--kill"]);
    assert!(code == Some(3) && said.contains("--kill-command"), "{said}");
    let (code, said) = drill(&["--yes", "--user", "unknown"]);
    assert!(code == Some(1) && said.contains("no drill: cannot log in"), "{said}");
    let page = fs::read_to_string(&path).expect("monitoring hears of it");
    assert!(page.contains("pooler_drill_last_success{formation=\"main\",kind=\"planned\"} 0\n"), "{page}");
    let (code, said) = drill(&["--yes", "--kill", "--kill-command", "no-such-program-anywhere"]);
    assert!(code == Some(3) && said.contains("the shell cannot run"), "{said}");
    let page = fs::read_to_string(&path).expect("monitoring hears of it");
    assert!(page.contains("pooler_drill_last_exit_code{formation=\"main\",kind=\"kill\"} 3\n"), "{page}");
    assert_eq!(scene.primary(), before);
    nothing_is_left(&scene);
}

#[test]
fn a_drill_that_is_interrupted_cleans_up() {
    let scene = Scene::new();
    let before = scene.primary();
    let command = "echo \"was to end $POOLER_DRILL_NODE\"; exec sleep 100";
    let mut program = begin(&scene, &["--yes", "--kill", "--kill-command", command]);
    let mut output = BufReader::new(program.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while !line.starts_with("was to end ") {
        line.clear();
        assert_ne!(output.read_line(&mut line).expect("it speaks"), 0, "it has ended");
    }
    assert_eq!(line.trim_end(), format!("was to end {before}"));
    let interrupted = Command::new("/bin/kill").arg("-INT").arg(program.id().to_string()).status();
    assert!(interrupted.is_ok_and(|status| status.success()));
    output.read_to_string(&mut line).expect("it speaks");
    let (code, said) = end(program);
    assert!(code == Some(2) && said.contains("interrupted"), "{said}");
    assert!(line.contains(" 0 lost, 0 doubled\n"), "{line}");
    assert_eq!(scene.primary(), before);
    nothing_is_left(&scene);
}
