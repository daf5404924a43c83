//! Clients that share servers hear what each would hear from a PostgreSQL of its own, whatever they prepare.
//!
//! The model is a naive session: two maps and the rules of the protocol. It plays the servers, and it plays the
//! PostgreSQL that each client would have to itself.

use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::backend::TxStatus;
use crate::exchange::{Reply, Request};
use crate::header::Header;
use crate::lexer;
use crate::statements::Catalog;

type Message = Vec<u8>;

fn parse(name: &str, text: &str) -> Message {
    let mut out = Vec::new();
    write_parse(&mut out, name.as_bytes(), &[text.as_bytes(), &[0; 3]].concat());
    out
}

fn named(tag: u8, before: &[u8], name: &[u8], behind: &[u8]) -> Message {
    let mut out = Vec::new();
    messages::message(&mut out, tag, |out| {
        out.extend_from_slice(before);
        messages::cstr(out, name);
        out.extend_from_slice(behind);
    });
    out
}

/// A message's bytes before its name or text, that, and what is behind its zero.
fn take_apart(message: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let body = &message[Header::SIZE..];
    let (before, rest) = body.split_at(match message[0] {
        b'B' | b'C' | b'D' => 1,
        b'P' | b'Q' => 0,
        _ => return (body, b"", b""),
    });
    let end = rest.iter().position(|byte| *byte == 0).unwrap();
    (before, &rest[..end], &rest[end + 1..])
}

/// A session as PostgreSQL has it.
struct Postgres {
    named: HashMap<Vec<u8>, Vec<u8>>,
    unnamed: Option<Vec<u8>>,
    portal: Option<Vec<u8>>,
    status: TxStatus,
    skips: bool,
    buffered: Vec<Message>,
    sent: VecDeque<Message>,
}

