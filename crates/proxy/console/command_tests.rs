//! What the console understands, and what it does not.

use super::*;

fn parse(text: &str) -> Command {
    Command::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn commands_are_read_without_regard_to_case_blanks_and_a_semicolon() {
    assert_eq!(parse("SHOW POOLS"), Command::Show(Show::Pools));
    assert_eq!(parse("  show\n pools ; "), Command::Show(Show::Pools));
    assert_eq!(parse("select pools;"), Command::Show(Show::Pools));
    assert_eq!(parse("Reload;"), Command::Reload);
}

#[test]
fn a_quoted_argument_may_have_any_letter() {
    assert_eq!(parse("PAUSE \"my \"\"db\"\";\""), Command::Pause(Some("my \"db\";".into()), None));
    assert_eq!(parse("kill app"), Command::Kill(Some("app".into())));
    assert_eq!(parse("kill"), Command::Kill(None));
}

#[test]
fn a_pause_may_have_an_end() {
    let seconds = |seconds| Some(Duration::from_secs_f64(seconds));
    assert_eq!(parse("PAUSE FOR 5"), Command::Pause(None, seconds(5.0)));
    assert_eq!(parse("PAUSE app for 0.5;"), Command::Pause(Some("app".into()), seconds(0.5)));
    assert_eq!(parse("PAUSE \"for\" FOR 5"), Command::Pause(Some("for".into()), seconds(5.0)));
    assert_eq!(parse("PAUSE for"), Command::Pause(Some("for".into()), None));
    for wrong in ["PAUSE FOR 0", "PAUSE FOR 1e9", "PAUSE FOR soon", "PAUSE app FOR", "PAUSE FOR nan"] {
        assert!(Command::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_failover_may_name_its_formation_and_its_successor() {
    let wish = |formation: Option<&str>, to: Option<&str>| Wish {
        formation: formation.map(str::to_owned),
        to: to.map(str::to_owned),
        ..Wish::default()
    };
    assert_eq!(parse("ACCEPT main"), Command::Accept(Some("main".to_owned())));
    assert_eq!(parse("FAILOVER"), Command::Failover(wish(None, None)));
    assert_eq!(parse("failover main to \"node-2\";"), Command::Failover(wish(Some("main"), Some("node-2"))));
    assert_eq!(parse("FAILOVER \"to\" TO to"), Command::Failover(wish(Some("to"), Some("to"))));
    let forced = Wish { force: true, dry_run: true, ..wish(None, Some("n")) };
    assert_eq!(parse("FAILOVER FORCE TO n DRY_RUN"), Command::Failover(forced));
    for wrong in ["FAILOVER TO", "FAILOVER a b", "FAILOVER FORCE FORCE", "FAILOVER TO a TO b", "FAILOVER TO a main"] {
        assert!(Command::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_value_is_a_word_or_stands_in_single_quotes() {
    let set = |key: &str, value: &str| Command::Set(key.into(), value.into());
    assert_eq!(parse("SET verbose=1"), set("verbose", "1"));
    assert_eq!(parse("set Pool_Mode TO transaction;"), set("pool_mode", "transaction"));
    assert_eq!(parse("SET server_reset_query = 'it''s'"), set("server_reset_query", "it's"));
    assert_eq!(parse("SET server_check_query = ''"), set("server_check_query", ""));
    assert_eq!(parse("SET a=b").tag(), "SET a=b");
}

#[test]
fn parameters_of_drivers_are_shown_and_ignored() {
    assert_eq!(parse("SHOW Client_Encoding"), Command::ShowParameter("client_encoding", "UTF-8"));
    assert_eq!(parse("SET datestyle TO 'ISO'"), Command::SetParameter);
    assert_eq!(parse("SET timezone='UTC'").tag(), "SET");
}

#[test]
fn shutdown_has_three_forms() {
    assert_eq!(parse("SHUTDOWN"), Command::Shutdown(Shutdown::Immediate));
    assert_eq!(parse("shutdown wait_for_servers"), Command::Shutdown(Shutdown::WaitForServers));
    assert_eq!(parse("SHUTDOWN WAIT_FOR_CLIENTS;"), Command::Shutdown(Shutdown::WaitForClients));
    assert!(Command::parse("SHUTDOWN NOW").is_err());
}

#[test]
fn what_pgbouncer_refuses_is_refused_in_its_words() {
    for wrong in [
        "",
        ";",
        "SELECT 1",
        "BEGIN",
        "SHOW",
        "SHOW NOTHING",
        "SHOW POOLS; SHOW POOLS",
        "-- note",
        "RELOAD now",
        "PAUSE 'a'",
    ] {
        let error = Command::parse(wrong).unwrap_err();
        assert_eq!(error.to_string(), format!("invalid command '{wrong}', use SHOW HELP;"));
    }
}

#[test]
fn arguments_have_a_length() {
    let name = "x".repeat(MAX_ARGUMENT);
    assert_eq!(parse(&format!("KILL {name}")), Command::Kill(Some(name.clone())));
    assert_eq!(Command::parse(&format!("KILL {name}x")), Err(ConsoleError::TooLong));
    assert_eq!(Command::parse(&format!("SET a = '{}'", "x".repeat(256))), Err(ConsoleError::TooLong));
}

#[test]
fn who_may_only_look_may_not_act() {
    for looks in ["SHOW POOLS", "SHOW timezone", "SET timezone = 'x'"] {
        assert!(parse(looks).only_looks(), "{looks}");
    }
    for acts in ["SHOW FDS", "PAUSE", "SET verbose = 1", "RELOAD", "SHUTDOWN", "WAIT_CLOSE", "FAILOVER", "ACCEPT"] {
        assert!(!parse(acts).only_looks(), "{acts}");
    }
}
