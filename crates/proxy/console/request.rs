//! What an operator's client sends, taken apart.

use protocol::frontend::Tag;
use thiserror::Error;

use super::table::Format;

/// Most format codes in one Bind: PostgreSQL's limit on columns.
const MAX_FORMATS: usize = 1664;

/// A message that breaks the protocol, or is of a kind that no console needs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// A statement or a portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A prepared statement.
    Statement(String),
    /// A portal.
    Portal(String),
}

/// A request. Source: protocol chapter, "Message Formats".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A command by the simple protocol.
    Query(String),
    /// A command to keep under a name.
    Parse {
        /// The statement's name.
        name: String,
        /// The command.
        text: String,
    },
    /// A portal for a statement.
    Bind {
        /// The portal's name.
        portal: String,
        /// The statement's name.
        statement: String,
        /// How many parameters come with it.
        parameters: usize,
        /// Formats of the result: none, one for all, or one for each column.
        formats: Vec<Format>,
    },
    /// Asks for columns.
    Describe(Object),
    /// Asks for rows.
    Execute {
        /// The portal's name.
        portal: String,
        /// How many rows at most.
        most: Option<usize>,
    },
    /// Forgets a statement or portal.
    Close(Object),
    /// Asks for the answers so far.
    Flush,
    /// Ends a batch.
    Sync,
    /// Ends the session.
    Terminate,
}

impl Request {
    /// Takes a message apart.
    ///
    /// # Errors
    /// A body that is not what its tag promises, or a tag that the console does not know.
    pub fn parse(tag: u8, body: &[u8]) -> Result<Self, Malformed> {
        let known = Tag::of(tag).ok_or_else(|| unsupported(tag))?;
        let mut body = Body { rest: body };
        let request =
            body.request(known).ok_or_else(|| Malformed(format!("invalid message of type '{}'", char::from(tag))))?;
        request.ok_or_else(|| unsupported(tag))
    }
}

fn unsupported(tag: u8) -> Malformed {
    Malformed(format!("unsupported packet type for admin console: {tag}"))
}

struct Body<'a> {
    rest: &'a [u8],
}

impl Body<'_> {
    /// None for a body that is too short or too long; none inside for a tag the console has no use for.
    fn request(&mut self, tag: Tag) -> Option<Option<Request>> {
        let request = match tag {
            Tag::Query => Request::Query(self.text()?),
            Tag::Parse => {
                let (name, text) = (self.text()?, self.text()?);
                let types = self.number()?;
                self.skip(usize::from(types) * 4)?;
                Request::Parse { name, text }
            }
            Tag::Bind => self.bind()?,
            Tag::Describe => Request::Describe(self.object()?),
            Tag::Execute => {
                let portal = self.text()?;
                // Negative means all, as in PostgreSQL.
                let most = usize::try_from(self.long()?).ok().filter(|most| *most > 0);
                Request::Execute { portal, most }
            }
            Tag::Close => Request::Close(self.object()?),
            Tag::Flush => Request::Flush,
            Tag::Sync => Request::Sync,
            Tag::Terminate => Request::Terminate,
            Tag::CopyData | Tag::CopyDone | Tag::CopyFail | Tag::FunctionCall => return Some(None),
        };
        self.rest.is_empty().then_some(Some(request))
    }

    fn bind(&mut self) -> Option<Request> {
        let (portal, statement) = (self.text()?, self.text()?);
        let formats = self.number()?;
        self.skip(usize::from(formats) * 2)?;
        let parameters = usize::from(self.number()?);
        for _ in 0..parameters {
            let len = self.long()?;
            self.skip(usize::try_from(len).unwrap_or(0))?;
        }
        let count = usize::from(self.number()?);
        if count > MAX_FORMATS {
            return None;
        }
        let formats = (0..count).map(|_| self.format()).collect::<Option<_>>()?;
        Some(Request::Bind { portal, statement, parameters, formats })
    }

    fn object(&mut self) -> Option<Object> {
        let (kind, rest) = self.rest.split_first()?;
        self.rest = rest;
        let name = self.text()?;
        match kind {
            b'S' => Some(Object::Statement(name)),
            b'P' => Some(Object::Portal(name)),
            _ => None,
        }
    }

    fn format(&mut self) -> Option<Format> {
        match self.number()? {
            0 => Some(Format::Text),
            1 => Some(Format::Binary),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<String> {
        let end = self.rest.iter().position(|byte| *byte == 0)?;
        let text = String::from_utf8_lossy(&self.rest[..end]).into_owned();
        self.rest = &self.rest[end + 1..];
        Some(text)
    }

    fn number(&mut self) -> Option<u16> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u16::from_be_bytes(*bytes))
    }

    fn long(&mut self) -> Option<i32> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(i32::from_be_bytes(*bytes))
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.rest = self.rest.get(count..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_an_extended_query_are_taken_apart() {
        let mut batch = Vec::new();
        protocol::messages::extended_query(&mut batch, b"show pools", &[b"x"]);
        let mut requests = Vec::new();
        let mut rest = &batch[..];
        while let Ok(Some(header)) = protocol::Header::peek(rest) {
            let (message, after) = rest.split_at(header.total_len());
            requests.push(Request::parse(header.tag, &message[5..]).unwrap());
            rest = after;
        }
        let name = String::new;
        assert_eq!(
            requests,
            [
                Request::Parse { name: name(), text: "show pools".into() },
                Request::Bind { portal: name(), statement: name(), parameters: 1, formats: vec![] },
                Request::Execute { portal: name(), most: None },
                Request::Sync,
            ]
        );
    }

    #[test]
    fn a_body_must_be_what_its_tag_promises() {
        for (tag, body) in
            [(b'Q', &b"no end"[..]), (b'Q', b"x\0y"), (b'D', b"X\0"), (b'D', b""), (b'S', b"x"), (b'E', b"\0\0")]
        {
            let error = Request::parse(tag, body).unwrap_err();
            assert_eq!(error.0, format!("invalid message of type '{}'", char::from(tag)));
        }
        assert!(Request::parse(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xff\0\x01\0\x02").is_err(), "there is no format 2");
    }

    #[test]
    fn what_no_console_needs_is_named_by_its_number() {
        for tag in [b'd', b'F', b'p', 200] {
            let error = Request::parse(tag, b"").unwrap_err();
            assert_eq!(error.0, format!("unsupported packet type for admin console: {tag}"));
        }
    }
}
