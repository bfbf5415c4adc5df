//! `org.apache.kafka.connect.file.FileStreamSinkConnector`: the values of records as lines of one
//! file, or of standard output.
//!
//! Duty: what Kafka Connect's class does, with its key and its texts: `String.valueOf` of each value
//! and a `\n`, appended. A record counts as durable once the operating system has all of its line.
//! Differences, each for the better: an error of the file system is an error (Java's `PrintStream`
//! swallows it); a full disk leaves no torn line and is waited out; a line that a crash tore gets an
//! end, so that no record is glued to it.
//!
//! Deliberately absent, as in Connect: rotation, `fsync`, formats. That is `file-sink`.

mod client;
mod config;
mod connector;
mod task;

pub use config::FileStreamSinkConfig;
pub use connector::FileStreamSink;
pub use task::{FileStreamSinkLane, FileStreamSinkTask};
