//! What a monitor needs so that a pooler can follow its formations, and what is read there.

use std::fmt::Write;

use crate::settle::did_you_mean;
use crate::{Config, Formation, Host, Monitor, SslMode};

/// pg_auto_failover's own role, which can read everything, and do everything.
pub const KEEPER: &str = "autoctl_node";

/// The role that is proposed instead of [`KEEPER`].
const PROPOSED: &str = "pooler_monitor";

/// The view that a role with few rights reads: [`NODE_COLUMNS`] of every node of every formation.
pub const VIEW: &str = "pooler.nodes";

/// The tables behind [`VIEW`], which [`KEEPER`] can read without any set-up.
pub const TABLES: &str = "pgautofailover.node join pgautofailover.formation using (formationid)";

/// The function that starts a failover: name of the formation, number of the group. Returns nothing.
pub const SWITCHOVER: &str = "pooler.switchover";

/// The function that makes a node the primary: name of the formation, name of the node. False if it is already.
pub const PROMOTE: &str = "pooler.promote";

/// What is known of a node: name and type. Each is a column of [`VIEW`] and, cast to the type, of [`TABLES`].
pub const NODE_COLUMNS: &[(&str, &str)] = &[
    ("formationid", "text"),
    ("groupid", "int"),
    ("nodeid", "bigint"),
    ("nodename", "text"),
    ("nodehost", "text"),
    ("nodeport", "int"),
    ("nodecluster", "text"),
    ("sysidentifier", "bigint"),
    ("reportedstate", "text"),
    ("goalstate", "text"),
    ("health", "int"),
    ("reportedpgisrunning", "bool"),
    ("reportedtli", "int"),
    ("reportedlsn", "pg_lsn"),
    ("candidatepriority", "int"),
    ("replicationquorum", "bool"),
    ("reporttime", "timestamptz"),
    ("statechangetime", "timestamptz"),
    ("number_sync_standbys", "int"),
];

/// The query for what [`NODE_COLUMNS`] says, in their order and without a condition, from [`VIEW`] or [`TABLES`].
pub fn select_nodes(from: &str) -> String {
    let columns: Vec<String> = NODE_COLUMNS.iter().map(|(name, kind)| format!("{name}::{kind}")).collect();
    format!("select {} from {from}", columns.join(", "))
}

/// What to run on the monitors of all formations, or of one: SQL for `psql`, the rest as comments.
///
/// # Errors
/// There is no such formation, or none at all.
pub fn script(config: &Config, formation: Option<&str>) -> Result<String, String> {
    let known = &config.formations;
    if let Some(wanted) = formation.filter(|wanted| !known.contains_key(*wanted)) {
        return Err(format!(
            "there is no formation {wanted:?}{}",
            did_you_mean(wanted, known.keys().map(String::as_str))
        ));
    }
    if known.is_empty() {
        return Err("the configuration has no [formations.NAME]".into());
    }
    let mut setups: Vec<Setup> = Vec::new();
    for (name, each) in known.iter().filter(|(name, _)| formation.is_none_or(|wanted| wanted == *name)) {
        match setups.iter_mut().find(|setup| setup.serves(&each.monitor)) {
            Some(setup) => setup.names.push(name),
            None => setups.push(Setup { config, formation: each, names: vec![name] }),
        }
    }
    Ok(setups.iter().map(Setup::script).collect::<Vec<_>>().join("\n"))
}

/// One monitor and one role, for as many formations as they serve.
struct Setup<'a> {
    config: &'a Config,
    formation: &'a Formation,
    names: Vec<&'a str>,
}

