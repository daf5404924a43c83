//! Properties of every text form: what is printed loads back, and no input panics.

use std::path::Path;

use proptest::prelude::*;

use crate::document::Notes;
use crate::global::{GLOBAL, Global};
use crate::raw::Raw;
use crate::scopes::{DATABASE, FORMATION, USER};
use crate::settle::{Reading, settle};
use crate::table::Key;
use crate::{Config, Database, Formation, Secrets, User, toml_file, userlist};

const WORDS: &[&str] = &[
    "any",
    "session",
    "Transaction",
    "round-robin",
    "disable",
    "json",
    "0770",
    "10ms",
    "3us",
    "1min",
    "/run/pg",
    "a,b",
    "standby",
    "read-write",
    "postgres://u:p%40@h,[::1]:5/?sslmode=verify-full&sslrootcert=system",
];

fn raw() -> impl Strategy<Value = Raw> {
    prop_oneof![
        4 => (0i64..70_000).prop_map(Raw::Integer),
        1 => any::<i64>().prop_map(Raw::Integer),
        1 => (-2i64..3).prop_map(Raw::Integer),
        1 => any::<bool>().prop_map(Raw::Boolean),
        2 => (0.0..1e7f64).prop_map(Raw::Float),
        3 => any::<String>().prop_map(Raw::Text),
        4 => prop::sample::select(WORDS).prop_map(|word| Raw::Text(word.into())),
        2 => prop::collection::vec(any::<String>(), 0..4).prop_map(Raw::List),
    ]
}

/// A value made of random values for random keys, leaving out what the keys do not take.
fn filled<T: Default + Clone>(rows: &'static [Key<T>], values: &[(usize, Raw)]) -> T {
    let mut owner = T::default();
    for (nth, raw) in values {
        let row = &rows[nth % rows.len()];
        let mut next = owner.clone();
        if row.read(&mut next, raw).is_ok() && row.refusal(&next).is_none() {
            owner = next;
        }
    }
    owner
}

fn values() -> impl Strategy<Value = Vec<(usize, Raw)>> {
    prop::collection::vec((any::<usize>(), raw()), 0..60)
}

prop_compose! {
    fn config()(
        global in values(),
        databases in prop::collection::btree_map(any::<String>(), values(), 0..3),
        users in prop::collection::btree_map(any::<String>(), values(), 0..3),
        formations in prop::collection::btree_map(any::<String>(), values(), 0..3),
    ) -> Config {
        let database = |(name, values): (String, Vec<_>)| (name.clone(), Database { name, ..filled(DATABASE, &values) });
        Config {
            global: filled(GLOBAL, &global),
            databases: databases.into_iter().map(database).collect(),
            users: users.into_iter().map(|(name, values)| (name, filled::<User>(USER, &values))).collect(),
            formations: formations
                .into_iter()
                .map(|(name, values)| (name, filled::<Formation>(FORMATION, &values)))
                .collect(),
            path: Some("x.toml".into()),
            ..Config::default()
        }
    }
}

fn reread(text: &str) -> Reading {
    let path = Path::new("x.toml");
    settle(path, toml_file::parse(path, text))
}

proptest! {
    #[test]
    fn what_is_printed_loads_back_equal(config in config()) {
        let text = config.to_toml(Secrets::Shown);
        let reading = reread(&text);
        prop_assert!(reading.notes.errors.is_empty(), "{:?}\n{text}", reading.notes.errors);
        prop_assert!(reading.notes.unavailable.is_empty(), "{:?}", reading.notes.unavailable);
        prop_assert_eq!(reading.config, config);
    }

    #[test]
    fn what_show_config_prints_can_be_set(values in values()) {
        let global: Global = filled(GLOBAL, &values);
        for row in GLOBAL.iter().filter(|row| !row.hides(&global)) {
            let text = (row.text)(&global).unwrap_or_default();
            let mut again = Global::default();
            row.read(&mut again, &Raw::Ini(text.clone())).map_err(TestCaseError::fail)?;
            prop_assert!((row.same)(&global, &again), "{} = {text:?}", row.name);
        }
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in any::<Vec<u8>>()) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = Config::from_text(Path::new("x.ini"), &text);
        let _ = Config::from_text(Path::new("x.toml"), &text);
        userlist::parse(Path::new("users"), &text, &mut Notes::default());
    }

    #[test]
    fn no_line_makes_a_parser_panic(lines in prop::collection::vec(line(), 0..12)) {
        let text = lines.join("\n");
        let _ = Config::from_text(Path::new("x.ini"), &text);
        let _ = Config::from_text(Path::new("x.toml"), &text);
        userlist::parse(Path::new("users"), &text, &mut Notes::default());
    }
}

/// Pieces of each grammar in any order, to get further than random bytes do.
fn line() -> impl Strategy<Value = String> {
    let pieces: &[&str] = &[
        "[pgbouncer]",
        "[databases]",
        "[databases.a]",
        "[users]",
        "[peers]",
        "[formations]",
        "[formations.a]",
        "monitor='postgres://u:p@h",
        "?sslmode=",
        "%2",
        "@",
        "[",
        "]",
        "=",
        " ",
        "'",
        "\"",
        "''",
        "\"\"",
        "%include ",
        "%include \t",
        ";",
        "#",
        "host=",
        "pool_size",
        "password=",
        "listen_addr",
        "-1",
        "0x",
        "07",
        "5s",
        "é",
        "\u{0}",
        "\t",
        ",",
        ".",
        "{",
        "}",
        "1e9",
        "inf",
        "nan",
        "true",
        "\\",
        "\u{2028}",
        "*",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..10).prop_map(|pieces| pieces.concat())
}

#[test]
fn hidden_passwords_are_not_printed() {
    let text = "control_secret = 'hunter2'\n[databases.a]\nuser = 'u'\npassword = 'hunter2'\n\
        [formations.a]\nmonitor = 'postgres://u:hunter2@h'\n[formations.b]\nmonitor = 'postgres://u@h'\npassword = 'hunter2'\n";
    let config = Config::from_text(Path::new("x.toml"), text).unwrap_or_else(|problems| panic!("{problems}")).config;
    let hidden = config.to_toml(Secrets::Hidden);
    assert!(hidden.contains("password = \"********\"") && !hidden.contains("hunter2"));
    assert!(config.to_toml(Secrets::Shown).contains("password = \"hunter2\""));
    assert!(hidden.contains("monitor = \"postgres://u:********@h/pg_auto_failover\""), "{hidden}");
    assert!(!format!("{config:?}{:?}", config.rows()).contains("hunter2"));
    assert_eq!(config.set("control_secret", "********"), Ok(config.clone()), "what SHOW CONFIG shows is no secret");
    let reveal = |config: Config| config.global.control_secret.reveal().to_string();
    assert_eq!(config.set("control_secret", "other").map(reveal), Ok("other".into()));
}
