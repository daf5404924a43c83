//! `auth_hba_file`: who may connect from where, and how they prove who they are.
//!
//! The format is pg_hba.conf's (PostgreSQL manual, 21.1), of which PgBouncer reads a part. A line
//! that cannot be honoured is an error, never skipped: skipping a `reject` would open a door.

mod network;
mod parse;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use crate::document::Notes;
use crate::fields;
use crate::problem::{Place, Problems};
use network::Network;

/// The rules, in the order of the file. Without rules nobody gets in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hba {
    rules: Vec<Rule>,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What is asked of the clients it matches.
    pub method: Method,
    /// The map of `auth_ident_file` that says which system users (`peer`) or certificate names (`cert`) may be which user.
    pub map: Option<String>,
    /// What is asked of the client's certificate; always [`ClientCert::VerifyFull`] with [`Method::Cert`].
    pub client_cert: Option<ClientCert>,
    /// The file in which it stands, for the log.
    pub file: Arc<Path>,
    /// The line in that file, from 1.
    pub line: usize,
    connection: Connection,
    databases: Databases,
    users: Users,
    /// Where the client may be; `None` = anywhere.
    network: Option<Network>,
}

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    Trust,
    /// It cannot: the login is refused.
    Reject,
    /// MD5 challenge; SCRAM for users whose secret is SCRAM.
    Md5,
    /// Password in clear text (`password`; `auth_type` calls it plain).
    Plain,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// TLS client certificate whose common name is the user, or is mapped to it.
    Cert,
    /// The process at the other end of the Unix socket belongs to the system user of that name, or is mapped to it.
    Peer,
}

/// What is asked of a client's certificate (`clientcert=`), besides the method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCert {
    /// It is signed by `client_tls_ca_file`.
    VerifyCa,
    /// Its common name is the user's, too.
    VerifyFull,
}

/// How a client reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Over the Unix socket.
    Local,
    /// Over the network.
    Tcp {
        /// The client's address.
        address: IpAddr,
        /// Whether the connection is encrypted.
        tls: bool,
    },
}

/// What a client asks for.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// How it reached us.
    pub transport: Transport,
    /// The database, by the name the client uses.
    pub database: &'a str,
    /// Who it says it is.
    pub user: &'a str,
    /// Whether it asks for physical replication (`replication=true`, not `replication=database`).
    pub replication: bool,
    /// Whether the user is a member of a role, directly or not; asked only for names of [`Hba::groups`].
    pub is_member: &'a dyn Fn(&str) -> bool,
}

/// The first word of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Connection {
    Local,
    Host,
    HostSsl,
    HostNoSsl,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Databases {
    all: bool,
    same_user: bool,
    replication: bool,
    names: BTreeSet<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Users {
    all: bool,
    names: BTreeSet<String>,
    groups: BTreeSet<String>,
}

impl Hba {
    /// Reads the file that `auth_hba_file` names; no rules if it names none.
    pub(crate) fn read(path: &Path, named_at: &Place, notes: &mut Notes) -> Self {
        parse::rules(fields::read("auth_hba_file", path, named_at, notes), notes)
    }

    /// The rules of a text; `path` is where it would be, for messages and the files it names.
    ///
    /// # Errors
    /// Every line that cannot be honoured, and why.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Problems> {
        let mut notes = Notes::default();
        let hba = parse::rules(fields::parse(path, text, &mut notes), &mut notes);
        Problems::or(notes.errors, hba)
    }

    /// The first rule that matches; without one the login is refused.
    pub fn find(&self, asked: &Asked<'_>) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.matches(asked))
    }

    /// The groups (`+name`) that rules ask for, sorted: memberships of others need not be looked up.
    pub fn groups(&self) -> BTreeSet<&str> {
        self.rules.iter().flat_map(|rule| &rule.users.groups).map(String::as_str).collect()
    }

    /// Every rule, in the order of the file.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

impl Rule {
    /// Whether only TLS connections can match.
    pub fn needs_tls(&self) -> bool {
        self.connection == Connection::HostSsl
    }

    fn matches(&self, asked: &Asked<'_>) -> bool {
        // Memberships may cost a query: users come last.
        self.reached_by(asked.transport) && self.databases.have(asked) && self.users.have(asked)
    }

    fn reached_by(&self, transport: Transport) -> bool {
        let (address, tls) = match transport {
            Transport::Local => return self.connection == Connection::Local,
            Transport::Tcp { address, tls } => (address, tls),
        };
        let encrypted_as_asked = match self.connection {
            Connection::Local => false,
            Connection::Host => true,
            Connection::HostSsl => tls,
            Connection::HostNoSsl => !tls,
        };
        encrypted_as_asked && self.network.is_none_or(|network| network.contains(address))
    }
}

impl Databases {
    fn have(&self, asked: &Asked<'_>) -> bool {
        // Physical replication is of no database: not even `all` means it.
        if asked.replication {
            return self.replication;
        }
        self.all || (self.same_user && asked.database == asked.user) || self.names.contains(asked.database)
    }
}

impl Users {
    fn have(&self, asked: &Asked<'_>) -> bool {
        let in_group = |group: &String| group == asked.user || (asked.is_member)(group);
        self.all || self.names.contains(asked.user) || self.groups.iter().any(in_group)
    }
}

impl Method {
    /// The word for it in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Reject => "reject",
            Self::Md5 => "md5",
            Self::Plain => "password",
            Self::ScramSha256 => "scram-sha-256",
            Self::Cert => "cert",
            Self::Peer => "peer",
        }
    }
}

#[cfg(test)]
#[path = "hba/tests.rs"]
mod tests;
