//! TLS on the way to a server (settings `server_tls_sslmode`, `server_tls_sslnegotiation`).

use std::io;
use std::sync::Arc;

use config::{SslMode, SslNegotiation};
use protocol::messages;
use rustls::ClientConnection;

use crate::services::Services;
use crate::socket::Socket;
use crate::tls::{self, ServerTls};

/// What TLS came to with a server.
#[derive(Clone, Debug)]
pub struct Secured {
    /// The name by which its certificate was checked; a cancel checks it by the same.
    pub host: Arc<str>,
    /// Version, cipher suite and key exchange, in PgBouncer's words.
    pub words: Arc<str>,
    /// The hash of its certificate, for channel binding; none where none is defined.
    pub end_point: Option<Vec<u8>>,
}

/// Begins TLS as the settings say; none if they, or the server, do without.
///
/// # Errors
/// The server has no TLS and must, or its handshake fails.
pub async fn secure(services: &Services, socket: &mut Socket, host: &Arc<str>) -> io::Result<Option<Secured>> {
    let config = services.config.load();
    let modes = (config.global.server_tls_sslmode, config.global.server_tls_sslnegotiation);
    drop(config);
    secure_by(services.tls.load().servers.clone(), modes, socket, host).await
}

/// The same with settings of one's own, and the TLS that was made from them.
///
/// # Errors
/// The server has no TLS and must, or its handshake fails.
pub async fn secure_by(
    tls: Option<Arc<ServerTls>>,
    (mode, negotiation): (SslMode, SslNegotiation),
    socket: &mut Socket,
    host: &Arc<str>,
) -> io::Result<Option<Secured>> {
    let Some(tls) = tls else { return Ok(None) };
    let direct = negotiation == SslNegotiation::Direct;
    if !direct && !accepts_tls(socket).await? {
        if matches!(mode, SslMode::Allow | SslMode::Prefer) {
            return Ok(None);
        }
        return Err(io::Error::other("server does not support SSL, but it was required (server_tls_sslmode)"));
    }
    begin(socket, &tls, host)?;
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("{error} (server {host})"));
    socket.handshake().await.map_err(failed)?;
    let connection = socket.tls().ok_or(io::ErrorKind::NotConnected)?;
    if direct && connection.alpn_protocol() != Some(tls::ALPN) {
        return Err(io::Error::other("server did not agree on ALPN postgresql (server_tls_sslnegotiation = direct)"));
    }
    let words = tls::describe(connection).unwrap_or_default().into();
    let end_point = connection.peer_certificates().and_then(|chain| tls::end_point(chain.first()?));
    Ok(Some(Secured { host: host.clone(), words, end_point }))
}

/// Asks for TLS.
async fn accepts_tls(socket: &mut Socket) -> io::Result<bool> {
    let mut request = Vec::with_capacity(8);
    messages::ssl_request(&mut request);
    socket.send_all(&request).await?;
    let mut answer = Vec::with_capacity(64);
    socket.recv(&mut answer).await?;
    match answer.as_slice() {
        b"S" => Ok(true),
        b"N" => Ok(false),
        [] => Err(io::ErrorKind::UnexpectedEof.into()),
        // Bytes behind the answer would be taken for the server's, although anybody may have sent them.
        [b'S', ..] => Err(io::Error::other("received unencrypted data after SSL response")),
        _ => Err(io::Error::other("received invalid response to SSL negotiation")),
    }
}

fn begin(socket: &mut Socket, tls: &ServerTls, host: &str) -> io::Result<()> {
    let name = tls.name_for(host).map_err(io::Error::other)?;
    let connection = ClientConnection::new(tls.config.clone(), name).map_err(io::Error::other)?;
    socket.start_tls(connection.into(), &[]);
    Ok(())
}
