//! A configuration survives being written again, and no password is shown to those who may not see it.

use std::path::Path;

use config::{Config, Secret, Secrets};

use crate::text;

/// Passwords that are put in the places of those in the file.
const OTHERS: [&str; 2] = ["one", "two"];

/// Reads the input as the file of this name; the ending says in which dialect.
pub fn check(input: &[u8], name: &str) {
    let Some(text) = text::of(input) else { return };
    let path = Path::new(text::NOWHERE).join(name);
    let config = match Config::from_text(&path, text) {
        Ok(loaded) => {
            loaded.warnings.iter().for_each(|warning| text::check_problem(warning, &path, text));
            loaded.config
        }
        Err(problems) => return text::check_problems(&problems, &path, text),
    };
    assert!(config.databases.len() + config.users.len() <= text.lines().count());
    let written = config.to_toml(Secrets::Shown);
    match Config::from_text("again.toml".as_ref(), &written) {
        Ok(loaded) => {
            let read = Config { path: config.path.clone(), ..loaded.config };
            assert!(read == config, "{written}");
            assert!(read.diff(&config).is_empty());
        }
        Err(problems) => panic!("{problems}\n{written}"),
    }
    let [one, two] = OTHERS.map(|password| with_passwords(&config, password).to_toml(Secrets::Hidden));
    assert_eq!(one, two);
    // `conffile` is shown as the file that was read.
    for row in config.rows().iter().filter(|row| row.changeable && row.key != "conffile") {
        if let Some(value) = &row.value {
            assert!(config.set(row.key, value).as_ref() == Ok(&config), "SET {} = '{value}'", row.key);
        }
    }
}

fn with_passwords(config: &Config, password: &str) -> Config {
    let mut config = config.clone();
    for database in config.databases.values_mut().filter(|database| database.password.is_some()) {
        database.password = Some(Secret::parse(password));
    }
    let formations = config.formations.values_mut();
    let of_formations = formations.flat_map(|formation| [&mut formation.password, &mut formation.monitor.password]);
    for secret in of_formations.flatten().chain([&mut config.global.control_secret]) {
        if !secret.reveal().is_empty() {
            *secret = Secret::parse(password);
        }
    }
    config
}
