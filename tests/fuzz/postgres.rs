//! A server as PostgreSQL's manual describes it (protocol chapter, "Message Flow"), without any SQL: what each request
//! does is said by letters in the request itself.

use std::collections::{BTreeSet, VecDeque};

use protocol::backend::TxStatus;

/// A request as the server understands it.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A simple Query; see [`Server::statement`] for the letters.
    Query(VecDeque<u8>),
    /// FunctionCall, which may fail.
    FunctionCall(u8),
    /// Parse, and the statement's name.
    Parse(u8, Vec<u8>),
    /// Bind, and the statement's name.
    Bind(u8, Vec<u8>),
    /// Describe of a statement or a portal.
    Describe(u8),
    /// Execute of a portal that holds one statement.
    Execute(u8),
    /// Close, and the statement's name.
    Close(Vec<u8>),
    /// Sync; the commit in it may fail.
    Sync(u8),
    /// Flush.
    Flush,
    /// CopyData, which may be bad.
    CopyData(u8),
    /// CopyDone.
    CopyDone,
    /// CopyFail.
    CopyFail,
}

/// A request on its way, and who hears the answer.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What it asks.
    pub request: Request,
    /// Who hears the answer.
    pub hears: Hears,
}

impl Sent {
    /// Whether a server outside a COPY ignores it, or never gets it.
    pub fn is_harmless(&self) -> bool {
        let copy = matches!(self.request, Request::CopyData(_) | Request::CopyDone | Request::CopyFail);
        copy || self.request == Request::Flush || self.hears == Hears::ClientFromPooler
    }
}

/// Who hears an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hears {
    /// The client.
    Client,
    /// Nobody: the request is the pooler's own.
    Nobody,
    /// The client, but from the pooler: the request is not sent.
    ClientFromPooler,
}

/// The server, and both directions of its connection.
#[derive(Debug)]
pub struct Server {
    /// Requests that were sent and not read.
    pub inbox: VecDeque<Sent>,
    /// Answers that were sent and not read.
    pub outbox: VecDeque<(u8, Vec<u8>)>,
    /// The tags of all that a client hears who talks to the server alone.
    pub heard: Vec<u8>,
    /// The names of the statements it knows; the unnamed one is not kept.
    pub known: BTreeSet<Vec<u8>>,
    /// It has ended the session.
    pub is_dead: bool,
    status: TxStatus,
    /// Something was done since the last Sync that Sync will commit.
    is_implicit: bool,
    is_skipping: bool,
    copy: Option<Copy>,
    /// What is answered for it behind the COPY.
    held: VecDeque<Sent>,
    hears: Hears,
}

/// What waits for the end of a COPY FROM STDIN.
#[derive(Debug)]
enum Copy {
    /// The rest of a simple Query.
    Query(VecDeque<u8>),
    /// An Execute.
    Execute,
}

/// A request has failed.
struct Failed;

impl Default for Server {
    fn default() -> Self {
        Self {
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            heard: Vec::new(),
            known: BTreeSet::new(),
            is_dead: false,
            status: TxStatus::Idle,
            is_implicit: false,
            is_skipping: false,
            copy: None,
            held: VecDeque::new(),
            hears: Hears::Client,
        }
    }
}

impl Server {
    /// Whether the next client finds nothing of the one before.
    pub fn is_at_rest(&self) -> bool {
        let quiet = self.inbox.is_empty() && self.outbox.is_empty() && self.copy.is_none();
        quiet && self.status == TxStatus::Idle && !self.is_implicit && !self.is_skipping && !self.is_dead
    }

    /// Reads one request and answers it. False where there is none.
    pub fn advance(&mut self) -> bool {
        let Some(sent) = self.inbox.pop_front() else { return false };
        if self.is_dead || self.is_skipping && !matches!(sent.request, Request::Sync(_)) {
            return true;
        }
        if self.copy.is_some() && sent.hears == Hears::ClientFromPooler {
            self.held.push_back(sent);
            return true;
        }
        self.hears = sent.hears;
        match self.copy.take() {
            Some(copy) => self.copy_data(copy, sent.request),
            None => self.serve(sent.request),
        }
        true
    }

    fn send(&mut self, tag: u8, body: &[u8]) {
        match self.hears {
            Hears::Nobody if tag != b'E' => {}
            _ => self.heard.push(tag),
        }
        if self.hears != Hears::ClientFromPooler {
            self.outbox.push_back((tag, body.to_vec()));
        }
    }

