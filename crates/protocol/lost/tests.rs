//! Whole conversations as text, up to the loss of a server at `!` (or `!57P01`) and beyond it: what the client hears.

use super::*;
use crate::exchange::{Exchange, Reply};
use crate::messages;
use crate::stand_in::{Answers, Notes, Refusal};
use crate::statements::Catalog;

/// A client whose server is lost.
#[derive(Default)]
struct Scene {
    exchange: Exchange,
    client: ClientStatements,
    /// What was sent since nothing was owed, and whether it is kept.
    sent: Vec<u8>,
    is_lost_sight_of: bool,
    /// What the server has said since check-out, if nothing of it was forwarded.
    withheld: Option<Vec<u8>>,
    stand_in: Option<StandIn>,
    heard: Vec<String>,
}

/// Plays a script such as `> Q:begin < C Z:T > Q:insert ! > Q:commit`; what is heard from `!` on.
///
/// A Parse is `P:name=text`. At `~` what was sent outgrows its buffer, at `|` answers are forwarded.
fn heard(script: &str) -> String {
    let mut scene = Scene { withheld: Some(Vec::new()), ..Scene::default() };
    let mut from_client = true;
    for word in script.split_whitespace() {
        match word {
            ">" => from_client = true,
            "<" => from_client = false,
            "|" => scene.withheld = None,
            "~" => scene.is_lost_sight_of = true,
            "!" => scene.lose(Cause::Silent),
            "!57P01" => scene.lose(Cause::Terminated),
            _ => {
                let (tag, text) = word.split_once(':').unwrap_or((word, ""));
                let message = message(from_client, tag.as_bytes()[0], &text.replace('_', " "));
                if from_client { scene.sends(&message) } else { scene.replies(&message) }
            }
        }
    }
    scene.heard.join(" ")
}

fn message(from_client: bool, tag: u8, text: &str) -> Vec<u8> {
    let (name, rest) = text.split_once('=').unwrap_or(("", text));
    let body = match (from_client, tag) {
        (true, b'E') => vec![0; 5],
        (true, b'Q') => format!("{text}\0").into(),
        (true, b'P') => format!("{name}\0{rest}\0\0\0").into(),
        (true, b'B') => format!("\0{text}\0\0\0\0\0\0\0").into(),
        (true, b'D' | b'C') => format!("S{text}\0").into(),
        (false, b'Z') => text.into(),
        (false, b'C') => format!("{text}\0").into(),
        (false, b'E') => b"SERROR\0C22012\0Mx\0\0".to_vec(),
        _ => Vec::new(),
    };
    let mut out = Vec::new();
    messages::message(&mut out, tag, |out| out.extend_from_slice(&body));
    out
}

impl Scene {
    fn sends(&mut self, message: &[u8]) {
        let header = Header::peek(message).unwrap().unwrap();
        match self.stand_in.as_ref().is_some_and(|stand_in| stand_in.takes(header.tag)) {
            true => self.asks(message),
            false if self.stand_in.is_some() => self.heard.push(format!("server:{}", char::from(header.tag))),
            false => {
                self.sent.extend_from_slice(message);
                self.exchange.request(header, &message[Header::SIZE..]).unwrap();
            }
        }
    }

    fn replies(&mut self, message: &[u8]) {
        let header = Header::peek(message).unwrap().unwrap();
        let reply = self.exchange.reply(header, &message[Header::SIZE..]).unwrap();
        if let Some(withheld) = &mut self.withheld {
            withheld.extend_from_slice(message);
        }
        if matches!(reply, Reply::Ready(_)) {
            self.withheld = None;
            if self.exchange.is_quiet() {
                self.sent.clear();
            }
        }
    }

    fn lose(&mut self, cause: Cause) {
        let position = self.exchange.lose();
        let sent = std::mem::take(&mut self.sent);
        let is_kept = !self.is_lost_sight_of && !position.is_answered();
        let loss = Loss {
            cause,
            position,
            sent: is_kept.then_some(&sent[..]),
            has_reached: !sent.is_empty(),
            withheld: self.withheld.as_deref(),
            client: &self.client,
        };
        match loss.verdict() {
            Verdict::StandIn(mut stand_in, answered) => {
                let mut out = Vec::new();
                stand_in.catch_up(&mut Answers { out: &mut out, refuse: &mut refuse });
                self.stand_in = Some(stand_in);
                self.hears(&out);
                let mut rest = if is_kept { &sent[answered..] } else { &[] };
                while let Ok(Some(header)) = Header::peek(rest) {
                    let (message, behind) = rest.split_at(header.total_len());
                    self.sends(message);
                    rest = behind;
                }
            }
            verdict => self.heard.push(format!("{verdict:?}")),
        }
    }