impl Setup<'_> {
    fn serves(&self, other: &Monitor) -> bool {
        let own = &self.formation.monitor;
        (&own.hosts, &own.dbname, &own.user) == (&other.hosts, &other.dbname, &other.user)
    }

    fn role(&self) -> &str {
        match self.formation.monitor.user.as_str() {
            KEEPER => PROPOSED,
            user => user,
        }
    }

    fn script(&self) -> String {
        let mut out = String::new();
        let role = identifier(self.role());
        let dbname = identifier(&self.formation.monitor.dbname);
        comment(&mut out, &format!("The monitor of formation {}: run this there with psql,", self.names.join(", ")));
        comment(&mut out, &format!("as a superuser, in the database {dbname}. It may be run again."));
        if self.formation.monitor.user == KEEPER {
            comment(
                &mut out,
                &format!("The configuration logs in as {KEEPER}, which needs none of this, but may do everything,"),
            );
            comment(&mut out, &format!("also drop nodes. With this, name {role} in its place."));
        }
        self.sql(&mut out, &role);
        self.after(&mut out, &role, &dbname);
        out
    }

    fn sql(&self, out: &mut String, role: &str) {
        let create = literal(&format!("create role {role} login connection limit 50"));
        let columns: Vec<String> = NODE_COLUMNS.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
        let (columns, select) = (columns.join(", "), select_nodes(TABLES));
        let definer = "security definer set search_path = pg_catalog, pg_temp";
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "
\\set ON_ERROR_STOP on
select {create}
 where not exists (select from pg_catalog.pg_roles where rolname = {rolname}) \\gexec
begin;
create schema if not exists pooler;
drop view if exists {VIEW};
drop function if exists pooler.read_nodes();
-- A view of the tables themselves would stand in the way of their next version's ALTER EXTENSION UPDATE.
create function pooler.read_nodes() returns table ({columns})
 language sql stable {definer}
 as $$ {select} $$;
create view {VIEW} as select * from pooler.read_nodes();
-- For planned failovers. USAGE on pgautofailover would do, but allows everything else as well.
create or replace function {SWITCHOVER}(formation text, grp int) returns void
 language sql {definer}
 as $$ select pgautofailover.perform_failover(formation, grp) $$;
create or replace function {PROMOTE}(formation text, node text) returns bool
 language sql {definer}
 as $$ select pgautofailover.perform_promotion(formation, node) $$;
revoke execute on all functions in schema pooler from public;
grant usage on schema pooler to {role};
grant select on {VIEW} to {role};
grant execute on function pooler.read_nodes(), {SWITCHOVER}(text, int), {PROMOTE}(text, text) to {role};
commit;

",
            rolname = literal(self.role()),
        );
    }

    /// What psql cannot do on the monitor.
    fn after(&self, out: &mut String, role: &str, dbname: &str) {
        let monitor = &self.formation.monitor;
        comment(out, "Give the role its password, in psql:");
        comment(out, &format!("  \\password {role}"));
        comment(
            out,
            "In pg_hba.conf of the monitor, before other lines for this database (ADDRESS: where poolers are, as in 10.0.0.0/8):",
        );
        let cert = !monitor.sslcert.is_empty() && self.config.monitor_secret(self.formation).is_none();
        let method = if cert { "cert" } else { PASSWORD };
        if monitor.hosts.iter().any(|host| matches!(host.host, Host::Tcp(_))) {
            comment(out, &format!("  {} {dbname} {role} ADDRESS {method}", connection(monitor.sslmode)));
        }
        if monitor.hosts.iter().any(|host| matches!(host.host, Host::Unix(_))) {
            comment(out, &format!("  local {dbname} {role} {PASSWORD}"));
        }
        comment(
            out,
            "On the primary, as a superuser, to see how far standbys are behind and to make the checkpoint before a",
        );
        comment(out, "planned failover short (pg_checkpoint: PostgreSQL 15 and newer):");
        comment(out, &format!("  create role {role} login; grant pg_monitor, pg_checkpoint to {role};"));
        comment(out, &format!("  \\password {role}"));
        comment(out, "In pg_hba.conf of every node, the same on all of them:");
        for line in self.node_lines(role) {
            comment(out, &format!("  {line}"));
        }
        comment(out, "After each change of a pg_hba.conf: select pg_reload_conf();");
    }

    /// pg_hba.conf of the nodes: the pooler's own role, and each database that follows one of these formations.
    fn node_lines(&self, role: &str) -> Vec<String> {
        let kind = connection(self.config.global.server_tls_sslmode);
        let mut lines = vec![format!("{kind} all {role} ADDRESS {PASSWORD}")];
        for database in self.config.databases.values() {
            if database.formation.as_deref().is_some_and(|name| self.names.contains(&name)) {
                // The fallback stands for every name.
                let all = database.name == "*" && database.dbname.is_none();
                let dbname = if all { "all".to_string() } else { identifier(database.server_dbname()) };
                let user = database.user.as_deref().map_or("all".to_string(), identifier);
                let line = format!("{kind} {dbname} {user} ADDRESS {PASSWORD}");
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
        }
        lines
    }
}

/// The method of pg_hba.conf for whoever has a password.
const PASSWORD: &str = "scram-sha-256";

/// The first word of a line in pg_hba.conf that lets in who asks for so much TLS.
fn connection(mode: SslMode) -> &'static str {
    match mode {
        SslMode::Disable | SslMode::Allow | SslMode::Prefer => "host",
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => "hostssl",
    }
}

/// A name in SQL, and in pg_hba.conf, where quotes keep it from being a keyword.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string constant in SQL, whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// One line of comment: nothing that a name contains ends it.
fn comment(out: &mut String, text: &str) {
    out.push_str("-- ");
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out.push('\n');
}

#[cfg(test)]
#[path = "monitor_sql_tests.rs"]
mod tests;
