//! Runs a program to its end, within a time limit.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::LabError;

const POLL: Duration = Duration::from_millis(5);

/// Runs `command` with nothing on standard input and returns its standard output; a program that is still running
/// after `limit` is killed.
pub fn run(command: &mut Command, limit: Duration) -> Result<String, LabError> {
    run_with(command, Stdio::null(), limit)
}

/// As [`run`], with something on standard input.
pub fn run_with(command: &mut Command, stdin: Stdio, limit: Duration) -> Result<String, LabError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(LabError::io(format!("run {program}")))?;
    // Both pipes are drained while we wait: a program that fills one would never end.
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let ended = wait(&mut child, limit).map_err(LabError::io(format!("wait for {program}")))?;
    let Some(status) = ended else {
        kill(&mut child);
        return Err(LabError::TooSlow { program, limit });
    };
    let stderr = stderr.join().unwrap_or_default();
    let stdout = stdout.join().unwrap_or_default();
    if status.success() { Ok(stdout) } else { Err(LabError::Failed { program, status, stderr: stderr.trim().into() }) }
}

/// Waits for `child` to end; None when it is still running after `limit`.
pub fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(Some(status)),
            None if Instant::now() >= deadline => return Ok(None),
            None => thread::sleep(POLL),
        }
    }
}

/// Kills and reaps `child`. That it ended by itself meanwhile is just as well.
pub fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What could be read is worth showing even if the rest could not.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_larger_than_a_pipe_is_returned_whole() {
        let text = run(Command::new("head").args(["-c", "300000", "/dev/zero"]), Duration::from_secs(10)).unwrap();
        assert_eq!(text.len(), 300_000);
    }

    #[test]
    fn a_failure_carries_what_the_program_said() {
        let error = run(Command::new("sh").args(["-c", "echo no >&2; exit 3"]), Duration::from_secs(10)).unwrap_err();
        assert!(
            matches!(&error, LabError::Failed { status, stderr, .. } if status.code() == Some(3) && stderr == "no")
        );
    }

    #[test]
    fn a_program_that_hangs_is_killed_at_the_limit() {
        let started = Instant::now();
        let error = run(Command::new("sleep").arg("60"), Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, LabError::TooSlow { .. }));
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
