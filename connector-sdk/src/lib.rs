//! Everything that the author of a Towpath connector sees.
//!
//! A **connector** moves records between Kafka and one outside system. A [`source::SourceConnector`]
//! plans tasks which poll batches of records; a [`sink::SinkConnector`] builds tasks whose lanes
//! write batches of records and report, now or later, what has become durable.
//!
//! Invariants:
//! - this crate does no I/O and knows no runtime: contexts hand everything in;
//! - progress is always a contiguous prefix: an offset moves only over records that are durable,
//!   rejected and held elsewhere, or skipped on purpose;
//! - a configuration is parsed once into a type ([`config::ConnectorConfig`]) and a secret never
//!   shows in `Debug`, in a reply or in a log.
//!
//! Deliberately absent: Kafka clients, threads, HTTP, retries of whole tasks. The engine has those.

// The derive names this crate as its users do.
extern crate self as towpath_sdk;

pub mod background;
pub mod clock;
pub mod config;
pub mod context;
pub mod converter;
pub mod decimal;
pub mod error;
pub mod guarantee;
pub mod instruments;
pub mod java_text;
pub mod json;
pub mod leftover;
pub mod offset;
pub mod plugin;
pub mod record;
pub mod schema;
pub mod signal;
pub mod simple;
pub mod sink;
pub mod source;
pub mod transform;
pub mod value;
pub mod written;

pub use bytes::Bytes;
pub use bytestring::ByteString as Text;
pub use error::{Error, ErrorKind, Result};
