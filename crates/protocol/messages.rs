//! Messages that the pooler itself originates, appended to a buffer.

use crate::backend::TxStatus;
use crate::sqlstate::SqlState;

/// Appends one message: tag, length, and whatever `body` appends.
pub fn message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    counted(out, body);
}

/// Appends a length that counts itself, then the body. What startup packets are made of.
fn counted(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let len = (out.len() - at) as u32;
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

/// Appends text and its closing zero; the text ends at a zero of its own, which would end it for the reader too.
pub fn cstr(out: &mut Vec<u8>, text: &[u8]) {
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    out.extend_from_slice(&text[..end]);
    out.push(0);
}

/// How bad a message is, in the protocol's own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The connection ends after it.
    Fatal,
    /// The statement failed; the session goes on.
    Error,
    /// Something went well that may not be what was meant.
    Warning,
    /// For the reader's information.
    Notice,
}

impl Severity {
    /// The word in the fields `S` and `V`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fatal => "FATAL",
            Self::Error => "ERROR",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
        }
    }
}

/// ErrorResponse, or NoticeResponse for what is no error. `detail` may be empty.
pub fn report(out: &mut Vec<u8>, severity: Severity, state: SqlState, text: &str, detail: &str) {
    report_with_code(out, severity, state.0, text, detail);
}

/// The same with a SQLSTATE that somebody else has given.
pub fn report_with_code(out: &mut Vec<u8>, severity: Severity, code: &str, text: &str, detail: &str) {
    report_with_advice(out, severity, code, text, [detail, ""]);
}

/// The same with a detail and a hint, each of which may be empty.
pub fn report_with_advice(out: &mut Vec<u8>, severity: Severity, code: &str, text: &str, [detail, hint]: [&str; 2]) {
    let tag = if matches!(severity, Severity::Notice | Severity::Warning) { b'N' } else { b'E' };
    message(out, tag, |out| {
        for (field, value) in [(b'S', severity.word()), (b'V', severity.word()), (b'C', code), (b'M', text)] {
            out.push(field);
            cstr(out, value.as_bytes());
        }
        for (field, value) in [(b'D', detail), (b'H', hint)] {
            if !value.is_empty() {
                out.push(field);
                cstr(out, value.as_bytes());
            }
        }
        out.push(0);
    });
}

/// ReadyForQuery.
pub fn ready_for_query(out: &mut Vec<u8>, status: TxStatus) {
    message(out, b'Z', |out| out.push(status.byte()));
}

/// ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    message(out, b'S', |out| {
        cstr(out, name);
        cstr(out, value);
    });
}

/// BackendKeyData: four bytes of key before protocol 3.2, up to 256 since.
pub fn backend_key_data(out: &mut Vec<u8>, pid: u32, key: &[u8]) {
    message(out, b'K', |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(key);
    });
}

/// NegotiateProtocolVersion: the newest minor version we speak, and the `_pq_.` options we do not know.
pub fn negotiate_protocol_version(out: &mut Vec<u8>, minor: u16, unknown: &[&[u8]]) {
    message(out, b'v', |out| {
        out.extend_from_slice(&(3 << 16 | u32::from(minor)).to_be_bytes());
        out.extend_from_slice(&(unknown.len() as u32).to_be_bytes());
        unknown.iter().for_each(|name| cstr(out, name));
    });
}

/// What the pooler asks of a client that logs in. Source: the Authentication* messages.
#[derive(Clone, Copy, Debug)]
pub enum Authentication<'a> {
    /// Nothing more to prove.
    Ok,
    /// The password itself.
    CleartextPassword,
    /// The password hashed with these four bytes.
    Md5Password([u8; 4]),
    /// A SASL exchange by one of these mechanisms.
    Sasl(&'a [&'a str]),
    /// The next step of it.
    SaslContinue(&'a [u8]),
    /// Its last step.
    SaslFinal(&'a [u8]),
}

/// An Authentication* message.
pub fn authentication(out: &mut Vec<u8>, request: Authentication<'_>) {
    message(out, b'R', |out| {
        let mut code = |code: u32, rest: &[u8]| {
            out.extend_from_slice(&code.to_be_bytes());
            out.extend_from_slice(rest);
        };
        match request {
            Authentication::Ok => code(0, &[]),
            Authentication::CleartextPassword => code(3, &[]),
            Authentication::Md5Password(salt) => code(5, &salt),
            Authentication::Sasl(mechanisms) => {
                code(10, &[]);
                mechanisms.iter().for_each(|name| cstr(out, name.as_bytes()));
                out.push(0);
            }
            Authentication::SaslContinue(data) => code(11, data),
            Authentication::SaslFinal(data) => code(12, data),
        }
    });
}

/// CommandComplete.
pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    message(out, b'C', |out| cstr(out, tag.as_bytes()));
}

/// A column of a result that the pooler itself gives: name and type.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    /// Its name.
    pub name: &'a str,
    /// The type's OID in `pg_type`.
    pub type_oid: u32,
    /// The type's size in bytes, -1 for one that varies.
    pub type_size: i16,
    /// 0 text, 1 binary.
    pub format: i16,
}

