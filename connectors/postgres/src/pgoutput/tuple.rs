//! Rows as the server sends them.
//!
//! Duty: walk over the columns of a row without allocating. A tuple is checked once, when its message
//! is read; from then on its columns can't fail.

use std::fmt;
use std::iter::FusedIterator;

use bytes::Bytes;

use super::ParseError;
use super::read::Cursor;

const NULL: u8 = b'n';
const UNCHANGED: u8 = b'u';
const TEXT: u8 = b't';
const BINARY: u8 = b'b';

/// A row: as many columns as its relation has, in that order.
#[derive(Clone, PartialEq, Eq)]
pub struct Tuple {
    /// Whole columns, `count` of them: [`skip`] has been over them.
    bytes: Bytes,
    count: u16,
}

/// A column's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column<'a> {
    /// No value.
    Null,
    /// A value in TOAST that did not change and is not sent.
    Unchanged,
    /// What the type's output function writes, in the session's encoding.
    Text(&'a [u8]),
    /// What the type's send function writes, if `binary` was asked for.
    Binary(&'a [u8]),
}

impl Tuple {
    pub(super) const fn new(bytes: Bytes, count: u16) -> Self {
        Self { bytes, count }
    }

    /// How many columns it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.into()
    }

    /// Whether it has no columns.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The columns, in the relation's order.
    #[must_use]
    pub fn columns(&self) -> Columns<'_> {
        Columns { rest: &self.bytes, left: self.count }
    }

    /// Its bytes, columns' headers included: what it weighs.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// `value`, one of this tuple's, to keep: it shares the frame and keeps it alive.
    #[must_use]
    pub fn share(&self, value: &[u8]) -> Bytes {
        let outer = self.bytes.as_ptr_range();
        let inner = value.as_ptr_range();
        if value.is_empty() || inner.start < outer.start || inner.end > outer.end {
            return Bytes::copy_from_slice(value);
        }
        self.bytes.slice_ref(value)
    }
}

impl<'a> IntoIterator for &'a Tuple {
    type Item = Column<'a>;
    type IntoIter = Columns<'a>;

    fn into_iter(self) -> Columns<'a> {
        self.columns()
    }
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.columns()).finish()
    }
}

/// The columns of a [`Tuple`].
#[derive(Debug, Clone)]
pub struct Columns<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> Columns<'a> {
    fn value(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        self.rest = rest;
        Some(value)
    }
}

impl<'a> Iterator for Columns<'a> {
    type Item = Column<'a>;

    fn next(&mut self) -> Option<Column<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (tag, rest) = self.rest.split_first()?;
        self.rest = rest;
        match *tag {
            NULL => Some(Column::Null),
            UNCHANGED => Some(Column::Unchanged),
            TEXT => self.value().map(Column::Text),
            _ => self.value().map(Column::Binary),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.into(), Some(self.left.into()))
    }
}

impl ExactSizeIterator for Columns<'_> {}
impl FusedIterator for Columns<'_> {}

/// Goes over `count` columns, and so proves them.
pub(super) fn skip(cursor: &mut Cursor<'_>, count: u16) -> Result<(), ParseError> {
    for _ in 0..count {
        let has_value = cursor.tag(|tag| match tag {
            NULL | UNCHANGED => Some(false),
            TEXT | BINARY => Some(true),
            _ => None,
        })?;
        if has_value {
            let length = cursor.length()?;
            cursor.take(length)?;
        }
    }
    Ok(())
}
