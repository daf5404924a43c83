//! The names a certificate is for, and which host or user they fit.

use std::net::IpAddr;

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

use super::certificate::parse;

/// The common name and the alternative names of a certificate.
///
/// PostgreSQL and PgBouncer use them differently for client certificates: PostgreSQL's `clientcert=verify-full` and
/// `cert` compare the common name with the user, letter by letter; PgBouncer's `auth_type=cert` matches the user as a
/// TLS client matches a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    common_name: Option<String>,
    dns: Vec<String>,
    addresses: Vec<IpAddr>,
    /// There is an alternative name of a host, readable or not, so the common name does not count.
    alternatives: bool,
}

impl Names {
    /// The names in a certificate that a handshake has accepted.
    ///
    /// # Errors
    /// It cannot be parsed.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let certificate = parse(certificate)?;
        let common_name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let mut names = Self { common_name: common_name.map(str::to_owned), ..Self::default() };
        let alternative = certificate.subject_alternative_name().map_err(|_| CertificateError::BadEncoding)?;
        for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => names.addresses.extend(address(bytes)),
                GeneralName::Invalid(..) => {}
                _ => continue,
            }
            names.alternatives = true;
        }
        Ok(names)
    }

    /// The first common name of the subject, to be compared as it is.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// Whether only the common name says which host this is. One without a dot or colon is taken for a user's.
    pub(super) fn host_by_common_name(&self) -> bool {
        !self.alternatives && self.common_name().is_some_and(|name| name.contains(['.', ':']))
    }

    /// Whether the certificate is for this host: a name or an IP address.
    ///
    /// By RFC 6125 the common name counts only where there is no alternative name of a host. A `*` stands for one
    /// whole label, the first, and has two more behind it. As in libpq, an address may also be written as a DNS name.
    pub fn matches_host(&self, host: &str) -> bool {
        let old = self.common_name.iter().filter(|_| !self.alternatives);
        let mut texts = self.dns.iter().chain(old);
        match host.parse::<IpAddr>() {
            Ok(address) => self.addresses.contains(&address) || texts.any(|text| text.parse() == Ok(address)),
            Err(_) => texts.any(|pattern| fits(pattern, host)),
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn fits(pattern: &str, host: &str) -> bool {
    let Some(parent) = pattern.strip_prefix("*.") else {
        return !host.is_empty() && pattern.eq_ignore_ascii_case(host);
    };
    host.split_once('.').is_some_and(|(first, rest)| {
        !first.is_empty() && parent.trim_matches('.').contains('.') && parent.eq_ignore_ascii_case(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(common_name: &str, dns: &[&str], addresses: &[&str]) -> Names {
        Names {
            common_name: Some(common_name.to_owned()),
            dns: dns.iter().map(|name| (*name).to_owned()).collect(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            alternatives: !dns.is_empty() || !addresses.is_empty(),
        }
    }

    #[test]
    fn the_common_name_counts_only_without_alternatives() {
        assert!(named("db.example.com", &[], &[]).matches_host("DB.example.com"));
        assert!(!named("db.example.com", &["other.example.com"], &[]).matches_host("db.example.com"));
        assert!(!named("db.example.com", &[], &["10.0.0.1"]).matches_host("db.example.com"));
        assert!(named("10.0.0.1", &[], &[]).matches_host("10.0.0.1"));
    }

    #[test]
    fn a_star_stands_for_one_whole_label_with_two_behind_it() {
        let names = named("", &["*.example.com"], &[]);
        assert!(names.matches_host("db.EXAMPLE.com"));
        for other in ["example.com", ".example.com", "a.b.example.com", "dbexample.com", "*.com", ""] {
            assert!(!names.matches_host(other), "{other}");
        }
        for loose in ["*.com", "*", "*.", "*..", "*.com.", "d*.example.com"] {
            assert!(!named("", &[loose], &[]).matches_host("db.com"), "{loose}");
            assert!(!named("", &[loose], &[]).matches_host("db.example.com"), "{loose}");
        }
    }

    #[test]
    fn addresses_match_as_numbers_and_never_by_a_star() {
        let names = named("", &["*.0.0.1", "10.0.0.7"], &["10.0.0.2", "fd00::1"]);
        assert!(names.matches_host("10.0.0.2"));
        assert!(names.matches_host("fd00:0::0001"));
        assert!(names.matches_host("10.0.0.7"), "as libpq");
        assert!(!names.matches_host("10.0.0.1"));
    }

    #[test]
    fn nothing_matches_an_empty_name() {
        assert!(!named("", &[""], &[]).matches_host(""));
        assert!(!Names::default().matches_host(""));
    }
}
