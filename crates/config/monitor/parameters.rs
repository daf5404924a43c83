//! libpq's connection parameters: which ones a monitor's URI may have, and what TLS they add up to.

use super::uri::Given;
use super::{Monitor, SYSTEM};
use crate::raw::{Raw, quoted};
use crate::settle::did_you_mean;
use crate::value::Value;
use crate::words::{ChannelBinding, SslMode, SslNegotiation};

enum Use {
    /// Any value.
    Yes,
    /// Only these values, for this reason.
    Only(&'static [&'static str], &'static str),
    /// No value, for this reason.
    No(&'static str),
}

const GSS: &str = "GSSAPI is not available in this version";
const KEEPALIVE: &str = "tcp_keepalive and its siblings hold for monitors, too";
const OAUTH: &str = "OAuth is not available in this version";
const PROTOCOL: &str = "the protocol's version is the pooler's choice";
const REVOCATION: &str = "revocation lists are not available in this version";
const SERVICE: &str = "no other file is read";
const VERSIONS: &str = "server_tls_protocols holds for monitors, too";

/// libpq's parameters (PostgreSQL manual, 34.1.2).
const PARAMETERS: &[(&str, Use)] = &[
    ("host", Use::Yes),
    ("port", Use::Yes),
    ("user", Use::Yes),
    ("password", Use::Yes),
    ("dbname", Use::Yes),
    ("sslmode", Use::Yes),
    ("sslnegotiation", Use::Yes),
    ("channel_binding", Use::Yes),
    ("sslrootcert", Use::Yes),
    ("sslcert", Use::Yes),
    ("sslkey", Use::Yes),
    ("hostaddr", Use::No("an address can stand in the place of the host")),
    ("connect_timeout", Use::No("server_connect_timeout holds for monitors, too")),
    ("application_name", Use::No("poolers know each other by a name of their own")),
    ("fallback_application_name", Use::No("poolers know each other by a name of their own")),
    ("client_encoding", Use::No("it is always UTF8")),
    ("options", Use::No("give the role its settings with ALTER ROLE … SET")),
    ("replication", Use::No("the monitor is read with SQL")),
    // A monitor in recovery refuses LISTEN: it is never used.
    ("target_session_attrs", Use::Only(&["any", "read-write"], "a monitor in recovery is of no use")),
    ("load_balance_hosts", Use::Only(&["disable"], "the hosts of a monitor are tried in order")),
    ("passfile", Use::No(SERVICE)),
    ("service", Use::No(SERVICE)),
    ("servicefile", Use::No(SERVICE)),
    ("require_auth", Use::No("what the monitor asks for is answered; channel_binding=require keeps others away")),
    ("requirepeer", Use::No("the owner of a Unix socket is not checked in this version")),
    ("sslcertmode", Use::Only(&["allow"], "the certificate is shown when the monitor asks for one")),
    ("sslcompression", Use::Only(&["0"], "TLS has no compression any more")),
    ("sslcrl", Use::No(REVOCATION)),
    ("sslcrldir", Use::No(REVOCATION)),
    ("sslkeylogfile", Use::No("keys are not written down")),
    ("sslpassword", Use::No("encrypted private keys cannot be read in this version")),
    ("sslsni", Use::Only(&["1"], "the monitor's name is always sent")),
    ("ssl_min_protocol_version", Use::No(VERSIONS)),
    ("ssl_max_protocol_version", Use::No(VERSIONS)),
    ("min_protocol_version", Use::No(PROTOCOL)),
    ("max_protocol_version", Use::No(PROTOCOL)),
    ("gssencmode", Use::Only(&["disable", "prefer"], GSS)),
    ("gssdelegation", Use::No(GSS)),
    ("gsslib", Use::No(GSS)),
    ("krbsrvname", Use::No(GSS)),
    ("scram_client_key", Use::No("the password itself is needed")),
    ("scram_server_key", Use::No("the password itself is needed")),
    ("keepalives", Use::No(KEEPALIVE)),
    ("keepalives_count", Use::No(KEEPALIVE)),
    ("keepalives_idle", Use::No(KEEPALIVE)),
    ("keepalives_interval", Use::No(KEEPALIVE)),
    ("tcp_user_timeout", Use::No("the setting tcp_user_timeout holds for monitors, too")),
    ("oauth_issuer", Use::No(OAUTH)),
    ("oauth_client_id", Use::No(OAUTH)),
    ("oauth_client_secret", Use::No(OAUTH)),
    ("oauth_scope", Use::No(OAUTH)),
];

/// The parameter of this name.
pub(super) fn known(name: &str) -> Result<&'static str, String> {
    let found = PARAMETERS.iter().map(|(known, _)| *known).find(|known| *known == name);
    found.ok_or_else(|| {
        let usable = PARAMETERS.iter().filter(|(_, usage)| matches!(usage, Use::Yes)).map(|(known, _)| *known);
        format!("unknown parameter {}{}", quoted(name), did_you_mean(name, usable))
    })
}

