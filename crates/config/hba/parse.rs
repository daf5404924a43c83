//! From lines to rules.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::vec::IntoIter;

use super::network::Network;
use super::{ClientCert, Connection, Databases, Hba, Method, Rule, Users};
use crate::document::Notes;
use crate::fields::{Item, Line, Wrong};
use crate::inherit::MAX_NAME;
use crate::problem::Place;
use crate::raw::quoted;
use crate::userlist::MAX_USER;

const METHODS: [Method; 7] =
    [Method::Trust, Method::Reject, Method::Md5, Method::Plain, Method::ScramSha256, Method::Cert, Method::Peer];

/// What PostgreSQL could be built with besides.
const OTHER_METHODS: [&str; 8] = ["gss", "sspi", "ident", "ldap", "radius", "pam", "bsd", "oauth"];

/// Turns each line into a rule; those that are none are reported.
pub(super) fn rules(lines: Vec<Line>, notes: &mut Notes) -> Hba {
    let mut rules = Vec::with_capacity(lines.len());
    for line in lines {
        match rule(line) {
            Ok(rule) => rules.push(rule),
            Err((place, message)) => notes.error(&place, message),
        }
    }
    Hba { rules }
}

fn rule(line: Line) -> Result<Rule, Wrong> {
    let Line { place, fields } = line;
    let mut fields = Fields { place: place.clone(), fields: fields.into_iter() };
    let connection = connection(&fields.one("a record type")?)?;
    let databases = databases(fields.list("the database")?)?;
    let users = users(fields.list("the user")?)?;
    let network = match connection {
        Connection::Local => None,
        Connection::Host | Connection::HostSsl | Connection::HostNoSsl => network(&mut fields)?,
    };
    let named = fields.one("the method")?;
    let method = method(&named, connection)?;
    let mut rule = Rule {
        method,
        map: None,
        client_cert: None,
        file: place.file,
        line: place.line,
        connection,
        databases,
        users,
        network,
    };
    for item in fields.fields.flatten() {
        option(&mut rule, &item)?;
    }
    if method == Method::Cert {
        rule.client_cert = Some(ClientCert::VerifyFull);
    }
    Ok(rule)
}

/// The fields of a line that were not read yet.
struct Fields {
    /// Where to complain when there are no more.
    place: Place,
    fields: IntoIter<Vec<Item>>,
}

impl Fields {
    fn list(&mut self, what: &str) -> Result<Vec<Item>, Wrong> {
        self.fields.next().ok_or_else(|| (self.place.clone(), format!("the line ends before {what}")))
    }

    fn one(&mut self, what: &str) -> Result<Item, Wrong> {
        let mut items = self.list(what)?.into_iter();
        match (items.next(), items.next()) {
            (Some(item), None) => Ok(item),
            (Some(_), Some(second)) => Err(second.wrong(format!("{what} cannot be a list"))),
            (None, _) => Err((self.place.clone(), format!("{what} is missing: its file is empty"))),
        }
    }
}

fn connection(item: &Item) -> Result<Connection, Wrong> {
    Ok(match item.text.as_str() {
        "local" => Connection::Local,
        // Encryption by GSSAPI is never used here, so that whatever is not asked to have it matches.
        "host" | "hostnogssenc" => Connection::Host,
        "hostssl" => Connection::HostSsl,
        "hostnossl" => Connection::HostNoSsl,
        "hostgssenc" => return Err(item.wrong("hostgssenc: GSSAPI encryption is not available in this version")),
        other => {
            let known = "local, host, hostssl, hostnossl or hostnogssenc";
            return Err(item.wrong(format!("unknown record type {}; expected {known}", quoted(other))));
        }
    })
}

fn databases(items: Vec<Item>) -> Result<Databases, Wrong> {
    let mut databases = Databases::default();
    for item in items {
        match item.text.as_str() {
            "all" if !item.quoted => databases.all = true,
            "sameuser" if !item.quoted => databases.same_user = true,
            "replication" if !item.quoted => databases.replication = true,
            word @ ("samerole" | "samegroup") if !item.quoted => {
                return Err(item.wrong(format!("{word} is not available in this version; name databases and +groups")));
            }
            _ => name(item, MAX_NAME, &mut databases.names)?,
        }
    }
    Ok(databases)
}

fn users(items: Vec<Item>) -> Result<Users, Wrong> {
    let mut users = Users::default();
    for mut item in items {
        match item.text.strip_prefix('+').filter(|_| !item.quoted).map(str::to_string) {
            Some(group) if group.is_empty() => return Err(item.wrong("the name of the group is missing after +")),
            Some(group) => {
                item.text = group;
                name(item, MAX_USER, &mut users.groups)?;
            }
            None if item.is("all") => users.all = true,
            None => name(item, MAX_USER, &mut users.names)?,
        }
    }
    Ok(users)
}

