use super::*;

#[track_caller]
fn leaves(text: &str, kinds: Kinds, names: &[&str]) {
    let found = Traces::of(text.as_bytes());
    let expected: Vec<Box<[u8]>> = names.iter().map(|name| name.as_bytes().into()).collect();
    assert_eq!((found.kinds, found.names), (kinds, expected), "{text}");
}

#[test]
fn what_sets_a_parameter_for_the_session_is_told_from_what_does_not() {
    for text in [
        "set work_mem = '1MB'\0",
        "SET SESSION work_mem TO 5",
        " /* a */ Set -- b\n role x",
        "set session authorization joe",
        "set session characteristics as transaction read only",
        "set time zone 'UTC'",
        "reset all",
        "select 1; reset work_mem",
        "select 'a;b', $$;$$; set x = 1",
        "SELECT pg_catalog.Set_Config('work_mem', $1, false)",
        "select set_config('a', 'b', $1)",
        "select set_config('a', coalesce('true', true), false)",
        "select \"set_config\"('a', 'b', false)",
        "with x as (select set_config ( 'work_mem', '1', false)) select 1",
        "explain analyze select set_config('work_mem', '1', false)",
        "do $$ begin set work_mem = 1; end $$",
    ] {
        leaves(text, Kinds::SETTINGS, &[]);
    }
    for text in [
        "set local work_mem = 1",
        "set transaction isolation level serializable",
        "set constraints all deferred",
        "select set_config('work_mem', '1', true)",
        "select set_config('work_mem', coalesce(x, '(,'), TRUE), 1",
        "select 'set_config(''a'', 1, false)'",
        "select 1 -- set_config('a')",
        "select $a$ set_config('a') $b$ ; set x = 1 $a$",
        "select e'\\'; set x = 1; select \\''",
        "update t set a = 1",
        "insert into t values (1) on conflict do update set a = 2",
        "begin; update t set set_configured = 1; commit",
        "select $1; select $2",
    ] {
        leaves(text, Kinds::NONE, &[]);
    }
}

#[test]
fn names_with_a_dot_are_remembered() {
    leaves("set App.User_id = '1'", Kinds::SETTINGS, &["app.user_id"]);
    leaves("set session a . \"B\".c to 1; reset d.e", Kinds::SETTINGS, &["a.b.c", "d.e"]);
    leaves("select set_config('My.App', $1, false), set_config('x', 1, false)", Kinds::SETTINGS, &["my.app"]);
    leaves("set search_path = a.b, c", Kinds::SETTINGS, &[]);
    let unclear = |text: &str| Traces::of(text.as_bytes()).is_unclear;
    assert!(unclear("select set_config($1, $2, false)") && unclear("set \"a\u{e9}.b\" = 1"));
    assert!(!unclear("select set_config($1, $2, true)"));
}

#[test]
fn what_keeps_a_server_is_told_by_its_kind() {
    let cases = [
        ("create temp table t (a int)", Kinds::TEMPORARY),
        ("CREATE LOCAL TEMPORARY VIEW v AS SELECT 1", Kinds::TEMPORARY),
        ("create or replace temp view v as select 1", Kinds::TEMPORARY),
        ("create table pg_temp.t (a int)", Kinds::TEMPORARY),
        ("select * into temp t from u", Kinds::TEMPORARY),
        ("create table temp (a int)", Kinds::NONE),
        ("insert into temp values (1)", Kinds::TEMPORARY),
        ("select pg_advisory_lock(1)", Kinds::LOCKS),
        ("select pg_try_advisory_lock_shared(1)", Kinds::LOCKS),
        ("select pg_advisory_xact_lock(1)", Kinds::NONE),
        ("select pg_advisory_unlock(1)", Kinds::ENDS),
        ("declare c cursor with hold for select 1", Kinds::CURSORS),
        ("declare c insensitive no scroll cursor for select hold from t", Kinds::NONE),
        ("close c", Kinds::ENDS),
        ("listen x", Kinds::CHANNELS),
        ("unlisten *", Kinds::ENDS),
        ("notify x", Kinds::NONE),
        ("prepare p as select 1", Kinds::PREPARED),
        ("prepare transaction 'x'", Kinds::NONE),
        ("execute p", Kinds::EXECUTES),
        ("discard all", Kinds::SETTINGS.and(Kinds::ENDS)),
        ("discard temp", Kinds::ENDS),
        ("discard plans; discard sequences", Kinds::NONE),
    ];
    for (text, kinds) in cases {
        leaves(text, kinds, &[]);
    }
}

#[test]
fn what_may_hide_something_is_known_by_its_words() {
    for text in [
        "do $$ begin end $$",
        "call p()",
        "load 'x'",
        "select LASTVAL()",
        "select \"setseed\"(1)",
        "select dblink_open('x')",
    ] {
        let found = Traces::of(text.as_bytes());
        assert!(found.hides && found.is_empty() && found.all_kinds() == Kinds::HIDDEN, "{text}");
    }
    for text in ["select 'lastval()'", "select 1 -- setseed", "select load, call from t"] {
        assert!(!Traces::of(text.as_bytes()).hides, "{text}");
    }
}

#[test]
fn a_quick_look_misses_nothing_that_a_long_one_finds() {
    for text in ["select SET_CONFIG('a','b',false)", "select pg_Advisory_lock(1)", "select 1 into temp x"] {
        assert!(may_have_word(text.as_bytes()), "{text}");
    }
    let quiet = "SELECT abalance FROM pgbench_accounts WHERE aid = 12345";
    assert!(!may_have_word(quiet.as_bytes()) && !may_have_word(b"") && !may_have_word(b"no"));
}

mod laws {
    use super::*;
    use proptest::prelude::*;

    const PIECES: &[&str] = &[
        "set",
        "reset",
        " ",
        "a.b",
        "'",
        "''",
        "\"",
        "$$",
        "$x$",
        "$1",
        "/*",
        "*/",
        "--",
        "\n",
        ";",
        "(",
        ")",
        ",",
        "set_config",
        "'x.y'",
        "false",
        "true",
        "e'",
        "\\",
        "pg_advisory_lock",
        "do",
        "create temp",
        "=",
        "1",
        "into",
    ];

    proptest! {
        #[test]
        fn any_pieces_give_the_same(picks in proptest::collection::vec(0..PIECES.len(), 0..24), cuts in proptest::collection::vec(0usize..9, 0..40)) {
            let text: String = picks.iter().map(|pick| PIECES[*pick]).collect();
            let mut reader = Reader::default();
            let mut rest = text.as_bytes();
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                reader.feed(piece);
                rest = behind;
            }
            reader.feed(rest);
            prop_assert_eq!(reader.finish(), Traces::of(text.as_bytes()));
        }

        #[test]
        fn what_stands_behind_a_string_that_is_closed_is_seen(inside in "[^'\\x00]{0,80}") {
            let found = Traces::of(format!("select '{inside}'; set x = 1").as_bytes());
            prop_assert_eq!(found.kinds, Kinds::SETTINGS);
        }

        #[test]
        fn the_quick_look_agrees(text in "[ a-z_(),']{0,30}(set_config\\('a',1,false\\)|pg_advisory_lock|into temp)[ a-z]{0,9}") {
            prop_assert!(Traces::of(text.as_bytes()).is_empty() || may_have_word(text.as_bytes()) || text.contains("set "));
        }
    }
}