    fn asks(&mut self, message: &[u8]) {
        let (mut out, mut catalog) = (Vec::new(), Catalog::default());
        let mut intern = |body: &[u8]| Some(catalog.intern(b"", body));
        let mut notes = Notes { client: &mut self.client, most: usize::MAX, intern: &mut intern };
        let mut answers = Answers { out: &mut out, refuse: &mut refuse };
        let stand_in = self.stand_in.as_mut().unwrap();
        stand_in.message(message[0], &message[Header::SIZE..], &mut notes, &mut answers);
        self.hears(&out);
    }

    fn hears(&mut self, mut answers: &[u8]) {
        while let Ok(Some(header)) = Header::peek(answers) {
            let (message, rest) = answers.split_at(header.total_len());
            let body = String::from_utf8_lossy(&message[Header::SIZE..]).replace('\0', "");
            let shown = if matches!(header.tag, b'Z' | b'C' | b'E') { format!(":{body}") } else { String::new() };
            self.heard.push(format!("{}{shown}", char::from(header.tag)));
            answers = rest;
        }
    }
}

fn refuse(refusal: Refusal, out: &mut Vec<u8>) {
    let word: &[u8] = match refusal {
        Refusal::Lost => b"lost",
        Refusal::InFailedBlock => b"25P02",
    };
    messages::message(out, b'E', |out| out.extend_from_slice(word));
}

#[track_caller]
fn hears(script: &str, expected: &str) {
    assert_eq!(heard(script), expected, "{script}");
}

const BLOCK: &str = "> Q:begin < C:BEGIN Z:T > ";

#[track_caller]
fn hears_in_block(script: &str, expected: &str) {
    hears(&[BLOCK, script].concat(), expected);
}

#[test]
fn a_lost_block_is_failed_until_it_is_ended() {
    hears_in_block("Q:insert ! > Q:insert > Q:select > Q:commit", "E:lost Z:E E:25P02 Z:E E:25P02 Z:E C:ROLLBACK Z:I");
    hears_in_block("Q:insert < C | ! > Q:rollback_to_s Q:savepoint_s Q: Q:end;", {
        "E:lost Z:E E:25P02 Z:E E:25P02 Z:E I Z:E C:ROLLBACK Z:I"
    });
    hears_in_block("Q:insert ! > Q:commit_and_chain Q:commit_prepared_'x' Q:commit;select Q:abort", {
        "E:lost Z:E E:25P02 Z:E E:25P02 Z:E E:25P02 Z:E C:ROLLBACK Z:I"
    });
}

#[test]
fn one_that_is_silent_hears_of_it_when_it_goes_on() {
    hears_in_block("Q:insert < C Z:T ! > Q:insert Q:commit", "E:lost Z:E C:ROLLBACK Z:I");
    hears_in_block("Q:insert < C Z:T ! > Q:rollback", "C:ROLLBACK Z:I");
    // It believes that it commits: that has to be an error.
    hears_in_block("Q:insert < C Z:T ! > Q:commit Q:select", "E:lost Z:I server:Q");
    hears_in_block("Q:insert < C Z:T ! > P:commit B D E S P", "1 2 t n E:lost Z:I server:P");
    hears_in_block("Q:insert < C Z:T ! > S P:insert B E S", "E:lost Z:E E:25P02 Z:E");
    hears("> Q:begin < C Z:T > Q:bad < E Z:E ! > Q:select Q:rollback", "E:25P02 Z:E C:ROLLBACK Z:I");
    hears("> Q:select < C Z:I ! > Q:select", "Nothing");
}

#[test]
fn extended_messages_are_skipped_up_to_their_sync_and_end_the_block_too() {
    hears_in_block("P:insert B D E S ! > P:insert B E P:commit B E S P:commit B D E S", {
        "E:lost Z:E E:25P02 Z:E 1 2 t n C:ROLLBACK Z:I"
    });
    hears_in_block("P:insert B E H < 1 2 C | ! > S > P:rollback B E S", "E:lost Z:E 1 2 C:ROLLBACK Z:I");
    hears_in_block("P:insert B E ! > B E S > P:s=abort D:s B:s C:s E S", "E:lost Z:E 1 t n 2 3 C:ROLLBACK Z:I");
    hears_in_block("P:insert B E S P:insert B E S < 1 2 C Z:T | ! > Q:commit", "E:lost Z:E C:ROLLBACK Z:I");
    hears_in_block("P:insert B E S P:insert B E S < 1 2 E Z:E | ! > Q:commit", "E:25P02 Z:E C:ROLLBACK Z:I");
}

