//! The groups for key exchange (`client_tls_ecdhcurve`).

use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{DEFAULT_KX_GROUPS, kx_group};

use super::error::TlsError;
use super::wanted::Setting;

/// The groups that a list of names selects, in its order; `auto` or nothing means the library's choice.
pub fn groups(setting: &Setting, warnings: &mut Vec<String>) -> Result<Vec<&'static dyn SupportedKxGroup>, TlsError> {
    if setting.is_empty() || setting.text.eq_ignore_ascii_case("auto") {
        return Ok(DEFAULT_KX_GROUPS.to_vec());
    }
    if setting.text.eq_ignore_ascii_case("none") {
        warnings.push(format!("{}: \"none\" is read as \"auto\": every suite here needs a curve", setting.name));
        return Ok(DEFAULT_KX_GROUPS.to_vec());
    }
    let (mut chosen, mut useless) = (Vec::new(), Vec::new());
    for word in setting.words() {
        match group(word) {
            Some(group) => chosen.push(group),
            None => useless.push(word),
        }
    }
    let available = "prime256v1, secp384r1, X25519, X25519MLKEM768, SecP256r1MLKEM768";
    setting.settle(chosen, &useless, available, warnings)
}

fn group(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    match name.to_ascii_lowercase().as_str() {
        "prime256v1" | "secp256r1" | "p-256" => Some(kx_group::SECP256R1),
        "secp384r1" | "p-384" => Some(kx_group::SECP384R1),
        "x25519" => Some(kx_group::X25519),
        "x25519mlkem768" => Some(kx_group::X25519MLKEM768),
        "secp256r1mlkem768" => Some(kx_group::SECP256R1MLKEM768),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rustls::NamedGroup;

    use super::*;

    fn read(text: &str) -> Result<(Vec<NamedGroup>, Vec<String>), String> {
        let mut warnings = Vec::new();
        let groups = groups(&Setting::new("client_tls_ecdhcurve", text), &mut warnings);
        let groups = groups.map_err(|error| error.to_string())?;
        Ok((groups.into_iter().map(|group| group.name()).collect(), warnings))
    }

    #[test]
    fn curves_go_by_their_names_in_openssl_and_the_standards() {
        let (groups, warnings) = read("prime256v1:P-384:X25519:X25519MLKEM768").unwrap();
        let expected = [NamedGroup::secp256r1, NamedGroup::secp384r1, NamedGroup::X25519, NamedGroup::X25519MLKEM768];
        assert_eq!((groups.as_slice(), warnings.len()), (expected.as_slice(), 0));
        assert_eq!(read("auto").unwrap(), read("").unwrap());
    }

    #[test]
    fn a_curve_that_is_not_there_is_warned_of_or_refused() {
        let (groups, warnings) = read("secp521r1:prime256v1").unwrap();
        assert_eq!(groups, [NamedGroup::secp256r1]);
        assert!(warnings[0].contains("ignoring secp521r1; available are prime256v1"), "{warnings:?}");
        assert!(read("secp521r1").unwrap_err().contains("leaves nothing to use"));
        assert_eq!(read("none").unwrap().1.len(), 1);
    }
}