type Outcome = Result<(), (&'static str, Vec<u8>)>;

impl Postgres {
    fn new() -> Self {
        let (named, unnamed, portal) = Default::default();
        Self {
            named,
            unnamed,
            portal,
            status: TxStatus::Idle,
            skips: false,
            buffered: Vec::new(),
            sent: VecDeque::new(),
        }
    }

    fn hears(&mut self, message: &[u8]) {
        let (_, name, behind) = take_apart(message);
        let outcome = match message[0] {
            b'S' => {
                self.skips = false;
                self.ready();
                Ok(())
            }
            b'H' => {
                self.flush();
                Ok(())
            }
            _ if self.skips => Ok(()),
            b'P' => self.parse(name, behind),
            b'B' => self.bind(name),
            b'D' => self.describe(name),
            b'E' => self.execute(),
            b'C' => {
                let gone = if name.is_empty() { self.unnamed.take() } else { self.named.remove(name) };
                drop(gone);
                self.says(b'3', b"");
                Ok(())
            }
            b'Q' => {
                (self.unnamed, self.portal) = (None, None);
                let outcome = name.split(|byte| *byte == b';').try_for_each(|text| self.run(text));
                if let Err(error) = outcome {
                    self.fails(error);
                }
                self.ready();
                return;
            }
            tag => unreachable!("{tag}"),
        };
        if let Err(error) = outcome {
            self.fails(error);
            self.skips = true;
        }
    }

    fn parse(&mut self, name: &[u8], behind: &[u8]) -> Outcome {
        let text = behind.split(|byte| *byte == 0).next().unwrap();
        if name.is_empty() {
            self.unnamed = None;
        }
        self.may_run(text)?;
        match name {
            b"" => self.unnamed = Some(text.to_vec()),
            _ if self.named.contains_key(name) => return Err(("42P05", name.to_vec())),
            _ => drop(self.named.insert(name.to_vec(), text.to_vec())),
        }
        self.says(b'1', b"");
        Ok(())
    }

    fn may_run(&self, text: &[u8]) -> Outcome {
        match text {
            b"bad" => Err(("42601", Vec::new())),
            b"rollback" => Ok(()),
            _ if self.status == TxStatus::Failed => Err(("25P02", Vec::new())),
            _ => Ok(()),
        }
    }

    fn find(&self, name: &[u8]) -> Result<Vec<u8>, (&'static str, Vec<u8>)> {
        let found = if name.is_empty() { self.unnamed.as_ref() } else { self.named.get(name) };
        let text = found.cloned().ok_or(("26000", name.to_vec()))?;
        self.may_run(&text)?;
        Ok(text)
    }

    fn bind(&mut self, name: &[u8]) -> Outcome {
        self.portal = Some(self.find(name)?);
        self.says(b'2', b"");
        Ok(())
    }

    fn describe(&mut self, name: &[u8]) -> Outcome {
        let text = self.find(name)?;
        self.says(b't', &text);
        self.says(b'n', b"");
        Ok(())
    }

    fn execute(&mut self) -> Outcome {
        let text = self.portal.take().ok_or(("34000", Vec::new()))?;
        self.run(&text)
    }

    fn run(&mut self, text: &[u8]) -> Outcome {
        self.may_run(text)?;
        let tag = match text {
            b"fail" => return Err(("22012", Vec::new())),
            b"begin" => {
                self.status = TxStatus::InBlock;
                &b"BEGIN"[..]
            }
            b"rollback" => {
                self.status = TxStatus::Idle;
                b"ROLLBACK"
            }
            b"deallocate all" => {
                self.named.clear();
                b"DEALLOCATE ALL"
            }
            _ => match text.strip_prefix(b"deallocate ") {
                Some(name) if self.named.remove(name).is_none() => return Err(("26000", name.to_vec())),
                Some(_) => b"DEALLOCATE",
                None => text,
            },
        };
        self.says(b'C', &[tag, &[0]].concat());
        Ok(())
    }

    fn fails(&mut self, (code, about): (&str, Vec<u8>)) {
        self.portal = None;
        if self.status == TxStatus::InBlock {
            self.status = TxStatus::Failed;
        }
        self.says(b'E', &[b"SERROR\0C", code.as_bytes(), b"\0M", &about, b"\0\0"].concat());
        self.flush();
    }

    fn ready(&mut self) {
        if self.status == TxStatus::Idle {
            self.portal = None;
        }
        self.says(b'Z', &[self.status.byte()]);
        self.flush();
    }

    fn says(&mut self, tag: u8, body: &[u8]) {
        let mut out = Vec::new();
        messages::message(&mut out, tag, |out| out.extend_from_slice(body));
        self.buffered.push(out);
    }

    fn flush(&mut self) {
        self.sent.extend(self.buffered.drain(..));
    }
}

struct Server {
    postgres: Postgres,
    /// On its way to it.
    inbox: VecDeque<Message>,
    known: ServerStatements,
    is_lent: bool,
}

impl Server {
    fn new() -> Self {
        Self { postgres: Postgres::new(), inbox: VecDeque::new(), known: ServerStatements::default(), is_lent: false }
    }
}

/// One client, pooled, beside the same client with a PostgreSQL of its own.
struct Client {
    own: Postgres,
    queue: VecDeque<Message>,
    heard: Vec<Message>,
    prepared: ClientStatements,
    exchange: Exchange,
    server: Option<usize>,
}

struct World {
    servers: Vec<Server>,
    clients: Vec<Client>,
    catalog: Catalog,
}

impl World {
    fn new() -> Self {
        let client = |_| Client {
            own: Postgres::new(),
            queue: VecDeque::new(),
            heard: Vec::new(),
            prepared: ClientStatements::default(),
            exchange: Exchange::default(),
            server: None,
        };
        let servers = (0..3).map(|_| Server::new()).collect();
        Self { servers, clients: (0..2).map(client).collect(), catalog: Catalog::default() }
    }

    fn sends(&mut self, who: usize, message: Message) {
        self.clients[who].own.hears(&message);
        self.clients[who].queue.push_back(message);
    }

    /// Judges the client's next message, on a server from `which` on if it has none: whether it went.
    fn judges(&mut self, who: usize, which: usize) -> bool {
        let client = &mut self.clients[who];
        let Some(message) = client.queue.front().cloned() else { return false };
        if client.server.is_none() {
            let free = (0..3).map(|step| (which + step) % 3).find(|at| !self.servers[*at].is_lent);
            client.server = free;
            free.into_iter().for_each(|at| self.servers[at].is_lent = true);
        }
        let server = &mut self.servers[client.server.expect("there are more servers than clients")];
        let (exchange, known) = (&mut client.exchange, &mut server.known);
        let mut judge = Judge {
            exchange,
            client: &mut client.prepared,
            server: known,
            most: 2,
            before: Vec::new(),
            told: 0,
            gate: Gate::default(),
        };
        let (before, name, behind) = take_apart(&message);
        let verdict = match (message[0], name) {
            (b'Q', text) if lexer::simple_query(&[text, &[0]].concat(), true).deallocates => judge.query(text),
            (b'P', b"") => judge.parse_unnamed(behind, true),
            (b'P', name) => judge.parse(name, behind, || Some(self.catalog.intern(b"", behind))),
            (b'B' | b'D', b"") => judge.refer_unnamed(message[0] == b'B'),
            (b'B' | b'D', name) => judge.refer(name, message[0] == b'B'),
            (b'C', name) => judge.close(name),
            _ => Ok(Verdict::Pass(None)),
        };
        let verdict = verdict.unwrap();
        let mut ours = &judge.before[..];
        while let Ok(Some(header)) = Header::peek(ours) {
            let (one, rest) = ours.split_at(header.total_len());
            server.inbox.push_back(one.to_vec());
            ours = rest;
        }
        let renamed = match &verdict {
            Verdict::Wait => return false,
            Verdict::Pass(Some(statement)) | Verdict::Noted(Some(statement)) => {
                named(message[0], before, statement.server_name(), behind)
            }
            _ => message.clone(),
        };
        let header = Header::peek(&renamed).unwrap().unwrap();
        match verdict {
            Verdict::Pass(_) => {
                assert_eq!(client.exchange.request(header, &renamed[Header::SIZE..]), Ok(Request::Forward));
                server.inbox.push_back(renamed);
            }
            Verdict::Noted(_) => server.inbox.push_back(renamed),
            Verdict::Answer => {}
            Verdict::Wait | Verdict::Disguise => unreachable!("no name here looks like ours"),
        }
        client.queue.pop_front();
        self.settles(who);
        true
    }

    fn settles(&mut self, who: usize) {
        let client = &mut self.clients[who];
        let Some(at) = client.server else { return };
        client.exchange.undo(&mut client.prepared, &mut self.servers[at].known);
        client.exchange.tell(&mut client.prepared);
        while let Some(tag) = client.exchange.own_answer() {
            client.heard.push(vec![tag, 0, 0, 0, 4]);
        }
    }

    /// The client's server looks at its next message, or the pooler at its next answer: whether there was one.
    fn answers(&mut self, who: usize) -> bool {
        let Some(at) = self.clients[who].server else { return false };
        let server = &mut self.servers[at];
        if let Some(message) = server.inbox.pop_front() {
            server.postgres.hears(&message);
            return true;
        }
        let Some(answer) = server.postgres.sent.pop_front() else { return false };
        let client = &mut self.clients[who];
        let header = Header::peek(&answer).unwrap().unwrap();
        match client.exchange.reply(header, &answer[Header::SIZE..]).expect("it was due") {
            Reply::Drop => {}
            reply => {
                if reply == Reply::Deallocated {
                    client.prepared.clear();
                    server.known.clear();
                }
                client.heard.push(answer);
            }
        }
        self.settles(who);
        true
    }

    /// Gives the client's server back, or closes it, if that is possible.
    fn rests(&mut self, who: usize) {
        let client = &mut self.clients[who];
        let Some(at) = client.server else { return };
        if !self.servers[at].inbox.is_empty() || !self.servers[at].postgres.sent.is_empty() {
            return;
        }
        if client.exchange.is_spent() {
            self.servers[at] = Server::new();
        } else if client.exchange.at_rest().is_none() {
            return;
        }
        self.servers[at].is_lent = false;
        client.server = None;
        client.exchange.reset();
    }

    /// All that is still to be said is said, and what each client has heard is what it should have.
    fn ends(mut self) {
        for who in 0..self.clients.len() {
            self.sends(who, sync());
            self.sends(who, query("rollback"));
            for name in ["a", "b", "c", ""] {
                self.sends(who, named(b'D', b"S", name.as_bytes(), b""));
                self.sends(who, sync());
            }
            while self.judges(who, who) || self.answers(who) {}
            let client = &mut self.clients[who];
            assert!(client.queue.is_empty(), "it waits for ever: {:?}", client.exchange);
            let (heard, expected) = (shown(&client.heard), shown(client.own.sent.make_contiguous()));
            let agree = heard.iter().zip(&expected).take_while(|(one, other)| one == other).count();
            assert_eq!(heard[agree..], expected[agree..], "after {agree}");
            self.rests(who);
            assert!(self.clients[who].server.is_none(), "its server does not come to rest");
        }
    }
}

fn sync() -> Message {
    let mut out = Vec::new();
    messages::sync(&mut out);
    out
}

fn shown(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8_lossy(message).replace('\0', ".")).collect()
}