    fn ready(&mut self) {
        self.is_implicit = false;
        self.send(b'Z', &[self.status.byte()]);
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Query(statements) => {
                if statements.is_empty() {
                    self.send(b'I', b"");
                }
                self.query(statements);
            }
            Request::FunctionCall(how) => {
                match how {
                    b'e' => self.error(),
                    _ => self.send(b'V', b"\0\0\0\0"),
                }
                self.ready();
            }
            Request::Sync(how) => {
                self.is_skipping = false;
                if how == b'e' && self.is_implicit {
                    self.error();
                }
                self.ready();
            }
            Request::Flush | Request::CopyData(_) | Request::CopyDone | Request::CopyFail => {}
            extended => {
                if self.extended(extended).is_err() {
                    self.error();
                    self.is_skipping = true;
                }
            }
        }
    }

    fn extended(&mut self, request: Request) -> Result<(), Failed> {
        if self.hears == Hears::ClientFromPooler
            && self.status == TxStatus::Failed
            && matches!(request, Request::Parse(..))
        {
            return Err(Failed);
        }
        self.is_implicit |= self.hears != Hears::ClientFromPooler;
        match request {
            Request::Parse(b'e', _) | Request::Bind(b'e', _) | Request::Describe(b'e') => return Err(Failed),
            Request::Parse(_, name) => {
                let is_named = !name.is_empty();
                if is_named && (self.status == TxStatus::Failed || !self.known.insert(name)) {
                    return Err(Failed);
                }
                self.send(b'1', b"");
            }
            Request::Bind(_, name) => {
                if !name.is_empty() && (self.status == TxStatus::Failed || !self.known.contains(&name)) {
                    return Err(Failed);
                }
                self.send(b'2', b"");
            }
            Request::Describe(how) => {
                if how == b's' {
                    self.send(b't', b"\0\0");
                }
                if how == b'n' { self.send(b'n', b"") } else { self.send(b'T', b"\0\0") }
            }
            Request::Close(name) => {
                self.known.remove(&name);
                self.send(b'3', b"");
            }
            Request::Execute(b'm') => {
                self.send(b'D', b"\0\0");
                self.send(b's', b"");
            }
            Request::Execute(b'0') => self.send(b'I', b""),
            Request::Execute(statement) => {
                if self.statement(statement, false)? {
                    self.copy = Some(Copy::Execute);
                }
            }
            other => unreachable!("{other:?} is served elsewhere"),
        }
        Ok(())
    }

    /// The statements of a simple Query, up to a COPY FROM STDIN or the end.
    fn query(&mut self, mut statements: VecDeque<u8>) {
        self.is_implicit = false;
        while let Some(statement) = statements.pop_front() {
            match self.statement(statement, true) {
                Ok(false) if self.is_dead => return,
                Ok(false) => {}
                Ok(true) => {
                    self.copy = Some(Copy::Query(statements));
                    return;
                }
                Err(Failed) => {
                    self.error();
                    break;
                }
            }
        }
        self.ready();
    }

    /// One statement: `b`egin, `c`ommit, `r`ollback, copy `i`n, copy `o`ut, `e`rror, `f`atal error, deallocate `a`ll,
    /// `n`otice, `p`arameter, `u`pdate, or a select. True for a COPY that waits for data.
    fn statement(&mut self, statement: u8, describes: bool) -> Result<bool, Failed> {
        if self.status == TxStatus::Failed && !matches!(statement, b'c' | b'r' | b'f') {
            return Err(Failed);
        }
        match statement {
            b'b' => self.status = TxStatus::InBlock,
            b'c' | b'r' => self.status = TxStatus::Idle,
            b'e' => return Err(Failed),
            b'f' => {
                self.send(b'E', b"SFATAL\0VFATAL\0C57P01\0\0");
                self.is_dead = true;
                return Ok(false);
            }
            b'i' => {
                self.send(b'G', b"\0\0\0");
                return Ok(true);
            }
            b'o' => [b'H', b'd', b'c'].iter().for_each(|tag| self.send(*tag, b"\0\0\0")),
            b'n' => self.send(b'N', b"SNOTICE\0C00000\0\0"),
            b'p' => self.send(b'S', b"a\0b\0"),
            b'u' => {}
            // Only in a Query: a portal's statement is not known here.
            b'a' if describes => {
                self.known.clear();
                self.send(b'C', b"DISCARD ALL\0");
                return Ok(false);
            }
            _ => {
                if describes {
                    self.send(b'T', b"\0\0");
                }
                self.send(b'D', b"\0\0");
            }
        }
        self.send(b'C', b"OK\0");
        Ok(false)
    }

    fn error(&mut self) {
        if self.status == TxStatus::InBlock {
            self.status = TxStatus::Failed;
        }
        self.is_implicit = false;
        self.send(b'E', b"SERROR\0VERROR\0C42601\0\0");
    }

    fn copy_data(&mut self, copy: Copy, request: Request) {
        let failed = match request {
            Request::CopyData(how) if how != b'e' => return self.copy = Some(copy),
            // Ignored, because libraries send them without knowing of the COPY.
            Request::Flush | Request::Sync(_) => return self.copy = Some(copy),
            Request::CopyDone => false,
            Request::CopyData(_) | Request::CopyFail => true,
            _ => {
                // Its body is not read: nobody knows any more where the next message begins.
                self.hears = Hears::Client;
                self.error();
                self.send(b'E', b"SFATAL\0VFATAL\0C08P01\0\0");
                self.is_dead = true;
                return;
            }
        };
        self.copy_ends(copy, failed);
    }

    /// Whether it waits for the data of a COPY.
    pub fn is_copying(&self) -> bool {
        self.copy.is_some()
    }

    /// An error that has nothing to do with the data ends a COPY: a trigger's, a time limit's, a cancel.
    pub fn interrupt(&mut self) {
        if let Some(copy) = self.copy.take() {
            self.copy_ends(copy, true);
        }
    }

    fn copy_ends(&mut self, copy: Copy, failed: bool) {
        self.hears = Hears::Client;
        match (copy, failed) {
            (Copy::Query(rest), false) => {
                self.send(b'C', b"COPY 1\0");
                self.query(rest);
            }
            (Copy::Execute, false) => self.send(b'C', b"COPY 1\0"),
            (Copy::Query(_), true) => {
                self.error();
                self.ready();
            }
            (Copy::Execute, true) => {
                self.error();
                self.is_skipping = true;
            }
        }
        if self.copy.is_none() {
            self.held.append(&mut self.inbox);
            std::mem::swap(&mut self.held, &mut self.inbox);
        }
    }
}
