//! COPY in text format (<https://www.postgresql.org/docs/current/sql-copy.html>).
//!
//! Duty: cut what comes into rows, and rows into fields, whose texts are those of the types' output
//! functions. Pure.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::table::Field;

/// Rows: a line each, since line breaks in values are escaped.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    whole: Bytes,
    rest: BytesMut,
}

impl Lines {
    /// Takes what came.
    pub(crate) fn push(&mut self, data: Bytes) {
        if self.rest.is_empty() {
            self.whole = data;
        } else {
            self.rest.extend_from_slice(&data);
            self.whole = self.rest.split().freeze();
        }
    }

    /// The next row that is there whole.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        match memchr::memchr(b'\n', &self.whole) {
            Some(at) => {
                let line = self.whole.split_to(at);
                self.whole.advance(1);
                Some(line)
            }
            None => {
                self.rest.extend_from_slice(&self.whole);
                self.whole = Bytes::new();
                None
            }
        }
    }
}

/// Fields of a row.
pub(crate) struct Fields {
    rest: Option<Bytes>,
}

impl Fields {
    /// Those of `line`.
    #[must_use]
    pub(crate) const fn of(line: Bytes) -> Self {
        Self { rest: Some(line) }
    }
}

impl Iterator for Fields {
    type Item = Field;

    fn next(&mut self) -> Option<Field> {
        let mut rest = self.rest.take()?;
        let end = memchr::memchr(b'\t', &rest).unwrap_or(rest.len());
        let field = rest.split_to(end);
        if !rest.is_empty() {
            rest.advance(1);
            self.rest = Some(rest);
        }
        Some(match memchr::memchr(b'\\', &field) {
            None => Field::Text(field),
            Some(_) if *field == *b"\\N" => Field::Null,
            Some(first) => Field::Text(unescaped(&field, first)),
        })
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

    #[test]
    fn rows_are_cut_into_fields() {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for part in ["(0,1)\ta\\tb\\\\\t\\N\t\n(0,", "2)\tx\t\\\\N\ty\n"] {
            lines.push(Bytes::from_static(part.as_bytes()));
            while let Some(line) = lines.next() {
                let fields = Fields::of(line);
                all.push(fields.map(|field| format!("{field:?}")).collect::<Vec<_>>());
            }
        }
        let text =
            |text: &str| format!("{:?}", Field::Text(Bytes::copy_from_slice(text.as_bytes())));
        let null = "Null".to_owned();
        assert_eq!(all[0], [text("(0,1)"), text("a\tb\\"), null, text("")]);
        assert_eq!(all[1], [text("(0,2)"), text("x"), text("\\N"), text("y")]);
    }
}
