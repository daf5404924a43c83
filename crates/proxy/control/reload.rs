//! RELOAD and SET: another configuration, whole or not at all.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use config::{Changes, Config, Database, Global, Loaded, Problem, Problems};
use pool::Refused;
use tracing::{info, warn};

use super::{ControlError, clients, pool_maker};
use crate::client::handle::Cut;
use crate::encryption::Encryption;
use crate::follow;
use crate::pools::SharedPool;
use crate::server::target::{Credentials, Target};
use crate::services::{Services, lock};

/// What a RELOAD has changed, and what is odd about the new configuration.
#[derive(Debug)]
pub struct Report {
    /// What is different; `restart` names settings that stay as they are until a restart.
    pub changes: Changes,
    /// What is legal but unlikely to be meant.
    pub warnings: Vec<Problem>,
}

/// RELOAD: reads the configuration file, and the `auth_file`, again.
///
/// # Errors
/// All that is wrong with them; nothing has changed then.
pub fn reload(services: &Arc<Services>) -> Result<Report, Problems> {
    let _alone = lock(&services.state.configuring);
    let Loaded { config: mut next, warnings } = Config::load(&path(&services.config.load())?)?;
    let running = services.config.load_full();
    let changes = running.diff(&next);
    keep_until_restart(&mut next.global, &running.global);
    let tls = Encryption::load(&next).map_err(|error| problem(&running, error.to_string()))?;
    apply(services, next, Some(tls));
    for warning in &warnings {
        warn!("{warning}");
    }
    for setting in &changes.restart {
        warn!("{setting} takes effect at the next start");
    }
    info!("RELOAD is complete");
    Ok(Report { changes, warnings })
}

/// SET: changes one setting until the next RELOAD. What needs a restart is accepted without effect, as in PgBouncer.
///
/// # Errors
/// An unknown setting, or a value that it cannot have.
pub fn set(services: &Arc<Services>, key: &str, value: &str) -> Result<(), ControlError> {
    let _alone = lock(&services.state.configuring);
    let running = services.config.load_full();
    let next = running.set(key, value).map_err(ControlError::SetFailed)?;
    let tls = if key.contains("_tls") {
        Some(Encryption::load(&next).map_err(|error| ControlError::SetFailed(error.to_string()))?)
    } else {
        None
    };
    apply(services, next, tls);
    Ok(())
}

fn path(config: &Config) -> Result<PathBuf, Problems> {
    let named = Some(&config.global.conffile).filter(|path| !path.is_empty()).map(PathBuf::from);
    named
        .or_else(|| config.path.clone())
        .ok_or_else(|| problem(config, "there is no configuration file to read again".to_owned()))
}

fn problem(config: &Config, message: String) -> Problems {
    let file = config.path.clone().unwrap_or_default();
    Problems(vec![Problem { file, line: 1, col: 1, message }])
}

/// Puts a configuration into force. From here on nothing can fail.
fn apply(services: &Arc<Services>, next: Config, tls: Option<Encryption>) {
    let whole = lock(&services.state.acting);
    let running = services.config.load_full();
    let changes = running.diff(&next);
    let other_tls = differs_in_server_tls(&running.global, &next.global);
    let next = Arc::new(next);
    if let Some(tls) = tls {
        services.tls.store(Arc::new(tls));
    }
    services.config.store(next.clone());
    services.authenticator.lookups.clear();
    // Later than the configuration: who sees the new number reads the new rules.
    services.generation.fetch_add(1, Ordering::Release);
    if let Some(reloaded) = services.reloaded.get() {
        reloaded(&next);
    }
    follow::obey(services, &next);
    let gone = |name: &str| next.find_database(name).is_none();
    for pool in services.pools.all() {
        match next.find_database(&pool.database) {
            None => remove(services, &pool),
            Some(database) => {
                update(services, &pool, &next, &database, other_tls || is_dirty(&changes, &next, &pool.database))
            }
        }
    }
    clients::cut_clients(services, gone, Cut::DatabaseRemoved);
    // A limit may have been raised for those who wait for it.
    for pool in services.pools.all() {
        pool.with_core(|core, now, out| {
            if core.wants_server() {
                core.review(now, out);
            }
        });
    }
    drop(whole);
    pool_maker::warm_up(services);
}

/// Whether servers are to be reached under other TLS than before.
fn differs_in_server_tls(running: &Global, next: &Global) -> bool {
    macro_rules! differ {
        ($($setting:ident)*) => { $(running.$setting != next.$setting)||* };
    }
    differ!(server_channel_binding server_tls13_ciphers server_tls_ca_file server_tls_cert_file server_tls_ciphers
        server_tls_key_file server_tls_protocols server_tls_sslmode server_tls_sslnegotiation)
}

