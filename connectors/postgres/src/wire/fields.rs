//! The fields of a message's body.
//!
//! Duty: read integers, texts and byte strings one after the other. `None` is what is not there: the
//! caller says what that means.

use super::error::Cause;

/// What is left of a body.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) const fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A text that ends with a zero; what is not UTF-8 in it is replaced.
    pub(super) fn text(&mut self) -> Option<String> {
        let end = memchr::memchr(0, self.0)?;
        let text = self.take(end + 1)?.get(..end)?;
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

/// Texts of a `RowDescription`: the columns' names.
pub(super) fn column_names(body: &[u8]) -> Result<Vec<String>, Cause> {
    // Table, column, type, size, modifier, format.
    const ATTRIBUTES: usize = 4 + 2 + 4 + 2 + 4 + 2;
    let read = || -> Option<Vec<_>> {
        let mut fields = Fields::new(body);
        (0..fields.u16()?)
            .map(|_| {
                let name = fields.text()?;
                fields.take(ATTRIBUTES)?;
                Some(name)
            })
            .collect()
    };
    read().ok_or_else(|| Cause::unexpected("a description of rows that is cut short"))
}

/// Texts of a `DataRow`: the columns' values.
pub(super) fn column_values(body: &[u8]) -> Result<Vec<Option<String>>, Cause> {
    let read = || -> Option<Vec<_>> {
        let mut fields = Fields::new(body);
        (0..fields.u16()?)
            .map(|_| match usize::try_from(fields.i32()?) {
                Err(_) => Some(None),
                Ok(length) => {
                    let value = fields.take(length)?;
                    Some(Some(String::from_utf8_lossy(value).into_owned()))
                }
            })
            .collect()
    };
    read().ok_or_else(|| Cause::unexpected("a row that is cut short"))
}
