//! A session of the pooler's own, at a monitor or a node: one question at a time.

use std::sync::Arc;
use std::time::Instant;

use config::{Global, Secret};
use protocol::fields::data_row;

use crate::address::Endpoint;
use crate::dns::Ttls;
use crate::server::connection::server_report;
use crate::server::dial::{self, Dialed};
use crate::server::login::{self, Binding, LoginError};
use crate::server::secure::secure_by;
use crate::server::target::Credentials;
use crate::services::Services;
use crate::tls::ServerTls;
use crate::wire::Wire;

/// Longest message of a monitor or node.
const MAX_MESSAGE: usize = 1 << 18;
/// Most rows of one answer.
const MAX_ROWS: usize = 1000;

/// The columns of a row as text; none for NULL.
pub type Row = Vec<Option<String>>;

/// Where to log in, and as whom.
#[derive(Debug)]
pub struct Account {
    /// Who logs in.
    pub user: String,
    /// In which database.
    pub dbname: String,
    /// What proves it.
    pub secret: Option<Secret>,
    /// With the TLS settings in `server_tls_*`.
    pub global: Global,
    /// TLS by those settings.
    pub tls: Option<Arc<ServerTls>>,
}

/// Connects and logs in. The caller sets a time limit.
///
/// # Errors
/// What the server says, or why it cannot be reached.
pub async fn open(services: &Services, account: &Account, endpoint: &Endpoint) -> Result<Wire, LoginError> {
    open_with(services, account, endpoint, None).await
}

/// The same with one more startup parameter.
///
/// # Errors
/// What the server says, or why it cannot be reached.
pub async fn open_with(
    services: &Services,
    account: &Account,
    endpoint: &Endpoint,
    parameter: Option<(&str, &str)>,
) -> Result<Wire, LoginError> {
    let Account { user, dbname, secret, global, tls } = account;
    let ttls = Ttls { found: global.dns_max_ttl, failed: global.dns_nxdomain_ttl };
    let dialed = dial::dial(&services.dns, ttls, endpoint, global).await;
    let Dialed { mut socket, .. } = dialed.map_err(|error| LoginError::Wire(error.into()))?;
    let secured = match endpoint {
        Endpoint::Tcp(host, _) => {
            let modes = (global.server_tls_sslmode, global.server_tls_sslnegotiation);
            secure_by(tls.clone(), modes, &mut socket, host).await.map_err(LoginError::Tls)?
        }
        Endpoint::Unix(..) => None,
    };
    let startup = [("user", &**user), ("database", &**dbname), ("application_name", "pooler")];
    let startup = startup.into_iter().chain(parameter);
    let startup: Vec<_> = startup.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
    let binding = Binding::new(global.server_channel_binding, secured.as_ref());
    let credentials = Credentials { secret: secret.clone(), ..Credentials::default() };
    let mut wire = Wire::new(socket, MAX_MESSAGE);
    login::log_in(&mut wire, &startup, user, &credentials, binding).await?;
    Ok(wire)
}

/// Asks, and reads the answer to its end. `aside` is given every message that belongs to no answer.
///
/// # Errors
/// The server's error, or that the connection broke. Only after an error that is not fatal may it be asked again.
pub async fn ask(
    wire: &mut Wire,
    request: &[u8],
    mut aside: impl FnMut(u8, &[u8]),
) -> Result<(Instant, Vec<Row>), LoginError> {
    let asked_at = Instant::now();
    wire.send(request).await?;
    let (mut rows, mut failure) = (Vec::new(), None);
    loop {
        let (tag, body) = wire.message().await?;
        match tag {
            b'D' if rows.len() < MAX_ROWS => rows.push(text(body).ok_or(LoginError::Violation(tag))?),
            b'E' => {
                let refused = LoginError::Refused(server_report(body));
                if protocol::fields::Fields::parse(body).is_fatal() {
                    return Err(refused);
                }
                failure.get_or_insert(refused);
            }
            b'Z' => return failure.map_or(Ok((asked_at, rows)), Err),
            tag => aside(tag, body),
        }
    }
}

fn text(body: &[u8]) -> Option<Row> {
    let text = |column: Option<Vec<u8>>| column.map(String::from_utf8).transpose().ok();
    data_row(body)?.into_iter().map(text).collect()
}

/// A row of exactly so many columns, as the follower reads it.
pub fn columns<const N: usize>(row: &Row) -> Option<[Option<&str>; N]> {
    let columns: Vec<Option<&str>> = row.iter().map(Option::as_deref).collect();
    columns.try_into().ok()
}
