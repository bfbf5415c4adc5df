//! Sinks: Kafka → outside system.
//!
//! Duty: the traits that a sink implements. A task owns what its partitions share (a client, a
//! file); a [`SinkLane`] owns one partition, and is where concurrency lives. A lane takes batches and
//! reports through its [`Progress`], now or later, up to which offset everything is durable, and
//! which records the target refused. The engine commits what is durable; it never flushes a lane
//! just because a commit is due.
//!
//! A lane that returns an error is dropped. If the error's action is retry, the engine builds a new
//! lane at the last durable offset and delivers from there, so a lane recovers as a restart does.
//! Hiccups are better retried in place, with [`crate::context::LaneContext::retry`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::config::ConnectorConfig;
use crate::context::{LaneContext, SinkTaskContext};
use crate::error::{Error, Result};
use crate::guarantee::Guarantee;
use crate::plugin::PluginInfo;
use crate::record::{SinkRecord, TopicPartition};

/// Counts assignments of a consumer. Nothing of an earlier epoch commits in a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

/// Builds the tasks of a sink. Every task has the same configuration; partitions are what is shared
/// out.
pub trait SinkConnector: Sized + Send + 'static {
    /// The typed configuration.
    type Config: ConnectorConfig;
    /// The tasks.
    type Task: SinkTask;

    /// Its names and what it is.
    fn plugin() -> PluginInfo;

    /// What is promised under `config`, and why.
    fn guarantee(config: &Self::Config) -> Guarantee;

    /// A task, ready for partitions.
    fn task(
        config: Arc<Self::Config>,
        cx: SinkTaskContext,
    ) -> impl Future<Output = Result<Self::Task>> + Send;

    /// Reaches the outside system to see whether `config` would work. Not called by validation,
    /// which is pure.
    fn check(config: Arc<Self::Config>) -> impl Future<Output = Result<()>> + Send {
        drop(config);
        async { Ok(()) }
    }

    /// A person sets the offsets of these partitions, or forgets them (`None`), while no task runs.
    /// Called before the group's are changed. A sink that keeps offsets itself changes its own here, so
    /// that [`SinkTask::open`] does not undo what the person wanted; for the others nothing is to do.
    ///
    /// # Errors
    /// Nothing is changed then; the person is told why.
    fn offsets_changed(
        config: Arc<Self::Config>,
        offsets: Vec<(TopicPartition, Option<i64>)>,
    ) -> impl Future<Output = Result<()>> + Send {
        drop((config, offsets));
        async { Ok(()) }
    }
}

/// Copies records into the outside system. Calls come one at a time.
pub trait SinkTask: Send + 'static {
    /// The lanes.
    type Lane: SinkLane;

    /// Partitions were assigned under `epoch`. A sink that keeps offsets itself says where to start;
    /// for the others the group's committed offsets hold.
    fn open(
        &mut self,
        partitions: &[TopicPartition],
        epoch: Epoch,
    ) -> impl Future<Output = Result<StartAt>> + Send {
        let _ = (partitions, epoch);
        async { Ok(StartAt::committed()) }
    }

    /// A lane for one open partition. Called after `open`, and again after a lane failed.
    fn lane(&mut self, cx: LaneContext) -> Self::Lane;

    /// Partitions were revoked, and their lanes drained or dropped.
    fn close(&mut self, partitions: &[TopicPartition]) -> impl Future<Output = Result<()>> + Send {
        let _ = partitions;
        async { Ok(()) }
    }

    /// Releases what is held. The last call.
    fn stop(self) -> impl Future<Output = Result<()>> + Send
    where
        Self: Sized,
    {
        async { Ok(()) }
    }
}

/// Where to start reading: the group's committed offsets, except where the sink knows better.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartAt(pub Vec<(TopicPartition, i64)>);

impl StartAt {
    /// The group's committed offsets.
    #[must_use]
    pub const fn committed() -> Self {
        Self(Vec::new())
    }
}

