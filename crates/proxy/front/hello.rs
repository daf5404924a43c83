//! What comes before a StartupMessage: encryption, and cancels, which never become clients.

use std::sync::Arc;

use config::{Global, SslMode};
use protocol::startup::{Opening, Startup};
use rustls::ServerConnection;

use super::door::Desk;
use super::login::LoginEnd;
use crate::address::Address;
use crate::cancel;
use crate::error::ClientError;
use crate::services::Services;
use crate::tls::ClientTls;
use crate::wire::Wire;

/// The first byte of a TLS record that carries a handshake (RFC 8446, 5.1): TLS without an SSLRequest before it.
const TLS_HANDSHAKE: u8 = 0x16;

/// A client that wants to log in.
#[derive(Debug)]
pub struct Hello {
    /// Its StartupMessage.
    pub startup: Startup,
    /// What it was shown in the handshake, if there was one.
    pub tls: Option<Arc<ClientTls>>,
}

/// What a peer has asked for, which it may do once.
#[derive(Default)]
struct Asked {
    ssl: bool,
    gss: bool,
}

/// Listens to a peer until it has sent its StartupMessage.
///
/// # Errors
/// It breaks the protocol, must use TLS and does not, or wants a cancel only.
pub async fn listen(
    services: &Arc<Services>,
    global: &Global,
    desk: &Desk,
    wire: &mut Wire,
    peer: &Address,
) -> Result<Hello, LoginEnd> {
    let limit = global.max_login_packet_size as usize;
    // As in PgBouncer and PostgreSQL, Unix sockets have no TLS and need none.
    let offered = services.tls.load().clients.clone().filter(|_| matches!(peer, Address::Tcp(_)));
    let mut tls = None;
    let mut asked = Asked::default();
    loop {
        if let (None, Some(offered), Some(&TLS_HANDSHAKE)) = (&tls, &offered, wire.unused().first()) {
            desk.turn_of_address(peer).await;
            encrypt(wire, offered).await?;
            tls = Some(offered.clone());
            desk.count_handshake();
            continue;
        }
        let Some((opening, len)) = Opening::parse(wire.unused(), limit).map_err(ClientError::Startup)? else {
            wire.receive().await?;
            continue;
        };
        wire.use_up(len);
        match opening {
            Opening::Startup(_) if tls.is_none() && offered.is_some() && requires_tls(global.client_tls_sslmode) => {
                return Err(ClientError::TlsRequired.into());
            }
            Opening::Startup(startup) => return Ok(Hello { startup, tls }),
            Opening::Cancel { pid, key } => {
                cancel::cancel_client(services, pid, &key).await;
                return Err(LoginEnd::Done);
            }
            // What came with the request was sent in the hope of encryption, or by somebody in the middle.
            Opening::Ssl | Opening::GssEnc if !wire.unused().is_empty() => {
                return Err(ClientError::DataBeforeTls.into());
            }
            Opening::Ssl if std::mem::replace(&mut asked.ssl, true) => return Err(ClientError::AskedTwice.into()),
            Opening::GssEnc if std::mem::replace(&mut asked.gss, true) => return Err(ClientError::AskedTwice.into()),
            Opening::Ssl if tls.is_none() && offered.is_some() => {
                wire.send(b"S").await?;
                // The handshake follows as if it had come without being asked for.
                while wire.unused().is_empty() {
                    wire.receive().await?;
                }
                if wire.unused().first() != Some(&TLS_HANDSHAKE) {
                    return Err(LoginEnd::Tls("client sent something else".to_owned()));
                }
            }
            Opening::Ssl | Opening::GssEnc => wire.send(b"N").await?,
        }
    }
}

/// The handshake. A TLS connection is large: it goes to the heap before anything is awaited.
async fn encrypt(wire: &mut Wire, offered: &ClientTls) -> Result<(), LoginEnd> {
    begin(wire, offered).map_err(|error| LoginEnd::Tls(error.to_string()))?;
    wire.socket.handshake().await.map_err(|error| LoginEnd::Tls(error.to_string()))
}

fn begin(wire: &mut Wire, offered: &ClientTls) -> Result<(), rustls::Error> {
    wire.start_tls(ServerConnection::new(offered.config.clone())?.into());
    Ok(())
}

fn requires_tls(mode: SslMode) -> bool {
    matches!(mode, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull)
}
