//! When a certificate of our own ends, and the warning before that.

use std::path::PathBuf;

const DAY: i64 = 86_400;
/// How long before its end a certificate is warned of.
const NOTICE: i64 = 30 * DAY;

/// Until when a certificate of our own is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The setting that names its file.
    pub setting: &'static str,
    /// Its file.
    pub file: PathBuf,
    /// Its subject, as in `CN=pooler.example.com`.
    pub subject: String,
    /// The last second of its validity, in Unix time.
    pub not_after: i64,
}

impl Expiry {
    /// What to log at `now` (Unix time): nothing until 30 days before the end.
    pub fn warning(&self, now: i64) -> Option<String> {
        let left = self.not_after - now;
        if left > NOTICE {
            return None;
        }
        let when = match left {
            ..0 => format!("expired {} ago", days(-left)),
            _ => format!("expires in {}", days(left)),
        };
        Some(format!("{}: the certificate in {} ({}) {when}", self.setting, self.file.display(), self.subject))
    }
}

fn days(seconds: i64) -> String {
    match seconds / DAY {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(now: i64) -> Option<String> {
        let expiry = Expiry {
            setting: "client_tls_cert_file",
            file: "/etc/pooler.crt".into(),
            subject: "CN=db".to_owned(),
            not_after: 100 * DAY,
        };
        expiry.warning(now)
    }

    #[test]
    fn the_warning_begins_thirty_days_before_the_end() {
        assert_eq!(at(70 * DAY - 1), None);
        assert_eq!(
            at(70 * DAY).unwrap(),
            "client_tls_cert_file: the certificate in /etc/pooler.crt (CN=db) expires in 30 days"
        );
        assert!(at(98 * DAY + 1).unwrap().ends_with("expires in 1 day"));
        assert!(at(100 * DAY).unwrap().ends_with("expires in less than a day"));
    }

    #[test]
    fn the_warning_goes_on_after_the_end() {
        assert!(at(100 * DAY + 1).unwrap().ends_with("expired less than a day ago"));
        assert!(at(103 * DAY).unwrap().ends_with("expired 3 days ago"));
    }
}
