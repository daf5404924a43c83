#![no_main]
//! Each line of an ident file stands for itself, and maps allow what one of their lines allows and nothing else.

use std::path::Path;

use config::IdentMaps;
use fuzz::text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(text) = text::of(input) else { return };
    let path = Path::new(text::NOWHERE);
    let maps = match IdentMaps::parse(path, text) {
        Ok(maps) => maps,
        Err(problems) => return text::check_problems(&problems, path, text),
    };
    let spaced = format!("# comment\n\n{text}\n  # another\n");
    assert_eq!(IdentMaps::parse(path, &spaced).as_ref(), Ok(&maps));
    if maps != IdentMaps::default() {
        assert!(!maps.allows(None, "root", "admin") && maps.allows(None, "joe", "joe"));
    }
    let lines: Option<Vec<IdentMaps>> = text.lines().map(|line| IdentMaps::parse(path, line).ok()).collect();
    let Some(lines) = lines.filter(|_| !text.contains("\\\n") && !text.contains("\\\r\n")) else { return };
    for map in ["m", "n"] {
        for system_user in ["root", "joe", "all"] {
            for user in ["root", "joe", "all"] {
                let allows = |maps: &IdentMaps| maps.allows(Some(map), system_user, user);
                assert_eq!(allows(&maps), lines.iter().any(allows), "{map} {system_user} {user}");
            }
        }
    }
});
