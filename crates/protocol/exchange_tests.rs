//! Whole conversations as text: what a client sends after `>`, what a server sends after `<`.

use super::*;

/// Plays a script such as `> P B E S < 1 2 C Z:I`. A letter may carry text after a colon: `Q:commit`, `E:FATAL`, `Z:T`.
fn play(script: &str) -> Exchange {
    let mut exchange = Exchange::default();
    continue_with(&mut exchange, script).expect("the script breaks the protocol");
    exchange
}

fn continue_with(exchange: &mut Exchange, script: &str) -> Result<(), ServerViolation> {
    let mut from_client = true;
    for word in script.split_whitespace() {
        match word {
            ">" => from_client = true,
            "<" => from_client = false,
            _ => {
                let (tag, text) = word.split_once(':').unwrap_or((word, ""));
                let tag = tag.as_bytes()[0];
                let body = body(from_client, tag, &text.replace('_', " "));
                let mut bytes = vec![tag];
                bytes.extend((body.len() as u32 + 4).to_be_bytes());
                let header = Header::peek(&bytes).unwrap().unwrap();
                if from_client {
                    exchange.request(header, &body).expect("the client breaks the protocol");
                } else {
                    exchange.reply(header, &body)?;
                }
            }
        }
    }
    Ok(())
}

fn body(from_client: bool, tag: u8, text: &str) -> Vec<u8> {
    match (from_client, tag) {
        (true, b'E') => vec![0; 5],
        (true, b'Q') => format!("{text}\0").into(),
        (true, b'P') => format!("\0{text} \0\0\0").into(),
        (true, b'B') => format!("\0{text}\0\0\0\0\0\0\0").into(),
        (false, b'Z') => text.into(),
        (false, b'E') => format!("S{text}\0C57P01\0Mx\0\0").into(),
        _ => Vec::new(),
    }
}

fn at_rest(script: &str) -> bool {
    play(script).at_rest().is_some()
}

#[test]
fn a_simple_query_is_at_rest_after_ready_for_query() {
    assert!(!at_rest("> Q < T D C"));
    assert!(at_rest("> Q < T D C Z:I"));
    assert!(at_rest("> Q < I Z:I"));
}

#[test]
fn a_transaction_block_is_not_at_rest_failed_or_not() {
    assert!(!at_rest("> Q < C Z:T"));
    assert!(!at_rest("> Q < C Z:T > Q < E:ERROR Z:E"));
    assert!(at_rest("> Q < C Z:T > Q < E:ERROR Z:E > Q < C Z:I"));
}

#[test]
fn every_sync_of_a_pipeline_is_waited_for() {
    assert!(!at_rest("> P B E S P B E S < 1 2 D C Z:I"));
    assert!(at_rest("> P B D E S P B E S < 1 2 T D C Z:I 1 2 C Z:I"));
    assert!(!at_rest("> Q Q < C Z:I"));
}

#[test]
fn what_follows_the_last_sync_keeps_the_server() {
    assert!(!at_rest("> P B E S < 1 2 C Z:I > P H < 1"));
    assert!(at_rest("> P B E S < 1 2 C Z:I > P H < 1 > S < Z:I"));
}

#[test]
fn after_an_error_everything_up_to_the_sync_is_skipped() {
    assert!(at_rest("> P B E P B E S < 1 2 E:ERROR Z:I"));
    assert!(at_rest("> P B E < E:ERROR > P B E Q S < Z:I"));
    assert!(!at_rest("> P B E < E:ERROR > P B"));
    assert!(at_rest("> P B E S P B E S < E:ERROR Z:I 1 2 C Z:I"));
    assert!(at_rest("> P B E S < 1 2 C E:ERROR Z:I"));
}

#[test]
fn describe_of_statement_and_portal() {
    assert!(at_rest("> P D S < 1 t n Z:I > B D E C S < 2 T D D C 3 Z:I"));
    assert!(at_rest("> B E S < 2 D s Z:I"));
}

#[test]
fn a_function_call_owes_one_answer() {
    assert!(at_rest("> F < V Z:I"));
    assert!(at_rest("> F < E:ERROR Z:I"));
}

#[test]
fn copy_out_ends_with_its_query() {
    assert!(!at_rest("> Q < H d d"));
    assert!(at_rest("> Q < H d d c C Z:I"));
    assert!(at_rest("> P B E S < 1 2 H d c C Z:I"));
}

