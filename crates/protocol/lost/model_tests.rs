//! Clients that ignore every error, servers that are lost at any moment, and what is left of their transactions.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::exchange::{Exchange, Reply};
use crate::messages;
use crate::stand_in::{Answers, Notes, Refusal};
use crate::statements::text_of;

type Message = Vec<u8>;
type Table = Rc<RefCell<Vec<u32>>>;

/// What a client wants done as one: a transaction block, or a statement by itself.
#[derive(Clone, Debug)]
enum Unit {
    Single {
        sql: &'static str,
        extended: bool,
    },
    /// Rows to write, a failure after so many of them, the end, and the statements sent together: in one Query, or up to
    /// one Sync.
    Block {
        rows: usize,
        fails: bool,
        end: &'static str,
        groups: Vec<(usize, bool)>,
    },
}

/// One after the other, what happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    Sends,
    Works,
    Hears {
        forwards: bool,
    },
    /// The connection ends after the server has worked on for a while.
    Breaks {
        after: usize,
        kept: bool,
    },
    /// FATAL 57P01, in the middle of a message after so many of its statements.
    Terminates {
        after: usize,
        kept: bool,
    },
}

/// A PostgreSQL session, as far as transactions go.
struct Postgres {
    table: Table,
    status: TxStatus,
    pending: Vec<u32>,
    prepared: String,
    skips: bool,
    replies: VecDeque<Message>,
    ends_after: Option<usize>,
}

impl Postgres {
    fn new(table: &Table) -> Self {
        Self {
            table: table.clone(),
            status: TxStatus::Idle,
            pending: vec![],
            prepared: String::new(),
            skips: false,
            replies: VecDeque::new(),
            ends_after: None,
        }
    }

    fn says(&mut self, tag: u8, body: &[u8]) {
        let mut out = Vec::new();
        messages::message(&mut out, tag, |out| out.extend_from_slice(body));
        self.replies.push_back(out);
    }

    fn hears(&mut self, message: &[u8]) {
        let text = |bytes: &[u8]| String::from_utf8(text_of(bytes).to_vec()).unwrap();
        match message[0] {
            b'S' => self.sync(),
            b'Q' => {
                let done = text(&message[5..]).split(';').try_for_each(|statement| self.runs(statement.trim()));
                if done.is_some() {
                    self.sync();
                }
            }
            _ if self.skips => {}
            b'P' => {
                self.prepared = text(&message[6..]);
                self.says(b'1', b"");
            }
            b'B' => self.says(b'2', b""),
            _ => drop(self.runs(&self.prepared.clone())),
        }
    }

    fn sync(&mut self) {
        if self.status == TxStatus::Idle {
            self.table.borrow_mut().append(&mut self.pending);
        }
        self.skips = false;
        self.says(b'Z', &[self.status.byte()]);
    }

    /// Runs a statement; none if the rest is not to be run. The answer to a Query that fails is complete then.
    fn runs(&mut self, sql: &str) -> Option<()> {
        if self.ends_after == Some(0) {
            return None;
        }
        self.ends_after = self.ends_after.map(|left| left - 1);
        let (verb, row) = sql.split_once(' ').unwrap_or((sql, "0"));
        let row: u32 = row.parse().unwrap_or_default();
        let fails = verb == "fail" || self.status == TxStatus::Failed && !matches!(verb, "commit" | "rollback");
        let tag = match verb {
            _ if fails => {
                self.fails();
                return None;
            }
            "begin" => {
                self.status = TxStatus::InBlock;
                "BEGIN"
            }
            "commit" if self.status != TxStatus::Failed => {
                self.table.borrow_mut().append(&mut self.pending);
                self.status = TxStatus::Idle;
                "COMMIT"
            }
            "commit" | "rollback" => {
                self.pending.clear();
                self.status = TxStatus::Idle;
                "ROLLBACK"
            }
            "call" => {
                // It commits by itself.
                self.table.borrow_mut().push(row);
                "CALL"
            }
            _ => {
                self.pending.push(row);
                "INSERT"
            }
        };
        self.says(b'C', &[tag.as_bytes(), &[0]].concat());
        Some(())
    }

    fn fails(&mut self) {
        self.pending.clear();
        if self.status == TxStatus::InBlock {
            self.status = TxStatus::Failed;
        }
        self.skips = true;
        self.says(b'E', b"SERROR\0C22012\0\0");
    }
}

