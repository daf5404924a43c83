#![no_main]
//! What is noted of prepared statements is what plain lists would note.
//!
//! Each pair of bytes is an action, and the name and text that it is about.

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use protocol::Header;
use protocol::deallocate::Deallocates;
use protocol::statements::{Catalog, ClientStatements, ServerStatements, is_reserved};

/// Statements that a server may know at the same time.
const MOST: usize = 3;
const TEXTS: [&[u8]; 4] = [b"select 1\0\0\0", b"deallocate a\0\0\0", b"discard all\0\0\0", b"\0\0\0"];

fuzz_target!(|script: &[u8]| {
    let mut catalog = Catalog::default();
    let (mut client, mut server) = (ClientStatements::default(), ServerStatements::default());
    let mut names: BTreeMap<u8, u64> = BTreeMap::new();
    // In the order of their use, the one used last behind.
    let mut known: Vec<u64> = Vec::new();
    let mut unnamed = None;
    for pair in script.chunks_exact(2) {
        let (name, text, settings) = (pair[1] % 4, TEXTS[usize::from(pair[1] / 4 % 4)], [pair[1] / 16 % 2]);
        let statement = catalog.intern(&settings, text);
        assert_eq!(catalog.intern(&settings, text).id, statement.id);
        assert!(is_reserved(statement.server_name()));
        assert_eq!(statement.deallocates(), Deallocates::of(text).as_ref());
        let mut parse = Vec::new();
        statement.write_parse(&mut parse);
        assert_eq!(parse[Header::SIZE..], [statement.server_name(), b"\0", text].concat());
        match pair[0] {
            b'P' if !names.contains_key(&name) => {
                client.define(&[name], statement.clone());
                names.insert(name, statement.id);
            }
            b'C' => {
                let forgot = client.forget(&[name]);
                assert_eq!(forgot.map(|statement| statement.id), names.remove(&name));
            }
            b'U' => {
                let body = (name > 0).then(|| text.to_vec());
                assert_eq!(client.set_unnamed(body.clone()), unnamed);
                unnamed = body;
            }
            b'B' => {
                assert_eq!(server.touch(statement.id), known.contains(&statement.id));
                if !known.contains(&statement.id)
                    && let Some(goes) = server.add(statement.id, MOST)
                {
                    assert_eq!(goes, known.remove(0));
                }
                known.retain(|id| *id != statement.id);
                known.push(statement.id);
            }
            b'R' => {
                server.remove(statement.id);
                known.retain(|id| *id != statement.id);
            }
            b'A' => {
                client.clear();
                server.clear();
                (names, known) = Default::default();
            }
            _ => {}
        }
        assert_eq!((client.len(), server.len()), (names.len(), known.len()));
        assert_eq!(client.unnamed(), unnamed.as_deref());
        assert!(names.iter().all(|(name, id)| client.get(&[*name]).is_some_and(|statement| statement.id == *id)));
        assert!(known.len() <= MOST);
    }
});
