//! What the wire protocol costs a transaction, apart from system calls and copying.
//!
//! - `peek_*`: walking a buffer from header to header, as the relay does, and nothing else. Divide by the messages in the
//!   batch (5, and 105 in 12 kB) for the price of one. It must not depend on the size of a row.
//! - `exchange_*`: all decisions about one transaction, its headers being known: `request` and `reply` for each message,
//!   then `at_rest` and `reset`. The lexer's look at the statement is part of it. Every client pays one of these per
//!   transaction; a pooler's whole transaction is 12,000 ns, most of it the kernel's.

mod measure;

use std::hint::black_box;
use std::process::ExitCode;

use measure::Measure;
use protocol::backend::TxStatus;
use protocol::messages::{self, Column, cstr, message};
use protocol::{AtRest, Exchange, Header};

/// Rows in the larger batch, and bytes of each row's only value: some 12 kB in all.
const ROWS: usize = 100;
const VALUE: [u8; 105] = [b'7'; 105];

fn main() -> ExitCode {
    measure::run(&[framing, exchange])
}

fn framing(measure: &mut Measure) {
    let requests = extended_requests();
    measure.round("peek_5_requests", || walk(black_box(&requests)));
    let replies = extended_replies(ROWS);
    measure.round("peek_105_replies", || walk(black_box(&replies)));
}

fn exchange(measure: &mut Measure) {
    for (name, requests, replies) in [
        ("exchange_simple", simple_requests(), simple_replies()),
        ("exchange_extended", extended_requests(), extended_replies(1)),
    ] {
        let (requests, replies) = (split(&requests), split(&replies));
        let mut exchange = Exchange::default();
        measure.round(name, || converse(&mut exchange, black_box(&requests), black_box(&replies)));
    }
}

/// Goes from header to header; the number of messages.
fn walk(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some(header) = Header::peek(bytes).expect("our own messages have valid lengths") {
        bytes = &bytes[header.total_len()..];
        count += 1;
    }
    count
}

fn split(mut bytes: &[u8]) -> Vec<(Header, &[u8])> {
    let mut found = Vec::new();
    while let Some(header) = Header::peek(bytes).expect("our own messages have valid lengths") {
        let (message, rest) = bytes.split_at(header.total_len());
        found.push((header, &message[Header::SIZE..]));
        bytes = rest;
    }
    found
}

/// A transaction from its first request to the proof that the server is at rest.
fn converse(exchange: &mut Exchange, requests: &[(Header, &[u8])], replies: &[(Header, &[u8])]) -> AtRest {
    for &(header, body) in requests {
        black_box(exchange.request(header, body)).expect("a client may send this");
    }
    for &(header, body) in replies {
        black_box(exchange.reply(header, body)).expect("this is due");
    }
    let proof = exchange.at_rest().expect("everything is answered");
    exchange.reset();
    proof
}

/// What `pgbench --select-only --protocol simple` sends.
fn simple_requests() -> Vec<u8> {
    let mut out = Vec::new();
    messages::query(&mut out, b"SELECT abalance FROM pgbench_accounts WHERE aid = 12345;");
    out
}

fn simple_replies() -> Vec<u8> {
    let mut out = Vec::new();
    result(&mut out, 1);
    out
}

/// What `pgbench --select-only --protocol extended` sends: Parse, Bind, Describe, Execute, Sync.
fn extended_requests() -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, b'P', |out| {
        cstr(out, b"");
        cstr(out, b"SELECT abalance FROM pgbench_accounts WHERE aid = $1;");
        out.extend_from_slice(&[0; 2]);
    });
    message(&mut out, b'B', |out| {
        out.extend_from_slice(b"\0\0\0\0\0\x01\0\0\0\x0512345\0\0");
    });
    message(&mut out, b'D', |out| out.extend_from_slice(b"P\0"));
    message(&mut out, b'E', |out| out.extend_from_slice(b"\0\0\0\0\0"));
    messages::sync(&mut out);
    out
}

/// ParseComplete, BindComplete, and the result.
fn extended_replies(rows: usize) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, b'1', |_| {});
    message(&mut out, b'2', |_| {});
    result(&mut out, rows);
    out
}

/// RowDescription, the rows, CommandComplete, ReadyForQuery.
fn result(out: &mut Vec<u8>, rows: usize) {
    let column = Column { name: "abalance", type_oid: 25, type_size: -1, format: 0 };
    messages::row_description(out, [column].into_iter());
    for _ in 0..rows {
        messages::data_row(out, [Some(&VALUE[..])].into_iter());
    }
    messages::command_complete(out, &format!("SELECT {rows}"));
    messages::ready_for_query(out, TxStatus::Idle);
}