/// Writes one partition's records in order. Calls come one at a time; lanes run beside each other.
pub trait SinkLane: Send + 'static {
    /// Takes a batch. `Ok` says that the lane has it, not that it is durable. Waiting in here is the
    /// back-pressure: no further batch comes before it returns.
    ///
    /// # Errors
    /// Drops the lane; see the module's head. A record that the target refuses is not an error of
    /// the lane: report it by [`Progress::reject`].
    fn write(&mut self, batch: SinkBatch) -> impl Future<Output = Result<()>> + Send;

    /// When [`SinkLane::wake`] is to be called next, if no batch comes before. Asked after each call.
    fn wake_at(&self) -> Option<Timestamp> {
        None
    }

    /// The time of `wake_at` has come.
    ///
    /// # Errors
    /// As for `write`.
    fn wake(&mut self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Makes durable, and reports, what can be without cutting anything short that a later instance
    /// would make whole; the rest is delivered again. The last call: on close, pause and stop. Bounded
    /// by a deadline.
    ///
    /// # Errors
    /// Are logged; nothing further is committed.
    fn drain(&mut self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}

/// Records of one partition.
#[derive(Debug)]
#[non_exhaustive]
pub struct SinkBatch {
    /// The records that are left after transforms, in offset order; may be none.
    pub records: Vec<SinkRecord>,
    /// The offset to go on at after this batch: what to report durable once all of it is. It is at
    /// least the last record's offset + 1, and more where records were left out.
    pub end: i64,
}

impl SinkBatch {
    /// `records`, behind which the partition goes on at `end`.
    #[must_use]
    pub const fn new(records: Vec<SinkRecord>, end: i64) -> Self {
        Self { records, end }
    }
}

/// Where a lane reports what became of its records. Cheap to clone; may be called from any task of
/// the lane and at any time until the lane is dropped; later calls are ignored.
#[derive(Clone)]
pub struct Progress(Arc<dyn ProgressSink>);

/// The engine's end of [`Progress`].
pub trait ProgressSink: Send + Sync {
    /// Everything below `end` that was not rejected is durable.
    fn durable(&self, end: i64);
    /// The target refused `record`; `settle`, if there is one, wants to know when it is held elsewhere.
    fn reject(&self, record: SinkRecord, error: Error, settle: Option<Settle>);
    /// The lane is broken.
    fn fail(&self, error: Error);
}

impl Progress {
    /// Reports go to `sink`.
    #[must_use]
    pub fn new(sink: Arc<dyn ProgressSink>) -> Self {
        Self(sink)
    }

    /// Every record below offset `end` is durable in the target, or was rejected before this call.
    pub fn durable(&self, end: i64) {
        self.0.durable(end);
    }

    /// The target refused this record: it goes the way of `errors.tolerance`. Reject a record before
    /// reporting an `end` behind it.
    pub fn reject(&self, record: SinkRecord, error: Error) {
        self.0.reject(record, error, None);
    }

    /// As [`Progress::reject`]; the answer resolves when the record is held elsewhere. A sink that keeps
    /// offsets itself awaits it before it stores an offset behind the record: after a crash nobody
    /// would deliver the record again.
    pub fn reject_and_settle(&self, record: SinkRecord, error: Error) -> Settled {
        let (settle, settled) = oneshot::channel();
        self.0.reject(record, error, Some(Settle(settle)));
        Settled(settled)
    }

    /// Something behind the lane's back broke (a write in the background, a connection). The lane is
    /// dropped as if a call had returned this error, also while no call is under way.
    pub fn fail(&self, error: Error) {
        self.0.fail(error);
    }
}

/// Resolves when a rejected record is held by the dead letter queue, or was skipped because the user
/// said so. Does not resolve if neither happens: the lane is dropped then.
#[derive(Debug)]
#[must_use = "a record that was rejected without waiting needs `reject` only"]
pub struct Settled(oneshot::Receiver<()>);

impl Future for Settled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match Pin::new(&mut self.0).poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            // Nobody is left to settle it; whoever waits is about to be dropped.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

/// The engine's end of [`Settled`].
#[derive(Debug)]
pub struct Settle(oneshot::Sender<()>);

impl Settle {
    /// The record is held elsewhere.
    pub fn done(self) {
        // Most lanes do not wait for it.
        let _heard = self.0.send(()).is_ok();
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}
