//! What a TLS connection uses, for the console's column `tls` and the log.

use rustls::{CommonState, ProtocolVersion};

use super::ciphers::openssl_name;

/// As PgBouncer writes it, `TLSv1.3/TLS_AES_256_GCM_SHA384/ECDH=X25519`; none before the handshake is over.
pub fn describe(connection: &CommonState) -> Option<String> {
    let version = match connection.protocol_version()? {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        _ => "TLSv1.3",
    };
    let suite = openssl_name(connection.negotiated_cipher_suite()?)?;
    let group = connection.negotiated_key_exchange_group()?.name();
    Some(format!("{version}/{suite}/ECDH={}", group.as_str()?))
}