#[test]
fn the_sync_before_a_copy_in_is_swallowed_and_the_one_after_it_counts() {
    assert!(at_rest("> P B D E S < 1 2 n G > d d c S < C Z:I"));
    assert!(!at_rest("> P B D E S < 1 2 n G > d d c < C"));
    assert!(at_rest("> Q < G > d c < C Z:I"));
}

#[test]
fn a_copy_in_sent_in_one_go_keeps_its_last_sync() {
    assert!(at_rest("> P B E d d c S < 1 2 G C Z:I"));
    assert!(at_rest("> Q d c < G C Z:I"));
    assert!(at_rest("> Q d c d c < G C G C Z:I"));
}

#[test]
fn a_failed_copy_in_comes_to_rest() {
    assert!(at_rest("> Q < G > d f < E:ERROR Z:I"));
    assert!(at_rest("> Q < G > d < E:ERROR Z:I > d d c"));
}

/// Found by fuzzing: whether the server read the Sync before it failed cannot be known, and it answers a Sync only if it
/// did not. A server that was lent again then gave its next client somebody else's ReadyForQuery.
#[test]
fn a_server_whose_copy_in_failed_behind_a_sync_is_not_lent_again() {
    for conversation in [
        "> P B E S < 1 2 G > d f S < E:ERROR Z:I",
        "> Q < G > d S < E:ERROR Z:I",
        "> P B E S < 1 2 G > f S < E:ERROR Z:I",
    ] {
        assert!(!at_rest(conversation), "{conversation}");
    }
    assert!(play("> P B E S < 1 2 G > d f S < E:ERROR Z:I").is_spent(), "it is closed, and its client goes on");
    assert!(play("> Q < G > d S < E:ERROR Z:I Z:I").is_spent(), "also if the Sync is answered");
}

#[test]
fn copy_data_nobody_waits_for_is_dropped() {
    let mut exchange = play("> Q < G > d < E:ERROR Z:I");
    let header = Header::peek(b"d\0\0\0\x04").unwrap().unwrap();
    assert_eq!(exchange.request(header, &[]), Ok(Request::Drop));
}

#[test]
fn syncs_in_the_middle_of_a_copy_are_swallowed_when_it_succeeds() {
    assert!(at_rest("> Q < G > H S d S H c < C Z:I"));
    assert!(at_rest("> P B E S < 1 2 G > d S d c S < C Z:I"));
}

#[test]
fn a_sync_in_the_middle_of_a_copy_that_fails_leaves_doubt() {
    assert!(!at_rest("> Q < G > d S < E:ERROR Z:I"));
    assert!(!at_rest("> P B E S < 1 2 G > d S d c S < E:ERROR Z:I"));
}

#[test]
fn an_answer_nobody_asked_for_is_a_violation() {
    for script in ["< Z:I", "> Q < 1", "> P S < 2", "> Q < C Z:I D", "> Q < Z:X", "> Q < R", "> S < C"] {
        assert!(continue_with(&mut Exchange::default(), script).is_err(), "{script}");
    }
}

#[test]
fn notices_and_parameters_may_come_at_any_time() {
    assert!(at_rest("< N S A > Q < N T S D A C N Z:I S"));
}

#[test]
fn a_fatal_error_leaves_doubt() {
    assert!(!at_rest("> Q < E:FATAL"));
    assert_eq!(play("> Q < E:FATAL").way_back(), WayBack::None);
}

#[test]
fn an_abandoned_conversation_has_a_way_back() {
    assert_eq!(play("> Q").way_back(), WayBack::Wait);
    assert_eq!(play("> Q < C Z:T").way_back(), WayBack::Rollback);
    assert_eq!(play("> P B").way_back(), WayBack::Sync);
    assert_eq!(play("> P B E < E:ERROR").way_back(), WayBack::Sync);
    assert_eq!(play("> Q < G > d").way_back(), WayBack::CopyFail { sync: false });
    assert_eq!(play("> P B E S < 1 2 G > d").way_back(), WayBack::CopyFail { sync: true });
    assert_eq!(play("> Q < W").way_back(), WayBack::None);
    assert_eq!(play("> Q < C Z:I").way_back(), WayBack::Done);
}

#[test]
fn what_may_be_committing_is_never_canceled_unasked() {
    let safe = |script| play(script).is_safe_to_cancel();
    assert!(safe("> Q:select_1"));
    assert!(!safe("> Q:insert_into_t_select_1"));
    assert!(safe("> Q:begin < C Z:T > Q:update_t_set_a=1"));
    assert!(!safe("> Q:begin < C Z:T > Q:commit"));
    assert!(!safe("> Q:select_1;commit"));
    assert!(safe("> P:select_1 B E S"));
    assert!(!safe("> B E S"));
    assert!(!safe("> P:select_1 B E S B E S"));
    assert!(!safe("> Q:select_1 Q:commit"));
    assert!(!safe(""));
}

