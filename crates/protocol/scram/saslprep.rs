//! SASLprep (RFC 4013) exactly as PostgreSQL applies it to passwords.
//!
//! Which bytes are hashed decides whether a password matches, so PostgreSQL's choices are kept where they differ from
//! the RFC's: a password that cannot be prepared is used as it is, prohibitions are checked before normalization rather
//! than after, and U+200B, which two tables claim, becomes a space.

use stringprep::tables;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

/// The bytes that enter key derivation, given a password as it was typed.
///
/// Pure ASCII stays as it is; so does what is not UTF-8, what holds a prohibited or unassigned (Unicode 3.2) character,
/// what mixes writing directions, and what would become empty.
pub fn saslprep(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let prepared = match std::str::from_utf8(password) {
        Ok(text) if !text.is_ascii() => prepare(text),
        Ok(_) | Err(_) => None,
    };
    prepared.unwrap_or_else(|| Zeroizing::new(password.to_vec()))
}

fn prepare(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    // Both buffers get their final size at once: growing would leave copies of the password behind.
    let mut mapped = Zeroizing::new(String::with_capacity(text.len()));
    mapped.extend(text.chars().filter_map(map));
    if mapped.is_empty() || mapped.contains(prohibited) || mixes_directions(&mapped) {
        return None;
    }
    // In UTF-8 normalization makes nothing more than 11 times longer (U+FDFA).
    let mut normalized = Zeroizing::new(Vec::with_capacity(mapped.len() * 11));
    let mut utf8 = Zeroizing::new([0; 4]);
    for character in mapped.nfkc() {
        normalized.extend_from_slice(character.encode_utf8(utf8.as_mut()).as_bytes());
    }
    Some(normalized)
}

/// RFC 4013, section 2.1.
fn map(character: char) -> Option<char> {
    if tables::non_ascii_space_character(character) {
        Some(' ')
    } else if tables::commonly_mapped_to_nothing(character) {
        None
    } else {
        Some(character)
    }
}

/// RFC 4013, sections 2.3 and 2.5.
fn prohibited(character: char) -> bool {
    tables::non_ascii_space_character(character)
        || tables::ascii_control_character(character)
        || tables::non_ascii_control_character(character)
        || tables::private_use(character)
        || tables::non_character_code_point(character)
        || tables::inappropriate_for_plain_text(character)
        || tables::inappropriate_for_canonical_representation(character)
        || tables::change_display_properties_or_deprecated(character)
        || tables::tagging_character(character)
        || tables::unassigned_code_point(character)
}

/// RFC 3454, section 6: right-to-left text begins and ends so, and holds no left-to-right character.
fn mixes_directions(text: &str) -> bool {
    text.contains(tables::bidi_r_or_al)
        && (text.contains(left_to_right)
            || !text.starts_with(tables::bidi_r_or_al)
            || !text.ends_with(tables::bidi_r_or_al))
}

/// RFC 3454, table D.2, which is of Unicode 3.2. The crate's table is of today; these characters have changed since.
fn left_to_right(character: char) -> bool {
    match character {
        '\u{cbf}' | '\u{cc6}' | '\u{1734}' | '\u{2132}' | '\u{2800}'..='\u{28ff}' | '\u{302e}' | '\u{302f}' => false,
        '\u{17b4}' | '\u{17b5}' | '\u{1885}' | '\u{1886}' => true,
        // Mathematical nabla and partial differential, each in five typefaces.
        '\u{1d6c1}' | '\u{1d6fb}' | '\u{1d735}' | '\u{1d76f}' | '\u{1d7a9}' => true,
        '\u{1d6db}' | '\u{1d715}' | '\u{1d74f}' | '\u{1d789}' | '\u{1d7c3}' => true,
        _ => tables::bidi_l(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Every expectation here was checked against a secret made by PostgreSQL 15 for that password.

    #[track_caller]
    fn becomes(password: &str, expected: &str) {
        assert_eq!(*saslprep(password.as_bytes()), expected.as_bytes());
    }

    #[track_caller]
    fn stays(password: &str) {
        becomes(password, password);
    }

    #[test]
    fn the_examples_of_rfc_4013_hold() {
        becomes("I\u{ad}X", "IX");
        becomes("\u{aa}", "a");
        becomes("\u{2168}", "IX");
        stays("user");
        stays("USER");
    }

    #[test]
    fn what_cannot_be_prepared_stays_as_it_is() {
        stays("\u{7}"); // pure ASCII is never looked at
        stays("\u{ad}\u{7}"); // a control character
        stays("\u{627}1"); // right-to-left text that does not end so
        stays("\u{ad}"); // would become empty
        stays("\u{ad}\u{e000}"); // private use
        assert_eq!(*saslprep(b"\xc2\xad\xff"), b"\xc2\xad\xff"); // not UTF-8
        assert_eq!(*saslprep(b""), b"");
    }

    #[test]
    fn spaces_of_any_kind_become_a_space() {
        becomes("a\u{a0}b\u{3000}c", "a b c");
        becomes("a\u{200b}b", "a b");
    }

    #[test]
    fn prohibitions_are_checked_before_normalization() {
        becomes("a\u{2135}", "a\u{5d0}"); // ALEF SYMBOL is left-to-right, the letter it becomes is not
        stays("\u{1f100}"); // unassigned in Unicode 3.2, though it would become "0."
    }

    #[test]
    fn directions_are_those_of_unicode_3_2() {
        becomes("\u{5d0}\u{2800}\u{ad}\u{5d0}", "\u{5d0}\u{2800}\u{5d0}");
        stays("\u{5d0}\u{1d6c1}\u{ad}\u{5d0}");
        stays("\u{5d0}a\u{ad}\u{5d0}");
    }

    #[test]
    fn the_longest_expansion_fits() {
        assert_eq!(saslprep("\u{fdfa}".as_bytes()).len(), 33);
    }
}
