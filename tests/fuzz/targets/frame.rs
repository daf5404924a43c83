#![no_main]
//! A stream of messages is judged alike however it is cut, and what is cut off is never judged less risky.
//!
//! The first byte says who speaks and how many bytes arrive at a time.

use fuzz::framed;
use libfuzzer_sys::fuzz_target;
use protocol::exchange::Reply;
use protocol::{Exchange, Header, fields, messages};

fuzz_target!(|input: &[u8]| {
    let Some((pace, stream)) = input.split_first() else { return };
    let from_client = pace % 2 == 0;
    let (whole, whole_exchange) = judge(from_client, stream, stream.len().max(1));
    let (cut, cut_exchange) = judge(from_client, stream, usize::from(pace / 2) + 1);
    assert_eq!(cut, whole);
    assert_eq!(cut_exchange.way_back(), whole_exchange.way_back());
    assert_eq!(cut_exchange.status(), whole_exchange.status());
    assert!(!cut_exchange.is_safe_to_cancel() || whole_exchange.is_safe_to_cancel());
    assert!(!cut_exchange.is_committing() || whole_exchange.is_committing());
});

/// What becomes of each message: its tag, its length and the verdict, an error last.
fn judge(from_client: bool, stream: &[u8], pace: usize) -> (Vec<(u8, usize, String)>, Exchange) {
    let mut exchange = Exchange::default();
    if !from_client {
        asked(&mut exchange);
    }
    let (mut verdicts, mut at, mut arrived, mut needed) = (Vec::new(), 0, 0, Header::SIZE);
    loop {
        // A verdict may leave the rest of a message to flow past: the next header may not have begun to arrive.
        if arrived.max(at) - at < needed {
            if arrived >= stream.len() {
                return (verdicts, exchange);
            }
            arrived = (arrived + pace).min(stream.len());
            continue;
        }
        let bytes = &stream[at..arrived];
        let header = match Header::peek(bytes) {
            Ok(Some(header)) => header,
            Ok(None) => panic!("five bytes are a header"),
            Err(error) => {
                assert!(error.len < 4 || error.len > i32::MAX as u32);
                verdicts.push((error.tag, error.len as usize, error.to_string()));
                return (verdicts, exchange);
            }
        };
        let body = &bytes[Header::SIZE..bytes.len().min(header.total_len())];
        let verdict = if from_client {
            exchange.request(header, body).map(|request| format!("{request:?}")).map_err(|error| error.to_string())
        } else {
            check_fields(header, body);
            match exchange.reply(header, body) {
                Ok(Reply::NeedBody(more)) => {
                    assert!(more > body.len() && more <= header.body_len(), "asked for what is there, or cannot come");
                    needed = Header::SIZE + more;
                    continue;
                }
                verdict => verdict.map(|reply| format!("{reply:?}")).map_err(|error| error.to_string()),
            }
        };
        let is_over = verdict.is_err();
        verdicts.push((header.tag, header.total_len(), verdict.unwrap_or_else(|error| error)));
        if is_over {
            return (verdicts, exchange);
        }
        at += header.total_len();
        needed = Header::SIZE;
    }
}

/// Two of everything, so that a server has something to answer.
fn asked(exchange: &mut Exchange) {
    for tag in *b"PBDECSQFPBDECSQ" {
        let (header, body) = framed(tag, if matches!(tag, b'S') { b"" } else { b"\0\0" });
        exchange.request(header, &body).expect("a client may send it");
    }
}

/// What a row or an error holds is part of it, and a row survives being written again.
fn check_fields(header: Header, body: &[u8]) {
    let found = fields::Fields::parse(body);
    assert!(found.severity.len() + found.sqlstate.len() + found.message.len() <= body.len());
    if body.len() == header.body_len()
        && let Some(columns) = fields::data_row(body)
    {
        let mut again = Vec::new();
        messages::data_row(&mut again, columns.iter().map(Option::as_deref));
        assert_eq!(&again[Header::SIZE..], body);
    }
}
