//! `file-source`: the lines of many files as records.
//!
//! Duty: read every file that the patterns match, and those that appear later, in parallel tasks;
//! follow files through rotation (by renaming and by truncation); read `.gz` files whole; go on after
//! a crash at the byte where the last stored line ended.
//!
//! # Source partition and source offset
//! A file is a source partition: `{"device": 2049, "inode": 1234}`. Its offset tells where its next line
//! begins, and enough of what came before to recognise the file:
//!
//! | key | meaning |
//! |---|---|
//! | `position` | bytes before the next line; for a `.gz` file, of its content |
//! | `path` | where the file was |
//! | `created` | when its inode was made, in nanoseconds since the epoch, where the file system tells |
//! | `head`, `head.bytes` | fingerprint (FNV-1a, 64 bits) of the first bytes, at most 1024 |
//! | `tail`, `tail.bytes` | the same of the bytes before `position`, at most 64 |
//!
//! A person may set an offset of `position` alone; it is then taken as it is.
//!
//! Invariants:
//! - a file is read on at a stored position only if its inode, creation, head and tail are those of
//!   the file that was read; else it is another file, and is read from its start;
//! - before each read of a file that can be cut, the bytes before the position are compared with what
//!   was read, so that a file that was cut and has grown again is noticed;
//! - names that differ in what rotation appends to them (`app.log`, `app.log.1`,
//!   `app.log-20240131.gz`) belong to one task, which reads the older ones to their ends first;
//! - a file is deleted or moved only when all of it is acknowledged, and it is still what was read.
//!
//! # Why it looks rather than listens
//! A wait ends by a timer, not by inotify: inotify says nothing about network file systems and
//! about what another host or container writes, its watches are limited per user, and it needs a
//! watch for each directory under a pattern, so that looking is needed beside it anyway. A look at an
//! unchanged file is one `fstat`; pauses double from 5 ms to `poll.interval.ms`.
//!
//! # What it can't know
//! What is written to a file between the last read and its truncation is gone (so it is with
//! `copytruncate`); a file that is renamed twice within `scan.interval.ms` is followed only if the
//! patterns match its new names; a file renamed across rotation names while several tasks run stays
//! with its task until that restarts.
//!
//! Deliberately absent: compression other than gzip, records of several lines, encodings other than
//! UTF-8 (`value.format=bytes` passes any).

mod client;
mod config;
mod connector;
mod follower;
mod names;
mod place;
mod shape;
mod task;
mod tracked;

pub use config::{FileSourceConfig, LastLine, LongLines, RecordKey, ValueFormat, WhenFinished};
pub use connector::FileSource;
pub use task::FileSourceTask;
