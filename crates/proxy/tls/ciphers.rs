//! The cipher suites that OpenSSL's lists select among the nine there are.

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite as suite;

use super::error::TlsError;
use super::wanted::Setting;

/// A suite of TLS 1.2, its name in OpenSSL, and the keywords that select it besides [`COMMON`].
struct Suite(&'static str, SupportedCipherSuite, &'static [&'static str]);

static TLS12: [Suite; 6] = [
    Suite(
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        &["ECDSA", "aECDSA", "AES", "AES256", "AESGCM", "FIPS"],
    ),
    Suite(
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        &["ECDSA", "aECDSA", "AES", "AES128", "AESGCM", "FIPS"],
    ),
    Suite(
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        &["ECDSA", "aECDSA", "CHACHA20"],
    ),
    Suite(
        "ECDHE-RSA-AES256-GCM-SHA384",
        suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        &["aRSA", "AES", "AES256", "AESGCM", "FIPS"],
    ),
    Suite(
        "ECDHE-RSA-AES128-GCM-SHA256",
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        &["aRSA", "AES", "AES128", "AESGCM", "FIPS"],
    ),
    Suite("ECDHE-RSA-CHACHA20-POLY1305", suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, &["aRSA", "CHACHA20"]),
];

/// Keywords that select all of them. `secure`, `fast` and `normal` are PgBouncer's.
const COMMON: [&str; 12] =
    ["default", "secure", "fast", "normal", "all", "HIGH", "ECDHE", "EECDH", "kECDHE", "kEECDH", "AEAD", "TLSv1.2"];

/// The suites of TLS 1.3, by their names in the standard, which OpenSSL uses too.
static TLS13: [(&str, SupportedCipherSuite); 3] = [
    ("TLS_AES_256_GCM_SHA384", suite::TLS13_AES_256_GCM_SHA384),
    ("TLS_AES_128_GCM_SHA256", suite::TLS13_AES_128_GCM_SHA256),
    ("TLS_CHACHA20_POLY1305_SHA256", suite::TLS13_CHACHA20_POLY1305_SHA256),
];

/// The suites of TLS 1.2 that an OpenSSL cipher list selects, in its order; nothing means `default`.
///
/// `!` and `-` remove, `+` moves to the end, `A+B` is what has both, and `@` (OpenSSL's commands) is passed over.
pub fn tls12(setting: &Setting, warnings: &mut Vec<String>) -> Result<Vec<SupportedCipherSuite>, TlsError> {
    let mut chosen: Vec<&Suite> = Vec::new();
    let mut banned: Vec<&str> = Vec::new();
    let mut useless = Vec::new();
    let words: Vec<_> = if setting.is_empty() { vec!["default"] } else { setting.words().collect() };
    for word in words {
        if let Some(rest) = word.strip_prefix(['!', '-']) {
            chosen.retain(|suite| !suite.has(rest));
            if word.starts_with('!') {
                banned.extend(TLS12.iter().filter(|suite| suite.has(rest)).map(|suite| suite.0));
            }
        } else if let Some(rest) = word.strip_prefix('+') {
            chosen.sort_by_key(|suite| suite.has(rest));
        } else if !word.starts_with('@') {
            let selected: Vec<_> = TLS12.iter().filter(|suite| suite.has(word)).collect();
            if selected.is_empty() {
                useless.push(word);
            }
            let new = |suite: &&Suite| !banned.contains(&suite.0) && !chosen.iter().any(|old| old.0 == suite.0);
            let new: Vec<_> = selected.into_iter().filter(new).collect();
            chosen.extend(new);
        }
    }
    let chosen = chosen.into_iter().map(|suite| suite.1).collect();
    setting.settle(chosen, &useless, "ECDHE with AES-GCM or ChaCha20-Poly1305", warnings)
}

/// The suites of TLS 1.3 that a list names, in its order; nothing means all three.
pub fn tls13(setting: &Setting, warnings: &mut Vec<String>) -> Result<Vec<SupportedCipherSuite>, TlsError> {
    if setting.is_empty() {
        return Ok(TLS13.map(|(_, suite)| suite).to_vec());
    }
    let (mut chosen, mut useless) = (Vec::new(), Vec::new());
    for word in setting.words() {
        match TLS13.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
            Some((_, suite)) if chosen.contains(suite) => {}
            Some((_, suite)) => chosen.push(*suite),
            None => useless.push(word),
        }
    }
    setting.settle(chosen, &useless, &TLS13.map(|(name, _)| name).join(", "), warnings)
}

/// A suite's name in OpenSSL.
pub fn openssl_name(suite: SupportedCipherSuite) -> Option<&'static str> {
    let tls12 = TLS12.iter().map(|known| (known.0, known.1));
    TLS13.into_iter().chain(tls12).find(|(_, known)| *known == suite).map(|(name, _)| name)
}

