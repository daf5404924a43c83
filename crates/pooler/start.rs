//! Running: who we are, where we log, and that there is one of us.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use config::{Config, Global};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Pid, Uid, User, daemon, initgroups, setgid, setuid};
use proxy::process::Process;
use tracing::{error, info, warn};

use crate::arguments::{Arguments, config_path};
use crate::log;

/// Descriptors besides clients and servers: files, listeners, event queues.
const OTHER_DESCRIPTORS: u64 = 64;

/// Runs the pooler until it is told to end.
pub fn start(arguments: &Arguments) -> ExitCode {
    match try_start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("FATAL {message}");
            ExitCode::FAILURE
        }
    }
}

fn try_start(arguments: &Arguments) -> Result<(), String> {
    if arguments.reboot {
        return Err("online restart (-R) is not available in this version".to_owned());
    }
    let loaded = Config::load(&config_path(arguments.config.as_deref()))
        .map_err(|problems| format!("cannot load config file\n{problems}"))?;
    let config = loaded.config;
    let global = config.global.clone();
    if arguments.daemon && global.pidfile.is_empty() {
        return Err("daemon needs pidfile configured".to_owned());
    }
    change_user(arguments.user.as_deref().or(Some(global.user.as_str()).filter(|name| !name.is_empty())))?;
    if arguments.daemon {
        daemon(true, false).map_err(|error| format!("cannot go into the background: {error}"))?;
    }
    let stderr = !arguments.quiet && !arguments.daemon;
    log::begin(&global, arguments.verbose, stderr)?;
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    serve(config, &global).inspect_err(|message| error!("{message}"))
}

fn serve(config: Config, global: &Global) -> Result<(), String> {
    let _pidfile = PidFile::write(global)?;
    raise_descriptor_limit(global);
    let process = Process::prepare(config)?;
    info!("process up: pooler {} (pid {})", env!("CARGO_PKG_VERSION"), std::process::id());
    process.run(|config| log::reopen(&config.global.logfile), || info!("ready")).map_err(|error| error.to_string())
}

/// As root we become `user`, or refuse to run.
fn change_user(name: Option<&str>) -> Result<(), String> {
    if let Some(name) = name {
        let user = User::from_name(name).ok().flatten().ok_or_else(|| format!("unknown user {name:?}"))?;
        if user.uid != Uid::effective() {
            let c_name = std::ffi::CString::new(name).map_err(|error| error.to_string())?;
            let changed = initgroups(&c_name, user.gid).and_then(|()| setgid(user.gid)).and_then(|()| setuid(user.uid));
            changed.map_err(|error| format!("cannot change to user {name:?}: {error}"))?;
        }
    }
    if Uid::effective().is_root() {
        Err("pooler should not run as root: see the setting user".to_owned())
    } else {
        Ok(())
    }
}

/// The file that holds our process id, for as long as we run.
struct PidFile(Option<PathBuf>);

impl PidFile {
    fn write(global: &Global) -> Result<Self, String> {
        if global.pidfile.is_empty() {
            return Ok(Self(None));
        }
        let path = Path::new(&global.pidfile);
        let create = || OpenOptions::new().write(true).create_new(true).open(path);
        let failed = |error: io::Error| format!("cannot write pidfile {}: {error}", path.display());
        let mut file = match create() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if names_a_live_process(path) {
                    return Err(format!("pidfile '{}' exists, another instance running?", path.display()));
                }
                fs::remove_file(path).and_then(|()| create()).map_err(failed)?
            }
            created => created.map_err(failed)?,
        };
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self(Some(path.to_owned())))
    }
}

fn names_a_live_process(path: &Path) -> bool {
    let pid = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    pid.is_some_and(|pid| nix::sys::signal::kill(Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH))
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// Raises the soft limit on open files to the hard one, and says if that is not enough.
fn raise_descriptor_limit(global: &Global) {
    let limits = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match limits {
        Ok(hard) => {
            let servers = global.default_pool_size.unwrap_or(0) + global.reserve_pool_size;
            let wanted = u64::from(global.max_client_conn) + u64::from(servers) + OTHER_DESCRIPTORS;
            if hard < wanted {
                warn!("{wanted} open files may be needed (max_client_conn and servers), but the limit is {hard}");
            }
        }
        Err(error) => warn!("cannot raise the limit on open files: {error}"),
    }
}