/// RowDescription, of columns that belong to no table.
pub fn row_description<'a>(out: &mut Vec<u8>, columns: impl ExactSizeIterator<Item = Column<'a>>) {
    message(out, b'T', |out| {
        out.extend_from_slice(&(columns.len() as u16).to_be_bytes());
        for column in columns {
            cstr(out, column.name.as_bytes());
            out.extend_from_slice(&[0; 6]);
            out.extend_from_slice(&column.type_oid.to_be_bytes());
            out.extend_from_slice(&column.type_size.to_be_bytes());
            out.extend_from_slice(&(-1i32).to_be_bytes());
            out.extend_from_slice(&column.format.to_be_bytes());
        }
    });
}

/// DataRow; `None` is NULL.
pub fn data_row<'a>(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = Option<&'a [u8]>>) {
    message(out, b'D', |out| {
        out.extend_from_slice(&(values.len() as u16).to_be_bytes());
        for value in values {
            match value {
                None => out.extend_from_slice(&(-1i32).to_be_bytes()),
                Some(value) => {
                    out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                    out.extend_from_slice(value);
                }
            }
        }
    });
}

/// StartupMessage for protocol 3.0, the version we speak to servers.
pub fn startup<'a>(out: &mut Vec<u8>, parameters: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
    counted(out, |out| {
        out.extend_from_slice(&(3u32 << 16).to_be_bytes());
        for (name, value) in parameters {
            cstr(out, name);
            cstr(out, value);
        }
        out.push(0);
    });
}

/// CancelRequest.
pub fn cancel_request(out: &mut Vec<u8>, pid: u32, key: &[u8]) {
    counted(out, |out| {
        out.extend_from_slice(&crate::startup::CANCEL_CODE.to_be_bytes());
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(key);
    });
}

/// PasswordMessage.
pub fn password(out: &mut Vec<u8>, password: &[u8]) {
    message(out, b'p', |out| cstr(out, password));
}

/// SASLInitialResponse.
pub fn sasl_initial_response(out: &mut Vec<u8>, mechanism: &str, data: &[u8]) {
    message(out, b'p', |out| {
        cstr(out, mechanism.as_bytes());
        out.extend_from_slice(&(data.len() as u32).to_be_bytes());
        out.extend_from_slice(data);
    });
}

/// SASLResponse.
pub fn sasl_response(out: &mut Vec<u8>, data: &[u8]) {
    message(out, b'p', |out| out.extend_from_slice(data));
}

/// Query, the simple one.
pub fn query(out: &mut Vec<u8>, sql: &[u8]) {
    message(out, b'Q', |out| cstr(out, sql));
}

/// Parse, Bind, Execute and Sync of the unnamed statement, with text parameters: four replies and ReadyForQuery come back.
pub fn extended_query(out: &mut Vec<u8>, sql: &[u8], values: &[&[u8]]) {
    message(out, b'P', |out| {
        cstr(out, b"");
        cstr(out, sql);
        out.extend_from_slice(&[0; 2]);
    });
    message(out, b'B', |out| {
        cstr(out, b"");
        cstr(out, b"");
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&(values.len() as u16).to_be_bytes());
        for value in values {
            out.extend_from_slice(&(value.len() as u32).to_be_bytes());
            out.extend_from_slice(value);
        }
        out.extend_from_slice(&[0; 2]);
    });
    message(out, b'E', |out| {
        cstr(out, b"");
        out.extend_from_slice(&[0; 4]);
    });
    sync(out);
}

/// SSLRequest.
pub fn ssl_request(out: &mut Vec<u8>) {
    out.extend_from_slice(&8u32.to_be_bytes());
    out.extend_from_slice(&crate::startup::SSL_CODE.to_be_bytes());
}

/// Sync.
pub fn sync(out: &mut Vec<u8>) {
    message(out, b'S', |_| {});
}

/// CopyFail, with the reason that the server will put into its error.
pub fn copy_fail(out: &mut Vec<u8>, reason: &str) {
    message(out, b'f', |out| cstr(out, reason.as_bytes()));
}

/// Terminate.
pub fn terminate(out: &mut Vec<u8>) {
    message(out, b'X', |_| {});
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_themselves_and_the_body() {
        let mut out = Vec::new();
        query(&mut out, b"select 1");
        assert_eq!(out, b"Q\0\0\0\x0dselect 1\0");
        out.clear();
        cancel_request(&mut out, 7, &[1, 2, 3, 4]);
        assert_eq!(out, [0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 7, 1, 2, 3, 4]);
    }

    #[test]
    fn a_zero_inside_text_cannot_start_a_second_field() {
        let mut out = Vec::new();
        report(&mut out, Severity::Error, crate::sqlstate::SYNTAX_ERROR, "a\0Mfake", "");
        assert!(out.ends_with(b"C42601\0Ma\0\0"));
    }
}
