//! The grammar of a connection URI (PostgreSQL manual, 34.1.1.2).
//!
//! Parts of a malformed one may be parts of a password: messages name what is wrong, never what was found.

use std::collections::BTreeMap;

use super::{DBNAME, Monitor, MonitorHost, PORT, parameters};
use crate::Host;
use crate::secret::Secret;
use crate::value::Value;

/// What a URI says, by the name of the parameter; `host` and `port` are lists with commas.
pub(super) type Given = BTreeMap<&'static str, String>;

/// Reads a URI.
pub(super) fn parse(text: &str) -> Result<Monitor, String> {
    let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let rest = rest.ok_or_else(|| format!("expected {}", Monitor::EXPECTED))?;
    let mut given = Given::new();
    // libpq's rule: a login is what stands before the first "@", unless a "/" comes earlier.
    let (login, rest) = match rest.find(['@', '/']) {
        Some(end) if rest[end..].starts_with('@') => (&rest[..end], &rest[end + 1..]),
        _ => ("", rest),
    };
    if rest.contains('@') {
        return Err("there is a \"@\" too many; in a user or password \"@\" is written %40 and \"/\" %2F".into());
    }
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, dbname) = address.split_once('/').unwrap_or((address, ""));
    let (hosts, ports) = authority(hosts)?;
    for (key, value) in [("user", user), ("password", password), ("host", &hosts), ("port", &ports), ("dbname", dbname)]
    {
        if !value.is_empty() {
            given.insert(key, decoded(key, value)?);
        }
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or("expected key=value after the \"?\", separated by \"&\"")?;
        // JDBC's word, which libpq takes as well.
        let (key, value) = if (key, value) == ("ssl", "true") { ("sslmode", "require") } else { (key, value) };
        let key = parameters::known(&decoded("a parameter's name", key)?)?;
        let value = decoded(key, value)?;
        parameters::judge(key, &value)?;
        if given.insert(key, value).is_some() {
            return Err(format!("{key} is given twice"));
        }
    }
    monitor(&given)
}

/// Hosts and ports as lists; an IPv6 address stands in brackets.
fn authority(text: &str) -> Result<(String, String), String> {
    let mut lists = (Vec::new(), Vec::new());
    for entry in text.split(',') {
        let (host, port) = match entry.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or("host: the closing bracket is missing")?;
                let port = if after.is_empty() { "" } else { after.strip_prefix(':').ok_or(NO_PORT)? };
                (host, port)
            }
            None => entry.split_once(':').unwrap_or((entry, "")),
        };
        lists.0.push(host);
        lists.1.push(port);
    }
    // An empty list is no list; ports may each be left out.
    let ports = if lists.1.iter().all(|port| port.is_empty()) { String::new() } else { lists.1.join(",") };
    Ok((lists.0.join(","), ports))
}

const NO_PORT: &str = "port: expected a number from 1 to 65535; in a password \"/\" is written %2F";

fn monitor(given: &Given) -> Result<Monitor, String> {
    let text = |key| given.get(key).map(String::as_str).unwrap_or_default();
    let mut monitor = Monitor {
        hosts: hosts(text("host"), text("port"))?,
        user: text("user").to_string(),
        password: given.get("password").filter(|text| !text.is_empty()).map(|text| Secret::parse(text)),
        dbname: Some(text("dbname")).filter(|name| !name.is_empty()).unwrap_or(DBNAME).to_string(),
        sslrootcert: text("sslrootcert").to_string(),
        sslcert: text("sslcert").to_string(),
        sslkey: text("sslkey").to_string(),
        ..Monitor::default()
    };
    if monitor.user.is_empty() {
        return Err("the user is missing, as in postgres://USER@HOST".into());
    }
    parameters::tls(&mut monitor, given)?;
    Ok(monitor)
}

/// Each host with its port; one port may stand for all.
fn hosts(hosts: &str, ports: &str) -> Result<Vec<MonitorHost>, String> {
    let (hosts, ports): (Vec<&str>, Vec<&str>) = (hosts.split(',').collect(), ports.split(',').collect());
    if hosts.iter().any(|host| host.is_empty()) {
        return Err("a host is missing, as in postgres://USER@HOST:PORT/pg_auto_failover".into());
    }
    if hosts.iter().any(|host| host.contains(char::is_whitespace)) {
        return Err("a host contains a space".into());
    }
    if ports.len() > 1 && ports.len() != hosts.len() {
        return Err(format!("there are {} hosts, but {} ports", hosts.len(), ports.len()));
    }
    let port = |nth: usize| match ports.get(nth).unwrap_or(&ports[0]) {
        &"" => Ok(PORT),
        text => text.parse().ok().filter(|port| *port > 0).ok_or(NO_PORT),
    };
    let host = |(nth, name): (usize, &&str)| Ok(MonitorHost { host: Host::parse(name), port: port(nth)? });
    hosts.iter().enumerate().map(host).collect()
}

/// Undoes percent-encoding (RFC 3986, 2.1).
fn decoded(what: &str, text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        bytes.push(match byte {
            b'%' => digit().zip(digit()).map(|(high, low)| (high * 16 + low) as u8).ok_or_else(|| {
                format!("{what}: \"%\" is not followed by two hexadecimal digits; \"%\" itself is written %25")
            })?,
            byte => byte,
        });
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{what}: is not UTF-8"))?;
    // Neither the wire protocol nor a log line could hold them.
    if text.chars().any(char::is_control) {
        return Err(format!("{what}: contains a control character"));
    }
    Ok(text)
}

/// Percent-encodes whatever may mean something elsewhere in a URI; a path stays readable.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
