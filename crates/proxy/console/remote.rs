//! The other end of the console: one command, said to the pooler that runs with a configuration.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use config::{Config, Global, Secret};
use protocol::fields::Fields;
use protocol::messages;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::address::Endpoint;
use crate::dns::{Dns, Ttls};
use crate::server::connection::server_report;
use crate::server::dial::{self, Dialed};
use crate::server::login::{self, Binding, LoginError};
use crate::server::secure::{Secured, secure_by};
use crate::server::target::Credentials;
use crate::tls::ServerTls;
use crate::wire::Wire;

/// How long connecting and logging in may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longest message of a console.
const MAX_MESSAGE: usize = 1 << 16;
/// Who has the console without a password, if the pooler runs under the same account.
const OWNER: &str = "pgbouncer";

/// What is heard of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A NOTICE: its SQLSTATE and its text.
    Notice(String, String),
    /// The operator wants it to end, and the pooler is asked to.
    Interrupted,
}

/// Why a command has no good end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The console cannot be reached, or lets nobody in.
    NoConsole(String),
    /// The pooler's error: its SQLSTATE and its text.
    Error(String, String),
    /// The connection broke.
    Lost(String),
}

/// Says a command to the console, and `hear`s of it until it ends. An interrupt (SIGINT, SIGTERM) cancels it.
///
/// Logs in as `$PGUSER` with `$PGPASSWORD` if they are set; else without a password as who runs the pooler, over its Unix
/// socket; else as the first of `admin_users`, with the secret from `auth_file`.
///
/// # Errors
/// See [`Trouble`].
pub fn run(config: &Config, command: &str, hear: impl FnMut(Said)) -> Result<(), Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Trouble::NoConsole(error.to_string()))?;
    runtime.block_on(converse(config, command, hear))
}

async fn converse(config: &Config, command: &str, mut hear: impl FnMut(Said)) -> Result<(), Trouble> {
    let mut console = open(config).await?;
    let lost = |error: LoginError| Trouble::Lost(error.to_string());
    let mut interrupts = Interrupts::new().map_err(|error| Trouble::NoConsole(error.to_string()))?;
    let mut request = Vec::with_capacity(128);
    messages::query(&mut request, command.as_bytes());
    console.wire.send(&request).await.map_err(|error| lost(error.into()))?;
    let mut failure = None;
    loop {
        let message = tokio::select! {
            message = console.wire.message() => message,
            () = interrupts.next() => {
                hear(Said::Interrupted);
                // If it does not arrive the operator may try again.
                let _ = timeout(CONNECT_LIMIT, cancel(&console)).await;
                continue;
            }
        };
        let (tag, body) = message.map_err(|error| lost(error.into()))?;
        match tag {
            b'N' => {
                let fields = Fields::parse(body);
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                hear(Said::Notice(text(fields.sqlstate), text(fields.message)));
            }
            b'E' => {
                let report = server_report(body);
                failure = Some(Trouble::Error(report.sqlstate, report.message));
                if Fields::parse(body).is_fatal() {
                    break;
                }
            }
            b'Z' => break,
            _ => {}
        }
    }
    failure.map_or(Ok(()), Err)
}

/// A connection to the console, or to a database, and what a cancel needs.
pub(crate) struct Console {
    pub(crate) wire: Wire,
    endpoint: Endpoint,
    key: (u32, Vec<u8>),
}

async fn open(config: &Config) -> Result<Console, Trouble> {
    let found = reach(config, config::CONSOLE_NAMES[0], |endpoint| account(config, endpoint)).await;
    found.map_err(|unreached| match unreached {
        Unreached::Silent(why) => Trouble::NoConsole(why.unwrap_or_else(|| "it listens nowhere".to_owned())),
        Unreached::Refused(endpoint, user, error) => {
            let advice = "(PGUSER and PGPASSWORD name another one of admin_users)";
            Trouble::NoConsole(format!("{endpoint}, as {user}: {error} {advice}"))
        }
    })
}

/// Why nobody is logged in.
pub(crate) enum Unreached {
    /// Nobody answers, in words; none if the pooler listens nowhere.
    Silent(Option<String>),
    /// It is refused: where, to whom, and why.
    Refused(Endpoint, String, LoginError),
}

/// Logs in where the pooler listens: at the first place that answers, as whom `account` says.
pub(crate) async fn reach(
    config: &Config,
    database: &str,
    account: impl Fn(&Endpoint) -> (String, Option<Secret>),
) -> Result<Console, Unreached> {
    let mut last = None;
    for endpoint in endpoints(&config.global) {
        let (user, secret) = account(&endpoint);
        match timeout(CONNECT_LIMIT, log_in(endpoint.clone(), database, &user, secret)).await {
            Ok(Ok(console)) => return Ok(console),
            Ok(Err(error @ LoginError::Wire(_))) => last = Some(format!("{endpoint}: {error}")),
            Ok(Err(error)) => return Err(Unreached::Refused(endpoint, user, error)),
            Err(_) => last = Some(format!("{endpoint}: no answer")),
        }
    }
    Err(Unreached::Silent(last))
}

