//! The global settings: PgBouncer's `[pgbouncer]` section and our own, one row each.

use std::time::Duration;

use crate::secret::Secret;
use crate::table::{Key, reload, restart, settings};
use crate::value::{FileMode, Limit, Timeout, Value};
use crate::words::{
    AuthType, ChannelBinding, Hidden, Listening, LogFormat, Pinning, PoolMode, Scheduling, SslMode, SslNegotiation,
};

const NO_DHE: &str = "the TLS library has no finite-field Diffie-Hellman";
const NO_DNS: &str = "names are resolved by the operating system";
const NO_PEERS: &str = "peering is not available in this version";
const NO_SYSLOG: &str = "syslog is not available in this version; log to stderr or logfile";

/// The password lookup PgBouncer ships with.
pub const AUTH_QUERY: &str = "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END \
    FROM pg_authid WHERE rolname=$1 AND rolcanlogin";

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn after(seconds: u64) -> Timeout {
    Some(Duration::from_secs(seconds))
}

const NEVER: Timeout = None;

// In SHOW CONFIG's order: alphabetical, except that pool_mode stands before pool_idle_timeout.
settings! {
    /// The global settings, named as in the files. Defaults are PgBouncer's.
    pub struct Global; rows GLOBAL;

    /// Users with full access to the console.
    admin_users: Vec<String> = Vec::new(), reload();
    /// Append the client's address to its application_name.
    application_name_add_host: bool = false, reload();
    /// Database in which auth_query runs. Empty = the one the client asks for.
    auth_dbname: String = String::new(), reload().null();
    /// Longest time the answer to a failed login is held back; grows with the failures from one address. 0 = never.
    auth_failure_delay: Timeout = after(2), reload();
    /// File of users and their secrets.
    auth_file: String = String::new(), reload().null();
    /// Rules for auth_type hba, in the format of pg_hba.conf.
    auth_hba_file: String = String::new(), reload();
    /// User name maps for auth_type hba, in the format of pg_ident.conf.
    auth_ident_file: String = String::new(), reload().null();
    /// LDAP options for auth_type ldap.
    auth_ldap_options: String = String::new(), reload().null().only(&[""], "LDAP is not available in this version");
    /// Query that finds the secret of a user who is not in auth_file.
    auth_query: String = AUTH_QUERY.to_string(), reload();
    /// How long it is believed that auth_query did not find a user. 0 = ask at each login.
    auth_query_negative_ttl: Duration = seconds(0), reload();
    /// How long over its auth_query_ttl an answer may be used while the server cannot be asked.
    auth_query_stale_ttl: Duration = seconds(300), reload();
    /// How long what auth_query found is believed. 0 = ask at each login.
    auth_query_ttl: Duration = seconds(0), reload();
    /// How clients prove who they are: any, trust, plain, md5, cert, hba or scram-sha-256.
    auth_type: AuthType = AuthType::Md5, reload();
    /// User who runs auth_query. Empty = it is not run.
    auth_user: String = String::new(), reload().null();
    /// Forget a database made from "*" when it was unused for so long.
    autodb_idle_timeout: Timeout = after(3600), reload();
    /// Drop a cancel request that could not be delivered for so long.
    cancel_wait_timeout: Timeout = after(10), reload();
    /// Disconnect clients that have been idle outside a transaction for so long.
    client_idle_timeout: Timeout = NEVER, reload();
    /// A login, and the wait of a new client for its first server, must be over by then.
    client_login_timeout: Timeout = after(60), reload();
    /// TLS 1.3 cipher suites offered to clients.
    client_tls13_ciphers: String = String::new(), reload().null();
    /// Authority that signs client certificates.
    client_tls_ca_file: String = String::new(), reload();
    /// Certificate shown to clients.
    client_tls_cert_file: String = String::new(), reload();
    /// TLS ciphers offered to clients.
    client_tls_ciphers: String = "default".to_string(), reload();
    /// Diffie-Hellman parameters for clients.
    client_tls_dheparams: String = "auto".to_string(), reload().inert(NO_DHE);
    /// Elliptic curve for clients.
    client_tls_ecdhcurve: String = "auto".to_string(), reload();
    /// Private key of client_tls_cert_file.
    client_tls_key_file: String = String::new(), reload();
    /// TLS versions offered to clients.
    client_tls_protocols: String = "secure".to_string(), reload();
    /// Whether clients may or must use TLS.
    client_tls_sslmode: SslMode = SslMode::Disable, reload();
    /// File that RELOAD reads instead of the one named on the command line.
    conffile: String = String::new(), reload().null();
    /// Secret that poolers of one formation share, so that only they can tell each other to pause. Empty = none.
    control_secret: Secret = Secret::Plain(String::new()), reload();
    /// Server connections per pool, that is per pair of database and user. 0 = unlimited.
    default_pool_size: Limit = Some(20), reload();
    /// Refuse the simple query protocol (PQexec), which allows several statements in one string.
    disable_pqexec: bool = false, restart();
    /// How long a host name that was found is believed.
    dns_max_ttl: Duration = seconds(15), reload();
    /// How long a host name that was not found is believed to be missing.
    dns_nxdomain_ttl: Duration = seconds(15), reload();
    /// How often the serials of DNS zones are compared.
    dns_zone_check_period: Timeout = NEVER, reload().only(&["0"], NO_DNS);
    /// Use the new primary of a planned failover before pg_auto_failover has made it writable by default.
    failover_early_open: bool = false, reload();
    /// Longest time transactions wait for a writable node; what the monitor's own timeouts need may be less. 0 = none wait.
    failover_wait_timeout: Duration = seconds(90), reload();
    /// Servers a busy client may be given out of turn because its worker used them last.
    handover_slack: u32 = 0, reload();
    /// Disconnect clients that sit in an open transaction for so long.
    idle_transaction_timeout: Timeout = NEVER, reload();
    /// Startup parameters to swallow silently; "options" also swallows unknown settings inside options.
    ignore_startup_parameters: Vec<String> = Vec::new(), reload();
    /// Name of this process in the log and the process list.
    job_name: String = "pgbouncer".to_string(), restart();
    /// TCP addresses to listen on; "*" = all. Empty = only the Unix socket.
    listen_addr: Vec<String> = Vec::new(), restart();
    /// Connections the kernel may keep waiting to be accepted, listen(2).
    listen_backlog: u32 = 128, restart();
    /// Port of the TCP and Unix sockets.
    listen_port: u16 = 6432, restart();
    /// Log each login.
    log_connections: bool = true, reload();
    /// Log each disconnection, with its reason.
    log_disconnections: bool = true, reload();
    /// Shape of log lines: text (PgBouncer's) or json.
    log_format: LogFormat = LogFormat::Text, restart();
    /// Log each error the pooler sends to a client.
    log_pooler_errors: bool = true, reload();
    /// Log a line of statistics every stats_period.
    log_stats: bool = true, reload();
    /// File to log to, besides stderr.
    logfile: String = String::new(), reload();
    /// NOTICE sent to each client after its login.
    login_notify_message: String = String::new(), reload();
    /// Threads for the cryptography of logins. 0 = automatic.
    login_threads: u32 = 0, restart().range(0, 1024);
    /// Channels that one client may listen to through the connection that listens for all.
    max_client_channels: u32 = 10_000, reload().range(1, 1_000_000);
    /// Clients that may be connected at once; console logins are exempt.
    max_client_conn: u32 = 100, reload().range(1, i32::MAX as u32);
    /// Bytes of prepared statements, names and texts, that one client may have.
    max_client_prepared_bytes: u32 = 16 << 20, reload().range(1024, 1 << 30);
    /// Channels that such a connection may listen to for all of its clients.
    max_db_channels: u32 = 100_000, reload().range(1, 1_000_000);
    /// Clients per database. 0 = unlimited.
    max_db_client_connections: Limit = None, reload();
    /// Server connections per database, over all its pools. 0 = unlimited.
    max_db_connections: Limit = None, reload();
    /// Largest packet a client may send before it is logged in, in bytes.
    max_login_packet_size: u32 = 16384, reload().range(1024, 1 << 24);
    /// Server connections a pool may be opening at once.
    max_opening_servers: u32 = 4, reload().range(1, 65535);
    /// Largest packet let through, in bytes.
    max_packet_size: u32 = 2_147_483_647, reload().range(1024, i32::MAX as u32);
    /// Bytes of notifications that may wait for one client, which is disconnected when there are more.
    max_pending_notifications: u32 = 4 << 20, reload().range(8192, 1 << 30);
    /// Servers per pool that clients may keep for what cannot move to another server. 0 = half of the pool.
    max_pinned: Limit = None, reload();
    /// Bytes that the texts of all clients' prepared statements may take; equal ones in a pool count once. 0 = unlimited.
    max_prepared_bytes: Limit = Some(256 << 20), reload();
    /// Prepared statements kept per server connection. 0 = names pass through untouched.
    max_prepared_statements: u32 = 200, reload();
    /// Connections that may be in the middle of their login at once.
    max_unauthenticated_conn: u32 = 1000, reload().range(1, i32::MAX as u32);
    /// Connections from one address that may be in the middle of their login at once. 0 = unlimited.
    max_unauthenticated_conn_per_address: Limit = None, reload();
    /// Clients per user. 0 = unlimited.
    max_user_client_connections: Limit = None, reload();
    /// Server connections per user, over all databases. 0 = unlimited.
    max_user_connections: Limit = None, reload();
    /// Address of the Prometheus page. Empty = off.
    metrics_listen_addr: String = String::new(), restart();
    /// Port of the Prometheus page.
    metrics_listen_port: u16 = 9127, restart();
    /// Server connections kept open in each pool that has a client or a forced user.
    min_pool_size: u32 = 0, reload();
    /// A PAUSE ends by itself after so long. Must be below query_wait_timeout. 0 = never, but a failover's after 25 s.
    pause_expiry: Timeout = NEVER, reload();
    /// Number of this process among its peers. 0 = no peers.
    peer_id: u16 = 0, reload().only(&["0"], NO_PEERS);
    /// File that holds the process id.
    pidfile: String = String::new(), restart();
    /// Disconnect clients that keep a server outside a transaction, and have been idle for so long.
    pinned_idle_timeout: Timeout = NEVER, reload();
    /// Size of a connection's buffer while it has data, in bytes.
    pkt_buf: u32 = 4096, restart().range(512, 1 << 24);
    /// When a server goes back to its pool: session, transaction or statement.
    pool_mode: PoolMode = PoolMode::Session, reload();
    /// Forget an empty pool, and its statistics, after so long.
    pool_idle_timeout: Timeout = NEVER, reload();
    /// Cancel queries that run for so long.
    query_timeout: Timeout = NEVER, reload();
    /// Send a NOTICE to clients that have waited for a server for so long.
    query_wait_notify: Timeout = after(5), reload();
    /// Disconnect clients that have waited for a server for so long.
    query_wait_timeout: Timeout = after(120), reload();
    /// Extra server connections per pool, used when a client has waited for reserve_pool_timeout.
    reserve_pool_size: u32 = 0, reload();
    /// How long a client waits before the reserve is used. 0 = the reserve is never used.
    reserve_pool_timeout: Timeout = after(5), reload();
    /// File used instead of /etc/resolv.conf.
    resolv_conf: String = String::new(), restart().only(&[""], NO_DNS);
    /// Find out whether a COMMIT was made whose server was lost; a user of the pooler's needs REPLICATION for it.
    resolve_commit: bool = false, reload();
    /// Reads from one connection before others get their turn. 0 = no limit.
    sbuf_loopcnt: u32 = 5, reload().inert("the runtime shares out the time");
    /// Iterations of SCRAM keys derived from plain passwords (RFC 7677 asks for 4096 at least).
    scram_iterations: u32 = 4096, reload().range(1, i32::MAX as u32);
    /// Whether SCRAM logins to servers are bound to the TLS connection: disable, prefer or require.
    server_channel_binding: ChannelBinding = ChannelBinding::Prefer, reload();
    /// A server idle for longer than this is checked before it is used. 0 = always.
    server_check_delay: Duration = seconds(30), reload();
    /// The check. `<empty>` = an empty query, nothing at all = no check.
    server_check_query: String = "<empty>".to_string(), reload();
    /// Connecting to a server, with its login, must be over by then.
    server_connect_timeout: Timeout = after(15), reload();
    /// In session mode close servers that must go at the end of the transaction, with their clients.
    server_fast_close: bool = false, reload().only(&["0"], "closing servers under a session is not available in this version");
    /// Close servers that have been idle for so long, down to min_pool_size.
    server_idle_timeout: Timeout = after(600), reload();
    /// Close servers that are older than this when they come back. 0 = use each only once.
    server_lifetime: Duration = seconds(3600), reload();
    /// After a failed connection wait so long before the next attempt.
    server_login_retry: Duration = seconds(15), reload();
    /// Sent to a server when its client leaves it, in session mode.
    server_reset_query: String = "DISCARD ALL".to_string(), reload();
    /// Send server_reset_query in every pool mode.
    server_reset_query_always: bool = false, reload();
    /// Use the server that has been idle longest, instead of the one used last.
    server_round_robin: bool = false, reload();
    /// TLS 1.3 cipher suites offered to servers.
    server_tls13_ciphers: String = String::new(), reload().null();
    /// Authority that signs server certificates.
    server_tls_ca_file: String = String::new(), reload();
    /// Certificate shown to servers.
    server_tls_cert_file: String = String::new(), reload();
    /// TLS ciphers offered to servers.
    server_tls_ciphers: String = "default".to_string(), reload();
    /// Private key of server_tls_cert_file.
    server_tls_key_file: String = String::new(), reload();
    /// TLS versions offered to servers.
    server_tls_protocols: String = "secure".to_string(), reload();
    /// Whether servers are asked for TLS.
    server_tls_sslmode: SslMode = SslMode::Prefer, reload();
    /// How TLS to servers begins: postgres = asked for first, direct = at once (PostgreSQL 17).
    server_tls_sslnegotiation: SslNegotiation = SslNegotiation::Postgres, reload();
    /// Session advisory locks in transaction mode: pin = keep the server while there are any, warn = say so, or refuse.
    session_advisory_locks: Pinning = Pinning::Pin, reload();
    /// What no server tells of (DO, CALL, LOAD, setseed, lastval, dblink) in transaction mode: ignore, reset, pin or refuse.
    session_hidden: Hidden = Hidden::Ignore, reload();
    /// Cursors WITH HOLD in transaction mode: pin, warn or refuse.
    session_hold_cursors: Pinning = Pinning::Pin, reload();
    /// LISTEN in transaction mode: serve = one connection listens for all clients of a database, or pin, warn, refuse.
    session_listen: Listening = Listening::Serve, reload();
    /// PREPARE, as SQL, in transaction mode: pin, warn or refuse.
    session_prepare: Pinning = Pinning::Pin, reload();
    /// Temporary tables in transaction mode: pin, warn or refuse.
    session_temporary_tables: Pinning = Pinning::Pin, reload();
    /// Let several processes listen on one port.
    so_reuseport: bool = false, restart().only(&["0"], "sharing a port is not available in this version: one process uses every core");
    /// Seconds between lines of statistics, and the time SHOW STATS averages over.
    stats_period: u32 = 60, restart().range(1, 86_400 * 365);
    /// Users who may use SHOW in the console.
    stats_users: Vec<String> = Vec::new(), reload();
    /// SUSPEND drops connections that could not be flushed by then.
    suspend_timeout: Timeout = after(10), reload().inert("SUSPEND is not available in this version");
    /// Log to syslog.
    syslog: bool = false, reload().only(&["0"], NO_SYSLOG);
    /// Syslog's facility.
    syslog_facility: String = "daemon".to_string(), reload().inert(NO_SYSLOG);
    /// Name in syslog.
    syslog_ident: String = "pgbouncer".to_string(), reload().inert(NO_SYSLOG);
    /// Seconds the kernel keeps a new connection that has sent nothing. 0 = accept at once.
    tcp_defer_accept: u32 = 1, reload().range(0, i32::MAX as u32);
    /// Let the kernel probe silent connections.
    tcp_keepalive: bool = true, reload();
    /// Unanswered probes until a connection is given up. 0 = the system's default.
    tcp_keepcnt: u32 = 0, reload().range(0, 127);
    /// Seconds of silence before the first probe. 0 = the system's default.
    tcp_keepidle: u32 = 0, reload().range(0, 32767);
    /// Seconds between probes. 0 = the system's default.
    tcp_keepintvl: u32 = 0, reload().range(0, 32767);
    /// Kernel buffers of a connection, in bytes. 0 = the system's default.
    tcp_socket_buffer: u32 = 0, reload().range(0, i32::MAX as u32);
    /// Milliseconds until unacknowledged data ends a connection. 0 = the system's default.
    tcp_user_timeout: u32 = 0, reload().range(0, i32::MAX as u32);
    /// How often certificate, key and authority files are looked at for changes. 0 = only at RELOAD.
    tls_file_check_period: Timeout = after(10), reload();
    /// Server parameters kept per client, besides those every pooler tracks.
    track_extra_parameters: Vec<String> = vec!["IntervalStyle".to_string()], restart();
    /// Cancel transactions that are open for so long.
    transaction_timeout: Timeout = NEVER, reload();
    /// Directory of the Unix socket, and of the server's if a database has no host. Empty = none, "@x" = abstract.
    unix_socket_dir: String = "/tmp".to_string(), restart();
    /// Group that owns the Unix socket.
    unix_socket_group: String = String::new(), restart();
    /// Permissions of the Unix socket.
    unix_socket_mode: FileMode = FileMode(0o777), restart();
    /// User to change to when started as root.
    user: String = String::new(), restart().null();
    /// More log: 1 = DEBUG, 2 = NOISE.
    verbose: u32 = 0, reload().null();
    /// File that remembers which pools to warm up at the next start. Empty = off.
    warm_start_file: String = String::new(), restart();
    /// How often warm_start_file is written.
    warm_start_period: Timeout = after(10), reload();
    /// Scheduling policy of the threads that relay: batch lets others end their time slice, other does not. See sched(7).
    worker_scheduling: Scheduling = Scheduling::Batch, restart();
    /// Threads that relay. 0 = one for every two cores, of which the kernel needs the other.
    workers: u32 = 0, restart().range(0, 1024);
}

impl Global {
    /// Every setting, for the manual and the shipped configuration, in SHOW CONFIG's order.
    pub fn settings() -> Vec<crate::Setting> {
        crate::table::manual(GLOBAL)
    }
}
