//! The rows of SHOW CONFIG.

use crate::global::{GLOBAL, Global};
use crate::{Config, Effect};

/// One row of SHOW CONFIG, in PgBouncer's text forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The setting's name.
    pub key: &'static str,
    /// Its value; `None` is shown as null.
    pub value: Option<String>,
    /// Its default; `None` where PgBouncer has none.
    pub default: Option<String>,
    /// Whether RELOAD and SET change it.
    pub changeable: bool,
}

impl Config {
    /// SHOW CONFIG: every setting, in PgBouncer's order (alphabetical, pool_mode before pool_idle_timeout).
    pub fn rows(&self) -> Vec<Row> {
        let defaults = Global::default();
        let rows = GLOBAL.iter().map(|row| {
            // A null default differs from every value that was set, however empty it looks.
            let unset = row.rule.null && (row.same)(&self.global, &defaults);
            Row {
                key: row.name,
                value: if unset { self.unset(row.name) } else { (row.text)(&self.global) },
                default: if row.rule.null { None } else { (row.text)(&defaults) },
                changeable: row.rule.effect == Effect::Reload,
            }
        });
        rows.collect()
    }

    /// What is shown for a setting without a default that was not set.
    fn unset(&self, key: &str) -> Option<String> {
        match key {
            "conffile" => self.path.as_ref().map(|path| path.display().to_string()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(config: &Config, key: &str) -> Row {
        config.rows().into_iter().find(|row| row.key == key).unwrap_or_else(|| panic!("no row {key}"))
    }

    #[test]
    fn rows_stand_in_pgbouncers_order() {
        let rows = Config::default().rows();
        let keys: Vec<&str> = rows.iter().map(|row| row.key).collect();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        let mode = sorted.iter().position(|key| *key == "pool_mode").unwrap();
        sorted.swap(mode, mode - 1);
        assert_eq!(keys, sorted);
    }

    #[test]
    fn values_are_shown_in_pgbouncers_forms() {
        let config = Config { path: Some("/etc/pooler.toml".into()), ..Config::default() };
        for (key, value, changeable) in [
            ("listen_port", Some("6432"), false),
            ("unix_socket_mode", Some("511"), false),
            ("log_stats", Some("1"), true),
            ("server_lifetime", Some("3600"), true),
            ("max_db_connections", Some("0"), true),
            ("query_wait_timeout", Some("120"), true),
            ("auth_type", Some("md5"), true),
            ("admin_users", Some(""), true),
            ("track_extra_parameters", Some("IntervalStyle"), false),
            ("auth_file", None, true),
            ("verbose", None, true),
        ] {
            let shown = row(&config, key);
            assert_eq!((shown.value.as_deref(), shown.changeable), (value, changeable), "{key}");
            assert_eq!(shown.value, shown.default, "{key}");
        }
        assert_eq!(row(&config, "conffile").value.as_deref(), Some("/etc/pooler.toml"));
        let changed = config.set("query_timeout", "0.25").and_then(|config| config.set("verbose", "1")).unwrap();
        assert_eq!(row(&changed, "query_timeout").value.as_deref(), Some("0.25"));
        assert_eq!(row(&changed, "verbose").value.as_deref(), Some("1"));
    }

    /// The keys of PgBouncer's SHOW CONFIG; scripts look for each of them.
    const PGBOUNCER: &str = "admin_users application_name_add_host auth_dbname auth_file auth_hba_file auth_ident_file \
        auth_ldap_options auth_query auth_type auth_user autodb_idle_timeout cancel_wait_timeout client_idle_timeout \
        client_login_timeout client_tls13_ciphers client_tls_ca_file client_tls_cert_file client_tls_ciphers \
        client_tls_dheparams client_tls_ecdhcurve client_tls_key_file client_tls_protocols client_tls_sslmode conffile \
        default_pool_size disable_pqexec dns_max_ttl dns_nxdomain_ttl dns_zone_check_period idle_transaction_timeout \
        ignore_startup_parameters job_name listen_addr listen_backlog listen_port log_connections log_disconnections \
        log_pooler_errors log_stats logfile login_notify_message max_client_conn max_db_client_connections \
        max_db_connections max_packet_size max_prepared_statements max_user_client_connections max_user_connections \
        min_pool_size peer_id pidfile pkt_buf pool_mode pool_idle_timeout query_timeout query_wait_notify \
        query_wait_timeout reserve_pool_size reserve_pool_timeout resolv_conf sbuf_loopcnt scram_iterations \
        server_check_delay server_check_query server_connect_timeout server_fast_close server_idle_timeout \
        server_lifetime server_login_retry server_reset_query server_reset_query_always server_round_robin \
        server_tls13_ciphers server_tls_ca_file server_tls_cert_file server_tls_ciphers server_tls_key_file \
        server_tls_protocols server_tls_sslmode so_reuseport stats_period stats_users suspend_timeout syslog \
        syslog_facility syslog_ident tcp_defer_accept tcp_keepalive tcp_keepcnt tcp_keepidle tcp_keepintvl \
        tcp_socket_buffer tcp_user_timeout track_extra_parameters transaction_timeout unix_socket_dir \
        unix_socket_group unix_socket_mode user verbose";

    #[test]
    fn every_setting_of_pgbouncer_exists() {
        assert_eq!(PGBOUNCER.split_whitespace().count(), 100);
        let config = Config::default();
        for key in PGBOUNCER.split_whitespace() {
            assert_eq!(row(&config, key).key, key);
        }
    }
}