/// What came up to one ReadyForQuery.
#[derive(Clone, Debug, Default)]
struct Answer {
    committed: bool,
    failed: bool,
    lost: Option<Fate>,
}

/// A client, and what stands between it and its servers.
struct World {
    table: Table,
    /// Messages that are not sent yet.
    script: VecDeque<Message>,
    server: Option<(Postgres, VecDeque<Message>)>,
    stand_in: Option<StandIn>,
    exchange: Exchange,
    client: ClientStatements,
    sent: Vec<u8>,
    withheld: Option<Vec<u8>>,
    is_repeated: bool,
    heard: Vec<Answer>,
    answer: Answer,
    is_over: bool,
    /// The outcome of a COMMIT is found out.
    resolves: bool,
}

impl World {
    fn new(script: VecDeque<Message>, resolves: bool) -> Self {
        Self {
            resolves,
            table: Table::default(),
            script,
            server: None,
            stand_in: None,
            exchange: Exchange::default(),
            client: ClientStatements::default(),
            sent: vec![],
            withheld: None,
            is_repeated: false,
            heard: vec![],
            answer: Answer::default(),
            is_over: false,
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            _ if self.is_over => {}
            Event::Sends => {
                if let Some(message) = self.script.pop_front() {
                    self.sends(&message);
                }
            }
            Event::Works => self.works(),
            Event::Hears { forwards } => self.hears(forwards),
            Event::Breaks { after, kept } => {
                (0..after).for_each(|_| self.works());
                if self.server.is_some() {
                    self.loses(Cause::Silent, kept);
                }
            }
            Event::Terminates { after, kept } => {
                let Some((postgres, inbox)) = &mut self.server else { return };
                postgres.ends_after = Some(after);
                inbox.pop_front().filter(|message| message[0] != b'S' || after > 0).into_iter().for_each(|message| {
                    // It has not got to the end of it.
                    let replies = postgres.replies.len();
                    postgres.hears(&message);
                    postgres.replies.truncate(replies + after);
                });
                if postgres.status != TxStatus::Idle {
                    postgres.pending.clear();
                }
                while self.server.as_ref().is_some_and(|(postgres, _)| !postgres.replies.is_empty()) {
                    self.hears(false);
                }
                if self.server.is_some() {
                    let fatal = b"SFATAL\0C57P01\0\0";
                    let mut out = Vec::new();
                    messages::message(&mut out, b'E', |out| out.extend_from_slice(fatal));
                    let header = Header::peek(&out).unwrap().unwrap();
                    assert_eq!(self.exchange.reply(header, fatal), Ok(Reply::Fatal));
                    self.loses(Cause::Terminated, kept);
                }
            }
        }
    }

    fn comes_to_rest(&mut self) {
        for _ in 0..500 {
            self.happens(Event::Sends);
            self.happens(Event::Works);
            self.happens(Event::Hears { forwards: true });
        }
    }

    fn sends(&mut self, message: &[u8]) {
        let header = Header::peek(message).unwrap().unwrap();
        if self.stand_in.as_ref().is_some_and(|stand_in| stand_in.takes(header.tag)) {
            return self.asks(message);
        }
        self.stand_in = None;
        if self.server.is_none() {
            self.server = Some((Postgres::new(&self.table), VecDeque::new()));
            self.withheld = (!self.is_repeated).then(Vec::new);
        }
        self.exchange.request(header, &message[Header::SIZE..]).unwrap();
        self.sent.extend_from_slice(message);
        self.server.as_mut().unwrap().1.push_back(message.to_vec());
    }

    fn works(&mut self) {
        if let Some((postgres, inbox)) = &mut self.server
            && let Some(message) = inbox.pop_front()
        {
            postgres.hears(&message);
            if message[0] == b'Q' && postgres.skips {
                postgres.sync();
            }
        }
    }

    fn hears(&mut self, forwards: bool) {
        let Some((postgres, _)) = &mut self.server else { return };
        let Some(message) = postgres.replies.pop_front() else { return };
        let header = Header::peek(&message).unwrap().unwrap();
        let reply = self.exchange.reply(header, &message[Header::SIZE..]).unwrap();
        self.notes(&message, Fate::RolledBack);
        match &mut self.withheld {
            Some(withheld) if !forwards => withheld.extend_from_slice(&message),
            withheld => *withheld = None,
        }
        if matches!(reply, Reply::Ready(_)) {
            self.withheld = None;
            if self.exchange.is_quiet() {
                self.sent.clear();
            }
            if self.exchange.at_rest().is_some() {
                self.exchange.reset();
                (self.server, self.is_repeated) = (None, false);
            }
        }
    }