impl Suite {
    fn has(&self, words: &str) -> bool {
        words.split('+').all(|word| {
            let mut known = COMMON.iter().chain(self.2);
            let standard = self.1.suite().as_str();
            word.eq_ignore_ascii_case(self.0)
                || standard.is_some_and(|name| name == word)
                || known.any(|known| known.eq_ignore_ascii_case(word))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Vec<&'static str>, Vec<String>), String> {
        let mut warnings = Vec::new();
        let suites = tls12(&Setting::new("client_tls_ciphers", text), &mut warnings);
        let suites = suites.map_err(|error| error.to_string())?;
        Ok((suites.into_iter().flat_map(openssl_name).collect(), warnings))
    }

    #[test]
    fn keywords_select_every_suite_without_a_warning() {
        for all in ["", "default", "secure", "fast", "normal", "all", "HIGH", "DEFAULT:!aNULL:!MD5:@STRENGTH"] {
            let (suites, warnings) = read(all).unwrap();
            assert_eq!((suites.len(), warnings.len()), (6, 0), "{all}");
        }
    }

    #[test]
    fn a_list_of_names_is_taken_in_its_order() {
        let two = "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256";
        let (suites, _) = read(two).unwrap();
        assert_eq!(suites, ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"]);
        assert_eq!(read("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256").unwrap().0, ["ECDHE-RSA-AES128-GCM-SHA256"]);
    }

    #[test]
    fn signs_remove_ban_and_move() {
        let chacha = ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"];
        assert_eq!(read("HIGH:!AES").unwrap().0, chacha);
        assert_eq!(read("!AES:HIGH").unwrap().0, chacha, "a ban is for good");
        assert_eq!(read("HIGH:-AES:ECDHE+aRSA+AES256").unwrap().0[2], "ECDHE-RSA-AES256-GCM-SHA384");
        assert_eq!(read("HIGH:+AES").unwrap().0[..2], chacha);
    }

    #[test]
    fn postgresqls_default_list_works() {
        let (suites, warnings) = read("HIGH:MEDIUM:+3DES:!aNULL").unwrap();
        assert_eq!(suites.len(), 6);
        assert_eq!(
            warnings,
            ["client_tls_ciphers: ignoring MEDIUM; available are ECDHE with AES-GCM or ChaCha20-Poly1305"]
        );
    }

    #[test]
    fn a_list_of_nothing_but_impossible_suites_is_an_error() {
        for impossible in ["AES256-SHA", "DHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-SHA", "HIGH:!ECDHE", "RSA"] {
            let error = read(impossible).unwrap_err();
            assert!(error.contains(&format!("\"{impossible}\" leaves nothing to use")), "{error}");
        }
    }

    #[test]
    fn suites_of_tls_1_3_have_their_own_list() {
        let mut warnings = Vec::new();
        let list = "TLS_AES_128_CCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";
        let suites = tls13(&Setting::new("client_tls13_ciphers", list), &mut warnings).unwrap();
        assert_eq!(suites, [suite::TLS13_CHACHA20_POLY1305_SHA256, suite::TLS13_AES_128_GCM_SHA256]);
        assert!(warnings[0].starts_with("client_tls13_ciphers: ignoring TLS_AES_128_CCM_SHA256;"), "{warnings:?}");
        assert!(tls13(&Setting::new("client_tls13_ciphers", "TLS_AES_128_CCM_SHA256"), &mut warnings).is_err());
        assert_eq!(tls13(&Setting::new("client_tls13_ciphers", ""), &mut warnings).unwrap().len(), 3);
    }
}
