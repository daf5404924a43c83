//! The smaller tables of SHOW.

use std::mem::size_of;
use std::time::Duration;

use config::Row as ConfigRow;

use super::catalog::{self, user_names};
use super::table::{Answer, Table, int4, int8, maybe, text};
use super::{VERSION, pools};
use crate::client::handle::ClientHandle;
use crate::dns::Ttls;
use crate::meter::is_at_ceiling;
use crate::pools::SharedPool;
use crate::server::connection::Server;
use crate::services::Services;

pub(super) static CONFIG: Table<ConfigRow> = Table {
    columns: &[
        text("key", |c| c.key.to_owned()),
        maybe("value", |c| c.value.clone()),
        maybe("default", |c| c.default.clone()),
        text("changeable", |c| yes(c.changeable)),
    ],
};

pub(super) fn config(services: &Services) -> Answer {
    CONFIG.answer(services.config.load().rows().into_iter())
}

fn yes(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

pub(super) static STATE: Table<(&'static str, bool)> =
    Table { columns: &[text("key", |s| s.0.to_owned()), text("value", |s| yes(s.1))] };

pub(super) fn state(services: &Services) -> Answer {
    let paused = services.state.paused(None).is_some();
    STATE.answer([("active", !paused), ("paused", paused), ("suspended", false)].into_iter())
}

pub(super) static VERSIONS: Table<&'static str> = Table { columns: &[text("version", |v| (*v).to_owned())] };

pub(super) fn version() -> Answer {
    VERSIONS.answer(std::iter::once(VERSION))
}

/// A parameter that drivers ask for: a table of one column, named like it.
pub(super) fn parameter(name: &'static str, value: &'static str) -> Answer {
    use super::table::{Cell, Field, Kind};
    let fields = vec![Field { name: name.into(), kind: Kind::Text }];
    Answer { fields, rows: Box::new(std::iter::once(vec![Cell::Text(value.to_owned())])) }
}

pub(super) static LISTS: Table<(&'static str, u64)> =
    Table { columns: &[text("list", |l| l.0.to_owned()), int4("items", |l| l.1)] };

pub(super) fn lists(services: &Services) -> Answer {
    LISTS.answer(list_sizes(services).into_iter())
}

/// How many there are of everything, in PgBouncer's order.
pub fn list_sizes(services: &Services) -> [(&'static str, u64); 14] {
    let pools = pools::snapshot(services);
    let (clients, logging_in) = services.clients.counts();
    let lent = pools.iter().map(|pool| pool.counts.lent as u64).sum();
    let others = pools.iter().map(|pool| (pool.counts.idle + pool.counts.opening) as u64).sum();
    [
        ("databases", catalog::snapshot(services).len() as u64),
        ("users", user_names(services).len() as u64),
        ("peers", services.config.load().peers.len() as u64),
        ("pools", pools.len() as u64),
        ("peer_pools", 0),
        ("free_clients", 0),
        ("used_clients", clients.into()),
        ("login_clients", logging_in.into()),
        ("free_servers", others),
        ("used_servers", lent),
        ("dns_names", dns_rows(services).len() as u64),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ]
}

/// A kind of object: its name, the size of one, and how many there are.
pub(super) static MEM: Table<(&'static str, u64, u64)> = Table {
    columns: &[
        text("name", |m| m.0.to_owned()),
        int4("size", |m| m.1),
        int4("used", |m| m.2),
        int4("free", |_| 0),
        int4("memtotal", |m| m.1 * m.2),
    ],
};

/// Objects are freed, not kept in caches: `free` is always 0.
pub(super) fn mem(services: &Services) -> Answer {
    let size = |bytes: usize| bytes as u64;
    let servers = services.servers.all().len() as u64;
    let rows = [
        ("user_cache", size(size_of::<config::User>()), user_names(services).len() as u64),
        ("credentials_cache", size(size_of::<config::Secret>()), services.config.load().userlist.len() as u64),
        ("db_cache", size(size_of::<config::Database>()), catalog::snapshot(services).len() as u64),
        ("peer_cache", size(size_of::<config::Peer>()), 0),
        ("peer_pool_cache", 0, 0),
        ("pool_cache", size(size_of::<SharedPool>()), services.pools.all().len() as u64),
        ("outstanding_request_cache", 0, 0),
        ("server_cache", size(size_of::<Server>()), servers),
        ("client_cache", size(size_of::<ClientHandle>()), services.clients.all().len() as u64),
        ("iobuf_cache", services.config.load().global.pkt_buf.into(), 0),
        ("var_list_cache", 0, 0),
        ("server_prepared_statement_cache", 0, 0),
    ];
    MEM.answer(rows.into_iter())
}

/// A host name, the time its answer is still good for, and the addresses.
type DnsRow = (String, Duration, String);

pub(super) static DNS_HOSTS: Table<DnsRow> = Table {
    columns: &[text("hostname", |d| d.0.clone()), int8("ttl", |d| d.1.as_secs()), text("addrs", |d| d.2.clone())],
};

pub(super) fn dns_hosts(services: &Services) -> Answer {
    DNS_HOSTS.answer(dns_rows(services).into_iter())
}

fn dns_rows(services: &Services) -> Vec<DnsRow> {
    let config = services.config.load();
    let ttls = Ttls { found: config.global.dns_max_ttl, failed: config.global.dns_nxdomain_ttl };
    let all = services.dns.all(ttls).into_iter();
    all.map(|(name, left, found)| {
        let addresses: Vec<_> = found.iter().map(ToString::to_string).collect();
        (name.to_string(), left, addresses.join(","))
    })
    .collect()
}

/// Zones are the system resolver's business.
pub(super) static DNS_ZONES: Table<()> =
    Table { columns: &[text("zonename", |()| String::new()), int8("serial", |()| 0), int4("count", |()| 0)] };

pub(super) fn dns_zones() -> Answer {
    DNS_ZONES.answer(std::iter::empty())
}

pub(super) static PEERS: Table<(u16, config::Peer)> = Table {
    columns: &[
        int4("peer_id", |p| p.0.into()),
        maybe("host", |p| p.1.host.clone()),
        int4("port", |p| p.1.port.into()),
        int4("pool_size", |p| p.1.pool_size.flatten().unwrap_or(0).into()),
    ],
};

pub(super) fn peers(services: &Services) -> Answer {
    let peers: Vec<_> = services.config.load().peers.iter().map(|(id, peer)| (*id, peer.clone())).collect();
    PEERS.answer(peers.into_iter())
}

pub(super) static PEER_POOLS: Table<()> = Table {
    columns: &[
        int4("peer_id", |()| 0),
        int4("cl_active_cancel_req", |()| 0),
        int4("cl_waiting_cancel_req", |()| 0),
        int4("sv_active_cancel", |()| 0),
        int4("sv_login", |()| 0),
    ],
};

pub(super) fn peer_pools() -> Answer {
    PEER_POOLS.answer(std::iter::empty())
}

/// A thread, one that relays or one of the front door.
#[derive(Debug)]
pub(super) struct ThreadRow {
    kind: &'static str,
    id: u16,
    clients: usize,
    queued: usize,
    handshakes: u64,
    logins: u64,
    busy_share: f64,
}

pub(super) static WORKERS: Table<ThreadRow> = Table {
    columns: &[
        text("type", |w| w.kind.to_owned()),
        int4("id", |w| w.id.into()),
        int4("clients", |w| w.clients as u64),
        int4("queued", |w| w.queued as u64),
        int8("handshakes", |w| w.handshakes),
        int8("logins", |w| w.logins),
        int4("busy_percent", |w| (w.busy_share * 100.0).round() as u64),
        text("at_ceiling", |w| if is_at_ceiling(w.busy_share) { "yes" } else { "no" }.to_owned()),
    ],
};

pub(super) fn workers(services: &Services) -> Answer {
    let workers = services.workers.snapshot().into_iter().map(|w| ThreadRow {
        kind: "worker",
        id: w.id,
        clients: w.clients,
        queued: 0,
        handshakes: 0,
        logins: 0,
        busy_share: w.busy_share,
    });
    let doors = services.door.snapshot().into_iter().map(|d| ThreadRow {
        kind: "front-door",
        id: d.id,
        clients: d.in_flight,
        queued: d.queued,
        handshakes: d.handshakes,
        logins: d.logins,
        busy_share: d.busy_share,
    });
    let all: Vec<_> = workers.chain(doors).collect();
    WORKERS.answer(all.into_iter())
}
