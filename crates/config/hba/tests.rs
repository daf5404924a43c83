//! Rules: each line of the manual's grammar, and which of them a client meets first.

use std::path::Path;

use proptest::prelude::*;

use super::*;

const NOBODY: &dyn Fn(&str) -> bool = &|_| false;

fn read(text: &str) -> (Hba, Vec<String>) {
    let mut notes = Notes::default();
    let lines = fields::parse(Path::new("hba"), text, &mut notes);
    let hba = parse::rules(lines, &mut notes);
    (hba, notes.errors.iter().map(ToString::to_string).collect())
}

fn good(text: &str) -> Hba {
    Hba::parse(Path::new("hba"), text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn tcp(address: &str, tls: bool) -> Transport {
    Transport::Tcp { address: address.parse().unwrap(), tls }
}

fn asked<'a>(transport: Transport, database: &'a str, user: &'a str) -> Asked<'a> {
    Asked { transport, database, user, replication: false, is_member: NOBODY }
}

/// The line of the first rule that matches.
fn line(hba: &Hba, asked: &Asked<'_>) -> Option<usize> {
    hba.find(asked).map(|rule| rule.line)
}

#[test]
fn the_first_rule_that_matches_decides() {
    let hba = good(
        "# TYPE DATABASE USER ADDRESS METHOD\n\
         local   all        postgres               peer map=admins\n\
         host    app,shop   all     10.0.0.0/8     scram-sha-256\n\
         host    all        bad     0.0.0.0/0      reject\n\
         host    all        all     10.0.0.0 255.0.0.0 md5\n\
         host    sameuser   all     ::1/128        password\n",
    );
    assert_eq!(line(&hba, &asked(Transport::Local, "x", "postgres")), Some(2));
    assert_eq!(line(&hba, &asked(Transport::Local, "app", "joe")), None);
    assert_eq!(line(&hba, &asked(tcp("10.1.1.1", false), "shop", "bad")), Some(3));
    assert_eq!(line(&hba, &asked(tcp("10.1.1.1", false), "x", "bad")), Some(4));
    assert_eq!(line(&hba, &asked(tcp("::ffff:10.1.1.1", true), "x", "joe")), Some(5));
    assert_eq!(line(&hba, &asked(tcp("::1", false), "joe", "joe")), Some(6));
    assert_eq!(line(&hba, &asked(tcp("::1", false), "app", "joe")), None);
    let methods: Vec<&str> = hba.rules().iter().map(|rule| rule.method.as_str()).collect();
    assert_eq!(methods, ["peer", "scram-sha-256", "reject", "md5", "password"]);
    assert_eq!(hba.rules()[0].map.as_deref(), Some("admins"));
    assert_eq!(Hba::default().find(&asked(Transport::Local, "a", "a")), None);
}

#[test]
fn the_record_type_tells_sockets_and_encryption_apart() {
    for (word, local, plain, tls) in [
        ("local", true, false, false),
        ("host", false, true, true),
        ("hostnogssenc", false, true, true),
        ("hostssl", false, false, true),
        ("hostnossl", false, true, false),
    ] {
        let hba =
            good(&if word == "local" { "local all all trust".into() } else { format!("{word} all all all trust") });
        let matches = |transport| hba.find(&asked(transport, "d", "u")).is_some();
        let found = [Transport::Local, tcp("1.1.1.1", false), tcp("1.1.1.1", true)].map(matches);
        assert_eq!(found, [local, plain, tls], "{word}");
    }
}

#[test]
fn a_quoted_keyword_is_a_name() {
    let hba =
        good("local \"all\" \"sameuser\" trust\nlocal \"replication\" \"+g\" trust\nlocal x \"all\",\"@f\" trust\n");
    assert_eq!(line(&hba, &asked(Transport::Local, "all", "sameuser")), Some(1));
    assert_eq!(line(&hba, &asked(Transport::Local, "x", "sameuser")), None);
    assert_eq!(line(&hba, &asked(Transport::Local, "replication", "+g")), Some(2));
    assert_eq!(line(&hba, &asked(Transport::Local, "x", "all")), Some(3));
    assert_eq!(line(&hba, &asked(Transport::Local, "x", "@f")), Some(3));
    assert!(hba.groups().is_empty());
}

#[test]
fn physical_replication_matches_only_the_word_for_it() {
    let hba = good("local all all trust\nlocal replication all reject\n");
    let replication = Asked { replication: true, ..asked(Transport::Local, "replication", "u") };
    assert_eq!(line(&hba, &replication), Some(2));
    assert_eq!(line(&hba, &asked(Transport::Local, "replication", "u")), Some(1));
}

#[test]
fn members_of_a_group_are_asked_for_only_when_the_rest_matches() {
    let hba = good("local app +staff,ann,+ops trust\nhost app +remote all trust\n");
    assert_eq!(hba.groups().into_iter().collect::<Vec<_>>(), ["ops", "remote", "staff"]);
    let in_ops = |group: &str| {
        assert_ne!(group, "remote", "that rule is for TCP");
        group == "ops"
    };
    let find = |database, user| line(&hba, &Asked { is_member: &in_ops, ..asked(Transport::Local, database, user) });
    assert_eq!(find("app", "joe"), Some(1));
    assert_eq!(find("other", "joe"), None);
    assert_eq!(line(&hba, &asked(Transport::Local, "app", "ann")), Some(1));
    assert_eq!(line(&hba, &asked(Transport::Local, "app", "staff")), Some(1), "a role belongs to itself");
    assert_eq!(line(&hba, &asked(Transport::Local, "app", "joe")), None);
}

#[test]
fn certificates_can_be_the_method_or_asked_for_besides() {
    let hba = good(
        "hostssl all a all cert map=m\nhostssl all b all cert clientcert=verify-full\n\
         hostssl all c all md5 clientcert=verify-ca\nhostssl all d all trust\n",
    );
    let asks: Vec<_> = hba.rules().iter().map(|rule| rule.client_cert).collect();
    let full = Some(ClientCert::VerifyFull);
    assert_eq!(asks, [full, full, Some(ClientCert::VerifyCa), None]);
    assert!(hba.rules().iter().all(Rule::needs_tls));
}

#[test]
fn every_bad_line_is_reported_with_its_place_and_reason() {
    let long = "x".repeat(128);
    for (text, expected) in [
        ("remote all all trust", "hba:1:1: unknown record type \"remote\"; expected local, host,"),
        ("hostgssenc all all all trust", "hba:1:1: hostgssenc: GSSAPI encryption is not available"),
        ("local", "hba:1:1: the line ends before the database"),
        ("local all", "hba:1:1: the line ends before the user"),
        ("local all all", "hba:1:1: the line ends before the method"),
        ("host all all trust", "hba:1:14: \"trust\" is neither an address nor \"all\"; host names"),
        ("host all all all", "hba:1:1: the line ends before the method"),
        ("host all all 10.0.0.0 md5", "hba:1:23: expected a netmask after 10.0.0.0"),
        ("host all all 10.0.0.0 255.0.0.1 md5", "hba:1:23: the netmask must be ones followed by zeros"),
        ("host all all 10.0.0.0 ffff:: md5", "hba:1:23: the netmask is of the other IP version"),
        ("host all all 10.0.0.0/33 md5", "hba:1:14: \"10.0.0.0/33\" is no address range: the prefix length"),
        ("host all all .example.com md5", "host names are not available in this version"),
        ("host all all samenet md5", "hba:1:14: samenet is not available in this version"),
        ("host all all samehost md5", "hba:1:14: samehost is not available in this version"),
        ("host all all 1.1.1.1/32,all md5", "hba:1:25: the client's address cannot be a list"),
        ("local samerole all md5", "hba:1:7: samerole is not available"),
        ("local a,/b all md5", "hba:1:9: regular expressions are not available in this version"),
        ("local a \"/b,c\" md5", "hba:1:9: regular expressions are not available in this version"),
        ("local a + md5", "hba:1:9: the name of the group is missing"),
        (&format!("local {} a md5", &long[..64]), "hba:1:7: the name is longer than 63 bytes"),
        (&format!("local a {long} md5"), "hba:1:9: the name is longer than 127 bytes"),
        ("local all all ldap ldapserver=x", "hba:1:15: the method ldap is not available in this version"),
        ("local all all MD5", "hba:1:15: unknown method \"MD5\"; expected one of trust, reject, md5, password,"),
        ("host all all all peer", "hba:1:18: peer works for Unix sockets only"),
        ("host all all all cert", "hba:1:18: cert works over TLS only"),
        ("local all all cert", "hba:1:15: cert works over TLS only"),
        ("local all all md5 map=x", "hba:1:19: map: is for the methods peer and cert only"),
        ("local all all peer map=", "hba:1:20: map: the name is missing"),
        ("local all all peer map=x map=y", "hba:1:26: map is set twice"),
        ("local all all peer x", "hba:1:20: \"x\" is no option; expected key=value"),
        ("local all all peer x=y", "hba:1:20: unknown option \"x\"; expected map or clientcert"),
        ("local all all md5 clientcert=verify-ca", "hba:1:19: clientcert: is for hostssl lines only"),
        ("hostssl all all all md5 clientcert=1", "hba:1:25: clientcert: expected verify-ca or verify-full"),
        ("hostssl all all all cert clientcert=verify-ca", "clientcert: the method cert asks for verify-full"),
        ("local all \"x md5", "hba:1:11: the closing quote is missing"),
    ] {
        let (_, errors) = read(text);
        assert!(errors.len() == 1 && errors[0].contains(expected), "{text}: {errors:?}");
    }
    let text = "local all all trust\nx\n\nlocal a \\\n b ,c trust\nlocal y\n";
    let problems = Hba::parse(Path::new("hba"), text).unwrap_err();
    let places: Vec<(usize, usize)> = problems.0.iter().map(|problem| (problem.line, problem.col)).collect();
    assert_eq!(places, [(2, 1), (5, 4), (6, 1)]);
}

#[test]
fn an_empty_list_in_a_file_matches_nobody() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("users"), "# nobody yet\n").unwrap();
    let (path, mut notes) = (dir.path().join("hba"), Notes::default());
    std::fs::write(&path, "local all @users trust\n").unwrap();
    let hba = Hba::read(&path, &Place::top(Path::new("x.toml")), &mut notes);
    assert!(notes.errors.is_empty() && hba.rules().len() == 1);
    assert_eq!(hba.find(&asked(Transport::Local, "d", "u")), None);
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec!["all", "a", "b", "sameuser", "x y", "q\"q"]).prop_map(String::from),
        "[a-c]{1,3}"
    ]
}

