//! Rows as COPY writes them, in text or in binary.
//!
//! Duty: cut what comes into rows and these into fields. Pure. Where a message of the protocol ends says
//! nothing of where a row does.
//!
//! Source: <https://www.postgresql.org/docs/current/sql-copy.html>.

use bytes::{Buf as _, Bytes, BytesMut};
use towpath_sdk::{Error, Result};

use super::plan::Tid;
use crate::table::Field;
use crate::types::Slice as Value;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A line each, since line breaks in values are escaped.
    Text,
    /// Behind a header, the number of fields and of each its length.
    Binary,
}

impl Format {
    /// As an option of COPY.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }
}

/// What COPY writes, on its way.
#[derive(Debug)]
pub(crate) struct Rows {
    format: Format,
    whole: Bytes,
    /// The beginning of a row whose end has not come.
    rest: BytesMut,
    /// Whether the header of the binary format is still to come.
    is_at_header: bool,
}

/// What the binary format begins with; flags and the length of an extension follow.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
const FLAGS: usize = 4;

impl Rows {
    pub(crate) fn new(format: Format) -> Self {
        let is_at_header = format == Format::Binary;
        Self { format, whole: Bytes::new(), rest: BytesMut::new(), is_at_header }
    }

    pub(crate) fn push(&mut self, data: Bytes) {
        if self.rest.is_empty() {
            self.whole = data;
        } else {
            self.rest.extend_from_slice(&data);
            self.whole = self.rest.split().freeze();
        }
    }

    /// The next row that is there whole.
    ///
    /// # Errors
    /// If it is not in the format.
    pub(crate) fn next(&mut self) -> Result<Option<Row>> {
        let row = match self.format {
            Format::Text => self.line(),
            Format::Binary => self.tuple()?,
        };
        if row.is_none() && !self.whole.is_empty() {
            self.rest.extend_from_slice(&self.whole);
            self.whole = Bytes::new();
        }
        Ok(row)
    }

    fn line(&mut self) -> Option<Row> {
        let end = memchr::memchr(b'\n', &self.whole)?;
        let bytes = self.whole.split_to(end);
        self.whole.advance(1);
        Some(Row { format: Format::Text, bytes })
    }

    fn tuple(&mut self) -> Result<Option<Row>> {
        if self.is_at_header {
            let Some(end) = header(&self.whole)? else { return Ok(None) };
            self.whole.advance(end);
            self.is_at_header = false;
        }
        let Some((count, mut left)) = number(&self.whole) else { return Ok(None) };
        let Ok(count) = u16::try_from(i16::from_be_bytes(count)) else {
            // The end, behind which nothing comes.
            self.whole = Bytes::new();
            return Ok(None);
        };
        for _ in 0..count {
            let Some((length, rest)) = number(left) else { return Ok(None) };
            // A null's is -1.
            let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(0);
            let Some(rest) = rest.get(length..) else { return Ok(None) };
            left = rest;
        }
        let mut bytes = self.whole.split_to(self.whole.len() - left.len());
        bytes.advance(size_of::<u16>());
        Ok(Some(Row { format: Format::Binary, bytes }))
    }
}

fn number<const N: usize>(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (*number, rest))
}

/// Where the header ends, if it is there whole.
fn header(bytes: &[u8]) -> Result<Option<usize>> {
    let begins = bytes.get(..SIGNATURE.len().min(bytes.len())).unwrap_or_default();
    if !SIGNATURE.starts_with(begins) {
        return Err(Error::internal("find the signature of COPY's binary format"));
    }
    let lengths = bytes.get(SIGNATURE.len() + FLAGS..).and_then(number::<4>);
    let Some((extension, _)) = lengths else { return Ok(None) };
    let end = SIGNATURE.len() + FLAGS + 4 + u32::from_be_bytes(extension) as usize;
    Ok((bytes.len() >= end).then_some(end))
}

/// A row.
#[derive(Debug)]
pub(crate) struct Row {
    format: Format,
    bytes: Bytes,
}

impl Row {
    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields { format: self.format, of: &self.bytes, rest: Some(&self.bytes) }
    }
}

/// The fields of a row, in order.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    format: Format,
    of: &'a Bytes,
    rest: Option<&'a [u8]>,
}

impl Fields<'_> {
    /// The next field, which is a `ctid`.
    pub(crate) fn tid(&mut self) -> Option<Tid> {
        match self.next()? {
            Field::Text(text) => std::str::from_utf8(&text).ok()?.parse().ok(),
            Field::Binary(value) => {
                let (block, tuple) = number(&value)?;
                let (block, tuple) = (u32::from_be_bytes(block), number(tuple)?.0);
                Some(Tid { block, tuple: u16::from_be_bytes(tuple) })
            }
            Field::Null | Field::Unchanged | Field::Absent => None,
        }
    }
}