#[test]
fn one_ready_for_query_comes_for_each_that_is_due() {
    hears_in_block(
        "Q:insert Q:insert P:insert B E S Q:savepoint_s !",
        "E:lost Z:E E:25P02 Z:E E:25P02 Z:E E:25P02 Z:E",
    );
    hears("> Q:insert P:insert B E S F !", "E:lost Z:I E:lost Z:I E:lost Z:I");
    hears("> P:insert B E S P:insert B E S < 1 2 C Z:I | ! > S", "E:lost Z:I server:S");
    hears("> P:insert B E S < 1 2 C | !", "E:lost Z:I");
    hears("> P:insert B E H < 1 2 C | ! > S", "E:lost Z:I");
    // It has had its error, and is owed the rest.
    hears("> P:insert B E S < 1 E | ! > Q:select", "Z:I server:Q");
    hears("> P:insert B E < 1 E | ! > B E S", "Z:I");
    hears_in_block("Q:insert < E | ! > Q:commit", "Z:E C:ROLLBACK Z:I");
}

#[test]
fn a_commit_on_its_way_is_unknown_and_leaves_no_block() {
    for commit in ["Q:commit", "P:commit B E S", "Q:prepare_transaction_'x'", "Q:insert;commit"] {
        hears_in_block(&format!("{commit} ! > Q:select"), "E:lost Z:I server:Q");
    }
    hears_in_block("Q:commit_and_chain ! > Q:commit", "E:lost Z:E C:ROLLBACK Z:I");
    // What came before it in the pipeline may be committed as well.
    hears_in_block("Q:insert Q:commit ! > Q:select", "E:lost Z:E E:lost Z:I server:Q");
    hears_in_block("Q:insert Q:commit Q:begin Q:insert ! > Q:insert Q:commit", {
        "E:lost Z:E E:lost Z:I E:lost Z:E E:lost Z:E E:25P02 Z:E C:ROLLBACK Z:I"
    });
    hears_in_block("Q:rollback_to_s Q:commit !", "E:lost Z:E E:lost Z:I");
}

#[test]
fn a_rollback_on_its_way_has_its_wish() {
    hears_in_block("Q:rollback ! > Q:select", "C:ROLLBACK Z:I server:Q");
    hears_in_block("P:rollback B E S ! > Q:select", "1 2 C:ROLLBACK Z:I server:Q");
    hears_in_block("P:rollback B E S < 1 | !", "E:lost Z:I");
    hears_in_block("Q:rollback < C | !", "E:lost Z:I");
    hears_in_block("Q:insert Q:rollback Q:select ! > Q:select", "E:lost Z:E E:lost Z:I E:lost Z:I server:Q");
}

#[test]
fn a_block_that_was_about_to_begin_has_failed() {
    hears("> Q:begin ! > Q:insert Q:commit", "E:lost Z:E E:25P02 Z:E C:ROLLBACK Z:I");
    hears("> P:begin B E P:insert B E S ! > P:insert B E S Q:commit", "E:lost Z:E E:25P02 Z:E C:ROLLBACK Z:I");
    hears("> Q:begin;insert ! > Q:insert Q:commit", "E:lost Z:E E:25P02 Z:E C:ROLLBACK Z:I");
    hears("> Q:begin;insert;commit ! > Q:select", "E:lost Z:I server:Q");
}

fn fate(script: &str) -> Fate {
    let mut scene = Scene::default();
    for word in script.split_whitespace().filter(|word| *word != ">") {
        let is_reply = word.starts_with('<');
        let (tag, text) = word.trim_start_matches('<').split_once(':').unwrap_or((word.trim_start_matches('<'), ""));
        let message = message(!is_reply, tag.as_bytes()[0], &text.replace('_', " "));
        if is_reply { scene.replies(&message) } else { scene.sends(&message) }
    }
    let position = scene.exchange.lose();
    let (sent, client) = (Some(&scene.sent[..]), &scene.client);
    let loss = Loss { cause: Cause::Terminated, position, sent, has_reached: true, withheld: None, client };
    match loss.verdict() {
        Verdict::StandIn(stand_in, _) => stand_in.fate(),
        verdict => panic!("{script}: {verdict:?}"),
    }
}