    fn loses(&mut self, cause: Cause, kept: bool) {
        let (postgres, _) = self.server.take().unwrap();
        let position = self.exchange.lose();
        self.exchange.reset();
        let sent = std::mem::take(&mut self.sent);
        let is_kept = kept && !position.is_answered();
        let loss = Loss {
            cause,
            position,
            sent: is_kept.then_some(&sent[..]),
            has_reached: !sent.is_empty(),
            withheld: self.withheld.as_deref(),
            client: &self.client,
        };
        let mut verdict = loss.verdict();
        if self.resolves
            && let Some(answers) = loss.commit(&verdict)
            && let Verdict::StandIn(stand_in, _) = &mut verdict
        {
            if postgres.status == TxStatus::Idle {
                return self.note_all(&answers, Fate::RolledBack);
            }
            stand_in.is_rolled_back();
        }
        match verdict {
            Verdict::Nothing => {}
            Verdict::End(_) => self.is_over = true,
            Verdict::Again => {
                // What was withheld is not heard.
                self.answer = Answer::default();
                self.is_repeated = true;
                self.again(&sent);
            }
            Verdict::StandIn(mut stand_in, answered) => {
                let (mut out, fate) = (Vec::new(), stand_in.fate());
                stand_in.catch_up(&mut Answers { out: &mut out, refuse: &mut refuse });
                self.stand_in = Some(stand_in);
                self.note_all(&out, fate);
                if is_kept {
                    self.again(&sent[answered..]);
                }
            }
        }
    }

    fn again(&mut self, mut sent: &[u8]) {
        while let Ok(Some(header)) = Header::peek(sent) {
            let (message, rest) = sent.split_at(header.total_len());
            self.sends(message);
            sent = rest;
        }
    }

    fn asks(&mut self, message: &[u8]) {
        let (mut out, mut intern) = (Vec::new(), |_: &[u8]| None);
        let stand_in = self.stand_in.as_mut().unwrap();
        let mut notes = Notes { client: &mut self.client, most: usize::MAX, intern: &mut intern };
        let mut answers = Answers { out: &mut out, refuse: &mut refuse };
        stand_in.message(message[0], &message[Header::SIZE..], &mut notes, &mut answers);
        let fate = stand_in.fate();
        self.note_all(&out, fate);
    }

    fn note_all(&mut self, mut answers: &[u8], fate: Fate) {
        while let Ok(Some(header)) = Header::peek(answers) {
            let (message, rest) = answers.split_at(header.total_len());
            self.notes(message, fate);
            answers = rest;
        }
    }

    fn notes(&mut self, message: &[u8], fate: Fate) {
        let body = &message[Header::SIZE..];
        match message[0] {
            b'C' => self.answer.committed |= body == b"COMMIT\0",
            b'E' => {
                self.answer.failed = true;
                if body == b"lost" {
                    self.answer.lost = self.answer.lost.or(Some(fate));
                }
            }
            b'Z' => self.heard.push(std::mem::take(&mut self.answer)),
            _ => {}
        }
    }
}

fn refuse(refusal: Refusal, out: &mut Vec<u8>) {
    let word: &[u8] = if refusal == Refusal::Lost { b"lost" } else { b"25P02" };
    messages::message(out, b'E', |out| out.extend_from_slice(word));
}

/// The messages of some statements that are sent together.
fn write(statements: &[String], extended: bool, out: &mut VecDeque<Message>) {
    let mut says = |tag: u8, body: &[u8]| {
        let mut message = Vec::new();
        messages::message(&mut message, tag, |message| message.extend_from_slice(body));
        out.push_back(message);
    };
    if !extended {
        return says(b'Q', format!("{}\0", statements.join(";")).as_bytes());
    }
    for statement in statements {
        says(b'P', format!("\0{statement}\0\0\0").as_bytes());
        says(b'B', &[0; 8]);
        says(b'E', &[0; 5]);
    }
    says(b'S', b"");
}

/// A unit's messages; which rows it writes, and which ReadyForQuery are its.
struct Written {
    rows: std::ops::Range<u32>,
    answers: std::ops::Range<usize>,
}

