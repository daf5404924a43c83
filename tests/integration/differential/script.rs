//! Conversations as text: one line per client message, one paragraph per batch that is sent at once.
//!
//! ```text
//! Q select 1                    Query
//! P name (23,25) select $1      Parse, types optional; the name - is the unnamed one
//! B portal name in=1 out=0 a b  Bind with formats and values: \N is NULL, 0x00 is bytes, all else text
//! D S name / D P portal         Describe; C likewise is Close
//! E portal 0                    Execute with a row limit
//! S / H / c / X                 Sync, Flush, CopyDone, Terminate
//! d text / f reason             CopyData, CopyFail
//! F oid in=1 out=1 a b          FunctionCall
//! ! 00ff                        raw bytes
//! < Z 2                         read until two such messages came (EOF: until the end)
//! ```
//!
//! Without a `<` line a paragraph ends when one ReadyForQuery came for each Query, Sync and FunctionCall in it. In text
//! `\n`, `\t`, `\s` (a space) and `\\` mean what they do elsewhere, and `{x*1000}` is a thousand x.

use protocol::messages;

/// What is sent at once, and what is then waited for.
#[derive(Debug)]
pub struct Batch {
    pub bytes: Vec<u8>,
    pub wait: Wait,
}

/// When a batch is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Messages(u8, usize),
    Closed,
}

/// Reads a conversation; a mistake in it fails the test.
#[track_caller]
pub fn parse(text: &str) -> Vec<Batch> {
    let lines = text.lines().map(str::trim).collect::<Vec<_>>();
    let paragraphs = lines.split(|line| line.is_empty()).filter(|lines| !lines.is_empty());
    paragraphs.map(batch).collect()
}

fn batch(lines: &[&str]) -> Batch {
    let mut bytes = Vec::new();
    let (mut owed, mut wait) = (0, None);
    for line in lines {
        if let Some(words) = line.strip_prefix("< ") {
            wait = Some(parse_wait(words));
        } else {
            owed += usize::from(matches!(line.as_bytes()[0], b'Q' | b'S' | b'F'));
            encode(line, &mut bytes);
        }
    }
    Batch { bytes, wait: wait.unwrap_or(Wait::Messages(b'Z', owed)) }
}

fn parse_wait(words: &str) -> Wait {
    if words == "EOF" {
        return Wait::Closed;
    }
    let (tag, count) = words.split_once(' ').unwrap_or((words, "1"));
    Wait::Messages(tag.as_bytes()[0], count.parse().expect("a count"))
}

fn encode(line: &str, out: &mut Vec<u8>) {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let tag = verb.as_bytes()[0];
    match verb {
        "Q" | "f" => messages::message(out, tag, |out| messages::cstr(out, &expand(rest))),
        "S" | "H" | "c" | "X" => messages::message(out, tag, |_| {}),
        "d" => messages::message(out, tag, |out| out.extend_from_slice(&expand(rest))),
        "P" => parse_message(rest, out),
        "B" => bind_message(rest, out),
        "F" => function_call(rest, out),
        "D" | "C" => {
            let (kind, name) = rest.split_once(' ').expect("S or P, and a name");
            messages::message(out, tag, |out| {
                out.extend_from_slice(kind.as_bytes());
                put_name(out, name);
            });
        }
        "E" => {
            let (portal, limit) = rest.split_once(' ').expect("a portal and a limit");
            let limit: i32 = limit.parse().expect("a limit");
            messages::message(out, tag, |out| {
                put_name(out, portal);
                out.extend_from_slice(&limit.to_be_bytes());
            });
        }
        "!" => out.extend(hex(rest)),
        _ => panic!("unknown line: {line}"),
    }
}

fn parse_message(rest: &str, out: &mut Vec<u8>) {
    let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let (types, sql) = match rest.strip_prefix('(').and_then(|rest| rest.split_once(") ")) {
        Some((types, sql)) => (types.split(',').map(|oid| oid.parse::<u32>().expect("an OID")).collect(), sql),
        None => (Vec::new(), rest),
    };
    messages::message(out, b'P', |out| {
        put_name(out, name);
        messages::cstr(out, &expand(sql));
        put_count(out, types.len());
        types.iter().for_each(|oid| out.extend_from_slice(&oid.to_be_bytes()));
    });
}

