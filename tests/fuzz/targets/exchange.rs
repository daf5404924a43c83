#![no_main]
//! Between any client and an honest server: at rest only if the server is, and an abandoned server finds its way back.
//!
//! The input is a script. A client's message is its tag, and a letter that says what comes of it (`fuzz::postgres`); a
//! Query has several, up to `;`. `N`, `R` and `K` are Parse, Bind and Close of a named statement; from 240 on there is no
//! room for it. At `>` the server reads a message, at `<` we read an answer, at `x` an error ends a COPY, and at `=` all
//! is read, and the server goes to the next client if it is at rest.

use std::collections::VecDeque;

use fuzz::framed;
use fuzz::postgres::{Hears, Request, Sent, Server};
use libfuzzer_sys::fuzz_target;
use protocol::exchange::{self, ClientViolation, Reply, WayBack};
use protocol::prepared::{Gate, Judge, Verdict};
use protocol::statements::{Catalog, ClientStatements, ServerStatements};
use protocol::{Exchange, Header};

/// Statements that a server may know at the same time.
const MOST: usize = 2;

fuzz_target!(|script: &[u8]| {
    let mut pair = Pair::default();
    let mut rest = script.iter();
    while let Some(action) = rest.next() {
        let mut how = || rest.next().copied().unwrap_or_default();
        match action {
            b'Q' => {
                let statements: VecDeque<u8> =
                    rest.by_ref().copied().take_while(|byte| *byte != b';').take(8).collect();
                pair.query(statements);
            }
            b'F' => pair.client(b'F', 0, Request::FunctionCall(how())),
            b'P' => pair.client(b'P', 0, Request::Parse(how(), vec![])),
            b'B' => pair.client(b'B', 0, Request::Bind(how(), vec![])),
            b'D' => pair.client(b'D', 0, Request::Describe(how())),
            b'E' => pair.client(b'E', 0, Request::Execute(how())),
            b'C' => pair.client(b'C', 0, Request::Close(vec![])),
            b'S' => pair.client(b'S', 0, Request::Sync(how())),
            b'H' => pair.client(b'H', 0, Request::Flush),
            b'd' => pair.client(b'd', 0, Request::CopyData(how())),
            b'c' => pair.client(b'c', 0, Request::CopyDone),
            b'f' => pair.client(b'f', 0, Request::CopyFail),
            b'N' | b'R' | b'K' => {
                if !pair.named(*action, how()) {
                    return;
                }
            }
            b'>' => drop(pair.server.advance()),
            b'x' => pair.server.interrupt(),
            b'<' => drop(pair.read()),
            b'=' => pair.next_client(),
            _ => continue,
        }
        pair.settle();
    }
    pair.abandon();
});

/// A client's conversation with a server, and what was noted of it.
#[derive(Default)]
struct Pair {
    server: Server,
    exchange: Exchange,
    catalog: Catalog,
    names: ClientStatements,
    notes: ServerStatements,
    heard: Vec<u8>,
}

impl Pair {
    fn query(&mut self, statements: VecDeque<u8>) {
        let text: &[u8] = if statements.contains(&b'a') { b"discard all\0" } else { b"select 1\0" };
        self.message(b'Q', text, Request::Query(statements));
    }

    /// A message that passes as it is.
    fn client(&mut self, tag: u8, how: u8, request: Request) {
        let is_bare = matches!(tag, b'S' | b'H' | b'c');
        self.message(tag, if is_bare { &[] } else { std::slice::from_ref(&how) }, request);
    }

    fn message(&mut self, tag: u8, body: &[u8], request: Request) {
        let (header, body) = framed(tag, body);
        match self.exchange.request(header, &body) {
            Ok(exchange::Request::Forward) => self.server.inbox.push_back(Sent { request, hears: Hears::Client }),
            Ok(exchange::Request::Drop) => assert!(matches!(tag, b'd' | b'c' | b'f')),
            Ok(exchange::Request::Terminate) | Err(ClientViolation::PipelineTooLong) => panic!("not sent"),
            Err(error) => panic!("{error}"),
        }
    }

    /// Parse, Bind or Close of one of four names; there are eight statements. False if it would wait for a COPY's data,
    /// which the client does not send.
    fn named(&mut self, action: u8, how: u8) -> bool {
        let (name, text, has_room) = ([how % 4], [how % 8], how < 240);
        let mut refused;
        let (verdict, tag) = loop {
            let (exchange, client, server) = (&mut self.exchange, &mut self.names, &mut self.notes);
            let mut judge = Judge { exchange, client, server, most: MOST, before: Vec::new(), told: 0, gate: Gate::default() };
            let verdict = match action {
                b'N' => judge.parse(&name, &text, || has_room.then(|| self.catalog.intern(b"", &text))),
                b'R' => judge.refer(&name, true),
                _ => judge.close(&name),
            };
            let before = judge.before;
            refused = self.send_own(&before);
            match verdict.expect("the pipeline is short") {
                Verdict::Wait => {
                    if !self.read() && !self.server.advance() {
                        assert!(self.server.is_copying() || self.server.is_dead, "it waits for what never comes");
                        return false;
                    }
                    self.settle();
                }
                verdict => break (verdict, action),
            }
        };
        let request = |name: &[u8]| match tag {
            b'N' => Request::Parse(how, name.to_vec()),
            b'R' => Request::Bind(0, name.to_vec()),
            _ => Request::Close(name.to_vec()),
        };
        let tag = match tag {
            b'N' => b'P',
            b'R' => b'B',
            _ => b'C',
        };
        match verdict {
            Verdict::Wait | Verdict::Disguise => panic!("{verdict:?}"),
            Verdict::Pass(None) => self.client(tag, 1, request(&name)),
            Verdict::Pass(Some(statement)) => self.client(tag, 1, request(statement.server_name())),
            Verdict::Noted(statement) => {
                let statement = statement.expect("it has a name");
                self.send(request(statement.server_name()), Hears::Client);
            }
            Verdict::Answer if refused => {}
            Verdict::Answer if tag == b'P' => self.send(Request::Parse(0, vec![]), Hears::ClientFromPooler),
            Verdict::Answer => self.send(request(&[]), Hears::ClientFromPooler),
        }
        true
    }