impl<'a> Fields<'a> {
    fn text(&mut self) -> Option<Field<'a>> {
        let rest = self.rest.take()?;
        let end = memchr::memchr(b'\t', rest).unwrap_or(rest.len());
        let (field, rest) = rest.split_at(end);
        self.rest = rest.get(1..);
        Some(match memchr::memchr(b'\\', field) {
            None => Field::Text(Value::part(self.of, field).share()),
            Some(_) if field == b"\\N" => Field::Null,
            Some(first) => Field::Text(unescaped(field, first)),
        })
    }

    fn binary(&mut self) -> Option<Field<'a>> {
        let (length, rest) = number(self.rest?)?;
        let length = usize::try_from(i32::from_be_bytes(length)).ok();
        let (field, rest) = rest.split_at_checked(length.unwrap_or(0))?;
        self.rest = Some(rest);
        Some(match length {
            None => Field::Null,
            Some(_) => Field::Binary(Value::part(self.of, field)),
        })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        match self.format {
            Format::Text => self.text(),
            Format::Binary => self.binary(),
        }
    }
}

/// What COPY has escaped; the first backslash is at `first`.
fn unescaped(field: &[u8], first: usize) -> Bytes {
    let mut text = Vec::with_capacity(field.len());
    let (plain, mut rest) = field.split_at(first);
    text.extend_from_slice(plain);
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let byte = match (byte, after.first()) {
            (b'\\', Some(escaped)) => {
                rest = &after[1..];
                match escaped {
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'v' => 0x0b,
                    other => *other,
                }
            }
            _ => *byte,
        };
        text.push(byte);
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows that come of `data` in pieces of `step` bytes, each with its fields.
    fn rows(format: Format, data: &[u8], step: usize) -> Vec<Vec<String>> {
        let mut rows = Rows::new(format);
        let mut all = Vec::new();
        for part in data.chunks(step) {
            rows.push(Bytes::copy_from_slice(part));
            while let Some(row) = rows.next().unwrap() {
                all.push(row.fields().map(shown).collect());
            }
        }
        all
    }

    fn shown(field: Field<'_>) -> String {
        match field {
            Field::Text(text) => format!("t{}", text.escape_ascii()),
            Field::Binary(value) => format!("b{}", value.escape_ascii()),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn rows_are_cut_into_fields_wherever_messages_end() {
        let text = b"(0,1)\ta\\tb\\\\\t\\N\t\n(0,2)\tx\t\\\\N\ty\n\n";
        let mut binary = SIGNATURE.to_vec();
        // Flags, and an extension of two bytes.
        binary.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 2, 9, 9]);
        binary.extend_from_slice(&[
            0, 3, 0, 0, 0, 6, 0, 1, 0, 2, 0, 3, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
        ]);
        binary.extend_from_slice(&[0, 1, 0, 0, 0, 2, b'x', b'\n', 0, 0, 0xff, 0xff]);
        for step in 1..binary.len() {
            assert_eq!(
                rows(Format::Text, text, step),
                [
                    vec!["t(0,1)", r"ta\tb\\", "Null", "t"],
                    vec!["t(0,2)", "tx", r"t\\N", "ty"],
                    vec!["t"]
                ],
                "{step}"
            );
            let expect = [vec![r"b\x00\x01\x00\x02\x00\x03", "Null", "b"], vec![r"bx\n"], vec![]];
            assert_eq!(rows(Format::Binary, &binary, step), expect, "{step}");
        }
        let mut wrong = Rows::new(Format::Binary);
        wrong.push(Bytes::from_static(b"PGCOPY\r\n"));
        assert!(wrong.next().is_err());
    }

    #[test]
    fn places_are_read_in_both_formats() {
        let tid = |format, bytes: &'static [u8]| {
            Row { format, bytes: Bytes::from_static(bytes) }.fields().tid()
        };
        let expect = Some(Tid { block: 65_538, tuple: 3 });
        assert_eq!(tid(Format::Text, b"(65538,3)\tx"), expect);
        assert_eq!(tid(Format::Binary, &[0, 0, 0, 6, 0, 1, 0, 2, 0, 3]), expect);
        assert_eq!(tid(Format::Binary, &[0, 0, 0, 4, 0, 1, 0, 2]), None);
        assert_eq!(tid(Format::Text, b"\\N"), None);
    }
}
