//! Consuming as a member of a group.

use futures::future::BoxFuture;
use tokio::sync::oneshot;
use towpath_sdk::record::{RawBatch, TopicPartition};
use towpath_sdk::sink::Epoch;

use super::{ClientOverrides, PortError, PortResult};
use crate::budget::Budget;

/// Which topics to read.
#[derive(Debug, Clone)]
pub enum Subscription {
    /// These.
    Topics(Vec<String>),
    /// Those whose whole name matches this Java regular expression, also topics that appear later.
    Pattern(String),
}

/// What a consumer is for.
#[derive(Debug, Clone)]
pub struct ConsumerSpec {
    /// The group.
    pub group_id: String,
    /// The client id that the broker sees.
    pub client_id: String,
    /// The topics.
    pub subscription: Subscription,
    /// Java client properties that override the worker's.
    pub overrides: ClientOverrides,
    /// What fetched bytes are charged to; a batch holds its permit until its last slice is dropped.
    pub budget: Budget,
}

/// What happens to a consumer.
#[derive(Debug)]
pub enum ConsumerEvent {
    /// These partitions were added. They deliver nothing before [`Consumer::start`].
    Assigned {
        /// The partitions.
        partitions: Vec<TopicPartition>,
        /// The epoch of all batches of these partitions until they are revoked.
        epoch: Epoch,
    },
    /// These partitions are about to go; commits for them are good until [`Revoked`] is dropped.
    Revoking {
        /// The partitions.
        partitions: Vec<TopicPartition>,
        /// Drop it when the last commit is through. The group waits for it.
        done: Revoked,
    },
    /// These partitions are gone already; nothing may be committed for them.
    Lost {
        /// The partitions.
        partitions: Vec<TopicPartition>,
    },
    /// Records of one started partition.
    Batch(RawBatch),
    /// Something is wrong that may heal; `None`: it has healed.
    Trouble(Option<PortError>),
}

/// Lets a rebalance go on when dropped.
#[derive(Debug)]
pub struct Revoked(#[expect(dead_code, reason = "held for its drop")] oneshot::Sender<()>);

impl Revoked {
    /// The two ends.
    #[must_use]
    pub fn channel() -> (Self, oneshot::Receiver<()>) {
        let (tx, rx) = oneshot::channel();
        (Self(tx), rx)
    }
}

/// How a commit ended.
#[derive(Debug, Clone)]
pub enum CommitOutcome {
    /// The broker has it.
    Done,
    /// The broker refused it; nothing moved.
    Failed(PortError),
    /// No answer: read back, or commit again; never undo.
    Unknown(PortError),
}

/// A member of a consumer group. Offsets are committed only by [`Consumer::commit`].
pub trait Consumer: Send + 'static {
    /// The next event. Takes bytes off the budget for each batch before fetching it, so a full budget
    /// stops fetching while membership goes on. May be dropped at any await without losing an event.
    ///
    /// # Errors
    /// Only for what ends this consumer.
    fn next(&mut self) -> BoxFuture<'_, PortResult<ConsumerEvent>>;

    /// Starts, or moves, started partitions: at these offsets, or where `None` at the committed offset
    /// (the earliest where none is committed, or as `auto.offset.reset` says). Batches fetched before
    /// the move are not delivered after it. A partition that is not assigned any more is left out: the
    /// event that says so is on its way.
    fn start(&mut self, at: Vec<(TopicPartition, Option<i64>)>) -> BoxFuture<'_, PortResult<()>>;

    /// Stops fetching these partitions until [`Consumer::start`]. A partition that is not assigned any
    /// more is left out.
    fn halt(&mut self, partitions: &[TopicPartition]) -> PortResult<()>;

    /// Commits that the group goes on at these offsets. The future owns what it needs, so that events
    /// are served meanwhile.
    fn commit(&self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'static, CommitOutcome>;

    /// The offset behind the last record of an assigned partition, as last heard of.
    fn end_offset(&self, partition: &TopicPartition) -> Option<i64>;

    /// Leaves the group.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}