async fn log_in(endpoint: Endpoint, database: &str, user: &str, secret: Option<Secret>) -> Result<Console, LoginError> {
    let (Dialed { socket, .. }, secured) = connect(&endpoint).await?;
    let startup = [("user", user), ("database", database), ("application_name", "pooler")];
    let startup = startup.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    let binding = Binding::new(config::ChannelBinding::Prefer, secured.as_ref());
    let mut wire = Wire::new(socket, MAX_MESSAGE);
    let credentials = Credentials { secret, ..Credentials::default() };
    let found = login::log_in(&mut wire, &startup, user, &credentials, binding).await?;
    Ok(Console { wire, endpoint, key: (found.pid, found.key) })
}

/// With TLS over TCP, if the pooler has it. That it is the right one is not checked: it is on this machine.
async fn connect(endpoint: &Endpoint) -> Result<(Dialed, Option<Secured>), LoginError> {
    let global = Global::default();
    let ttls = Ttls { found: global.dns_max_ttl, failed: global.dns_nxdomain_ttl };
    let dialed = dial::dial(&Dns::default(), ttls, endpoint, &global).await;
    let mut dialed = dialed.map_err(|error| LoginError::Wire(error.into()))?;
    let Endpoint::Tcp(host, _) = endpoint else { return Ok((dialed, None)) };
    let tls = ServerTls::load(&global).map_err(|error| LoginError::Tls(io::Error::other(error.to_string())))?;
    let modes = (global.server_tls_sslmode, global.server_tls_sslnegotiation);
    let secured = secure_by(tls, modes, &mut dialed.socket, host).await.map_err(LoginError::Tls)?;
    Ok((dialed, secured))
}

async fn cancel(console: &Console) -> Result<(), LoginError> {
    let (mut dialed, _) = connect(&console.endpoint).await?;
    let mut request = Vec::with_capacity(16);
    messages::cancel_request(&mut request, console.key.0, &console.key.1);
    dialed.socket.send_all(&request).await.map_err(|error| LoginError::Wire(error.into()))
}

/// Where the pooler listens, as seen from its own machine: its Unix socket before all.
fn endpoints(global: &Global) -> Vec<Endpoint> {
    let unix = Some(&global.unix_socket_dir).filter(|directory| !directory.is_empty());
    let unix = unix.map(|directory| Endpoint::Unix(PathBuf::from(directory), global.listen_port));
    let tcp = global.listen_addr.iter().map(|address| {
        let host = match address.as_str() {
            "*" | "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
            address => address,
        };
        Endpoint::Tcp(host.into(), global.listen_port)
    });
    unix.into_iter().chain(tcp).collect()
}

pub(crate) fn account(config: &Config, endpoint: &Endpoint) -> (String, Option<Secret>) {
    let admins = &config.global.admin_users;
    let known = || admins.iter().find(|user| config.userlist.contains_key(*user));
    let named = std::env::var("PGUSER").ok().filter(|user| !user.is_empty());
    let user = match named {
        Some(user) => user,
        None if is_ours(endpoint) => return (OWNER.to_owned(), None),
        None => known().or(admins.iter().find(|user| *user != "*")).cloned().unwrap_or_else(|| OWNER.to_owned()),
    };
    let password = std::env::var("PGPASSWORD").ok().map(Secret::Plain);
    let secret = password.or_else(|| config.userlist.get(&user).cloned());
    (user, secret)
}

/// Whether the socket belongs to whoever runs this.
fn is_ours(endpoint: &Endpoint) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Endpoint::Unix(directory, port) = endpoint else { return false };
    let socket = std::fs::metadata(directory.join(format!(".s.PGSQL.{port}")));
    socket.is_ok_and(|socket| socket.uid() == rustix::process::geteuid().as_raw())
}

struct Interrupts(tokio::signal::unix::Signal, tokio::signal::unix::Signal);

impl Interrupts {
    fn new() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_console_is_looked_for_where_the_pooler_listens() {
        let shown = |text: &str| {
            let loaded = Config::from_text(Path::new("x.toml"), text).unwrap_or_else(|problems| panic!("{problems}"));
            let endpoints = endpoints(&loaded.config.global);
            endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            shown("listen_addr = '*,::,10.0.0.1'\nunix_socket_dir = ''"),
            "127.0.0.1:6432 [::1]:6432 10.0.0.1:6432"
        );
        assert!(shown("unix_socket_dir = '/run/x'\nlisten_port = 5").contains("/run/x"));
    }

    #[test]
    fn whoever_has_a_secret_logs_in() {
        let text = "admin_users = '*,somebody,admin'";
        let loaded = Config::from_text(Path::new("x.toml"), text).unwrap_or_else(|problems| panic!("{problems}"));
        let (mut config, endpoint) = (loaded.config, Endpoint::Tcp("h".into(), 1));
        assert_eq!(account(&config, &endpoint).0, "somebody");
        config.userlist.insert("admin".to_owned(), Secret::Plain("x".to_owned()));
        let (user, secret) = account(&config, &endpoint);
        assert_eq!((user.as_str(), secret.is_some()), ("admin", true));
    }
}
