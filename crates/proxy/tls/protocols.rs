//! The versions of TLS that a list of words allows (`client_tls_protocols`, `server_tls_protocols`).

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use super::error::TlsError;
use super::wanted::Setting;

const OLD: u8 = 0b0001;
const V12: u8 = 0b0010;
const V13: u8 = 0b0100;
const SECURE: u8 = V12 | V13;

/// The versions to offer, read as PgBouncer reads them: words add, `!` removes, nothing means `secure`.
pub fn versions(
    setting: &Setting,
    warnings: &mut Vec<String>,
) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let mut chosen = if setting.is_empty() { SECURE } else { 0 };
    for word in setting.words() {
        match word.strip_prefix('!') {
            Some(word) if chosen == 0 => chosen = SECURE & !version(setting, word)?,
            Some(word) => chosen &= !version(setting, word)?,
            None => chosen |= version(setting, word)?,
        }
    }
    let offered: Vec<_> = [(V12, &TLS12), (V13, &TLS13)].into_iter().filter(|(bit, _)| chosen & bit != 0).collect();
    if offered.is_empty() {
        let reason = format!(
            "\"{}\" leaves neither tlsv1.2 nor tlsv1.3; older versions are not available (RFC 8996)",
            setting.text
        );
        return Err(setting.wrong(reason));
    }
    if chosen & OLD != 0 {
        warnings.push(format!("{}: TLS 1.0 and 1.1 are not available (RFC 8996)", setting.name));
    }
    Ok(offered.into_iter().map(|(_, version)| version).collect())
}

fn version(setting: &Setting, word: &str) -> Result<u8, TlsError> {
    match word.to_ascii_lowercase().as_str() {
        "tlsv1.0" | "tlsv1.1" => Ok(OLD),
        "tlsv1.2" => Ok(V12),
        "tlsv1.3" => Ok(V13),
        "secure" | "default" => Ok(SECURE),
        "all" | "legacy" | "tlsv1" => Ok(OLD | SECURE),
        _ => Err(setting.wrong(format!(
            "\"{word}\" is not one of tlsv1.0, tlsv1.1, tlsv1.2, tlsv1.3, secure, all or one of these after a \"!\""
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Vec<&'static SupportedProtocolVersion>, usize), String> {
        let mut warnings = Vec::new();
        let versions = versions(&Setting::new("client_tls_protocols", text), &mut warnings);
        Ok((versions.map_err(|error| error.to_string())?, warnings.len()))
    }

    #[test]
    fn words_add_and_bangs_remove() {
        for both in ["", "secure", "default", "tlsv1.2,tlsv1.3", "TLSv1.3 : TLSv1.2"] {
            assert_eq!(read(both), Ok((vec![&TLS12, &TLS13], 0)), "{both}");
        }
        for modern in ["tlsv1.3", "secure,!tlsv1.2", "!tlsv1.2"] {
            assert_eq!(read(modern), Ok((vec![&TLS13], 0)), "{modern}");
        }
    }

    #[test]
    fn old_versions_among_others_are_only_warned_of() {
        for all in ["all", "legacy", "tlsv1.0,tlsv1.1,tlsv1.2,tlsv1.3"] {
            assert_eq!(read(all), Ok((vec![&TLS12, &TLS13], 1)), "{all}");
        }
        assert_eq!(read("all,!tlsv1.0,!tlsv1.1"), Ok((vec![&TLS12, &TLS13], 0)));
    }

    #[test]
    fn a_list_of_only_old_versions_is_an_error_that_says_why() {
        let error = read("tlsv1.0,tlsv1.1").unwrap_err();
        assert!(error.starts_with("client_tls_protocols: \"tlsv1.0,tlsv1.1\" leaves neither"), "{error}");
        assert!(error.contains("RFC 8996"), "{error}");
        assert!(read("secure,!all").is_err());
    }

    #[test]
    fn an_unknown_version_is_named() {
        assert!(read("tlsv1.4").unwrap_err().contains("\"tlsv1.4\" is not one of"));
    }
}
