//! Transforms and the predicates that guard them.

use crate::error::Result;
use crate::record::Record;

/// Whether a record goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transformed {
    /// It goes on.
    Keep,
    /// It is left out; its offset counts as done.
    Drop,
}

/// Changes one record in place. Calls of one instance may overlap, since batches are converted in
/// parallel and their order is restored afterwards: decide by the record alone.
pub trait Transform: Send + Sync + 'static {
    /// Changes `record`, or leaves it out.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Data`] for a record that it can't work on: the error tolerance decides.
    fn apply(&self, record: &mut Record) -> Result<Transformed>;
}

/// Asks a question about a record.
pub trait Predicate: Send + Sync + 'static {
    /// The answer.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Data`] for a record that it can't judge.
    fn test(&self, record: &Record) -> Result<bool>;
}
