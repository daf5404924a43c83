//! The shipped pooler.toml says what the code does.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::{Config, Database, Formation, Global, PoolMode, Setting, User};

fn shipped() -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pooler.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (path, text)
}

/// How the file describes a setting it does not use.
fn commented(setting: &Setting) -> String {
    let mut text = String::new();
    for help in setting.help.lines() {
        let _ = writeln!(text, "# {help}");
    }
    let default = setting.default.as_deref().unwrap_or("...");
    let _ = writeln!(text, "#{} = {default}", setting.name);
    text
}

fn lacking(text: &str, settings: Vec<Setting>) -> String {
    let active =
        |name: &str| text.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(" =")));
    let lacks = |setting: &Setting| !active(setting.name) && !text.contains(&commented(setting));
    settings.iter().filter(|setting| lacks(setting)).map(|setting| format!("{}\n", commented(setting))).collect()
}

#[test]
fn the_shipped_file_is_the_production_example() {
    let (path, text) = shipped();
    let config = Config::from_text(&path, &text).unwrap_or_else(|problems| panic!("{problems}")).config;
    let global = &config.global;
    assert_eq!((global.pool_mode, global.max_client_conn), (PoolMode::Transaction, 1000));
    assert_eq!((global.default_pool_size, global.min_pool_size, global.reserve_pool_size), (Some(50), 10, 10));
    assert_eq!(global.metrics_listen_addr, "127.0.0.1");
    assert_eq!(config.hosts(&config.databases["app"]), [crate::Host::Tcp("127.0.0.1".into())]);
}

#[test]
fn the_shipped_file_lists_every_setting_with_its_default_and_help() {
    let (_, text) = shipped();
    let missing = lacking(&text, Global::settings());
    assert!(missing.is_empty(), "pooler.toml lacks:\n{missing}");
}

#[test]
fn the_shipped_file_lists_every_key_of_the_tables() {
    let (_, text) = shipped();
    let (_, tables) = text.split_once("[databases.app]").unwrap_or_else(|| panic!("no [databases.app]"));
    let (databases, users) = tables.split_once("#[users.").unwrap_or_else(|| panic!("no #[users.NAME]"));
    let (users, formations) = users.split_once("#[formations.").unwrap_or_else(|| panic!("no #[formations.NAME]"));
    let missing = lacking(databases, Database::settings())
        + &lacking(users, User::settings())
        + &lacking(formations, Formation::settings());
    assert!(missing.is_empty(), "pooler.toml lacks:\n{missing}");
}

#[test]
fn what_the_shipped_file_comments_out_is_a_default() {
    let (_, text) = shipped();
    let (settings, _) = text.split_once("[databases.app]").unwrap_or_else(|| panic!("no [databases.app]"));
    for (key, value) in settings
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once(" = "))
        .filter(|(key, _)| !key.contains(' '))
    {
        let setting = Global::settings().into_iter().find(|setting| setting.name == key);
        let default = setting.unwrap_or_else(|| panic!("pooler.toml has {key}, which is no setting")).default;
        assert_eq!(Some(value), default.as_deref(), "{key}");
    }
}

#[test]
fn the_shipped_file_lists_nothing_else() {
    let (_, text) = shipped();
    let tables = [Global::settings(), Database::settings(), User::settings(), Formation::settings()];
    let known: Vec<&str> = tables.iter().flatten().map(|setting| setting.name).collect();
    for line in text.lines().filter(|line| !line.starts_with("# ")) {
        if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ") {
            assert!(known.contains(&key), "pooler.toml has {key}, which is no setting");
        }
    }
}
