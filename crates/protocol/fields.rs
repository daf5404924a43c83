//! The fields of ErrorResponse and NoticeResponse, and the columns of DataRow.

use crate::sqlstate;

/// The fields of an error or notice, borrowed from its body.
///
/// Source: protocol chapter, "Error and Notice Message Fields". Unknown fields are ignored, as it demands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// `V`, or `S` where a server older than 9.6 sends no `V`: FATAL, ERROR, WARNING, NOTICE …
    pub severity: &'a [u8],
    /// `C`
    pub sqlstate: &'a [u8],
    /// `M`
    pub message: &'a [u8],
    /// `R`: the function in the server's source that reported it, which no language changes.
    pub routine: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads a body; what is missing or cut stays empty.
    pub fn parse(mut body: &'a [u8]) -> Self {
        let mut fields = Self::default();
        while let Some((&code, rest)) = body.split_first() {
            let Some(end) = memchr::memchr(0, rest) else { break };
            let value = &rest[..end];
            match code {
                b'V' => fields.severity = value,
                b'S' if fields.severity.is_empty() => fields.severity = value,
                b'C' => fields.sqlstate = value,
                b'M' => fields.message = value,
                b'R' => fields.routine = value,
                _ => {}
            }
            body = &rest[end + 1..];
        }
        fields
    }

    /// Whether the sender ends the session after this.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity, b"FATAL" | b"PANIC")
    }

    /// Whether the text was no SQL.
    pub fn is_syntax_error(&self) -> bool {
        self.sqlstate == sqlstate::SYNTAX_ERROR.0.as_bytes()
    }

    /// Whether a prepared statement would return other columns than when it was prepared ("cached plan must not change
    /// result type"). Many errors share the SQLSTATE. Source: PostgreSQL, `plancache.c`.
    pub fn is_about_outdated_plan(&self) -> bool {
        self.may_be_about_outdated_plan() && self.routine == b"RevalidateCachedQuery"
    }

    /// The same, as far as the beginning can tell.
    pub fn may_be_about_outdated_plan(&self) -> bool {
        self.sqlstate == sqlstate::FEATURE_NOT_SUPPORTED.0.as_bytes()
    }
}

/// The columns of a DataRow, from its body: none for NULL. `None` if the body is malformed.
pub fn data_row(body: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    let (count, mut rest) = body.split_first_chunk()?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (len, behind) = rest.split_first_chunk()?;
        rest = behind;
        let column = match i32::from_be_bytes(*len) {
            -1 => None,
            len => {
                let (value, behind) = rest.split_at_checked(usize::try_from(len).ok()?)?;
                rest = behind;
                Some(value.to_vec())
            }
        };
        columns.push(column);
    }
    rest.is_empty().then_some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gives_its_columns_and_malformed_ones_give_nothing() {
        let row = b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0";
        assert_eq!(data_row(row), Some(vec![Some(b"ab".to_vec()), None, Some(vec![])]));
        for len in 0..row.len() {
            assert_eq!(data_row(&row[..len]), None, "{len}");
        }
        assert_eq!(data_row(b"\0\x01\xff\xff\xff\xfe"), None);
        assert_eq!(data_row(b"\0\0x"), None);
    }

    #[test]
    fn the_untranslated_severity_wins() {
        let fields = Fields::parse(b"SFATAL\xc3\xa9\0VFATAL\0C57P01\0Mgone\0\0");
        assert!(fields.is_fatal());
        assert_eq!((fields.sqlstate, fields.message), (&b"57P01"[..], &b"gone"[..]));
    }

    #[test]
    fn a_body_that_is_cut_off_gives_what_it_has() {
        let fields = Fields::parse(b"SERROR\0C4260");
        assert_eq!((fields.severity, fields.sqlstate), (&b"ERROR"[..], &b""[..]));
    }
    #[test]
    fn an_outdated_plan_is_told_by_its_routine_in_any_language() {
        let outdated = b"SFEHLER\0VERROR\0C0A000\0MGecachter Plan ...\0Fplancache.c\0L724\0RRevalidateCachedQuery\0\0";
        assert!(Fields::parse(outdated).is_about_outdated_plan());
        assert!(
            !Fields::parse(b"SERROR\0VERROR\0C0A000\0Mno such feature\0RtransformStmt\0\0").is_about_outdated_plan()
        );
        assert!(!Fields::parse(b"SERROR\0VERROR\0C42P01\0RRevalidateCachedQuery\0\0").is_about_outdated_plan());
    }
}
