//! A compacted topic as a table: configurations, offsets, statuses.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use super::PortResult;

/// Which table.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// The topic.
    pub topic: String,
    /// Partitions, if it must be created; `None` is the broker's default.
    pub partitions: Option<i32>,
    /// Replicas, if it must be created; `None` is the broker's default.
    pub replication_factor: Option<i16>,
    /// Topic settings, if it must be created; `cleanup.policy` is always `compact`.
    pub config: BTreeMap<String, String>,
    /// What it is, for messages: "config", "offset", "status".
    pub purpose: &'static str,
    /// The client id that the broker sees.
    pub client_id: String,
}

/// A record of a table: a key's latest value; `None` is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Option<Bytes>,
}

/// A compacted topic that is read from its beginning, by read-committed readers, and written by key.
///
/// The table keeps nothing in memory: whoever reads it keeps what it needs of it.
pub trait CompactedTable: Send + Sync + 'static {
    /// Everything from the beginning to the end as it is now, in order per partition, then all that
    /// comes after, for as long as the receiver lives. The first message that arrives after the end was
    /// reached is [`TableEvent::CaughtUp`].
    fn follow(&self) -> BoxFuture<'_, PortResult<mpsc::Receiver<TableEvent>>>;

    /// Writes entries in order; resolves when the broker holds them.
    ///
    /// # Errors
    /// [`super::PortErrorKind::Unknown`]: they may be there; they are safe to write again.
    fn put(&self, entries: Vec<Entry>) -> BoxFuture<'_, PortResult<()>>;

    /// The topic's name, for transactional writers which write to it themselves.
    fn topic(&self) -> &str;
}

/// What a follower of a table is told.
#[derive(Debug, Clone)]
pub enum TableEvent {
    /// Entries, in order per partition.
    Entries(Vec<Entry>),
    /// Everything that was there when following began has been delivered.
    CaughtUp,
    /// Reading fails, for this reason, and goes on by itself when it can; `None`: it goes on.
    Trouble(Option<super::PortError>),
}
