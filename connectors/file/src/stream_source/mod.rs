//! `org.apache.kafka.connect.file.FileStreamSourceConnector`: the lines of one file, or of standard
//! input, as records.
//!
//! Duty: what Kafka Connect's class does, with its keys, offsets and texts. Differences, each for the
//! better: positions count bytes also where a line is not ASCII (Java's count characters and so skip
//! to a wrong place after a restart); a file that is missing or shorter than the stored position
//! shows in the task's status; a line has a greatest length.
//!
//! Deliberately absent, as in Connect: rotation, truncation, more than one file. That is
//! `file-source`.

mod client;
mod config;
mod connector;
mod task;

pub use config::FileStreamSourceConfig;
pub use connector::FileStreamSource;
pub use task::FileStreamSourceTask;
