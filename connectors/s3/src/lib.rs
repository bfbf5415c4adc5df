//! Sink to S3 and stores that speak its protocol.
//!
//! Records become JSON lines (or the bytes of their values) in objects whose names say the topic, the
//! Kafka partition and the offset of the first record. Configurations of Confluent's and Aiven's S3
//! sinks work as they are.
//!
//! How nothing is lost, and nothing doubled where objects' bounds and names do not depend on the
//! clock: [`chain`]. How memory and disk stay bounded: [`buffer`], [`spool`].
//!
//! Deliberately absent: reading from S3; Avro, Parquet and CSV; keys and headers in objects of their
//! own.

pub mod buffer;
pub mod chain;
pub mod client;
pub mod config;
pub mod connector;
pub mod error;
pub mod format;
pub mod joda;
pub mod name;
pub mod partitioner;
pub mod rotation;
pub mod spool;
pub mod task;
pub mod timestamp;

pub use connector::{AivenS3Sink, S3Sink};