#[derive(Clone)]
struct Messages(Vec<Message>);

impl std::fmt::Debug for Messages {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}", shown(&self.0))
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(Messages),
    Judge(usize),
    Answer,
    Rest,
}

fn query(text: &str) -> Message {
    named(b'Q', b"", text.as_bytes(), b"")
}

fn bind(name: &str) -> Message {
    named(b'B', b"\0", name.as_bytes(), &[0; 6])
}

fn close(name: &str) -> Message {
    named(b'C', b"S", name.as_bytes(), b"")
}

fn execute() -> Message {
    named(b'E', b"", b"", &[0; 4])
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let name = || prop::sample::select(vec!["", "", "a", "b", "c"]);
    let texts = vec!["one", "two", "three", "bad", "fail", "begin", "rollback"];
    // A portal that deallocates is executed at once, as drivers do.
    let deallocate = prop::sample::select(vec!["deallocate a", "deallocate b", "deallocate all"]);
    let texts_of_queries = prop::sample::select(vec![
        "one",
        "bad",
        "begin;fail",
        "begin",
        "rollback",
        "deallocate a",
        "deallocate b;deallocate a",
        "deallocate a;fail;deallocate b",
        "one;deallocate all",
    ]);
    let send = prop_oneof![
        6 => (name(), prop::sample::select(texts)).prop_map(|(name, text)| vec![parse(name, text)]),
        6 => name().prop_map(|name| vec![bind(name), execute()]),
        1 => (name(), deallocate).prop_map(|(name, text)| vec![parse(name, text), bind(name), execute()]),
        3 => name().prop_map(|name| vec![named(b'D', b"S", name.as_bytes(), b"")]),
        2 => name().prop_map(|name| vec![close(name)]),
        2 => texts_of_queries.prop_map(|text| vec![query(text)]),
        7 => Just(vec![sync()]),
    ];
    let step = prop_oneof![
        5 => send.prop_map(|messages| Step::Send(Messages(messages))),
        5 => (0..3usize).prop_map(Step::Judge),
        7 => Just(Step::Answer),
        2 => Just(Step::Rest),
    ];
    (0..2usize, step)
}