    fn send(&mut self, request: Request, hears: Hears) {
        self.server.inbox.push_back(Sent { request, hears });
    }

    /// Messages of our own, which are noted already. True if one is there to be refused.
    fn send_own(&mut self, mut bytes: &[u8]) -> bool {
        let mut refused = false;
        while let Ok(Some(header)) = Header::peek(bytes) {
            let (message, rest) = bytes.split_at(header.total_len());
            bytes = rest;
            let text = |from: usize| {
                message[Header::SIZE + from..].split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
            };
            let request = match header.tag {
                b'P' if text(0) == b"POOLER_" => {
                    refused = true;
                    self.send(Request::Parse(b'e', vec![]), Hears::Client);
                    continue;
                }
                b'P' => Request::Parse(0, text(0)),
                b'C' => Request::Close(text(1)),
                b'S' => Request::Sync(0),
                b'H' => Request::Flush,
                tag => panic!("{}", char::from(tag)),
            };
            self.send(request, Hears::Nobody);
        }
        refused
    }

    /// Reads one answer. False where there is none.
    fn read(&mut self) -> bool {
        let Some((tag, body)) = self.server.outbox.pop_front() else { return false };
        let (header, body) = framed(tag, &body);
        match self.exchange.reply(header, &body) {
            Ok(Reply::NeedBody(_)) => panic!("all of it is there"),
            Ok(Reply::Drop) => {}
            Ok(Reply::Deallocated) => {
                self.names.clear();
                self.notes.clear();
                self.heard.push(tag);
            }
            Ok(_) => self.heard.push(tag),
            Err(error) => panic!("an honest server: {error}"),
        }
        true
    }

    /// What follows every step: answers of our own, undoing, and the proof, which must be true.
    fn settle(&mut self) {
        while let Some(tag) = self.exchange.own_answer() {
            self.heard.push(tag);
        }
        self.exchange.undo(&mut self.names, &mut self.notes);
        self.exchange.tell(&mut self.names);
        if self.exchange.at_rest().is_some() {
            self.check_rest();
        }
    }

    fn check_rest(&mut self) {
        // Requests that it ignores, and those that never reach it, may be under way.
        assert!(self.server.inbox.iter().all(Sent::is_harmless), "{:?}", self.server);
        while self.server.advance() {}
        assert!(self.server.is_at_rest(), "{:?}", self.server);
        assert_eq!(self.exchange.way_back(), WayBack::Done);
        assert_eq!(self.heard, self.server.heard, "the client heard something else than the server said");
        for text in 0..8 {
            let statement = self.catalog.intern(b"", &[text]);
            let is_known = self.server.known.contains(statement.server_name());
            assert_eq!(self.notes.touch(statement.id), is_known, "statement {text}");
        }
    }

    fn next_client(&mut self) {
        while self.server.advance() {
            while self.read() {
                self.settle();
            }
        }
        if self.exchange.at_rest().is_some() {
            self.exchange.reset();
            self.names = ClientStatements::default();
            self.heard.clear();
            self.server.heard.clear();
        }
    }

    /// The client is gone: goes the way back, in which nothing may be waited for that never comes.
    fn abandon(&mut self) {
        for _ in 0..8 {
            self.settle();
            match self.exchange.way_back() {
                WayBack::Done => return assert!(self.exchange.at_rest().is_some()),
                WayBack::None => return,
                WayBack::Wait => {
                    if !self.wait() {
                        return;
                    }
                }
                WayBack::CopyFail { sync } => {
                    self.client(b'f', 0, Request::CopyFail);
                    if sync {
                        self.client(b'S', 0, Request::Sync(0));
                    }
                }
                WayBack::Sync => self.client(b'S', 0, Request::Sync(0)),
                WayBack::Rollback => self.query([b'r'].into()),
            }
        }
        panic!("no end of the way back: {:?}, {:?}", self.exchange.way_back(), self.server);
    }

    /// Reads until something else is to be done than wait. False if the server has ended the session.
    fn wait(&mut self) -> bool {
        while self.exchange.way_back() == WayBack::Wait {
            if !self.read() && !self.server.advance() {
                assert!(self.server.is_dead, "we wait for what never comes: {:?}", self.exchange);
                return false;
            }
            self.settle();
        }
        true
    }
}
