//! Settings that take one of a few words.

use std::fmt;

use crate::raw::Raw;
use crate::value::{Value, quote};

/// One enum whose variants are words of the configuration, matched without regard to case.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $expected:literal { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// The word for it in files, console and log.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Every value, in the order of the manual.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Value for $name {
            const EXPECTED: &'static str = $expected;

            fn read(raw: &Raw) -> Result<Self, String> {
                let found = raw.text().and_then(|text| Self::ALL.iter().find(|w| w.as_str().eq_ignore_ascii_case(text)));
                found.copied().ok_or_else(|| raw.not(Self::EXPECTED))
            }

            fn text(&self) -> String {
                self.as_str().to_string()
            }

            fn toml(&self) -> String {
                quote(self.as_str())
            }
        }
    };
}

words! {
    /// How clients prove who they are (`auth_type`).
    AuthType, "one of any, trust, plain, md5, cert, hba, scram-sha-256" {
        /// No check; needs a forced user.
        Any = "any",
        /// No check, but the user must be known.
        Trust = "trust",
        /// Password in clear text.
        Plain = "plain",
        /// MD5 challenge; SCRAM for users whose secret is SCRAM.
        Md5 = "md5",
        /// TLS client certificate.
        Cert = "cert",
        /// Decided by a rule of `auth_hba_file`.
        Hba = "hba",
        /// SCRAM-SHA-256 (RFC 7677).
        ScramSha256 = "scram-sha-256",
    }
}

words! {
    /// When a server connection goes back to its pool (`pool_mode`).
    PoolMode, "one of session, transaction, statement" {
        /// When the client leaves.
        Session = "session",
        /// When the transaction ends.
        Transaction = "transaction",
        /// When the statement ends; transaction blocks are refused.
        Statement = "statement",
    }
}

words! {
    /// How much TLS is asked for (`client_tls_sslmode`, `server_tls_sslmode`), in libpq's words.
    SslMode, "one of disable, allow, prefer, require, verify-ca, verify-full" {
        /// No TLS.
        Disable = "disable",
        /// TLS if the other side wants it.
        Allow = "allow",
        /// TLS if the other side can.
        Prefer = "prefer",
        /// TLS or nothing, certificate not checked.
        Require = "require",
        /// TLS, and the certificate's authority is checked.
        VerifyCa = "verify-ca",
        /// TLS, and the certificate's authority and name are checked.
        VerifyFull = "verify-full",
    }
}

words! {
    /// How TLS to a server begins (`server_tls_sslnegotiation`), in libpq's words.
    SslNegotiation, "one of postgres, direct" {
        /// SSLRequest asks for it first.
        Postgres = "postgres",
        /// The connection begins with the TLS handshake, which saves a round trip.
        Direct = "direct",
    }
}

words! {
    /// Whether a SCRAM login to a server is bound to its TLS connection (`server_channel_binding`), in libpq's words.
    ChannelBinding, "one of disable, prefer, require" {
        /// Never.
        Disable = "disable",
        /// Where the server offers it.
        Prefer = "prefer",
        /// Always: a server that does not offer it is not logged in to.
        Require = "require",
    }
}

words! {
    /// How a list of hosts is used (`load_balance_hosts`).
    LoadBalanceHosts, "one of round-robin, disable" {
        /// Each new server connection goes to the next host.
        RoundRobin = "round-robin",
        /// Stay with one host until connecting to it fails.
        Disable = "disable",
    }
}

words! {
    /// Which nodes of its formation a database is (`role`).
    Role, "one of primary, standby" {
        /// The one that takes writes.
        Primary = "primary",
        /// Those that can be read.
        Standby = "standby",
    }
}

words! {
    /// What a host of a database must prove (`target_session_attrs`), in libpq's words.
    TargetSessionAttrs, "one of any, read-write" {
        /// Nothing.
        Any = "any",
        /// That it is not in recovery, and writable by default.
        ReadWrite = "read-write",
    }
}

words! {
    /// What becomes of a client that leaves in its session what cannot move to another server (`session_…`).
    Pinning, "one of pin, warn, refuse" {
        /// It keeps its server for as long as that is there.
        Pin = "pin",
        /// The same, and it is warned.
        Warn = "warn",
        /// The statement is refused.
        Refuse = "refuse",
    }
}

words! {
    /// The scheduling policy of the threads that relay (`worker_scheduling`), by its name in sched(7).
    Scheduling, "one of batch, other" {
        /// Awake, such a thread waits for the one at work to end its time slice.
        Batch = "batch",
        /// The usual one.
        Other = "other",
    }
}

words! {
    /// What becomes of what statements may leave in a session that no server tells of (`session_hidden`).
    Hidden, "one of ignore, reset, pin, refuse" {
        /// It is left there.
        Ignore = "ignore",
        /// The session is reset behind the transaction.
        Reset = "reset",
        /// The client keeps its server to the end of its session.
        Pin = "pin",
        /// The statement is refused.
        Refuse = "refuse",
    }
}

words! {
    /// What becomes of a client that listens to channels in transaction mode (`session_listen`).
    Listening, "one of serve, pin, warn, refuse" {
        /// A connection of the pooler's own listens for it, together with all others of its database.
        Serve = "serve",
        /// It keeps its server for as long as it listens.
        Pin = "pin",
        /// The same, and it is warned.
        Warn = "warn",
        /// LISTEN is refused.
        Refuse = "refuse",
    }
}

words! {
    /// The shape of log lines (`log_format`).
    LogFormat, "one of text, json" {
        /// PgBouncer's lines.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
