#![no_main]
//! A statement's risk does not depend on comments, blanks or case, and text that is cut off is never judged less risky.

use libfuzzer_sys::fuzz_target;
use protocol::deallocate::deallocated;
use protocol::lexer::{Risk, Suspicion, first_keyword, first_statement, simple_query};

fuzz_target!(|text: &[u8]| {
    let (keyword, risk, query) = (first_keyword(text), first_statement(text), simple_query(text, true));
    assert!(keyword.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'_'));
    assert!(query == risk || query.risk == Risk::MayCommit && query.deallocates);
    assert!(simple_query(text, false).risk == Risk::MayCommit && simple_query(text, false).deallocates);
    let whole = [text, b"\0"].concat();
    for name in deallocated(&whole) {
        assert!(simple_query(&whole, true).deallocates && name.is_none_or(|name| name.len() <= 63));
    }
    if query.risk != Risk::MayCommit {
        assert!(text.split(|byte| *byte == b';').filter(|part| part.trim_ascii().len() > 1).count() <= 2);
    }
    for front in [&b" \t\r\n\x0c"[..], b"-- commit;\n", b"--\r", b"/* commit; /* nested */ -- */", b"/**//*/**/*/"] {
        let longer = [front, text].concat();
        assert_eq!((first_keyword(&longer), first_statement(&longer)), (keyword, risk));
    }
    assert_eq!(first_statement(&text.to_ascii_uppercase()), risk);
    // Each cut costs as much as the text before it.
    for len in (0..text.len()).take(256) {
        let cut = first_keyword(&text[..len]);
        assert!(cut.is_empty() || cut == keyword, "{:?}", String::from_utf8_lossy(cut));
        let cut = first_statement(&text[..len]);
        // What leaves traces may stand behind the cut, and is read when it comes.
        let is_same =
            cut == Suspicion { leaves_traces: cut.leaves_traces, ..risk } && cut.leaves_traces <= risk.leaves_traces;
        assert!(is_same || cut.risk == Risk::MayCommit);
    }
});