#[test]
fn a_tainted_server_is_spent_and_never_at_rest() {
    let mut exchange = play("> Q < C Z:T");
    exchange.taint();
    assert!(!exchange.is_spent());
    continue_with(&mut exchange, "> Q < C Z:I").unwrap();
    assert!(exchange.is_spent() && exchange.at_rest().is_none());
}

/// The first batch prepared `s2`, which may be a COMMIT: that this batch also parses a SELECT says nothing about it.
#[test]
fn a_statement_parsed_in_another_batch_may_be_a_commit() {
    let safe = |script| play(script).is_safe_to_cancel();
    assert!(!safe("> P:select_1 B E B:s2 E S"));
    assert!(!safe("> P:select_1 B:s2 E S"));
}

/// The batch crossed two segments: the server was in COPY IN, and had no data to refuse, when the Sync arrived.
#[test]
fn a_sync_before_the_first_data_of_a_copy_is_swallowed() {
    assert!(at_rest("> P B E < 1 2 G > S d d c S < C Z:I"));
}

/// Found by fuzzing: the answer to that Sync stood where the answer to the next message was due, and the client was told
/// that its server had broken the protocol.
#[test]
fn what_is_sent_ahead_behind_such_a_copy_is_answered_by_a_server_in_doubt() {
    for conversation in
        ["> Q < G > d S P B E S < E:ERROR Z:I Z:I 1 2 C Z:I", "> P B E S < 1 2 G > d S P B E S < E:ERROR Z:I 1 2 C Z:I"]
    {
        let exchange = play(conversation);
        assert!(!exchange.is_quiet() && !exchange.is_spent(), "{conversation}");
        assert_eq!(exchange.way_back(), WayBack::None, "{conversation}");
    }
}

#[test]
fn an_exchange_is_as_new_after_a_reset() {
    for conversation in ["> Q < E:FATAL", "> P B D E C Q", "> P B E S < 1 2 G > d S < E:ERROR", "> P B < E:ERROR"] {
        let mut exchange = play(conversation);
        exchange.taint();
        exchange.reset();
        assert_eq!(format!("{exchange:?}"), format!("{:?}", Exchange::default()), "{conversation}");
    }
}

mod prepared {
    use super::*;
    use crate::changes::Change;

    fn with(messages: &[Prepared]) -> Exchange {
        let mut exchange = Exchange::default();
        for message in messages {
            exchange.prepared(*message, Change::Nothing).unwrap();
        }
        exchange
    }

    #[test]
    fn an_answer_of_our_own_waits_for_its_turn() {
        let mut exchange = play("> P");
        exchange.prepared(Prepared::KnownParse, Change::Nothing).unwrap();
        continue_with(&mut exchange, "> B E S").unwrap();
        assert_eq!(exchange.own_answer(), None);
        continue_with(&mut exchange, "< 1").unwrap();
        assert_eq!(exchange.own_answer(), Some(b'1'));
        continue_with(&mut exchange, "< 2 C Z:I").unwrap();
        assert!(exchange.at_rest().is_some());
    }

    /// Found by fuzzing: a Parse behind a COPY and a DISCARD ALL did not wait for them, and was thought to be discarded.
    #[test]
    fn a_copy_is_waited_for_only_if_something_is_sent_that_ends_it() {
        for (conversation, ends) in
            [("> Q < G > d S H", false), ("> Q < G > d c", true), ("> Q d c Q < G", true), ("> Q < G > d Q", true)]
        {
            assert_eq!(play(conversation).can_wait(), ends, "{conversation}");
        }
        let mut exchange = play("> Q < G");
        exchange.prepared(Prepared::KnownClose, Change::Nothing).unwrap();
        assert!(!exchange.can_wait(), "a Close that is not sent ends nothing");
    }

    #[test]
    fn what_we_asked_ourselves_is_not_for_the_client() {
        let mut exchange = with(&[Prepared::SilentClose, Prepared::SilentParse]);
        continue_with(&mut exchange, "> B E S").unwrap();
        for tag in [b'3', b'1'] {
            let header = Header::peek(&[tag, 0, 0, 0, 4]).unwrap().unwrap();
            assert_eq!(exchange.reply(header, &[]), Ok(Reply::Drop));
        }
        continue_with(&mut exchange, "< 2 C Z:I").unwrap();
        assert!(exchange.at_rest().is_some());
    }