proptest! {
    #[test]
    fn quoted_names_match_themselves_and_nothing_else(
        listed in prop::collection::vec(name(), 1..4), database in name(), user in name(),
    ) {
        let quoted: Vec<String> = listed.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
        let hba = good(&format!("local {} {} trust\n", quoted.join(","), quoted.join(" , ").replace(" ,", ",")));
        let expected = listed.contains(&database) && listed.contains(&user);
        prop_assert_eq!(hba.find(&asked(Transport::Local, &database, &user)).is_some(), expected);
    }

    #[test]
    fn no_text_makes_the_parser_panic_and_no_line_is_lost(text in any::<String>(), pieces in prop::collection::vec(
        prop::sample::select(vec![
            "local", "host", "hostssl", " ", " ", " ", "\t", "\n", "\\\n", "\r\n", "all", "all", "+", "@", "/", ",", "\"", "\"\"", "#",
            "10.0.0.0/8", "::1", "255.0.0.0", "trust", "md5", "cert", "peer", "map=", "clientcert=verify-ca", "\0", "é",
        ]), 0..40,
    )) {
        read(&text);
        let (hba, errors) = read(&pieces.concat());
        let continued = pieces.concat().replace("\\\n", "");
        let lines = continued.lines().filter(|line| {
            let line = line.trim_matches([' ', '\t', '\r']);
            !line.is_empty() && !line.starts_with('#')
        });
        prop_assert_eq!(hba.rules().len() + errors.len(), lines.count());
    }
}
