//! What is printed for a monitor.

use std::path::Path;

use super::*;

fn config(text: &str) -> Config {
    Config::from_text(Path::new("x.toml"), text).unwrap_or_else(|problems| panic!("{problems}")).config
}

fn printed(text: &str) -> String {
    script(&config(text), None).unwrap_or_else(|message| panic!("{message}"))
}

/// The lines that psql runs.
fn commands(script: &str) -> impl Iterator<Item = &str> {
    script.lines().filter(|line| !line.is_empty() && !line.starts_with("-- "))
}

#[test]
fn the_role_may_read_the_view_and_call_two_functions_and_nothing_else() {
    let script = printed("[formations.main]\nmonitor = 'postgres://pooler_monitor@m/?sslmode=require'\n");
    let grants: Vec<&str> = commands(&script).filter(|line| line.starts_with("grant")).collect();
    assert_eq!(
        grants,
        [
            "grant usage on schema pooler to \"pooler_monitor\";",
            "grant select on pooler.nodes to \"pooler_monitor\";",
            "grant execute on function pooler.read_nodes(), pooler.switchover(text, int), pooler.promote(text, text) to \"pooler_monitor\";",
        ]
    );
    assert!(script.contains("revoke execute on all functions in schema pooler from public;"));
    assert!(!script.contains("usage on schema pgautofailover"));
    for (column, _) in NODE_COLUMNS {
        assert!(script.contains(&format!("{column}::")), "{column}");
    }
}

#[test]
fn names_are_quoted_wherever_they_stand() {
    let script = printed(
        "[formations.main]\nmonitor = 'postgres://o%27%22%5C@m/my%22db'\n[databases.'a\"b']\nformation = 'main'\nuser = 'all'\n",
    );
    for expected in [
        r#"select E'create role "o''""\\" login connection limit 50'"#,
        r#"where rolname = E'o''"\\') \gexec"#,
        r#"grant usage on schema pooler to "o'""\";"#,
        r#"--   host "my""db" "o'""\" ADDRESS scram-sha-256"#,
        r#"--   host "a""b" "all" ADDRESS scram-sha-256"#,
    ] {
        assert!(script.contains(expected), "{expected}\nnot in\n{script}");
    }
}

#[test]
fn no_name_ends_a_comment() {
    let named = |name: &str| {
        let config = format!(
            "[formations.\"{name}\"]\nmonitor = 'postgres://u@m'\n[databases.\"{name}\"]\nformation = \"{name}\"\nuser = \"{name}\"\n"
        );
        commands(&printed(&config)).map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(named("x\\n\\\\! true\\r\\n drop table x;"), named("main"));
}

#[test]
fn hba_lines_ask_for_the_tls_and_the_method_that_the_pooler_uses() {
    let with =
        |query: &str, more: &str| printed(&format!("{more}\n[formations.f]\nmonitor = 'postgres://u@{query}'\n"));
    assert!(with("m/db?sslmode=require", "").contains("--   hostssl \"db\" \"u\" ADDRESS scram-sha-256\n"));
    assert!(with("m/db", "").contains("--   host \"db\" \"u\" ADDRESS scram-sha-256\n"));
    assert!(with("%2Frun/db", "").contains("--   local \"db\" \"u\" scram-sha-256\n"));
    let cert = "m/db?sslmode=require&sslcert=c&sslkey=k";
    assert!(with(cert, "").contains("--   hostssl \"db\" \"u\" ADDRESS cert\n"));
    assert!(with("m/db", "").contains("--   host all \"u\" ADDRESS scram-sha-256\n"));
    let strict = with("m/db", "server_tls_sslmode = 'verify-full'\n[databases.'*']\nformation = 'f'");
    assert!(strict.contains("--   hostssl all \"u\" ADDRESS scram-sha-256\n"));
    assert!(strict.contains("--   hostssl all all ADDRESS scram-sha-256\n"));
}

#[test]
fn a_monitor_is_set_up_once_and_the_keepers_role_is_advised_against() {
    let text = "[formations.a]\nmonitor = 'postgres://u@m'\n[formations.b]\nmonitor = 'postgres://u@m'\ngroup = 1\n\
                [formations.c]\nmonitor = 'postgres://autoctl_node:hunter2@n'\n";
    let script = printed(text);
    assert!(script.contains("-- The monitor of formation a, b: run"), "{script}");
    assert_eq!(script.matches("create view").count(), 2);
    assert!(script.contains("grant usage on schema pooler to \"pooler_monitor\";"));
    assert!(script.contains("logs in as autoctl_node") && !script.contains("to \"autoctl_node\""));
    assert!(!script.contains("hunter2"));
    let one = super::script(&config(text), Some("b")).expect("it is there");
    assert!(one.contains("-- The monitor of formation b: run") && one.matches("create view").count() == 1);
}

#[test]
fn a_formation_that_is_not_there_is_named() {
    let one = config("[formations.main]\nmonitor = 'postgres://u@m'\n");
    let message = script(&one, Some("mian")).unwrap_err();
    assert_eq!(message, "there is no formation \"mian\"; did you mean \"main\"?");
    assert_eq!(script(&config(""), None).unwrap_err(), "the configuration has no [formations.NAME]");
}
