//! A monitor's URI, as libpq reads it.

use super::*;

fn read(uri: &str) -> Result<Monitor, String> {
    Monitor::read(&Raw::Text(uri.into()))
}

fn good(uri: &str) -> Monitor {
    read(uri).unwrap_or_else(|message| panic!("{uri}: {message}"))
}

/// Each host with its port.
fn hosts(uri: &str) -> String {
    let hosts = good(uri).hosts;
    hosts.iter().map(|host| format!("{}|{}", host.host, host.port)).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_uri_is_taken_apart() {
    let monitor = good("postgres://pooler_monitor:p%40%2F%3A@monitor.internal:5433/state?sslmode=require");
    assert_eq!((monitor.user.as_str(), monitor.dbname.as_str()), ("pooler_monitor", "state"));
    assert_eq!(monitor.password, Some(Secret::Plain("p@/:".into())));
    assert_eq!(monitor.hosts, [MonitorHost { host: Host::Tcp("monitor.internal".into()), port: 5433 }]);
    assert_eq!(monitor.sslmode, SslMode::Require);
    let short = good("postgresql://u:@h");
    assert_eq!((short.dbname.as_str(), short.password, short.sslmode), ("pg_auto_failover", None, SslMode::Prefer));
    assert_eq!(good("postgres:///?host=h&user=u&password=a%26b").password, Some(Secret::Plain("a&b".into())));
    assert_eq!(good("postgres://u:a?b@h").password, Some(Secret::Plain("a?b".into())), "as libpq reads it");
}

#[test]
fn hosts_are_a_list_in_every_form() {
    assert_eq!(hosts("postgres://u@a,b:1,[::1]:2,[fe80::1%25eth0]"), "a|5432 b|1 ::1|2 fe80::1%eth0|5432");
    assert_eq!(hosts("postgres://u@/db?host=/run/pg&port=6000"), "/run/pg|6000");
    assert_eq!(hosts("postgres://u@%2Frun%2Fpg:6000/db"), "/run/pg|6000");
    assert_eq!(hosts("postgres:///?user=u&host=a,b&port=1,"), "a|1 b|5432");
    assert_eq!(hosts("postgres://u@a,b?port=7"), "a|7 b|7");
}

#[test]
fn tls_is_what_libpq_would_make_of_it() {
    for (query, mode, authority) in [
        ("", SslMode::Prefer, ""),
        ("?ssl=true", SslMode::Require, ""),
        ("?sslmode=disable", SslMode::Disable, ""),
        ("?sslmode=require&sslrootcert=/ca.pem", SslMode::VerifyCa, "/ca.pem"),
        ("?sslmode=verify-full&sslrootcert=ca%20x.pem", SslMode::VerifyFull, "ca x.pem"),
        ("?sslrootcert=system", SslMode::VerifyFull, "system"),
    ] {
        let monitor = good(&format!("postgres://u@h/db{query}"));
        assert_eq!((monitor.sslmode, monitor.sslrootcert.as_str()), (mode, authority), "{query}");
    }
    for (query, expected) in [
        ("sslmode=verify-full", "sslmode=verify-full needs sslrootcert"),
        ("sslmode=verify-ca&sslrootcert=system", "sslrootcert=system needs sslmode=verify-full, not verify-ca"),
        ("sslrootcert=/ca.pem", "sslrootcert checks nothing with sslmode=prefer"),
        ("sslmode=on", "sslmode: expected one of disable, allow"),
        ("sslnegotiation=direct", "sslnegotiation=direct needs sslmode=require"),
        ("sslmode=disable&channel_binding=require", "channel_binding=require needs TLS"),
        ("sslcert=a", "sslcert and sslkey need each other"),
    ] {
        assert!(read(&format!("postgres://u@h/?{query}")).unwrap_err().starts_with(expected), "{query}");
    }
}

#[test]
fn the_tls_of_a_monitor_is_its_own() {
    let global =
        Global { server_tls_ca_file: "servers".into(), server_tls_ciphers: "fast".into(), ..Global::default() };
    let asked =
        good("postgres://u@h/?sslmode=verify-full&sslrootcert=mine&sslcert=c&sslkey=k").server_settings(&global);
    assert_eq!((asked.server_tls_sslmode, asked.server_tls_ca_file.as_str()), (SslMode::VerifyFull, "mine"));
    assert_eq!((asked.server_tls_cert_file.as_str(), asked.server_tls_key_file.as_str()), ("c", "k"));
    assert_eq!(asked.server_tls_ciphers, "fast");
    let system = good("postgres://u@h/?sslrootcert=system").server_settings(&global);
    assert_eq!((system.server_tls_sslmode, system.server_tls_ca_file.as_str()), (SslMode::VerifyFull, ""));
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    for (query, expected) in [
        ("sslmod=require", "unknown parameter \"sslmod\"; did you mean \"sslmode\"?"),
        ("gssencmode=require", "gssencmode: GSSAPI is not available in this version; only disable and prefer"),
        ("hostaddr=::1", "hostaddr: cannot be used here: an address can stand in the place of the host"),
        ("sslcrl=x", "sslcrl: cannot be used here: revocation lists are not available"),
        ("target_session_attrs=standby", "target_session_attrs: a monitor in recovery is of no use"),
        ("user=v", "user is given twice"),
        ("sslmode=require&sslmode=require", "sslmode is given twice"),
        ("sslmode", "expected key=value"),
    ] {
        assert!(read(&format!("postgres://u@h/?{query}")).unwrap_err().starts_with(expected), "{query}");
    }
    good("postgres://u@h/?target_session_attrs=read-write&gssencmode=prefer");
}

#[test]
fn a_malformed_uri_is_refused_and_never_repeated() {
    for (uri, expected) in [
        ("host=h user=u password=hunter2", "expected a URI, postgres://"),
        ("postgres://u:hunter2/x@h", "there is a \"@\" too many"),
        ("postgres://u:x@hunter2@h", "there is a \"@\" too many"),
        ("postgres://u:hunter2", "port: expected a number from 1 to 65535"),
        ("postgres://u@h:hunter2", "port: expected a number"),
        ("postgres://u@h:0", "port: expected a number"),
        ("postgres://u@h,b:1?port=1", "port is given twice"),
        ("postgres://u@a,b,c?port=1,2", "there are 3 hosts, but 2 ports"),
        ("postgres://u@[::1", "host: the closing bracket is missing"),
        ("postgres://u@[::1]hunter2", "port: expected a number"),
        ("postgres://u@", "a host is missing"),
        ("postgres://u@a,,b", "a host is missing"),
        ("postgres://u@a%20b", "a host contains a space"),
        ("postgres://h/db", "the user is missing"),
        ("postgres://u:hunter2%4@h", "password: \"%\" is not followed by two hexadecimal digits"),
        ("postgres://u:hunter2%ff@h", "password: is not UTF-8"),
        ("postgres://u%0Ax@h", "user: contains a control character"),
    ] {
        let message = read(uri).unwrap_err();
        assert!(message.starts_with(expected), "{uri}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_uri_is_written_so_that_it_reads_back_equal() {
    for uri in [
        "postgres://u:p%40%2F@a,b:1,[fe80::1%25eth0]:2/x%2Fy?sslmode=require",
        "postgres://%25u@%2Frun%2Fpg:6000/db?sslmode=verify-full&sslnegotiation=direct&sslrootcert=system",
        "postgres:///?host=%40abstract&user=u&sslcert=c&sslkey=k%20&channel_binding=disable",
    ] {
        let monitor = good(uri);
        let written = monitor.uri(monitor.password.as_ref().map(|secret| uri::encoded(secret.reveal())).as_deref());
        assert_eq!(good(&written), monitor, "{written}");
    }
    assert_eq!(good("postgres://u:hunter2@[::1]/").text(), "postgres://u:********@[::1]/pg_auto_failover");
}