#[test]
fn what_was_terminated_is_rolled_back_unless_it_may_have_ended_before() {
    for script in [
        "Q:insert",
        "Q:insert;select",
        "P:insert B E S <1 <2 <C",
        "P:insert B E P:update B E S",
        "Q:insert Q:call_p() Q:commit",
        "Q:begin <C <Z:T Q:commit",
        "Q:begin <C <Z:T P:commit B E S",
        "Q:begin <C <Z:T Q:insert Q:commit",
    ] {
        assert_eq!(fate(script), Fate::RolledBack, "{script}");
    }
    for script in [
        "Q:insert <C",
        "Q:call_p()",
        "Q:vacuum",
        "Q:create_index_concurrently_i_on_t_(a)",
        "Q:insert;commit;insert",
        "Q:begin <C <Z:T P:commit B E S <1 <2 <C",
        "Q:begin <C <Z:T Q:commit;insert",
    ] {
        assert_eq!(fate(script), Fate::Unknown, "{script}");
    }
}

#[test]
fn only_a_plain_statement_of_which_nothing_was_heard_is_sent_again() {
    for again in ["Q:insert", "Q:begin", "P:select B D E S < 1 2 n", "P:s=merge D:s S < 1", "P:update B E S < 1 2"] {
        hears(&format!("> {again} !57P01"), "Again");
    }
    for lost in [
        "> Q:insert !",
        "> Q:insert | !57P01",
        "> Q:insert < N !57P01",
        "> Q:select < T D !57P01",
        "> P:insert B E S < 1 2 C !57P01",
        "> Q:create_table_t_() !57P01",
        "> Q:do_$$$$ !57P01",
        "> Q:insert;insert !57P01",
        "> Q:select < C Z:I > Q:insert !57P01",
        "> Q:insert ~ !57P01",
    ] {
        hears(lost, "E:lost Z:I");
    }
    hears("> Q:insert Q:insert !57P01", "E:lost Z:I E:lost Z:I");
    hears("> P:insert B E !57P01", "E:lost");
}

#[test]
fn what_never_left_is_sent_again_whatever_it_is() {
    let mut scene = Scene::default();
    scene.sends(&message(true, b'Q', "vacuum"));
    let verdict = |scene: &mut Scene, withheld| {
        let (position, sent) = (scene.exchange.lose(), Some(&scene.sent[..]));
        let (cause, client) = (Cause::Silent, &scene.client);
        Loss { cause, position, sent, has_reached: false, withheld, client }.verdict()
    };
    assert!(matches!(verdict(&mut scene, Some(b"")), Verdict::Again));
    (scene.exchange, scene.sent) = (Exchange::default(), Vec::new());
    scene.sends(&message(true, b'Q', "vacuum"));
    // Not the first since check-out: it is certain all the same that it was not run.
    assert!(matches!(verdict(&mut scene, None), Verdict::StandIn(stand_in, 0) if stand_in.fate() == Fate::RolledBack));
}

#[test]
fn what_was_not_kept_is_judged_by_what_was_noted_of_it() {
    hears_in_block("P:insert B E S Q:insert ~ ! > Q:commit", "E:lost Z:E E:lost Z:E C:ROLLBACK Z:I");
    hears_in_block("P:insert B E ~ ! > E S Q:commit", "E:lost Z:E C:ROLLBACK Z:I");
    hears("> P:insert B E S P:insert B E ~ ! > S", "E:lost Z:I E:lost Z:I");
    hears("> P:begin B E P:insert B E S ~ ! > Q:commit", "E:lost Z:E C:ROLLBACK Z:I");
    hears("> Q:insert;insert ~ !", "End(Unknown)");
    hears("> B:unknown E S ~ !", "E:lost Z:I");
    // What an unknown name stands for may begin a block.
    hears("> B:unknown E S !", "End(Unknown)");
}

#[test]
fn a_copy_ends_with_an_error_and_what_follows_of_it_is_ignored() {
    hears_in_block("Q:copy < G | > d d ! > d c Q:commit", "E:lost Z:E C:ROLLBACK Z:I");
    hears_in_block("P:copy B E S < 1 2 G | > d ! > d c S Q:rollback", "E:lost Z:E C:ROLLBACK Z:I");
    hears("> Q:copy < G | > d c ! > Q:select", "E:lost Z:I server:Q");
    hears_in_block("Q:copy < H d | ! > Q:rollback", "E:lost Z:E C:ROLLBACK Z:I");
}

