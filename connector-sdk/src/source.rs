//! Sources: outside system → Kafka.
//!
//! Duty: the traits that a source implements. The engine polls a task for batches, converts and
//! produces them, stores the offsets of what the broker holds, and only then acknowledges.
//!
//! Order of durability: records in the broker → offset stored → [`SourceTask::acknowledge`].

use std::future::{Future, pending};
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::config::{ConnectorConfig, Properties};
use crate::context::{ConnectorContext, SourceTaskContext};
use crate::error::Result;
use crate::guarantee::Guarantee;
use crate::leftover::Leftover;
use crate::offset::{SourceOffset, SourcePartition, StoredOffsets};
use crate::plugin::PluginInfo;
use crate::record::Record;

/// Plans the tasks of a source.
pub trait SourceConnector: Sized + Send + 'static {
    /// The typed configuration.
    type Config: ConnectorConfig;
    /// The tasks.
    type Task: SourceTask;

    /// Its names and what it is.
    fn plugin() -> PluginInfo;

    /// What is promised under `config` when the engine produces at least once. With exactly-once
    /// produce the promise holds as far as this one does.
    fn guarantee(config: &Self::Config) -> Guarantee;

    /// Starts planning. Tasks may run before, during and after.
    fn start(
        config: Arc<Self::Config>,
        cx: ConnectorContext,
    ) -> impl Future<Output = Result<Self>> + Send;

    /// At most `max` shares of the work, one a task. Called once after `start` and again whenever
    /// [`SourceConnector::changed`] resolves.
    fn plan(&mut self, max: NonZeroU32) -> impl Future<Output = Result<Vec<TaskShare>>> + Send;

    /// Resolves when the plan must be made anew. May be dropped at any await.
    fn changed(&mut self) -> impl Future<Output = Result<()>> + Send {
        pending()
    }

    /// A task for `share`, ready to be polled, at the offsets in `cx`.
    fn task(
        config: Arc<Self::Config>,
        share: TaskShare,
        cx: SourceTaskContext,
    ) -> impl Future<Output = Result<Self::Task>> + Send;

    /// Reaches the outside system to see whether `config` would work. Not called by validation,
    /// which is pure.
    fn check(config: Arc<Self::Config>) -> impl Future<Output = Result<()>> + Send {
        drop(config);
        async { Ok(()) }
    }

    /// What stays in the outside system if the connector is deleted, by its configuration alone. Pure:
    /// it is shown in the connector's status, and in the answer to whoever deletes it.
    fn leftovers(config: &Self::Config) -> Vec<Leftover> {
        let _ = config;
        Vec::new()
    }

    /// The connector was deleted: removes what `config` says is to go with it. Called once, on the
    /// worker that was asked to delete it, and only if one of [`SourceConnector::leftovers`] is
    /// [`crate::leftover::Fate::Removed`]. Tasks may still be stopping: wait until they let go. It must not be relied
    /// on (that worker may end first), may be dropped at any await, and `Ok` promises that what was to
    /// go is gone.
    fn deleted(config: Arc<Self::Config>) -> impl Future<Output = Result<()>> + Send {
        drop(config);
        async { Ok(()) }
    }

    /// Whether a person may set this offset under `config`; `None` forgets the partition.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] with what would be right.
    fn check_offset(
        config: &Self::Config,
        partition: &SourcePartition,
        offset: Option<&SourceOffset>,
    ) -> Result<()> {
        let _ = (config, partition, offset);
        Ok(())
    }
}

/// What one task is to do, beside the connector's configuration: properties which the engine adds
/// to the connector's own, unresolved, when it stores the task's configuration. A share can't hold a
/// secret because it never needs one.
pub type TaskShare = Properties;

/// How much a poll may return.
///
/// A source that gives more than the engine may hold at all is stopped: memory is bounded by this, and
/// only the source can keep the bound before the memory is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes, as [`Record::size`] counts them. One record may exceed it if it comes alone.
    pub bytes: usize,
    /// Records.
    pub records: usize,
}

/// Copies records out of the outside system.
pub trait SourceTask: Send + 'static {
    /// Waits for records and returns those there are. May be dropped at any await: what was not
    /// returned is returned by a later call. Never waits to fill a batch; never returns at once
    /// without records except for a batch of marks.
    fn poll(&mut self, room: Budget) -> impl Future<Output = Result<SourceBatch>> + Send;

    /// The offsets up to here are stored and everything before them is in the broker. Called between
    /// polls, in order; later calls cover earlier ones. Partitions that were forgotten
    /// ([`Mark::forget`]) are not among them.
    fn acknowledge(
        &mut self,
        upto: &[(SourcePartition, SourceOffset)],
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = upto;
        async { Ok(()) }
    }

    /// Goes back to `to`, since what was polled after it did not reach the broker (an aborted
    /// transaction).
    fn rewind(&mut self, to: &StoredOffsets) -> impl Future<Output = Result<()>> + Send;

    /// Releases what is held. The last call.
    fn stop(self) -> impl Future<Output = Result<()>> + Send;
}

/// Records of one poll and how far they bring the source.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SourceBatch {
    /// The records in order.
    pub records: Vec<Record>,
    /// Where offsets stand after some number of the records, ascending by [`Mark::after`]. A mark covers
    /// every record before it, so a source marks where it stands in one partition before it turns to
    /// another: what several readers read beside each other is handed over piece by piece, each piece
    /// in one row with its mark behind it. Records after the last mark are covered by a mark of a later
    /// batch; with exactly-once they wait for it in memory, so their number and bytes are bounded.
    pub marks: Vec<Mark>,
}

/// After the first `after` records of the batch, `partition` has been read up to `offset`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Mark {
    /// How many records of this batch come before the mark.
    pub after: usize,
    /// The source partition.
    pub partition: SourcePartition,
    /// Its offset; `None` forgets the partition, as the parts of a snapshot once all of it is done.
    pub offset: Option<SourceOffset>,
    /// Whether a transaction of the source ends here (`transaction.boundary=connector`).
    pub boundary: bool,
}

impl Mark {
    /// After `after` records of the batch, `partition` has been read up to `offset`.
    #[must_use]
    pub const fn new(after: usize, partition: SourcePartition, offset: SourceOffset) -> Self {
        Self { after, partition, offset: Some(offset), boundary: false }
    }

    /// After `after` records of the batch, nobody needs to know of `partition` any more.
    #[must_use]
    pub const fn forget(after: usize, partition: SourcePartition) -> Self {
        Self { after, partition, offset: None, boundary: false }
    }

    /// The same, and whether a transaction of the source ends here.
    #[must_use]
    pub const fn at_boundary(mut self, boundary: bool) -> Self {
        self.boundary = boundary;
        self
    }
}

impl SourceBatch {
    /// All `records` bring `partition` to `offset`.
    #[must_use]
    pub fn upto(records: Vec<Record>, partition: SourcePartition, offset: SourceOffset) -> Self {
        let mark = Mark::new(records.len(), partition, offset);
        Self { records, marks: vec![mark] }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.marks.is_empty()
    }
}
