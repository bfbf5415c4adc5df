//! Messages of the `pgoutput` plug-in.
//!
//! Duty: read one message of logical replication, as the server frames it, protocol versions 1 to 4
//! (<https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>). Pure.
//!
//! Invariants:
//! - any bytes give a message or an error that says which message and where; nothing panics, and
//!   what is allocated is bounded by the length of the frame;
//! - a message takes its frame to the last byte: a field nobody knows is an error, not skipped;
//! - columns' values and the contents of logical messages are slices of the frame, never copied. They
//!   keep it alive; names are copied, as they outlive it.
//!
//! Absent: decoding of values (`types`), knowledge about relations (`table`), and two-phase commit,
//! whose messages are refused by name.

mod read;
mod tuple;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use towpath_sdk::{Error, ErrorKind};

use crate::lsn::Lsn;

pub use tuple::{Column, Columns, Tuple};

/// An identifier of a table, a type and the like in the server's catalogs.
pub type Oid = u32;

/// A transaction's identifier, which wraps around.
pub type Xid = u32;

/// PostgreSQL's epoch, 2000-01-01 UTC, in microseconds of Unix time.
const EPOCH_US: i64 = 946_684_800_000_000;

/// Unix time in microseconds from PostgreSQL's; what does not fit is cut to what does.
pub(crate) const fn unix_us(postgres_us: i64) -> i64 {
    postgres_us.saturating_add(EPOCH_US)
}

/// PostgreSQL's time from Unix time, both in microseconds.
pub(crate) const fn postgres_us(unix_us: i64) -> i64 {
    unix_us.saturating_sub(EPOCH_US)
}

/// A message.
///
/// The `xid` of a message is the transaction (or subtransaction) that it belongs to and is there just
/// between [`StreamStart`](Self::StreamStart) and [`StreamStop`](Self::StreamStop); elsewhere it is
/// that of [`Begin`](Self::Begin). Times are microseconds of Unix time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A transaction begins, which was committed already.
    Begin(Begin),
    /// What somebody wrote with `pg_logical_emit_message`.
    Logical(Logical),
    /// The transaction that began is complete.
    Commit(Commit),
    /// Where the transaction comes from.
    Origin(Origin),
    /// What a table looks like: before its first change, and after each change of its shape.
    Relation(Relation),
    /// The name of a type that a relation after it uses.
    Type(Type),
    /// A new row.
    Insert(Insert),
    /// A changed row.
    Update(Update),
    /// A deleted row.
    Delete(Delete),
    /// Tables that were emptied.
    Truncate(Truncate),
    /// A block of changes of a transaction that has not ended yet begins.
    StreamStart(StreamStart),
    /// The block ends.
    StreamStop,
    /// A transaction that was streamed in blocks is committed.
    StreamCommit(StreamCommit),
    /// A transaction that was streamed in blocks, or a part of it, is rolled back.
    StreamAbort(StreamAbort),
}

impl Message {
    /// The transaction or subtransaction that a message in a block belongs to.
    #[must_use]
    pub const fn xid(&self) -> Option<Xid> {
        match self {
            Self::Logical(Logical { xid, .. })
            | Self::Relation(Relation { xid, .. })
            | Self::Type(Type { xid, .. })
            | Self::Insert(Insert { xid, .. })
            | Self::Update(Update { xid, .. })
            | Self::Delete(Delete { xid, .. })
            | Self::Truncate(Truncate { xid, .. }) => *xid,
            _ => None,
        }
    }
}

/// A transaction begins, which was committed already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Where its commit record is.
    pub commit_lsn: Lsn,
    /// When it was committed.
    pub committed_at_us: i64,
    /// The transaction.
    pub xid: Xid,
}

/// What somebody wrote with `pg_logical_emit_message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logical {
    /// See [`Message`].
    pub xid: Option<Xid>,
    /// Whether it is part of a transaction. One that is not stands alone, without begin and commit.
    pub transactional: bool,
    /// Where it is in the log.
    pub lsn: Lsn,
    /// Whom it is for.
    pub prefix: Arc<str>,
    /// What it says.
    pub content: Bytes,
}

/// A transaction is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Where its commit record is.
    pub commit_lsn: Lsn,
    /// Where its commit record ends.
    pub end_lsn: Lsn,
    /// When it was committed.
    pub committed_at_us: i64,
}

/// Where a transaction comes from: it was replicated to this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Where its commit record is on the server it comes from.
    pub commit_lsn: Lsn,
    /// The origin's name.
    pub name: Arc<str>,
}

/// What a table looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// See [`Message`].
    pub xid: Option<Xid>,
    /// What rows name it by.
    pub oid: Oid,
    /// The schema; `pg_catalog` is sent as an empty text and read as its name.
    pub namespace: Arc<str>,
    /// The table.
    pub name: Arc<str>,
    /// What old rows are told by.
    pub replica_identity: ReplicaIdentity,
    /// The published columns, in the order that tuples have them.
    pub columns: Vec<RelationColumn>,
}

