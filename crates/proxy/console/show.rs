//! SHOW: which tables there are, and where each one's rows come from.

use std::sync::Arc;

use super::table::Answer;
use super::{catalog, failover, formations, listeners, pools, sockets, stats, various};
use crate::services::Services;

macro_rules! shows {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        /// A table of SHOW.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Show { $($(#[$doc])* $name,)* }

        impl Show {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The word for it.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

shows! {
    /// Sockets with data in a buffer.
    ActiveSockets = "ACTIVE_SOCKETS";
    /// Clients.
    Clients = "CLIENTS";
    /// Settings.
    Config = "CONFIG";
    /// Databases.
    Databases = "DATABASES";
    /// Host names.
    DnsHosts = "DNS_HOSTS";
    /// DNS zones, of which there are none.
    DnsZones = "DNS_ZONES";
    /// The last failovers, and their steps.
    Failovers = "FAILOVERS";
    /// Descriptors, for PgBouncer's old way of restarting.
    Fds = "FDS";
    /// Formations that are followed, and their nodes.
    Formations = "FORMATIONS";
    /// The list of commands.
    Help = "HELP";
    /// Connections that listen for clients.
    Listeners = "LISTENERS";
    /// How many there are of everything.
    Lists = "LISTS";
    /// Memory.
    Mem = "MEM";
    /// Pools of peers, of which there are none.
    PeerPools = "PEER_POOLS";
    /// Peers.
    Peers = "PEERS";
    /// Pools.
    Pools = "POOLS";
    /// Servers.
    Servers = "SERVERS";
    /// Clients and servers.
    Sockets = "SOCKETS";
    /// Paused or not.
    State = "STATE";
    /// Counters and their averages.
    Stats = "STATS";
    /// Averages.
    StatsAverages = "STATS_AVERAGES";
    /// Counters.
    StatsTotals = "STATS_TOTALS";
    /// Counters and averages over all databases.
    Totals = "TOTALS";
    /// Users.
    Users = "USERS";
    /// The version.
    Version = "VERSION";
    /// Who waits for a server, and why.
    Waiting = "WAITING";
    /// The threads that relay.
    Workers = "WORKERS";
}

impl Show {
    /// The table of this name, in any case.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|show| show.word().eq_ignore_ascii_case(word))
    }

    /// Its columns and rows; none for what is no table.
    pub fn answer(self, services: &Arc<Services>) -> Option<Answer> {
        Some(match self {
            Self::ActiveSockets => sockets::active_sockets(),
            Self::Clients => sockets::clients(services),
            Self::Config => various::config(services),
            Self::Databases => catalog::databases(services),
            Self::DnsHosts => various::dns_hosts(services),
            Self::DnsZones => various::dns_zones(),
            Self::Failovers => failover::failovers(services),
            Self::Formations => formations::formations(services),
            Self::Listeners => listeners::listeners(services),
            Self::Lists => various::lists(services),
            Self::Mem => various::mem(services),
            Self::PeerPools => various::peer_pools(),
            Self::Peers => various::peers(services),
            Self::Pools => pools::pools(services),
            Self::Servers => sockets::servers(services),
            Self::Sockets => sockets::sockets(services),
            Self::State => various::state(services),
            Self::Stats => stats::stats(services),
            Self::StatsAverages => stats::averages(services),
            Self::StatsTotals => stats::totals(services),
            Self::Totals => stats::grand_totals(services),
            Self::Users => catalog::users(services),
            Self::Version => various::version(),
            Self::Waiting => sockets::waiting(services),
            Self::Workers => various::workers(services),
            Self::Fds | Self::Help => return None,
        })
    }
}

/// What SHOW HELP says, as the detail of a NOTICE.
pub fn help() -> String {
    let tables: Vec<_> = Show::ALL.iter().map(|show| show.word()).collect();
    format!(
        "\n\tSHOW {}\n\tSET key = arg\n\tRELOAD\n\tPAUSE [<db>] [FOR <seconds>]\n\tRESUME [<db>]\n\tFAILOVER [<formation>] [TO <node>] [DRY_RUN] [FORCE]\n\tACCEPT [<formation>]\n\tDISABLE <db>\
         \n\tENABLE <db>\n\tRECONNECT [<db>]\n\tKILL [<db>]\n\tKILL_CLIENT <client_id>\n\tWAIT_CLOSE [<db>]\n\tSHUTDOWN\
         \n\tSHUTDOWN WAIT_FOR_SERVERS\n\tSHUTDOWN WAIT_FOR_CLIENTS",
        tables.join("|")
    )
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
