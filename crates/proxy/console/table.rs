//! Tables of SHOW: name, type and value of a column on one line, so that they cannot drift apart.

use std::borrow::Cow;

use protocol::messages::{self, Column as Described};

/// A column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `text`
    Text,
    /// `int4`
    Int4,
    /// `int8`
    Int8,
    /// `numeric`
    Numeric,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// NULL.
    Null,
    /// Text.
    Text(String),
    /// A number; whether it is int4, int8 or numeric says the column.
    Number(u64),
}

/// What a client is told of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its type.
    pub kind: Kind,
}

/// How a value travels. Source: protocol chapter, "Formats and Format Codes".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As text.
    #[default]
    Text,
    /// As the type's binary form.
    Binary,
}

/// Rows, made one by one as the client takes them.
pub type Rows = Box<dyn Iterator<Item = Vec<Cell>> + Send>;

/// A result: its columns and its rows.
pub struct Answer {
    /// The columns.
    pub fields: Vec<Field>,
    /// The rows.
    pub rows: Rows,
}

/// A column: its name, its type, and where its value comes from.
#[derive(Debug)]
pub struct Column<R: 'static> {
    name: &'static str,
    kind: Kind,
    get: Get<R>,
}

#[derive(Debug)]
enum Get<R: 'static> {
    Text(fn(&R) -> String),
    Maybe(fn(&R) -> Option<String>),
    Number(fn(&R) -> u64),
}

/// Text.
pub const fn text<R>(name: &'static str, get: fn(&R) -> String) -> Column<R> {
    Column { name, kind: Kind::Text, get: Get::Text(get) }
}

/// Text that may be NULL.
pub const fn maybe<R>(name: &'static str, get: fn(&R) -> Option<String>) -> Column<R> {
    Column { name, kind: Kind::Text, get: Get::Maybe(get) }
}

/// A number, as int4.
pub const fn int4<R>(name: &'static str, get: fn(&R) -> u64) -> Column<R> {
    Column { name, kind: Kind::Int4, get: Get::Number(get) }
}

/// A number, as int8.
pub const fn int8<R>(name: &'static str, get: fn(&R) -> u64) -> Column<R> {
    Column { name, kind: Kind::Int8, get: Get::Number(get) }
}

/// A table: its columns, in order.
#[derive(Debug)]
pub struct Table<R: 'static> {
    /// The columns.
    pub columns: &'static [Column<R>],
}

impl<R> Table<R> {
    /// An answer with these rows.
    pub fn answer(&'static self, rows: impl Iterator<Item = R> + Send + 'static) -> Answer {
        let field = |column: &Column<R>| Field { name: column.name.into(), kind: column.kind };
        let cells = |row: R| self.columns.iter().map(|column| column.cell(&row)).collect();
        Answer { fields: self.columns.iter().map(field).collect(), rows: Box::new(rows.map(cells)) }
    }
}

impl<R> Column<R> {
    fn cell(&self, row: &R) -> Cell {
        match self.get {
            Get::Text(get) => Cell::Text(get(row)),
            Get::Maybe(get) => get(row).map_or(Cell::Null, Cell::Text),
            Get::Number(get) => Cell::Number(get(row)),
        }
    }
}

impl Kind {
    /// OID and size in `pg_type`.
    fn in_catalog(self) -> (u32, i16) {
        match self {
            Self::Text => (25, -1),
            Self::Int4 => (23, 4),
            Self::Int8 => (20, 8),
            Self::Numeric => (1700, -1),
        }
    }
}

/// Appends RowDescription; `format` tells each column's format.
pub fn describe(out: &mut Vec<u8>, fields: &[Field], format: impl Fn(usize) -> Format) {
    let column = |(number, field): (usize, &'_ Field)| -> (String, u32, i16, i16) {
        let (type_oid, type_size) = field.kind.in_catalog();
        (field.name.to_string(), type_oid, type_size, i16::from(format(number) == Format::Binary))
    };
    let columns: Vec<_> = fields.iter().enumerate().map(column).collect();
    messages::row_description(
        out,
        columns.iter().map(|(name, type_oid, type_size, format)| Described {
            name,
            type_oid: *type_oid,
            type_size: *type_size,
            format: *format,
        }),
    );
}

/// Appends DataRow.
pub fn row(out: &mut Vec<u8>, fields: &[Field], cells: &[Cell], format: impl Fn(usize) -> Format) {
    let value = |(number, cell): (usize, &Cell)| -> Option<Vec<u8>> {
        match cell {
            Cell::Null => None,
            Cell::Text(text) => Some(text.as_bytes().to_vec()),
            Cell::Number(value) => Some(match format(number) {
                Format::Text => value.to_string().into_bytes(),
                Format::Binary => binary(fields[number].kind, *value),
            }),
        }
    };
    let values: Vec<_> = cells.iter().enumerate().map(value).collect();
    messages::data_row(out, values.iter().map(Option::as_deref));
}

/// The binary form of a number. What is too large for the type stays at the type's largest.
fn binary(kind: Kind, value: u64) -> Vec<u8> {
    match kind {
        Kind::Int4 => i32::try_from(value).unwrap_or(i32::MAX).to_be_bytes().into(),
        Kind::Int8 => i64::try_from(value).unwrap_or(i64::MAX).to_be_bytes().into(),
        Kind::Numeric => numeric(value),
        Kind::Text => value.to_string().into_bytes(),
    }
}

/// `numeric_send`: count of digits to the base 10,000, weight of the first, sign, digits after the point, the digits.
fn numeric(mut value: u64) -> Vec<u8> {
    let mut digits = Vec::new();
    while value > 0 {
        digits.push((value % 10_000) as u16);
        value /= 10_000;
    }
    let weight = (digits.len() as u16).saturating_sub(1);
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..zeros);
    let head = [digits.len() as u16, weight, 0, 0];
    head.into_iter().chain(digits.into_iter().rev()).flat_map(u16::to_be_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_postgresqls_binary_forms() {
        assert_eq!(binary(Kind::Int4, 258), [0, 0, 1, 2]);
        assert_eq!(binary(Kind::Int4, u64::MAX), i32::MAX.to_be_bytes());
        assert_eq!(binary(Kind::Int8, 1), [0, 0, 0, 0, 0, 0, 0, 1]);
        // select numeric_send(0), numeric_send(120003), numeric_send(10000) on PostgreSQL.
        assert_eq!(numeric(0), [0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(numeric(120_003), [0, 2, 0, 1, 0, 0, 0, 0, 0, 12, 0, 3]);
        assert_eq!(numeric(10_000), [0, 1, 0, 1, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_row_is_encoded_as_its_columns_say() {
        static PAIR: Table<(u64, Option<String>)> =
            Table { columns: &[int4("number", |pair| pair.0), maybe("word", |pair| pair.1.clone())] };
        let Answer { fields, rows } = PAIR.answer([(7, None)].into_iter());
        let mut out = Vec::new();
        for cells in rows {
            row(&mut out, &fields, &cells, |_| Format::Binary);
        }
        assert_eq!(out, b"D\0\0\0\x12\0\x02\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff");
    }
}
