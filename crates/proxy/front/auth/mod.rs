//! Whether a client is who it says it is (settings `auth_type`, `auth_file`, `auth_hba_file`, `auth_query`).

pub mod lookup;
mod method;
mod password;
mod scram;

use std::num::NonZeroU32;
use std::sync::Arc;

use config::{Config, Database, Secret};
use protocol::scram::{ChannelBinding, Keys, Verifier};
use tracing::warn;

use self::lookup::{Found, Lookups};
use self::method::{Demand, Method};
use super::login::LoginEnd;
use crate::address::Address;
use crate::error::ClientError;
use crate::random;
use crate::services::Services;
use crate::tls::{ClientTls, Names};
use crate::wire::Wire;

/// What is remembered between logins.
#[derive(Debug)]
pub struct Authenticator {
    /// What `auth_query` has found.
    pub lookups: Lookups,
    /// Behind the verifiers of users who do not exist.
    process_secret: [u8; 32],
    derived: scram::Derived,
    fitting: password::Fitting,
}

/// Who wants to log in, and how they came.
#[derive(Debug)]
pub struct Applicant<'a> {
    /// What all share.
    pub services: &'a Arc<Services>,
    /// The configuration it is judged by.
    pub config: &'a Config,
    /// The database it wants; a default one for the console and for those that do not exist.
    pub database: &'a Database,
    /// The database's name as it gave it.
    pub database_name: &'a str,
    /// Who it says it is.
    pub user: &'a str,
    /// Its end of the connection.
    pub remote: &'a Address,
    /// What it was shown in the TLS handshake, if there was one.
    pub tls: Option<&'a ClientTls>,
}

/// What a login has proved.
#[derive(Debug, Default)]
#[must_use]
pub struct Proven {
    /// Keys that open servers with the same verifier.
    pub keys: Option<Keys>,
    /// What `auth_query` found: opens servers that ask for it as it is.
    pub secret: Option<Secret>,
}

impl Default for Authenticator {
    fn default() -> Self {
        Self {
            lookups: Lookups::default(),
            process_secret: random::bytes(),
            derived: scram::Derived::default(),
            fitting: password::Fitting::default(),
        }
    }
}

impl Authenticator {
    /// Has the applicant prove that it is who it says it is.
    ///
    /// An unknown user is asked for the same things, and fails at the end.
    ///
    /// # Errors
    /// It does not prove it, or leaves.
    pub async fn authenticate(&self, wire: &mut Wire, applicant: &Applicant<'_>) -> Result<Proven, LoginEnd> {
        let demand = Demand::of(self, applicant).await?;
        if !demand.accepts(applicant, || certificate(wire)) {
            return Err(ClientError::CertificateFailed.into());
        }
        match demand.method {
            Method::Any => return Ok(Proven::default()),
            Method::Reject => return Err(ClientError::LoginRejected.into()),
            Method::Peer if !demand.accepts_peer(applicant) => return Err(ClientError::PeerFailed.into()),
            Method::Cert | Method::Peer => {
                // Proved already: a secret is only for servers that ask for one.
                let user = self.find(applicant).await.unwrap_or_default();
                return Ok(Proven { keys: None, secret: user.secret.filter(|_| user.was_looked_up) });
            }
            Method::Trust | Method::Plain | Method::Md5 | Method::Scram => {}
        }
        let user = self.find(applicant).await?;
        let proven = self.prove(wire, applicant, demand.method, &user).await;
        if proven.is_err() && user.was_kept {
            // Its password may have changed since.
            self.lookups.doubt(applicant);
        }
        proven
    }

    async fn prove(
        &self,
        wire: &mut Wire,
        applicant: &Applicant<'_>,
        method: Method,
        user: &User,
    ) -> Result<Proven, LoginEnd> {
        let (name, secret) = (applicant.user, user.secret.as_ref());
        let keys = match (method, secret) {
            (Method::Trust, _) if user.exists => None,
            (Method::Trust, _) => return Err(ClientError::TrustFailed.into()),
            (Method::Plain, _) => password::in_clear(wire, &self.fitting, name, secret).await?,
            (Method::Md5, Some(Secret::Plain(_) | Secret::Md5(_)) | None) => {
                password::as_md5(wire, name, secret).await?;
                None
            }
            _ => {
                let binding = applicant.tls.and_then(|tls| tls.end_point.clone());
                let binding = binding.map_or(ChannelBinding::None, ChannelBinding::TlsServerEndPoint);
                Some(scram::prove(wire, self.verifier(applicant, secret), binding).await?)
            }
        };
        Ok(Proven { keys, secret: user.secret.clone().filter(|_| user.was_looked_up) })
    }

    /// The secret of `auth_file`, else what `auth_query` finds.
    async fn find(&self, applicant: &Applicant<'_>) -> Result<User, ClientError> {
        let Applicant { config, database, user, .. } = applicant;
        if let Some(secret) = config.userlist.get(*user) {
            return Ok(User { secret: Some(secret.clone()), exists: true, ..User::default() });
        }
        let exists = config.users.contains_key(*user);
        // A database that does not exist is not asked, and its users are as unknown as others.
        if config.auth_lookup(database).is_none_or(|lookup| lookup.dbname.is_empty()) {
            return Ok(User { exists, ..User::default() });
        }
        let (found, was_kept) = self.lookups.secret(applicant).await?;
        let known = match found {
            Found::Secret(secret) => User { secret, exists: true, ..User::default() },
            Found::Nobody | Found::Groups(_) => User { exists, ..User::default() },
        };
        Ok(User { was_looked_up: true, was_kept, ..known })
    }

    fn verifier(&self, applicant: &Applicant<'_>, secret: Option<&Secret>) -> Verifier {
        let iterations = NonZeroU32::new(applicant.config.global.scram_iterations).unwrap_or(NonZeroU32::MIN);
        let mock = || Verifier::mock(applicant.user.as_bytes(), &self.process_secret, iterations);
        match secret {
            Some(Secret::Scram(text)) => Verifier::parse(text).unwrap_or_else(|_| mock()),
            Some(Secret::Plain(password)) if !password.is_empty() => {
                self.derived.verifier(applicant.user, password, iterations)
            }
            Some(Secret::Plain(_) | Secret::Md5(_)) | None => mock(),
        }
    }
}

/// What is known of a user.
#[derive(Debug, Default)]
struct User {
    secret: Option<Secret>,
    exists: bool,
    /// By `auth_query`.
    was_looked_up: bool,
    /// By an earlier login's `auth_query`.
    was_kept: bool,
}

/// The names in the client's certificate.
fn certificate(wire: &Wire) -> Option<Names> {
    let certificate = wire.socket.tls()?.peer_certificates()?.first()?;
    Names::of(certificate).inspect_err(|error| warn!("client certificate: {error}")).ok()
}

async fn password_message(wire: &mut Wire) -> Result<&[u8], LoginEnd> {
    Ok(wire.message_of(b'p').await?)
}
