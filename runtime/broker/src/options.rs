//! How a broker behaves.

use std::time::Duration;

use towpath_sdk::record::TopicPartition;

/// Settings of a broker.
#[derive(Debug, Clone)]
pub struct Options {
    /// What [`towpath_core::ports::Cluster::id`] answers.
    pub cluster_id: String,
    /// Partitions of a topic whose creator does not say.
    pub default_partitions: i32,
    /// Whether writing to a topic that is not there creates it.
    pub auto_create_topics: bool,
    /// Bytes of a partition to keep where the topic does not say (`retention.bytes`); `None` keeps all.
    pub retention_bytes: Option<u64>,
    /// How long to keep records where the topic does not say (`retention.ms`); `None` keeps them.
    pub retention: Option<Duration>,
    /// Bytes of all logs together, above which writing is refused with
    /// [`towpath_core::ports::PortErrorKind::OutOfSpace`]; `None` is no bound.
    pub max_bytes: Option<u64>,
    /// Whether retention spares what a group that is there, or was within this time, has not committed
    /// past. `None`: retention spares nothing, as in Kafka.
    pub keep_unread: Option<Duration>,
    /// How long a member of a group that vanished without leaving keeps its partitions.
    pub session_timeout: Duration,
    /// How long the group waits for a member to let revoked partitions go.
    pub rebalance_timeout: Duration,
    /// Whether a commit by a member for a partition that is not assigned to it is refused. Kafka takes
    /// it.
    pub strict_commits: bool,
    /// Bytes of rows in a batch, at most, except that one row always fits.
    pub fetch_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cluster_id: "towpath".to_owned(),
            default_partitions: 1,
            auto_create_topics: true,
            retention_bytes: None,
            retention: None,
            max_bytes: None,
            keep_unread: None,
            session_timeout: Duration::ZERO,
            rebalance_timeout: Duration::from_secs(300),
            strict_commits: true,
            fetch_bytes: 1 << 20,
        }
    }
}

/// What Kafka leaves open, decided by whoever runs the broker. Offsets must have gaps, so that no
/// code assumes that they are dense.
pub trait Quirks: Send + Sync + 'static {
    /// Offsets to leave out before the next chunk of records.
    fn gap(&self) -> u32;

    /// Rows in the next batch, at most.
    fn batch_rows(&self) -> usize {
        usize::MAX
    }

    /// A group's offset was committed by a member; `assigned` says whether the partition was its own.
    fn committed(&self, group: &str, partition: &TopicPartition, offset: i64, assigned: bool) {
        let _ = (group, partition, offset, assigned);
    }
}

/// Leaves one offset out before every so many chunks.
#[derive(Debug)]
pub struct EveryNth {
    every: u32,
    count: std::sync::atomic::AtomicU32,
}

impl EveryNth {
    /// A gap before every `every`th chunk, beginning with the second.
    #[must_use]
    pub fn new(every: u32) -> Self {
        Self { every: every.max(1), count: std::sync::atomic::AtomicU32::new(0) }
    }
}

impl Quirks for EveryNth {
    fn gap(&self) -> u32 {
        let count = self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        u32::from(count % self.every == 1 % self.every)
    }
}
