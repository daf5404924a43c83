//! Many idle connections, to measure what each costs the pooler in memory.

use std::io::{self, Read, Write};
use std::net::ToSocketAddrs;

use lab::Login;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{Failure, IdleClientsArguments};

/// Each connection runs one query, so that whatever the pooler lends or allocates for work has been lent once.
pub fn run(arguments: &IdleClientsArguments) -> Result<(), Failure> {
    allow_many_files()?;
    let mut addresses = (arguments.host.as_str(), arguments.port).to_socket_addrs()?;
    let address = addresses.next().ok_or("the host name has no address")?;
    let mut login = Login::new(address, &arguments.user, &arguments.database);
    if arguments.tls {
        login = login.tls()?;
    }
    let mut clients = Vec::with_capacity(arguments.count);
    for number in 1..=arguments.count {
        let opened = login.open().and_then(|mut client| {
            client.query("select 1")?;
            Ok(client)
        });
        clients.push(opened.map_err(|error| format!("connection {number}: {error}"))?);
    }
    writeln!(io::stdout(), "READY")?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn allow_many_files() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
