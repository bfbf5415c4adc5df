//! The engine's ports in one process, on disk: for quick starts and development.
//!
//! Duty: keep the log of [`towpath_broker`] in a directory, on an embedded store (fjall, an LSM tree
//! with one journal).
//!
//! **What survives what.** An acknowledged write has reached the operating system, so it survives the
//! end of the process however it comes, kill -9 included. Whether it survives a power loss or a crash of
//! the operating system is up to [`Fsync`]:
//! - [`Fsync::Always`]: yes; an acknowledgement waits for fsync, which all waiting writers share;
//! - [`Fsync::Interval`] (the default, one second): all but the last interval;
//! - [`Fsync::Never`]: as much as the operating system has written back on its own.
//!
//! In each case what survives is a prefix of what was written: a committed offset never points behind a
//! record that is gone. Transactions that were open are aborted on the next start.
//!
//! Invariants:
//! - the directory is private to the user (0700), and one process has it at a time (a lock file);
//! - disk use is bounded where [`EmbeddedOptions::max_bytes`] says so, and writing stops with
//!   `OutOfSpace` before the file system is full ([`EmbeddedOptions::min_free_bytes`]); it goes on by
//!   itself when there is room;
//! - a directory of another format, or a damaged one, is refused with what to do about it.
//!
//! Deliberately absent: replication, access from other processes, Kafka's wire protocol.

mod cluster;
mod directory;
mod error;
mod options;
mod space;
mod store;
mod syncer;

pub use cluster::Embedded;
pub use error::{OpenError, OpenErrorKind};
pub use options::{EmbeddedOptions, Fsync, ParseFsyncError};
