//! Connectors for local files.
//!
//! Duty: four connectors. Under Kafka Connect's class names, [`stream_source`] and [`stream_sink`]
//! behave as its `FileStreamSource` and `FileStreamSink` do, down to the texts of their errors.
//! `file-source` ([`source`]) reads many files and follows them through rotation; `file-sink`
//! ([`sink`]) writes files that appear whole.
//!
//! Invariants: an offset is a byte position after a whole line; what is reported durable was handed
//! to the operating system whole.
//!
//! Deliberately absent: file systems of the network and object stores, which have connectors of
//! their own.

mod error;
mod lines;
pub mod sink;
pub mod source;
pub mod stream_sink;
pub mod stream_source;
mod utf8;