fn bind_message(rest: &str, out: &mut Vec<u8>) {
    let mut words = rest.split_whitespace();
    let portal = words.next().expect("a portal");
    let statement = words.next().expect("a statement");
    let arguments = Arguments::read(words);
    messages::message(out, b'B', |out| {
        put_name(out, portal);
        put_name(out, statement);
        put_formats(out, &arguments.input);
        put_values(out, &arguments.values);
        put_formats(out, &arguments.output);
    });
}

fn function_call(rest: &str, out: &mut Vec<u8>) {
    let mut words = rest.split_whitespace();
    let oid: u32 = words.next().and_then(|oid| oid.parse().ok()).expect("an OID");
    let arguments = Arguments::read(words);
    messages::message(out, b'F', |out| {
        out.extend_from_slice(&oid.to_be_bytes());
        put_formats(out, &arguments.input);
        put_values(out, &arguments.values);
        out.extend_from_slice(&arguments.output.first().copied().unwrap_or(0).to_be_bytes());
    });
}

#[derive(Default)]
struct Arguments {
    input: Vec<i16>,
    output: Vec<i16>,
    values: Vec<Option<Vec<u8>>>,
}

impl Arguments {
    fn read<'a>(words: impl Iterator<Item = &'a str>) -> Arguments {
        let formats = |codes: &str| codes.split(',').map(|code| code.parse().expect("a format")).collect();
        let mut arguments = Arguments::default();
        for word in words {
            if let Some(codes) = word.strip_prefix("in=") {
                arguments.input = formats(codes);
            } else if let Some(codes) = word.strip_prefix("out=") {
                arguments.output = formats(codes);
            } else {
                arguments.values.push(match word {
                    "\\N" => None,
                    word => Some(word.strip_prefix("0x").map_or_else(|| expand(word), hex)),
                });
            }
        }
        arguments
    }
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    messages::cstr(out, if name == "-" { b"" } else { name.as_bytes() });
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u16::try_from(count).expect("a small number").to_be_bytes());
}

fn put_formats(out: &mut Vec<u8>, formats: &[i16]) {
    put_count(out, formats.len());
    formats.iter().for_each(|format| out.extend_from_slice(&format.to_be_bytes()));
}

fn put_values(out: &mut Vec<u8>, values: &[Option<Vec<u8>>]) {
    put_count(out, values.len());
    for value in values {
        match value {
            None => out.extend_from_slice(&(-1i32).to_be_bytes()),
            Some(value) => {
                out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                out.extend_from_slice(value);
            }
        }
    }
}

fn hex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex digits")).collect()
}

fn expand(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some((repeated, after)) = repetition(rest) {
            out.extend(repeated);
            rest = after;
            continue;
        }
        let mut taken = first.len_utf8();
        match (first, rest.as_bytes().get(1)) {
            ('\\', Some(kind)) => {
                let byte = match kind {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b's' => b' ',
                    b'\\' => b'\\',
                    other => panic!("unknown escape \\{}", char::from(*other)),
                };
                out.push(byte);
                taken = 2;
            }
            _ => out.extend_from_slice(&rest.as_bytes()[..taken]),
        }
        rest = &rest[taken..];
    }
    out
}

/// `{x*1000}` at the start of `text`, and what follows it.
fn repetition(text: &str) -> Option<(Vec<u8>, &str)> {
    let (inside, after) = text.strip_prefix('{')?.split_once('}')?;
    let (unit, count) = inside.split_once('*')?;
    Some((unit.as_bytes().repeat(count.parse().ok()?), after))
}

#[test]
fn a_paragraph_is_a_batch_and_counts_what_it_is_owed() {
    let batches = parse("Q select 1\n\nP - x{a*3}\nS\nS\n\nH\n< 1 2");
    let waits: Vec<Wait> = batches.iter().map(|batch| batch.wait).collect();
    assert_eq!(waits, [Wait::Messages(b'Z', 1), Wait::Messages(b'Z', 2), Wait::Messages(b'1', 2)]);
    assert_eq!(batches[1].bytes, b"P\0\0\0\x0c\0xaaa\0\0\0S\0\0\0\x04S\0\0\0\x04");
}
