//! What the lab tells the monitor and the first node in SQL.

use super::Profile;
use crate::template;

/// The role with which a pooler reads the monitor.
pub const POOLER: &str = "pooler_monitor";

/// The monitor's part: its time limits; a superuser `postgres`, whoever runs the servers; and for poolers a role that
/// may read the view `pooler.nodes` and move the primary, and nothing else. It has no USAGE on the schema of the extension, whose functions
/// anybody with that may call. `pooler.detours` replaces the port that the view shows of a node.
pub fn monitor(profile: Profile) -> String {
    let settings = profile.monitor_settings();
    let settings = settings.map(|(name, value)| format!("alter system set pgautofailover.{name} = {value};\n"));
    format!(
        "{SUPERUSER}{settings}select pg_reload_conf();
set password_encryption = 'scram-sha-256';
create role {POOLER} login password 'secret' connection limit 50;
create schema pooler;
create table pooler.detours (nodename text primary key, nodeport int not null);
create view pooler.nodes as
    select n.formationid, n.groupid, n.nodeid, n.nodename, n.nodehost, coalesce(d.nodeport, n.nodeport) as nodeport,
           n.nodecluster, n.reportedstate::text, n.goalstate::text, n.health, n.reportedpgisrunning, n.reportedtli,
           n.reportedlsn, n.candidatepriority, n.replicationquorum, n.sysidentifier, n.reporttime, n.statechangetime,
           n.healthchecktime, f.dbname::text, f.number_sync_standbys, clock_timestamp() as monitor_now
      from pgautofailover.node n join pgautofailover.formation f using (formationid)
      left join pooler.detours d using (nodename);
grant usage on schema pooler to {POOLER};
grant select on pooler.nodes to {POOLER};
create function pooler.switchover(formation text, grp int) returns void
    language sql security definer as 'select pgautofailover.perform_failover(formation, grp)';
create function pooler.promote(formation text, node text) returns bool
    language sql security definer as 'select pgautofailover.perform_promotion(formation, node)';
revoke execute on all functions in schema pooler from public;
grant execute on all functions in schema pooler to {POOLER};
",
        settings = settings.concat(),
    )
}

/// The first node's part, which the others copy. pg_autoctl has made the database `app`.
pub fn accounts() -> String {
    let roles = template::ROLES.replace('\n', ";\n");
    format!("{SUPERUSER}{roles}alter database app owner to app;\ncreate database other owner app;\n{CHECKPOINT}")
}

/// Before a planned failover a pooler asks the primary for a checkpoint. PostgreSQL 14 lets only superusers do that.
const CHECKPOINT: &str = "\
do $$ begin
    if exists (select from pg_roles where rolname = 'pg_checkpoint') then grant pg_checkpoint to app; end if;
end $$;
";

const SUPERUSER: &str = "\
do $$ begin
    if not exists (select from pg_roles where rolname = 'postgres') then create role postgres login superuser; end if;
end $$;
";