/// Whether the parameter can have this value.
pub(super) fn judge(name: &str, value: &str) -> Result<(), String> {
    match PARAMETERS.iter().find(|(known, _)| *known == name) {
        Some((_, Use::No(why))) => Err(format!("{name}: cannot be used here: {why}")),
        Some((_, Use::Only(values, why))) if !values.contains(&value) => {
            Err(format!("{name}: {why}; only {} can be used here", values.join(" and ")))
        }
        _ => Ok(()),
    }
}

/// What the parameters of TLS add up to. Unlike libpq, no files are looked for in a home directory.
pub(super) fn tls(monitor: &mut Monitor, given: &Given) -> Result<(), String> {
    monitor.sslnegotiation = word(given, "sslnegotiation")?.unwrap_or(SslNegotiation::Postgres);
    monitor.channel_binding = word(given, "channel_binding")?.unwrap_or(ChannelBinding::Prefer);
    let asked: Option<SslMode> = word(given, "sslmode")?;
    let default = if monitor.sslrootcert == SYSTEM { SslMode::VerifyFull } else { SslMode::Prefer };
    monitor.sslmode = match (asked.unwrap_or(default), monitor.sslrootcert.as_str()) {
        (mode @ (SslMode::VerifyCa | SslMode::VerifyFull), "") => {
            return Err(format!("sslmode={mode} needs sslrootcert: a file, or system with verify-full"));
        }
        (SslMode::VerifyFull, _) => SslMode::VerifyFull,
        (mode, SYSTEM) => return Err(format!("sslrootcert=system needs sslmode=verify-full, not {mode}")),
        // libpq's rule: with an authority at hand, it is asked.
        (SslMode::Require | SslMode::VerifyCa, authority) if !authority.is_empty() => SslMode::VerifyCa,
        (mode, "") => mode,
        (mode, _) => return Err(format!("sslrootcert checks nothing with sslmode={mode}; use verify-full")),
    };
    let weak = matches!(monitor.sslmode, SslMode::Disable | SslMode::Allow | SslMode::Prefer);
    if monitor.sslnegotiation == SslNegotiation::Direct && weak {
        return Err("sslnegotiation=direct needs sslmode=require, verify-ca or verify-full".into());
    }
    if monitor.channel_binding == ChannelBinding::Require && monitor.sslmode == SslMode::Disable {
        return Err("channel_binding=require needs TLS, but sslmode is disable".into());
    }
    if monitor.sslcert.is_empty() != monitor.sslkey.is_empty() {
        return Err("sslcert and sslkey need each other".into());
    }
    Ok(())
}

fn word<T: Value>(given: &Given, key: &str) -> Result<Option<T>, String> {
    let read =
        |text: &String| T::read(&Raw::Text(text.clone())).map_err(|_| format!("{key}: expected {}", T::EXPECTED));
    given.get(key).map(read).transpose()
}