    /// A client that closes a statement between its CopyDone and its Sync.
    #[test]
    fn an_answer_of_our_own_is_given_behind_a_copy() {
        let mut exchange = play("> P B E < 1 2 G > d c");
        exchange.prepared(Prepared::KnownClose, Change::Nothing).unwrap();
        continue_with(&mut exchange, "> S < C").unwrap();
        assert_eq!(exchange.own_answer(), Some(b'3'));
        continue_with(&mut exchange, "< Z:I").unwrap();
        assert!(exchange.at_rest().is_some());
    }

    #[test]
    fn an_error_undoes_what_it_makes_the_server_skip_and_no_more() {
        let mut exchange = with(&[Prepared::Parse, Prepared::SilentParse, Prepared::KnownClose]);
        continue_with(&mut exchange, "> S < 1 E:ERROR").unwrap();
        assert_eq!(exchange.changes.undone.len(), 2);
        continue_with(&mut exchange, "< Z:I").unwrap();
        assert!(exchange.at_rest().is_some());
    }

    /// A cancel that hits what was sent for a `DEALLOCATE`, and not the `DEALLOCATE`.
    #[test]
    fn an_error_between_our_own_messages_and_our_own_sync_is_not_for_the_client() {
        let mut exchange = with(&[Prepared::SilentClose, Prepared::SilentParse]);
        exchange.silent_sync();
        continue_with(&mut exchange, "> Q:deallocate_s < 3").unwrap();
        for (tag, body) in [(b'E', &b"SERROR\0C57014\0Mx\0\0"[..]), (b'Z', b"I")] {
            let header = [&[tag], &(body.len() as u32 + 4).to_be_bytes()[..]].concat();
            let header = Header::peek(&header).unwrap().unwrap();
            assert_eq!(exchange.reply(header, body), Ok(Reply::Drop));
        }
        assert!(exchange.at_rest().is_none());
        continue_with(&mut exchange, "< E:ERROR Z:I").unwrap();
        assert!(exchange.at_rest().is_some());
    }
}

mod laws {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_sequence_of_messages_panics_or_is_at_rest_while_something_is_owed(
            words in proptest::collection::vec((any::<bool>(), any::<u8>(), any::<u8>()), 0..200)
        ) {
            let mut exchange = Exchange::default();
            for (from_client, tag, extra) in words {
                let body = [extra];
                let header = Header::peek(&[tag, 0, 0, 0, 5]).unwrap().unwrap();
                if from_client {
                    let _ = exchange.request(header, &body);
                } else {
                    let _ = exchange.reply(header, &body);
                }
                let owes = exchange.owed.iter().any(|owed| *owed != Owed::CopyEnd);
                prop_assert!(!owes || exchange.at_rest().is_none());
            }
        }
    }
    /// Of what is bound and described before and behind it, only the one that the error answers is outdated.
    #[test]
    fn an_error_of_an_outdated_statement_is_laid_to_the_one_it_answers() {
        let outdated = b"SERROR\0VERROR\0C0A000\0Mcached plan must not change result type\0RRevalidateCachedQuery\0\0";
        let mut exchange = Exchange::default();
        for (id, request) in [(1, "> D"), (2, "> B"), (3, "> B"), (4, "> D")] {
            exchange.refers(id, lexer::first_statement(b"select 1"));
            continue_with(&mut exchange, request).unwrap();
        }
        continue_with(&mut exchange, "> E S < T 2").unwrap();
        let error = [b"E", &(outdated.len() as u32 + 4).to_be_bytes()[..]].concat();
        let header = Header::peek(&error).unwrap().unwrap();
        for here in 0..outdated.len() {
            assert!(matches!(exchange.reply(header, &outdated[..here]), Ok(Reply::NeedBody(needed)) if needed > here));
        }
        assert_eq!(exchange.reply(header, outdated), Ok(Reply::Error));
        assert_eq!((exchange.take_outdated(), exchange.take_outdated()), (Some(3), None));
        continue_with(&mut exchange, "< Z:I").unwrap();
        exchange.refers(5, lexer::first_statement(b"select 1"));
        continue_with(&mut exchange, "> B S").unwrap();
        assert_eq!(exchange.reply(header, outdated), Ok(Reply::Error));
        assert_eq!(exchange.take_outdated(), Some(5));
    }
}
