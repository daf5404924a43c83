//! Conversations with a question of our own in them: what the client hears of it, and what is kept.

use super::*;

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    messages::message(&mut out, tag, |out| out.extend_from_slice(body));
    out
}

fn asks(exchange: &mut Exchange, tag: u8, body: &[u8]) {
    let message = message(tag, body);
    exchange.request(Header::peek(&message).unwrap().unwrap(), body).unwrap();
}

/// Plays replies such as `1 2 D:row C 3 Z:T`: the tags of those that the client hears.
fn hears(exchange: &mut Exchange, replies: &str) -> String {
    let mut heard = String::new();
    for word in replies.split_whitespace() {
        let (tag, text) = word.split_once(':').unwrap_or((word, ""));
        let body = if tag == "E" { b"SERROR\0C42501\0Mx\0\0".as_slice() } else { text.as_bytes() };
        let header = Header::peek(&message(tag.as_bytes()[0], body)).unwrap().unwrap();
        if exchange.reply(header, body).unwrap() != Reply::Drop {
            heard.push_str(tag);
        }
    }
    heard
}

fn in_block() -> Exchange {
    let mut exchange = Exchange::default();
    asks(&mut exchange, b'Q', b"begin\0");
    hears(&mut exchange, "C Z:T");
    exchange
}

/// The tags of what is sent.
fn inquire(exchange: &mut Exchange, before: u8) -> String {
    assert_eq!(exchange.may_inquire(), Some(true));
    let sent = exchange.inquire(before, b"name", b"select 1");
    let (mut tags, mut rest) = (String::new(), &sent[..]);
    while let Some(header) = Header::peek(rest).unwrap() {
        tags.push(char::from(header.tag));
        rest = &rest[header.total_len()..];
    }
    tags
}

const COMMIT: [(u8, &[u8]); 2] = [(b'P', b"\0commit\0\0\0"), (b'B', b"\0\0\0\0\0\0\0\0")];

#[test]
fn nobody_hears_of_the_question_before_a_commit_and_its_row_is_kept_until_that_is_answered() {
    let mut exchange = in_block();
    assert_eq!(inquire(&mut exchange, b'Q'), "PBECS");
    assert_eq!(exchange.may_inquire(), None, "it has to be answered");
    assert_eq!(hears(&mut exchange, "1 2 D:row C 3"), "");
    assert_eq!(exchange.may_inquire(), None);
    assert_eq!(hears(&mut exchange, "Z:T"), "");
    assert!(matches!(exchange.inquiry(), Inquiry::Answered(row) if **row == *b"row"));
    exchange.inquiry_is_used();
    asks(&mut exchange, b'Q', b"commit\0");
    assert!(matches!(exchange.inquiry(), Inquiry::Used(_)));
    assert_eq!(hears(&mut exchange, "C Z:I"), "CZ");
    assert!(exchange.take_inquiry().is_none(), "there is nothing left to be found out");
    assert!(exchange.at_rest().is_some());
}

#[test]
fn in_a_batch_the_question_comes_before_execute_and_touches_nothing_of_the_clients() {
    let mut exchange = in_block();
    COMMIT.iter().for_each(|(tag, body)| asks(&mut exchange, *tag, body));
    assert_eq!(inquire(&mut exchange, b'E'), "PBECH");
    assert_eq!(hears(&mut exchange, "1 2 1 2 D:row C 3"), "12");
    exchange.inquiry_is_used();
    asks(&mut exchange, b'E', &[0; 5]);
    asks(&mut exchange, b'S', b"");
    assert_eq!(hears(&mut exchange, "C"), "C");
    assert_eq!(exchange.take_inquiry().as_deref(), Some(&b"row"[..]));
}

#[test]
fn a_question_without_a_row_leaves_nothing_to_be_found_out() {
    let mut exchange = in_block();
    inquire(&mut exchange, b'Q');
    hears(&mut exchange, "1 2 C 3 Z:T");
    exchange.inquiry_is_used();
    asks(&mut exchange, b'Q', b"commit\0");
    assert!(exchange.take_inquiry().is_none());
}

#[test]
fn a_commit_whose_question_was_not_answered_was_never_sent() {
    let mut exchange = in_block();
    inquire(&mut exchange, b'Q');
    hears(&mut exchange, "1 2 D:row");
    assert!(exchange.take_inquiry().is_none());
    let position = exchange.lose();
    assert!(position.is_answered() && !position.awaits_sync && position.status == TxStatus::InBlock);
}

#[test]
fn a_question_that_fails_answers_the_commit() {
    let mut exchange = in_block();
    inquire(&mut exchange, b'Q');
    assert_eq!(hears(&mut exchange, "1 2 E Z:E"), "EZ");
    assert!(matches!(exchange.inquiry(), Inquiry::Refused));
    exchange.inquiry_is_told();
    assert!(exchange.is_quiet() && exchange.status() == TxStatus::Failed);
}

#[test]
fn in_a_batch_the_server_skips_the_commit_of_a_question_that_fails() {
    let mut exchange = in_block();
    COMMIT.iter().for_each(|(tag, body)| asks(&mut exchange, *tag, body));
    inquire(&mut exchange, b'E');
    assert_eq!(hears(&mut exchange, "1 2 E"), "12E");
    assert_eq!(exchange.may_inquire(), Some(false));
    asks(&mut exchange, b'E', &[0; 5]);
    asks(&mut exchange, b'S', b"");
    assert_eq!(hears(&mut exchange, "Z:E"), "Z");
    assert!(matches!(exchange.inquiry(), Inquiry::None));
}

#[test]
fn a_batch_that_fails_before_its_question_skips_that_too() {
    let mut exchange = in_block();
    COMMIT.iter().for_each(|(tag, body)| asks(&mut exchange, *tag, body));
    inquire(&mut exchange, b'E');
    assert_eq!(hears(&mut exchange, "1 E"), "1E");
    assert!(matches!(exchange.inquiry(), Inquiry::None));
    asks(&mut exchange, b'S', b"");
    assert_eq!(hears(&mut exchange, "Z:E"), "Z");
}

#[test]
fn nothing_is_asked_outside_of_a_block_in_a_failed_one_or_behind_what_may_have_done_something() {
    assert_eq!(Exchange::default().may_inquire(), Some(false));
    let mut failed = in_block();
    asks(&mut failed, b'Q', b"bad\0");
    assert_eq!(failed.may_inquire(), None);
    hears(&mut failed, "E Z:E");
    assert_eq!(failed.may_inquire(), Some(false));
    let mut busy = in_block();
    COMMIT.iter().for_each(|(tag, body)| asks(&mut busy, *tag, body));
    asks(&mut busy, b'E', &[0; 5]);
    assert_eq!(busy.may_inquire(), Some(false));
    asks(&mut busy, b'S', b"");
    assert_eq!(busy.may_inquire(), None);
}
