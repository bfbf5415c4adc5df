//! Values as a type's send function writes them: numbers in network order.

use std::ops::Deref;

use bytes::Bytes;
use towpath_sdk::{Error, Result};

/// A part of something shared: it costs nothing until it is kept.
#[derive(Debug, Clone, Copy)]
pub struct Slice<'a> {
    of: &'a Bytes,
    bytes: &'a [u8],
}

impl<'a> Slice<'a> {
    /// All of `of`.
    #[must_use]
    pub fn whole(of: &'a Bytes) -> Self {
        Self { of, bytes: of }
    }

    /// `bytes`, which are a part of `of`.
    #[must_use]
    pub const fn part(of: &'a Bytes, bytes: &'a [u8]) -> Self {
        Self { of, bytes }
    }

    /// The bytes, to keep: what they are a part of stays with them.
    #[must_use]
    pub fn share(&self) -> Bytes {
        let outer = self.of.as_ptr_range();
        let inner = self.bytes.as_ptr_range();
        if self.bytes.is_empty() || inner.start < outer.start || inner.end > outer.end {
            return Bytes::copy_from_slice(self.bytes);
        }
        self.of.slice_ref(self.bytes)
    }

    /// Takes `N` bytes off the front.
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (first, rest) = self.bytes.split_first_chunk().ok_or_else(short)?;
        self.bytes = rest;
        Ok(*first)
    }

    /// Takes so many bytes off the front.
    pub(super) fn split(&mut self, length: usize) -> Result<Self> {
        let (first, rest) = self.bytes.split_at_checked(length).ok_or_else(short)?;
        self.bytes = rest;
        Ok(Self { of: self.of, bytes: first })
    }

    /// The number that all of it is.
    pub(super) fn number<const N: usize>(&self) -> Result<[u8; N]> {
        self.bytes.try_into().map_err(|_| Error::data(WRONG))
    }

    /// Says so if something is left.
    pub(super) fn end(&self) -> Result<()> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Error::data(WRONG)) }
    }
}

impl Deref for Slice<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

const WRONG: &str = "a binary value of another length than its type has";

fn short() -> Error {
    Error::data(WRONG)
}
