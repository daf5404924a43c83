//! The columns of each table: names, order and types are what exporters and scripts rely on.

use super::super::table::{Answer, Kind, Table};
use super::super::{catalog, failover, formations, listeners, pools, sockets, various};
use super::*;

/// Columns in PgBouncer's order; a number stands for its type as in its source: i = int4, q = int8, t = text.
fn assert_columns<R: Send + 'static>(table: &'static Table<R>, wanted: &str) {
    let Answer { fields, .. } = table.answer(std::iter::empty());
    let columns: Vec<_> = fields.iter().map(|field| format!("{}:{}", field.name, letter(field.kind))).collect();
    let wanted: Vec<_> = wanted
        .split_whitespace()
        .map(|name| if name.contains(':') { name.to_owned() } else { format!("{name}:i") })
        .collect();
    assert_eq!(columns, wanted);
}

fn letter(kind: Kind) -> char {
    match kind {
        Kind::Text => 't',
        Kind::Int4 => 'i',
        Kind::Int8 => 'q',
        Kind::Numeric => 'n',
    }
}

const SOCKET: &str = "type:t user:t database:t replication:t state:t addr:t port local_addr:t local_port connect_time:t \
    request_time:t wait wait_us close_needed ptr:t link:t remote_pid tls:t application_name:t prepared_statements id";

#[test]
fn clients_servers_and_sockets_have_pgbouncers_columns_and_ours_behind_them() {
    assert_columns(&sockets::CLIENTS, &format!("{SOCKET} pinned:t"));
    let buffers = "recv_pos pkt_pos pkt_remain send_pos send_remain pkt_avail send_avail";
    assert_columns(&sockets::SOCKETS, &format!("{SOCKET} {buffers}"));
}

#[test]
fn pools_databases_and_users_have_pgbouncers_columns() {
    assert_columns(
        &pools::POOLS,
        "database:t user:t cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active sv_active_cancel \
         sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode:t load_balance_hosts:t",
    );
    assert_columns(
        &catalog::DATABASES,
        "name:t host:t port database:t force_user:t pool_size min_pool_size reserve_pool_size server_lifetime pool_mode:t \
         load_balance_hosts:t max_connections current_connections max_client_connections current_client_connections paused \
         disabled",
    );
    assert_columns(
        &catalog::USERS,
        "name:t pool_size:t reserve_pool_size:t pool_mode:t max_user_connections current_connections \
         max_user_client_connections current_client_connections",
    );
}

#[test]
fn the_smaller_tables_have_pgbouncers_columns() {
    assert_columns(&various::CONFIG, "key:t value:t default:t changeable:t");
    assert_columns(&various::STATE, "key:t value:t");
    assert_columns(&various::VERSIONS, "version:t");
    assert_columns(&various::LISTS, "list:t items");
    assert_columns(&various::MEM, "name:t size used free memtotal");
    assert_columns(&various::DNS_HOSTS, "hostname:t ttl:q addrs:t");
    assert_columns(&various::DNS_ZONES, "zonename:t serial:q count");
    assert_columns(&various::PEERS, "peer_id host:t port pool_size");
    assert_columns(
        &various::PEER_POOLS,
        "peer_id cl_active_cancel_req cl_waiting_cancel_req sv_active_cancel sv_login",
    );
}

#[test]
fn our_own_tables_keep_their_columns() {
    assert_columns(&sockets::WAITING, "database:t user:t addr:t port wait wait_us why:t id");
    assert_columns(
        &listeners::LISTENERS,
        "database:t encoding:t server:t remote_pid:t clients channels deliveries:q pending_bytes:q",
    );
    assert_columns(&various::WORKERS, "type:t id clients queued handshakes:q logins:q busy_percent at_ceiling:t");
}

#[test]
fn help_names_every_table() {
    let help = help();
    for show in Show::ALL {
        assert!(help.contains(show.word()) && Show::named(&show.word().to_lowercase()) == Some(*show), "{show:?}");
    }
}

#[test]
fn formations_have_a_row_for_each_node() {
    assert_columns(
        &formations::FORMATIONS,
        "name:t formation:t group gate:t why:t epoch monitor:t monitor_age_ms:t node:t host:t port:t target:t reported:t \
         goal:t health:t says:t timeline:t lsn:t lag:t priority:t",
    );
}

#[test]
fn failovers_have_a_row_for_each_step() {
    assert_columns(
        &failover::FAILOVERS,
        "began:t formation:t kind:t outcome:t from:t to:t held_ms:q step:t step_ms:t text:t",
    );
}
