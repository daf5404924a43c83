//! `lab run`: a formation or one PostgreSQL, the pooler before it, and the lines to paste.

mod behind;

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lab::{Client, Scratch, free_port};
use rustix::process::{Pid, Signal, kill_process};

use self::behind::Behind;
use crate::ending::{Ending, POLL};
use crate::{Failure, RunArguments};

const READY_LIMIT: Duration = Duration::from_secs(15);
/// Lines of the pooler's log that are shown when it fails.
const LINES: usize = 20;
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The ports the pooler listens on, both on 127.0.0.1.
struct Ports {
    pooler: u16,
    metrics: u16,
}

/// The running pooler. The scratch directory kills it if all else fails.
struct Pooler {
    process: Child,
    program: PathBuf,
    config: Config,
    log: PathBuf,
    _scratch: Scratch,
}

impl Pooler {
    /// The last lines of its log.
    fn last(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

/// The configuration file, which is removed with this value.
struct Config(PathBuf);

impl Drop for Config {
    fn drop(&mut self) {
        // Gone already is gone.
        let _ = fs::remove_file(&self.0);
    }
}

/// Runs until Ctrl-C, or until the pooler or a lone PostgreSQL ends by itself, which is a failure.
pub fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let ending = Ending::watch()?;
    let program = arguments.pooler.canonicalize().map_err(|e| format!("{}: {e}", arguments.pooler.display()))?;
    let ports = Ports {
        pooler: usable("the pooler", arguments.port)?,
        metrics: usable("the metrics page", arguments.metrics_port)?,
    };
    let mut behind = Behind::start(arguments)?;
    let mut pooler = start_pooler(program, arguments.config_dir.as_deref(), &behind, &ports)?;
    if !wait_until_it_answers(&mut pooler, &ports, &ending)? {
        return stop(pooler);
    }
    io::stdout().write_all(welcome(&behind, &pooler, &ports)?.as_bytes())?;
    while !ending.asked() {
        fail_if_ended(&mut pooler)?;
        if let Some(log) = behind.ended()? {
            return Err(format!("PostgreSQL ended by itself; its log:\n{log}").into());
        }
        thread::sleep(POLL);
    }
    stop(pooler)
}

fn usable(purpose: &str, port: u16) -> Result<u16, Failure> {
    if port == 0 {
        return Ok(free_port()?);
    }
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(port),
        Err(error) => Err(format!("port {port} on 127.0.0.1, for {purpose}, is not free: {error}").into()),
    }
}

fn start_pooler(
    program: PathBuf,
    config_dir: Option<&Path>,
    behind: &Behind,
    ports: &Ports,
) -> Result<Pooler, Failure> {
    let scratch = Scratch::new(behind.account())?;
    let path = config_dir.unwrap_or(scratch.path()).join("pooler.toml");
    let mut file = File::create_new(&path).map_err(|e| format!("cannot create {}: {e}", path.display()))?;
    let config = Config(path.canonicalize()?);
    file.write_all(pooler_toml(behind, ports)?.as_bytes())?;
    let log = scratch.path().join("pooler.log");
    let output = File::create(&log)?;
    let errors = output.try_clone()?;
    let mut command = Command::new(&program);
    command.arg(&config.0).stdout(Stdio::from(output)).stderr(Stdio::from(errors));
    let process = scratch.spawn(&mut command)?;
    Ok(Pooler { process, program, config, log, _scratch: scratch })
}

fn pooler_toml(behind: &Behind, ports: &Ports) -> Result<String, Failure> {
    let Ports { pooler, metrics } = ports;
    let databases = behind.databases()?;
    // A pooler that is started as root changes to this account, or refuses.
    let user = behind.account().name().map_or(String::new(), |name| format!("user = \"{name}\"\n"));
    Ok(format!(
        r#"# Written by `lab run`; gone when it ends.
listen_addr = "127.0.0.1"
listen_port = {pooler}
unix_socket_dir = ""
{user}auth_type = "trust"
admin_users = "app,postgres"
pool_mode = "transaction"
max_client_conn = 1000
default_pool_size = 50
min_pool_size = 10
reserve_pool_size = 10
reserve_pool_timeout = 5
max_prepared_statements = 200
metrics_listen_addr = "127.0.0.1"
metrics_listen_port = {metrics}

{databases}
[users.app]

[users.postgres]
"#
    ))
}

/// True when a query came back through the pooler, false when somebody asked to end before that.
fn wait_until_it_answers(pooler: &mut Pooler, ports: &Ports, ending: &Ending) -> Result<bool, Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.pooler));
    let deadline = Instant::now() + READY_LIMIT;
    while !ending.asked() {
        fail_if_ended(pooler)?;
        match Client::connect(address, "app", "app").and_then(|mut client| client.query("select 1")) {
            Ok(()) => return Ok(true),
            Err(error) if Instant::now() >= deadline => {
                return Err(
                    format!("the pooler does not answer: {error}\nIts log ends with:\n{}", pooler.last()).into()
                );
            }
            Err(_) => thread::sleep(POLL),
        }
    }
    Ok(false)
}

fn fail_if_ended(pooler: &mut Pooler) -> Result<(), Failure> {
    match pooler.process.try_wait()? {
        None => Ok(()),
        Some(status) => {
            Err(format!("the pooler ended by itself ({status}); its log ends with:\n{}", pooler.last()).into())
        }
    }
}

/// The last line is for scripts: the arguments of tests/load.sh.
fn welcome(behind: &Behind, pooler: &Pooler, ports: &Ports) -> Result<String, Failure> {
    let Ports { pooler: port, metrics } = ports;
    let lines = behind.lines(&pooler.program, &pooler.config.0)?;
    let lines: String = lines.iter().map(|(name, line)| format!("  {name:<12}{line}\n")).collect();
    Ok(format!(
        "\
The pooler is ready. Ctrl-C ends it, and what is behind it; nothing stays.

  connect     psql -h 127.0.0.1 -p {port} -U app app
  load        pgbench -h 127.0.0.1 -p {port} -U app -i -s 10 app
              pgbench -h 127.0.0.1 -p {port} -U app -S -M prepared -c 500 -j 2 -T 20 -P 2 app
  console     psql -h 127.0.0.1 -p {port} -U app pgbouncer -c 'show pools'
  metrics     curl -s http://127.0.0.1:{metrics}/metrics

  settings    {config}
  log         {log}
{lines}ready 127.0.0.1 {port} app app
",
        config = pooler.config.0.display(),
        log = pooler.log.display(),
    ))
}

/// SIGINT lets transactions under way end; whoever takes longer is cut off with the scratch directory.
fn stop(mut pooler: Pooler) -> Result<(), Failure> {
    let pid = i32::try_from(pooler.process.id()).ok().and_then(Pid::from_raw);
    if let (Some(pid), None) = (pid, pooler.process.try_wait()?) {
        kill_process(pid, Signal::INT)?;
    }
    let deadline = Instant::now() + STOP_LIMIT;
    while pooler.process.try_wait()?.is_none() && Instant::now() < deadline {
        thread::sleep(POLL);
    }
    Ok(())
}
