//! Converters: between bytes in Kafka and values.

use bytes::{Bytes, BytesMut};

use crate::error::Result;
use crate::value::Datum;

/// Which part of a record a converter serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The key.
    Key,
    /// The value.
    Value,
    /// A header's value.
    Header,
}

/// Turns bytes into values and back. One instance serves one connector; calls come from several
/// threads at once.
///
/// A converter that passes bytes through returns slices of what it was given and copies nothing.
pub trait Converter: Send + Sync + 'static {
    /// The value that `bytes` stand for; `None` is null. `name` is the topic, or the header's name.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Data`] for bytes that mean nothing.
    fn decode(&self, name: &str, bytes: Option<Bytes>) -> Result<Datum>;

    /// The bytes of `datum`; `None` is null. What can't be a slice of the datum is appended to
    /// `scratch` and split off it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Data`] for a value that this format can't hold.
    fn encode(&self, name: &str, datum: &Datum, scratch: &mut BytesMut) -> Result<Option<Bytes>>;
}
