#![no_main]
//! Each line of an HBA file stands for itself: none is skipped, and a rule is asked only for what it says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use config::Hba;
use config::hba::{Asked, ClientCert, Method, Rule, Transport};
use fuzz::text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(text) = text::of(input) else { return };
    let path = Path::new(text::NOWHERE);
    let whole = Hba::parse(path, text);
    check_lines(path, text, whole.as_ref().ok());
    let hba = match whole {
        Ok(hba) => hba,
        Err(problems) => return text::check_problems(&problems, path, text),
    };
    assert!(hba.groups().iter().map(|group| group.len()).sum::<usize>() <= text.len());
    hba.rules().iter().for_each(check_rule);
    let mapped = Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped();
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V6(mapped)] {
        for tls in [false, true] {
            find(&hba, Transport::Tcp { address, tls });
        }
    }
    find(&hba, Transport::Local);
});

/// The rules of a text are those of its lines, in order; one line that is refused refuses the text.
fn check_lines(path: &Path, text: &str, whole: Option<&Hba>) {
    let mut rules: Vec<Rule> = Vec::new();
    let (mut line, mut number) = (String::new(), 0);
    let last = text.matches('\n').count();
    for (nth, part) in text.split('\n').enumerate() {
        line += part;
        // A backslash joins it with the next one.
        if nth < last && (part.ends_with('\\') || part.ends_with("\\\r")) {
            line.push('\n');
            continue;
        }
        let Ok(hba) = Hba::parse(path, &line) else { return assert!(whole.is_none(), "{line:?} was skipped") };
        for mut rule in hba.rules().iter().cloned() {
            rule.line += number;
            rules.push(rule);
        }
        (line, number) = (String::new(), nth + 1);
    }
    if let Some(whole) = whole {
        assert_eq!(whole.rules(), rules);
    }
}

fn check_rule(rule: &Rule) {
    assert!(rule.method != Method::Cert || rule.needs_tls() && rule.client_cert == Some(ClientCert::VerifyFull));
    assert!(rule.client_cert.is_none() || rule.needs_tls());
    assert!(rule.map.is_none() || matches!(rule.method, Method::Cert | Method::Peer));
}

fn find(hba: &Hba, transport: Transport) {
    for (database, user) in [("app", "joe"), ("joe", "joe"), ("replication", "all"), ("all", "+x")] {
        for replication in [false, true] {
            let is_member = |group: &str| {
                assert!(hba.groups().contains(group));
                group == "x"
            };
            let Some(rule) = hba.find(&Asked { transport, database, user, replication, is_member: &is_member }) else {
                continue;
            };
            let (is_local, has_tls) = match transport {
                Transport::Local => (true, false),
                Transport::Tcp { tls, .. } => (false, tls),
            };
            assert!(hba.rules().contains(rule));
            assert!(rule.method != Method::Peer || is_local);
            assert!(!rule.needs_tls() || has_tls);
        }
    }
}