#[test]
fn a_request_that_no_server_will_see_takes_the_block_with_it_that_it_begins() {
    let mut scene = Scene { stand_in: Some(StandIn::refusing()), ..Scene::default() };
    for word in ["Q:begin", "Q:insert", "Q:commit", "Q:select"] {
        let (tag, text) = word.split_once(':').unwrap();
        scene.sends(&message(true, tag.as_bytes()[0], text));
    }
    assert_eq!(scene.heard.join(" "), "E:lost Z:E E:25P02 Z:E C:ROLLBACK Z:I server:Q");
}

/// What a client hears whose COMMIT turns out to have been made, if that can be found out.
fn if_made(script: &str) -> Option<String> {
    let mut scene = Scene::default();
    for word in script.split_whitespace().filter(|word| *word != ">") {
        let is_reply = word.starts_with('<');
        let (tag, text) = word.trim_start_matches('<').split_once(':').unwrap_or((word.trim_start_matches('<'), ""));
        let message = message(!is_reply, tag.as_bytes()[0], &text.replace('_', " "));
        if is_reply { scene.replies(&message) } else { scene.sends(&message) }
    }
    let (position, client) = (scene.exchange.lose(), &scene.client);
    let sent = Some(&scene.sent[..]);
    let loss = Loss { cause: Cause::Silent, position, sent, has_reached: true, withheld: None, client };
    let answers = loss.commit(&loss.verdict())?;
    scene.hears(&answers);
    Some(scene.heard.join(" "))
}

#[test]
fn a_commit_that_was_made_has_the_answers_that_are_due() {
    for (script, expected) in [
        ("Q:commit", "C:COMMIT Z:I"),
        ("Q:end; <C:COMMIT", "Z:I"),
        ("P:commit B E S", "1 2 C:COMMIT Z:I"),
        ("P:commit B E S <1 <2", "C:COMMIT Z:I"),
        ("P:s=commit B:s E C:s S <1", "2 C:COMMIT 3 Z:I"),
        ("P:commit B E S <1 <2 <C:COMMIT", "Z:I"),
        ("Q:insert Q:commit <C <Z:T", "C:COMMIT Z:I"),
    ] {
        assert_eq!(if_made(&format!("Q:begin <C <Z:T {script}")).as_deref(), Some(expected), "{script}");
    }
}

#[test]
fn what_is_more_than_one_commit_of_a_block_stays_unknown() {
    for script in [
        "Q:begin <C <Z:T Q:commit Q:select",
        "Q:begin <C <Z:T Q:insert Q:commit",
        "Q:begin <C <Z:T Q:insert;commit",
        "Q:begin <C <Z:T Q:commit_and_chain",
        "Q:begin <C <Z:T Q:prepare_transaction_'x'",
        "Q:begin <C <Z:T P:insert B E P:commit B E S",
        "Q:begin <C <Z:T P:commit B E",
        "Q:begin <C <Z:T P:commit D B E S",
        "Q:begin <C <Z:T Q:rollback",
        "Q:begin <C <Z:T P:commit B E S <1 <E",
        "Q:commit",
        "Q:insert",
    ] {
        assert_eq!(if_made(script), None, "{script}");
    }
}

mod laws {
    use super::*;
    use proptest::prelude::*;

    fn any_message() -> impl Strategy<Value = (u8, Vec<u8>)> {
        let tag = prop::sample::select(&b"QFPBDECSHdcf"[..]);
        let body = prop_oneof![
            "[SP]?[\\x00a]{0,3}(commit|rollback|begin|insert)?[\\x00;]{0,3}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..12),
        ];
        (tag, body)
    }

    proptest! {
        #[test]
        fn whatever_is_sent_each_end_has_one_ready_for_query(
            status in prop::sample::select(&[TxStatus::Idle, TxStatus::InBlock, TxStatus::Failed][..]),
            fate in prop::sample::select(&[Fate::RolledBack, Fate::Unknown][..]),
            (owed, failed) in (0..3usize, any::<bool>()),
            messages in prop::collection::vec(any_message(), 0..20),
        ) {
            let mut scene =
                Scene { stand_in: Some(StandIn::new(status, fate).owing(owed, failed && owed > 0)), ..Scene::default() };
            for (tag, body) in messages {
                let mut message = Vec::new();
                messages::message(&mut message, tag, |out| out.extend_from_slice(&body));
                if !scene.stand_in.as_ref().unwrap().takes(tag) {
                    break;
                }
                scene.heard.clear();
                scene.sends(&message);
                let ready = scene.heard.iter().filter(|heard| heard.starts_with('Z')).count();
                prop_assert_eq!(ready, usize::from(matches!(tag, b'Q' | b'F' | b'S')), "{:?}", scene.heard);
            }
        }
    }
}
