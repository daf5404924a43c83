//! The TLS that is in force: made from the settings at start and at RELOAD, and made again when its files change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use config::Config;
use tracing::{error, info, warn};

use crate::services::{Services, lock};
use crate::tls::{ClientTls, Expiry, ServerTls, TlsError};

/// How often files are thought of where `tls_file_check_period` is 0, in case that changes.
const SELDOM: Duration = Duration::from_secs(10);
/// How often a certificate that expires soon is warned of.
const REMIND: Duration = Duration::from_secs(86_400);

/// The TLS of both sides.
#[derive(Debug, Default)]
pub struct Encryption {
    /// Towards clients; none for `client_tls_sslmode = disable`.
    pub clients: Option<Arc<ClientTls>>,
    /// Towards servers; none for `server_tls_sslmode = disable`.
    pub servers: Option<Arc<ServerTls>>,
    /// Towards the monitor of each formation that asks for it.
    pub monitors: BTreeMap<String, Arc<ServerTls>>,
}

impl Encryption {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// The setting and the file that cannot be used, and why.
    pub fn load(config: &Config) -> Result<Self, TlsError> {
        let global = &config.global;
        let mut monitors = BTreeMap::new();
        for (name, formation) in &config.formations {
            let tls =
                ServerTls::load(&formation.monitor.server_settings(global)).map_err(|error| of_monitor(name, error))?;
            monitors.extend(tls.map(|tls| (name.clone(), tls)));
        }
        let loaded = Self { clients: ClientTls::load(global)?, servers: ServerTls::load(global)?, monitors };
        for warning in loaded.warnings() {
            warn!("{warning}");
        }
        Ok(loaded)
    }

    fn warnings(&self) -> impl Iterator<Item = &String> {
        let clients = self.clients.iter().flat_map(|tls| &tls.warnings);
        clients.chain(self.all_servers().flat_map(|tls| &tls.warnings))
    }

    fn all_servers(&self) -> impl Iterator<Item = &Arc<ServerTls>> {
        self.servers.iter().chain(self.monitors.values())
    }

    /// Whether any of its files is another one now.
    pub fn has_changed(&self) -> bool {
        self.clients.as_ref().is_some_and(|tls| tls.files.changed())
            || self.all_servers().any(|tls| tls.files.changed())
    }

    /// When its certificates expire.
    pub fn expiries(&self) -> impl Iterator<Item = &Expiry> {
        let clients = self.clients.iter().map(|tls| &tls.expiry);
        clients.chain(self.all_servers().filter_map(|tls| tls.expiry.as_ref()))
    }
}

/// A monitor's settings have other names than those of other servers.
fn of_monitor(formation: &str, error: TlsError) -> TlsError {
    let setting = match error.setting {
        "server_tls_ca_file" => "sslrootcert",
        "server_tls_cert_file" => "sslcert",
        "server_tls_key_file" => "sslkey",
        other => other,
    };
    TlsError { setting, reason: format!("{} (monitor of formation {formation})", error.reason), ..error }
}

/// Watches the files of the TLS in force (setting `tls_file_check_period`), and warns of certificates that expire.
pub async fn watch(services: Arc<Services>) {
    let mut complained = false;
    let mut remind_at = tokio::time::Instant::now();
    loop {
        if tokio::time::Instant::now() >= remind_at {
            remind_at += REMIND;
            warn_of_expiry(&services.tls.load());
        }
        let period = services.config.load().global.tls_file_check_period;
        tokio::time::sleep(period.unwrap_or(SELDOM)).await;
        if period.is_none() || !services.tls.load().has_changed() {
            complained = false;
            continue;
        }
        // A half-written file is one that cannot be used: the next look finds the rest.
        match renew(&services) {
            Ok(()) => (complained, remind_at) = (false, tokio::time::Instant::now()),
            Err(why) if !complained => {
                complained = true;
                error!("TLS files have changed and cannot be used, the old ones stay: {why}");
            }
            Err(_) => {}
        }
    }
}

fn renew(services: &Services) -> Result<(), TlsError> {
    let _alone = lock(&services.state.configuring);
    let next = Encryption::load(&services.config.load())?;
    services.tls.store(Arc::new(next));
    info!("TLS files have changed and were read again");
    Ok(())
}

fn warn_of_expiry(tls: &Encryption) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    for warning in tls.expiries().filter_map(|expiry| expiry.warning(now as i64)) {
        warn!("{warning}");
    }
}
