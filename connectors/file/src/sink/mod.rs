//! `file-sink`: records into files that appear whole.
//!
//! Duty: write each partition's records into files of a directory, under names made of a template,
//! and complete a file by writing it out, `fsync` and an atomic rename. Nobody ever sees half a file.
//!
//! Invariants: all files of a partition that are open are completed together, so that what is reported
//! durable is a contiguous prefix; where files are cut by what is in them, a replay after a crash cuts
//! them at the same places and writes the same files again under the same names, so every record is in
//! exactly one; what is not completed stands in `.towpath/<connector>/<topic>-<partition>` of the
//! directory, and is removed by whoever takes the partition next.
//!
//! Deliberately absent: appending to files (that is `FileStreamSink`), Avro and Parquet, removing old
//! files.

mod client;
mod config;
mod connector;
mod format;
mod name;
mod task;

pub use config::{Compression, FileSinkConfig, Format, NullValues};
pub use connector::FileSink;
pub use task::{FileSinkLane, FileSinkTask};