fn name(item: Item, most: usize, names: &mut BTreeSet<String>) -> Result<(), Wrong> {
    // Also in quotes, which such an expression needs for its commas.
    if item.text.starts_with('/') {
        return Err(item.wrong("regular expressions are not available in this version"));
    }
    if item.text.len() > most {
        return Err(item.wrong(format!("the name is longer than {most} bytes")));
    }
    names.insert(item.text);
    Ok(())
}

/// The client's address: one field, or two if the second is a netmask. `None` is any address.
fn network(fields: &mut Fields) -> Result<Option<Network>, Wrong> {
    let item = fields.one("the client's address")?;
    let text = item.text.as_str();
    if item.is("all") {
        return Ok(None);
    }
    if item.is("samehost") || item.is("samenet") {
        return Err(item.wrong(format!("{text} is not available in this version; write the addresses out")));
    }
    if text.contains('/') {
        let network = Network::parse(text);
        return network.map(Some).map_err(|why| item.wrong(format!("{} is no address range: {why}", quoted(text))));
    }
    let address: IpAddr = text.parse().map_err(|_| {
        let found = quoted(text);
        item.wrong(format!("{found} is neither an address nor \"all\"; host names are not available in this version"))
    })?;
    let mask = fields.one("the netmask")?;
    let bits = mask.text.parse().map_err(|_| {
        mask.wrong(format!("expected a netmask after {text}, or a prefix length in it as in 10.0.0.0/8"))
    })?;
    Network::masked(address, bits).map(Some).map_err(|why| mask.wrong(format!("the netmask {why}")))
}

fn method(item: &Item, connection: Connection) -> Result<Method, Wrong> {
    let word = item.text.as_str();
    let Some(method) = METHODS.into_iter().find(|method| method.as_str() == word) else {
        let message = if OTHER_METHODS.contains(&word) {
            format!("the method {word} is not available in this version")
        } else {
            format!("unknown method {}; expected one of {}", quoted(word), METHODS.map(Method::as_str).join(", "))
        };
        return Err(item.wrong(message));
    };
    match (method, connection) {
        (Method::Peer, Connection::Host | Connection::HostSsl | Connection::HostNoSsl) => {
            Err(item.wrong("peer works for Unix sockets only, that is on local lines"))
        }
        (Method::Cert, Connection::Local | Connection::Host | Connection::HostNoSsl) => {
            Err(item.wrong("cert works over TLS only, that is on hostssl lines"))
        }
        _ => Ok(method),
    }
}

fn option(rule: &mut Rule, item: &Item) -> Result<(), Wrong> {
    let Some((key, value)) = item.text.split_once('=') else {
        return Err(item.wrong(format!("{} is no option; expected key=value", quoted(&item.text))));
    };
    let twice = match key {
        "map" => rule.map.is_some(),
        "clientcert" => rule.client_cert.is_some(),
        _ => return Err(item.wrong(format!("unknown option {}; expected map or clientcert", quoted(key)))),
    };
    if twice {
        return Err(item.wrong(format!("{key} is set twice")));
    }
    if key == "map" {
        rule.map = Some(map(rule.method, value).map_err(|why| item.wrong(format!("map: {why}")))?);
    } else {
        let client_cert = client_cert(rule, value).map_err(|why| item.wrong(format!("clientcert: {why}")))?;
        rule.client_cert = Some(client_cert);
    }
    Ok(())
}

fn map(method: Method, value: &str) -> Result<String, &'static str> {
    match (method, value) {
        (_, "") => Err("the name is missing"),
        (Method::Cert | Method::Peer, name) => Ok(name.to_string()),
        (Method::Trust | Method::Reject | Method::Md5 | Method::Plain | Method::ScramSha256, _) => {
            Err("is for the methods peer and cert only")
        }
    }
}

fn client_cert(rule: &Rule, value: &str) -> Result<ClientCert, &'static str> {
    match (rule.connection, rule.method, value) {
        (Connection::Local | Connection::Host | Connection::HostNoSsl, ..) => Err("is for hostssl lines only"),
        (Connection::HostSsl, _, "verify-full") => Ok(ClientCert::VerifyFull),
        (Connection::HostSsl, Method::Cert, "verify-ca") => Err("the method cert asks for verify-full"),
        (Connection::HostSsl, _, "verify-ca") => Ok(ClientCert::VerifyCa),
        (Connection::HostSsl, ..) => Err("expected verify-ca or verify-full"),
    }
}
