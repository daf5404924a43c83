//! What is demanded of a client: by `auth_type`, or by the first HBA rule that it matches.

use std::cell::Cell;
use std::net::SocketAddr;

use config::hba::{self, Asked, ClientCert, Transport};
use config::{AuthType, Config};
use nix::unistd::{Uid, User};
use tracing::warn;

use super::{Applicant, Authenticator};
use crate::address::Address;
use crate::error::ClientError;
use crate::tls::Names;

/// How a client is to prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Not at all, and it may be anybody.
    Any,
    /// Not at all, but it must be known.
    Trust,
    /// It may not enter.
    Reject,
    /// By its password.
    Plain,
    /// By its password's md5, or by SCRAM where that is all there is.
    Md5,
    /// By SCRAM.
    Scram,
    /// By its certificate.
    Cert,
    /// By its user's name in the operating system.
    Peer,
}

/// What the client's certificate must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certificate {
    Nothing,
    /// There must be one; the handshake has verified its authority.
    Verified,
    /// The user's name, as a host's certificate says the host's (PgBouncer's `auth_type = cert`).
    Host,
    /// The user's name, or one that the map turns into it, as its common name (PostgreSQL's HBA rules).
    CommonName,
}

/// All that is demanded of a client.
#[derive(Debug)]
pub struct Demand<'a> {
    pub method: Method,
    certificate: Certificate,
    config: &'a Config,
    /// A map of `auth_ident_file`.
    map: Option<&'a str>,
}

impl<'a> Demand<'a> {
    /// What the configuration demands of this client.
    ///
    /// # Errors
    /// No rule matches, or its groups cannot be looked up.
    pub async fn of(authenticator: &Authenticator, applicant: &Applicant<'a>) -> Result<Self, ClientError> {
        let config = applicant.config;
        let of = |method, certificate| Self { method, certificate, config, map: None };
        Ok(match config.global.auth_type {
            AuthType::Any => of(Method::Any, Certificate::Nothing),
            AuthType::Trust => of(Method::Trust, Certificate::Nothing),
            AuthType::Plain => of(Method::Plain, Certificate::Nothing),
            AuthType::Md5 => of(Method::Md5, Certificate::Nothing),
            AuthType::ScramSha256 => of(Method::Scram, Certificate::Nothing),
            AuthType::Cert => of(Method::Cert, Certificate::Host),
            AuthType::Hba => Self::by_rule(authenticator, applicant).await?,
        })
    }

    async fn by_rule(authenticator: &Authenticator, applicant: &Applicant<'a>) -> Result<Self, ClientError> {
        let config = applicant.config;
        let can_ask = config.auth_lookup(applicant.database).is_some();
        let asks = can_ask && !config.hba.groups().is_empty();
        let groups = if asks { authenticator.lookups.groups(applicant).await? } else { Vec::new() };
        let unknown = Cell::new(false);
        let transport = match applicant.remote {
            Address::Unix { .. } => Transport::Local,
            Address::Tcp(address) => Transport::Tcp { address: SocketAddr::ip(address), tls: applicant.tls.is_some() },
        };
        let rule = config.hba.find(&Asked {
            transport,
            database: applicant.database_name,
            user: applicant.user,
            replication: false,
            is_member: &|group| {
                unknown.set(unknown.get() || !can_ask);
                groups.iter().any(|name| name == group)
            },
        });
        if unknown.get() {
            // To take it for no member might skip the rule that rejects it.
            warn!(user = applicant.user, "an HBA rule names a group, and there is no auth_user to look it up");
            return Err(ClientError::BouncerConfig);
        }
        let rule = rule.ok_or(ClientError::NoAuthMethod)?;
        let method = match rule.method {
            hba::Method::Trust => Method::Trust,
            hba::Method::Reject => Method::Reject,
            hba::Method::Plain => Method::Plain,
            hba::Method::Md5 => Method::Md5,
            hba::Method::ScramSha256 => Method::Scram,
            hba::Method::Cert => Method::Cert,
            hba::Method::Peer => Method::Peer,
        };
        let certificate = match (method, rule.client_cert) {
            (Method::Cert, _) | (_, Some(ClientCert::VerifyFull)) => Certificate::CommonName,
            (_, Some(ClientCert::VerifyCa)) => Certificate::Verified,
            (_, None) => Certificate::Nothing,
        };
        Ok(Self { method, certificate, config, map: rule.map.as_deref() })
    }

    /// Judges the certificate that the handshake has verified; `shown` is called only if one is demanded.
    pub fn accepts(&self, applicant: &Applicant<'_>, shown: impl FnOnce() -> Option<Names>) -> bool {
        if self.certificate == Certificate::Nothing {
            return true;
        }
        let Some(names) = shown() else { return false };
        match self.certificate {
            Certificate::Nothing | Certificate::Verified => true,
            Certificate::Host => names.matches_host(applicant.user),
            Certificate::CommonName => {
                names.common_name().is_some_and(|name| self.config.ident.allows(self.map, name, applicant.user))
            }
        }
    }

    /// Judges the user that the operating system names as the other end of a Unix socket.
    pub fn accepts_peer(&self, applicant: &Applicant<'_>) -> bool {
        let Address::Unix { uid, .. } = applicant.remote else { return false };
        let Ok(Some(peer)) = User::from_uid(Uid::from_raw(*uid)) else { return false };
        self.config.ident.allows(self.map, &peer.name, applicant.user)
    }
}