fn write_unit(unit: &Unit, row: &mut u32, answers: &mut usize, out: &mut VecDeque<Message>) -> Written {
    let (first_row, first_answer) = (*row, *answers);
    let mut next_row = || {
        *row += 1;
        *row - 1
    };
    match unit {
        Unit::Single { sql, extended } => {
            write(&[format!("{sql} {}", next_row())], *extended, out);
            *answers += 1;
        }
        Unit::Block { rows, fails, end, groups } => {
            let mut statements = vec!["begin".to_owned()];
            statements.extend((0..*rows).map(|_| format!("insert {}", next_row())));
            statements.extend(fails.then(|| "fail".to_owned()));
            statements.push((*end).to_owned());
            let mut rest = &statements[..];
            let mut groups = groups.iter().cycle();
            while let Some((len, extended)) = groups.next().filter(|_| !rest.is_empty()) {
                let (group, behind) = rest.split_at((*len).min(rest.len()));
                write(group, *extended, out);
                *answers += 1;
                rest = behind;
            }
        }
    }
    Written { rows: first_row..*row, answers: first_answer..*answers }
}

fn units() -> impl Strategy<Value = Vec<Unit>> {
    let single = (prop_oneof![Just("insert"), Just("call")], any::<bool>());
    let single = single.prop_map(|(sql, extended)| Unit::Single { sql, extended });
    let end = prop_oneof![3 => Just("commit"), 1 => Just("rollback")];
    let groups = prop::collection::vec((1..4usize, any::<bool>()), 1..4);
    let block = (1..4usize, prop::bool::weighted(0.2), end, groups);
    let block = block.prop_map(|(rows, fails, end, groups)| Unit::Block { rows, fails, end, groups });
    prop::collection::vec(prop_oneof![1 => single, 2 => block], 1..6)
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let kept = || prop::bool::weighted(0.8);
    let event = prop_oneof![
        8 => Just(Event::Sends),
        8 => Just(Event::Works),
        8 => any::<bool>().prop_map(|forwards| Event::Hears { forwards }),
        1 => (0..5usize, kept()).prop_map(|(after, kept)| Event::Breaks { after, kept }),
        1 => (0..3usize, kept()).prop_map(|(after, kept)| Event::Terminates { after, kept }),
    ];
    prop::collection::vec(event, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_transaction_is_left_by_halves_and_no_answer_is_a_lie(
        units in units(),
        events in events(),
        resolves in any::<bool>(),
    ) {
        let (mut script, mut row, mut answers) = (VecDeque::new(), 0, 0);
        let mut written: Vec<Written> =
            units.iter().map(|unit| write_unit(unit, &mut row, &mut answers, &mut script)).collect();
        let mut world = World::new(script, resolves);
        events.into_iter().for_each(|event| world.happens(event));
        world.comes_to_rest();
        // Whoever does not know how its block stands ends it.
        write(&["rollback".to_owned()], false, &mut world.script);
        answers += 1;
        let last = Unit::Single { sql: "insert", extended: false };
        written.push(write_unit(&last, &mut row, &mut answers, &mut world.script));
        world.comes_to_rest();
        let table = world.table.borrow().clone();
        let count = |row: u32| table.iter().filter(|found| **found == row).count();
        for (unit, written) in units.iter().chain([&last]).zip(&written) {
            let counts: Vec<usize> = written.rows.clone().map(count).collect();
            prop_assert!(counts.iter().all(|count| *count == counts[0] && *count <= 1), "{unit:?}: {counts:?}");
            let Some(heard) = world.heard.get(written.answers.clone()) else { continue };
            let rolled_back = heard.iter().any(|answer| answer.lost == Some(Fate::RolledBack));
            prop_assert!(!rolled_back || counts[0] == 0, "{unit:?} is there: {heard:?}");
            let is_single = matches!(unit, Unit::Single { .. });
            let acknowledged = heard.iter().any(|answer| answer.committed) || is_single && !heard[0].failed;
            prop_assert!(!acknowledged || counts[0] == 1, "{unit:?} is lost: {heard:?}");
        }
        if !world.is_over {
            prop_assert_eq!(world.heard.len(), answers, "one ReadyForQuery for each that is due");
            prop_assert!(!world.heard[answers - 1].failed, "it goes on: {:?}", world.heard);
        }
    }
}