/// A single client that sends all this at once hears what it should.
#[track_caller]
fn says(messages: impl IntoIterator<Item = Message>) {
    let mut world = World::new();
    messages.into_iter().for_each(|message| world.sends(0, message));
    world.ends();
}

/// What ReadyForQuery said last is not how things stand: a ROLLBACK behind it, with no Sync yet, ends the failed block.
/// The server was given nothing to deallocate, as if it could only refuse, and answered that there is no such name.
#[test]
fn a_block_that_has_failed_may_have_ended_before_the_sync() {
    says([query("begin;fail"), parse("a", "rollback"), bind("a"), execute(), query("deallocate a")]);
}

/// The target of what was closed stayed, and its name was lent to the server for the Bind that failed.
#[test]
fn an_unnamed_statement_that_is_closed_takes_nothing_away() {
    let first = [parse("", "deallocate a"), bind(""), execute(), sync()];
    let second = [parse("a", "one"), close(""), bind(""), execute(), sync()];
    let third = [close("a"), parse("b", "deallocate a"), bind("b"), execute()];
    says(first.into_iter().chain(second).chain(third));
}

/// A portal that is bound and not executed leaves the name it would have taken away on the server.
#[test]
fn a_name_lent_to_a_portal_that_was_not_executed_is_not_found_later() {
    let bound = || [parse("a", "one"), parse("b", "one"), parse("d", "deallocate a"), bind("d"), sync()].into_iter();
    says(bound().chain([close("a"), bind("d"), execute()]));
    says(bound().chain([close("a"), query("deallocate a")]));
    says(bound().chain([parse("e", "deallocate b"), bind("e"), execute()]));
    says([query("begin")].into_iter().chain(bound()).chain([close("a"), bind("d"), execute()]));
    says([query("begin")].into_iter().chain(bound()).chain([close("a"), query("deallocate a")]));
}

/// What is lent to a portal whose answers are still due is not given up.
#[test]
fn a_statement_that_deallocates_itself_is_gone_in_a_pipeline_too() {
    let first = [parse("b", "deallocate b"), bind("b"), execute(), sync()];
    says(first.into_iter().chain([parse("", "bad"), parse("", "deallocate all"), bind(""), execute()]));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]

    #[test]
    fn clients_that_share_servers_hear_what_each_would_hear_alone(steps in prop::collection::vec(step(), 0..150)) {
        let mut world = World::new();
        for (who, step) in steps {
            match step {
                Step::Send(Messages(messages)) => messages.into_iter().for_each(|message| world.sends(who, message)),
                Step::Judge(which) => drop(world.judges(who, which)),
                Step::Answer => drop(world.answers(who)),
                Step::Rest => world.rests(who),
            }
        }
        world.ends();
    }
}
