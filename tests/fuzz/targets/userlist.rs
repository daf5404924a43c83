#![no_main]
//! A list of users survives being written again, and every secret in it is of a form that a login can check.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use config::{Config, Loaded, Problems, Secret};
use fuzz::text;
use libfuzzer_sys::fuzz_target;
use protocol::md5::Md5Secret;
use protocol::scram::Verifier;

/// The list is reached through the setting that names its file.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let dir = if memory.is_dir() { memory } else { std::env::temp_dir() };
    dir.join(format!("userlist-{}", std::process::id()))
});

fn load(list: &str) -> Result<Loaded, Problems> {
    std::fs::write(&*FILE, list).expect("a scratch file can be written");
    let loaded = Config::from_text("fuzz.toml".as_ref(), &format!("auth_file = {:?}", FILE.display().to_string()));
    // Not at the end: a finding ends the process without a word.
    std::fs::remove_file(&*FILE).expect("it was written just now");
    loaded
}

fuzz_target!(|input: &[u8]| {
    let Ok(list) = std::str::from_utf8(input) else { return };
    let loaded = match load(list) {
        Ok(loaded) => loaded,
        Err(problems) => return text::check_problems(&problems, &FILE, list),
    };
    loaded.warnings.iter().for_each(|warning| text::check_problem(warning, &FILE, list));
    let users = loaded.config.userlist;
    let (mut again, mut size) = (String::new(), 0);
    for (user, secret) in &users {
        assert!((1..=127).contains(&user.len()));
        size += user.len() + secret.reveal().len() + 4;
        match secret {
            Secret::Plain(_) => {}
            Secret::Md5(text) => assert!(Md5Secret::parse(text).is_some(), "{text}"),
            Secret::Scram(text) => assert!(Verifier::parse(text).is_ok(), "{text}"),
        }
        let [user, secret] = [user, secret.reveal()].map(|text| text.replace('"', "\"\""));
        writeln!(again, "\"{user}\" \"{secret}\"").expect("writing to a String cannot fail");
    }
    assert!(size <= list.len());
    assert_eq!(load(&again).map(|loaded| loaded.config.userlist).as_ref(), Ok(&users));
});