/// Whether the servers of a database are no longer where, or who, its entry says.
fn is_dirty(changes: &Changes, next: &Config, name: &str) -> bool {
    let changed = |entry: &str| changes.databases_changed.iter().any(|change| change.dirty && change.name == entry);
    // From an entry of its own to that of "*", or the other way.
    let moved = changes.databases_added.iter().chain(&changes.databases_removed).any(|moved| moved == name);
    moved || changed(name) || (changed("*") && !next.databases.contains_key(name))
}

fn update(services: &Services, pool: &Arc<SharedPool>, next: &Config, database: &Database, dirty: bool) {
    pool_maker::set_limits(services, &pool.database, &pool.user, &next.pool_settings(database, &pool.user));
    let settings = pool_maker::pool_settings(next, database, &pool.user);
    let secret = pool_maker::secret(next, database, &pool.user);
    pool.target.store(Arc::new(Target::new(next, database, &pool.user, services.follow.followed(database))));
    let mut credentials = lock(&pool.credentials);
    if credentials.secret != secret {
        // What was derived from the old secret, or proved against it, opens nothing.
        *credentials = Credentials { secret, ..Credentials::default() };
    }
    drop(credentials);
    follow::stand_as_others(services, pool);
    pool.with_core(|core, now, out| core.reconfigure(settings, now, out));
    if dirty {
        pool.reconnect();
        services.listening.end(&pool.database, "RELOAD has moved its database");
    }
}

fn remove(services: &Services, pool: &Arc<SharedPool>) {
    pool.with_core(|core, now, out| core.drain(Refused::DatabaseRemoved, now, out));
    services.pools.remove(pool);
}

macro_rules! keep {
    ($next:ident, $running:ident: $($setting:ident)*) => { $($next.$setting.clone_from(&$running.$setting);)* };
}

/// What takes effect only at a start is shown, and used, as it was at the start.
fn keep_until_restart(next: &mut Global, running: &Global) {
    keep!(next, running:
        disable_pqexec job_name listen_addr listen_backlog listen_port log_format login_threads metrics_listen_addr
        metrics_listen_port pidfile pkt_buf resolv_conf so_reuseport stats_period track_extra_parameters unix_socket_dir
        unix_socket_group unix_socket_mode user warm_start_file worker_scheduling workers
    );
}

#[cfg(test)]
mod tests {
    use config::Effect;

    use super::*;

    #[test]
    fn what_needs_a_restart_stays_as_it_was() {
        let running = Config::default();
        let mut next = Config::default();
        let global = &mut next.global;
        (global.disable_pqexec, global.so_reuseport) = (true, true);
        (global.listen_backlog, global.login_threads, global.workers) = (1, 3, 3);
        (global.listen_port, global.metrics_listen_port) = (1, 2);
        (global.pkt_buf, global.stats_period) = (8192, 1);
        global.log_format = config::LogFormat::Json;
        global.worker_scheduling = config::Scheduling::Other;
        global.unix_socket_mode = config::FileMode(0o700);
        global.listen_addr = vec!["*".into()];
        global.track_extra_parameters = vec![];
        for text in
            [&mut global.job_name, &mut global.metrics_listen_addr, &mut global.pidfile, &mut global.resolv_conf]
        {
            "changed".clone_into(text);
        }
        let more = [&mut global.unix_socket_dir, &mut global.unix_socket_group, &mut global.user];
        for text in more.into_iter().chain([&mut global.warm_start_file]) {
            "changed".clone_into(text);
        }
        let restart: Vec<_> =
            Global::settings().into_iter().filter(|setting| setting.effect == Effect::Restart).collect();
        assert_eq!(running.diff(&next).restart.len(), restart.len(), "this test changes each of them");
        keep_until_restart(&mut next.global, &running.global);
        assert_eq!(running.diff(&next), Changes::default());
    }

    #[test]
    fn a_database_that_gets_an_entry_of_its_own_gets_new_servers() {
        let mut running = Config::default();
        running.databases.insert("*".into(), Database { name: "*".into(), ..Database::default() });
        let mut next = running.clone();
        next.databases.insert("app".into(), Database { name: "app".into(), ..Database::default() });
        let changes = running.diff(&next);
        assert!(is_dirty(&changes, &next, "app"));
        assert!(!is_dirty(&changes, &next, "other"));
    }
}
