//! Lists of hosts whose primary is followed without a monitor (`target_session_attrs = "read-write"`): each node speaks for
//! itself. Databases with the same list are followed as one.

use std::borrow::Cow;

use config::{Database, Formation, Host, TargetSessionAttrs};
use failover::Endpoint;

use super::Subject;

/// The name by which that is known which a database follows: its formation's, or its list of hosts.
pub fn followed_as(database: &Database) -> Option<Cow<'_, str>> {
    match &database.formation {
        Some(name) => Some(name.into()),
        None => is_list(database).then(|| name(database).into()),
    }
}

/// The list of hosts that a database follows, with its name.
pub fn subject(database: &Database) -> Option<(String, Subject)> {
    let endpoint = |host: &Host| Endpoint::new(&host.to_string(), database.port);
    is_list(database).then(|| {
        let formation = Formation { formation: name(database), ..Formation::default() };
        (name(database), Subject { formation, hosts: database.hosts.iter().map(endpoint).collect() })
    })
}

fn is_list(database: &Database) -> bool {
    database.formation.is_none() && database.target_session_attrs == TargetSessionAttrs::ReadWrite
}

fn name(database: &Database) -> String {
    let hosts: Vec<_> = database.hosts.iter().map(ToString::to_string).collect();
    format!("{}:{}", hosts.join(","), database.port)
}

#[cfg(test)]
mod tests {
    use config::Config;

    use super::*;

    #[test]
    fn databases_with_the_same_hosts_are_followed_as_one() {
        let text = "[databases.a]\nhost = 'x,/run'\nport = 1\ntarget_session_attrs = 'read-write'\n\
                    [databases.b]\nhost = 'x,/run'\nport = 1\ntarget_session_attrs = 'read-write'\n\
                    [databases.c]\nhost = 'x,/run'\nport = 1\n";
        let loaded = Config::from_text(std::path::Path::new("x.toml"), text);
        let config = loaded.unwrap_or_else(|problems| panic!("{problems}")).config;
        let [a, b, c] = ["a", "b", "c"].map(|name| &config.databases[name]);
        assert_eq!(followed_as(a).as_deref(), Some("x,/run:1"));
        assert_eq!((subject(a), followed_as(c)), (subject(b), None));
        let (_, Subject { hosts, .. }) = subject(a).expect("it is a list");
        assert_eq!(hosts, [Endpoint::new("x", 1), Endpoint::new("/run", 1)]);
    }
}
