//! TLS apart from moving bytes: files and settings become rustls configurations, certificates become verdicts.
//!
//! [`ClientTls`] is what the pooler shows to its clients, [`ServerTls`] is how it checks its servers. Both are made
//! whole or not at all, so a reload that fails leaves the old one in use. The verifiers accept what PostgreSQL's
//! manual makes people do and rustls' own refuse: a self-signed certificate that is its own authority, X.509 version
//! 1, and a host named only by the common name.

mod certificate;
mod ciphers;
mod client;
mod description;
mod end_point;
mod error;
mod expiry;
mod files;
mod groups;
mod identity;
mod names;
mod old;
mod protocols;
mod provider;
mod roots;
mod server;
mod signature;
#[cfg(test)]
mod tests;
mod verifier;
mod wanted;

pub use client::ClientTls;
pub use description::describe;
pub use end_point::end_point;
pub use error::TlsError;
pub use expiry::Expiry;
pub use files::Files;
pub use names::Names;
pub use server::ServerTls;

/// The protocol's name in ALPN (RFC 7301), as PostgreSQL 17 and later use it.
pub const ALPN: &[u8] = b"postgresql";