/// A column of a [`Relation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Whether it is part of the replica identity.
    pub is_key: bool,
    /// Its name.
    pub name: Arc<str>,
    /// Its type.
    pub type_oid: Oid,
    /// Its type's modifier (as in `varchar(10)`), -1 if none.
    pub type_modifier: i32,
}

/// What old rows are told by (`pg_class.relreplident`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaIdentity {
    /// The primary key, if there is one.
    Default,
    /// Nothing.
    Nothing,
    /// All columns.
    Full,
    /// The columns of an index.
    Index,
}

/// The name of a type that is not built in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    /// See [`Message`].
    pub xid: Option<Xid>,
    /// What columns name it by.
    pub oid: Oid,
    /// The schema; `pg_catalog` is sent as an empty text and read as its name.
    pub namespace: Arc<str>,
    /// The type.
    pub name: Arc<str>,
}

/// A new row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    /// See [`Message`].
    pub xid: Option<Xid>,
    /// The table's oid.
    pub relation: Oid,
    /// The row.
    pub new: Tuple,
}

/// A changed row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// See [`Message`].
    pub xid: Option<Xid>,
    /// The table's oid.
    pub relation: Oid,
    /// What it was, as far as the replica identity says so.
    pub old: Option<Old>,
    /// The row as it is; columns in TOAST that did not change are [`Column::Unchanged`].
    pub new: Tuple,
}

/// A deleted row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// See [`Message`].
    pub xid: Option<Xid>,
    /// The table's oid.
    pub relation: Oid,
    /// What it was.
    pub old: Old,
}

/// A row before a change. Both have all columns; the ones that are not known are null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Old {
    /// Only the columns of the replica identity are known. With an update: it changed them.
    Key(Tuple),
    /// All columns are known ([`ReplicaIdentity::Full`]).
    Row(Tuple),
}

impl Old {
    /// The columns.
    #[must_use]
    pub const fn tuple(&self) -> &Tuple {
        let (Self::Key(tuple) | Self::Row(tuple)) = self;
        tuple
    }
}

/// Tables that were emptied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncate {
    /// See [`Message`].
    pub xid: Option<Xid>,
    /// Whether tables were emptied because they refer to one that was (`CASCADE`).
    pub cascade: bool,
    /// Whether sequences began anew (`RESTART IDENTITY`).
    pub restart_identity: bool,
    /// The tables' oids.
    pub relations: Vec<Oid>,
}

/// A block of changes of a transaction that has not ended yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamStart {
    /// The transaction.
    pub xid: Xid,
    /// Whether it is the transaction's first block.
    pub first: bool,
}

/// A transaction that was streamed in blocks is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamCommit {
    /// The transaction.
    pub xid: Xid,
    /// What [`Message::Commit`] says.
    pub commit: Commit,
}

/// A transaction that was streamed in blocks, or a part of it, is rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamAbort {
    /// The transaction.
    pub xid: Xid,
    /// The subtransaction that is rolled back; the transaction itself if all is.
    pub subxid: Xid,
    /// Where and when; sent with protocol 4 and `streaming=parallel` only.
    pub aborted: Option<Aborted>,
}

/// Where and when a transaction was rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted {
    /// Where the record of it is.
    pub lsn: Lsn,
    /// When.
    pub at_us: i64,
}

/// Bytes that are no message, or one that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read the {message} of a replication stream at byte {position}: {reason}")]
pub struct ParseError {
    /// The message's name.
    pub message: &'static str,
    /// Where in the frame.
    pub position: usize,
    /// Why.
    pub reason: Reason,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The frame ends within a field.
    #[error("{missing} more bytes were announced than there are")]
    Short {
        /// How many are missing.
        missing: usize,
    },
    /// The frame goes on.
    #[error("{surplus} bytes are left over")]
    Long {
        /// How many.
        surplus: usize,
    },
    /// A text without its terminator.
    #[error("a text has no end")]
    Endless,
    /// A name that is not UTF-8, which the session asked for.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// A length below zero.
    #[error("{0} is no length")]
    Length(i32),
    /// A tag nobody knows.
    #[error("the byte {0:#04x} is unknown there")]
    Unknown(u8),
    /// A message of two-phase commit, which nobody asked the server for.
    #[error("two-phase commit is not supported: create the slot without TWO_PHASE")]
    TwoPhase,
}

impl From<ParseError> for Error {
    fn from(error: ParseError) -> Self {
        let kind = match error.reason {
            Reason::TwoPhase => ErrorKind::Unsupported,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

/// Reads the message that `frame` is, whole.
///
/// `in_stream` says whether it comes between [`Message::StreamStart`] and [`Message::StreamStop`],
/// where messages carry a transaction's identifier: it can't be seen from the bytes.
///
/// # Errors
///
/// [`ParseError`] for all that is no such message.
pub fn parse(frame: &Bytes, in_stream: bool) -> Result<Message, ParseError> {
    read::message(frame, in_stream)
}
