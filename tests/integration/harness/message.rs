//! One message of the protocol as it came, and what can be read from it.

use std::fmt;

/// Bytes of a body that are shown when a test fails.
const SHOWN: usize = 300;

/// A message from a server: its tag, and its body without the length.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub tag: u8,
    pub body: Vec<u8>,
}

/// What an ErrorResponse or NoticeResponse says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub severity: String,
    pub code: String,
    pub message: String,
    pub detail: String,
}

impl Report {
    /// For a connection that ended, or was never made, without a word of the other side.
    pub fn silence(what: &str) -> Report {
        let none = String::new;
        Report { severity: none(), code: none(), message: what.into(), detail: none() }
    }
}

impl Message {
    /// The fields of an ErrorResponse or NoticeResponse.
    #[track_caller]
    pub fn report(&self) -> Report {
        assert!(matches!(self.tag, b'E' | b'N'), "not a report: {self:?}");
        let field = |kind: u8| {
            let mut fields = self.body.split(|byte| *byte == 0);
            let found = fields.find_map(|field| field.strip_prefix(&[kind]));
            String::from_utf8_lossy(found.unwrap_or_default()).into_owned()
        };
        Report { severity: field(b'S'), code: field(b'C'), message: field(b'M'), detail: field(b'D') }
    }

    /// The values of a DataRow, as text.
    #[track_caller]
    pub fn values(&self) -> Vec<Option<String>> {
        assert_eq!(self.tag, b'D', "not a row: {self:?}");
        let mut rest = &self.body[2..];
        let mut values = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = i32::from_be_bytes(*length);
            let (value, after) = after.split_at(length.max(0) as usize);
            values.push((length >= 0).then(|| String::from_utf8_lossy(value).into_owned()));
            rest = after;
        }
        values
    }

    /// The column names of a RowDescription.
    pub fn columns(&self) -> Vec<String> {
        let mut rest = &self.body[2..];
        let mut names = Vec::new();
        while let Some(end) = rest.iter().position(|byte| *byte == 0) {
            names.push(String::from_utf8_lossy(&rest[..end]).into_owned());
            // The name's zero, then six fixed fields of 18 bytes.
            rest = &rest[end + 19..];
        }
        names
    }

    /// Text up to the first zero: a CommandComplete's tag, for example.
    pub fn text(&self) -> String {
        let end = self.body.iter().position(|byte| *byte == 0).unwrap_or(self.body.len());
        String::from_utf8_lossy(&self.body[..end]).into_owned()
    }

    /// The two texts of a ParameterStatus.
    pub fn parameter(&self) -> (String, String) {
        let mut parts = self.body.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.body[..self.body.len().min(SHOWN)];
        write!(f, "{} {}", char::from(self.tag), shown.escape_ascii())?;
        if shown.len() < self.body.len() {
            write!(f, "… ({} bytes)", self.body.len())?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.severity, self.code, self.message)
    }
}
