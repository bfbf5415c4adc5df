//! What the engine hands to connectors.
//!
//! Duty: names, time, stored offsets, a place for small states, instruments, what people signal, what
//! was written, work in the background, the way to say "I am waiting, because …" and "so much is done",
//! and retries that say so by themselves. Nothing here does I/O of its own: all of it is behind
//! [`Host`], which the engine, the test kit and the simulation implement.

use std::future::{Future, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;

use crate::background::Background;
use crate::clock::{Clock, Timestamp};
use crate::error::{Action, Error, ErrorKind, Result};
use crate::instruments::{Counter, Gauge, Labels};
use crate::offset::{OffsetMap, StoredOffsets};
use crate::record::TopicPartition;
use crate::signal::{Signals, TopicPositions, TopicReader};
use crate::sink::{Epoch, Progress};
use crate::written::{Nothing, Written};

/// The engine's end of the contexts. What has a default does nothing that shows, or without the world
/// around it: enough for tests of a connector that does not depend on it.
pub trait Host: Send + Sync + 'static {
    /// The clock.
    fn clock(&self) -> Arc<dyn Clock>;
    /// The task waits: `Some` reason since now, or `None` for "goes on".
    fn waiting(&self, reason: Option<Waiting>);
    /// As [`Host::waiting`], said of one of several operations that are tried again at the same time:
    /// the end of one must not hide why another still waits. A host that shows no more than the last
    /// word may leave it as it is.
    fn operation_waiting(&self, operation: OperationId, reason: Option<Waiting>) {
        let _one_reason_for_all = operation;
        self.waiting(reason);
    }
    /// Reads a small state of this connector.
    fn load_state(&self, key: OffsetMap) -> BoxFuture<'static, Result<Option<OffsetMap>>>;
    /// Stores a small state of this connector; resolves when it is durable.
    fn store_state(
        &self,
        key: OffsetMap,
        value: Option<OffsetMap>,
    ) -> BoxFuture<'static, Result<()>>;
    /// The connector's source offsets as they are stored now. Without a store: none.
    fn source_offsets(&self) -> BoxFuture<'static, Result<StoredOffsets>> {
        Box::pin(ready(Ok(StoredOffsets::default())))
    }
    /// Adds to a counter of this task, shown at `/metrics` as `towpath_connector_events_total` with the
    /// name in the label `event`.
    fn count(&self, name: &'static str, n: u64);
    /// The counter of this task under `name` and `labels`.
    fn counter(&self, name: &'static str, labels: Labels) -> Counter {
        let _ = (name, labels);
        Counter::default()
    }
    /// The gauge of this task under `name` and `labels`.
    fn gauge(&self, name: &'static str, labels: Labels) -> Gauge {
        let _ = (name, labels);
        Gauge::default()
    }
    /// How far a long piece of work is; `None` when it is over.
    fn work(&self, work: Option<Work>) {
        let _ = work;
    }
    /// What people signal to this connector from now on. Without people: nothing.
    fn signals(&self) -> Signals {
        Signals::none()
    }
    /// Reads a topic beside the records' way, from positions if it has some.
    fn read_topic(
        &self,
        topic: String,
        from: TopicPositions,
    ) -> BoxFuture<'static, Result<Box<dyn TopicReader>>> {
        drop(from);
        let text = format!("there is no cluster to read the topic '{topic}' from");
        Box::pin(ready(Err(Error::new(ErrorKind::Unsupported, text))))
    }
    /// What the connector has written. Without topics: nothing.
    fn written(&self) -> Arc<dyn Written> {
        Arc::new(Nothing)
    }
    /// Runs `future` beside the task, on the connector's threads.
    fn spawn(&self, what: String, future: BoxFuture<'static, Result<()>>) -> Background {
        drop(what);
        Background::new(tokio::spawn(future))
    }
    /// The guarantee as learnt at run time (a probe of the target), if it is not what the
    /// configuration promised.
    fn guarantee(&self, guarantee: crate::guarantee::Guarantee);
}

/// Why a task waits.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// For a person: what is wrong and what would help.
    pub reason: String,
    /// When the next try is, if it is known.
    pub next_try: Option<Timestamp>,
}

/// Names an operation that is tried again, in this process and for as long as it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(u64);

impl OperationId {
    fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// Why one operation waits, which goes with it: be it that it succeeds, fails or is dropped. Other
/// reasons of the task are not touched. See [`TaskContext::reason`].
#[must_use = "the reason is taken back when this is dropped"]
pub struct Reason {
    host: Arc<dyn Host>,
    operation: OperationId,
}

impl Reason {
    /// Shows the reason as it is now.
    pub fn give(&self, waiting: Waiting) {
        self.host.operation_waiting(self.operation, Some(waiting));
    }
}

impl Drop for Reason {
    fn drop(&mut self) {
        self.host.operation_waiting(self.operation, None);
    }
}

/// How far a long piece of work is, such as a snapshot. Shown in the task's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// For a person: what is being done (`snapshot of public.orders and 11 more tables`).
    pub what: String,
    /// How much is done.
    pub done: u64,
    /// How much there is, if it is known; an estimate will do.
    pub total: Option<u64>,
    /// What is counted (`rows`, `bytes`).
    pub unit: &'static str,
    /// The time that is left, if it can be told.
    pub left: Option<Duration>,
}

/// The context of a source connector's planner.
#[derive(Clone)]
pub struct ConnectorContext {
    /// The connector's name.
    pub connector: Arc<str>,
    host: Arc<dyn Host>,
}

/// The context of a task. Derefs nowhere: ask it by name.
#[derive(Clone)]
pub struct TaskContext {
    /// The connector's name.
    pub connector: Arc<str>,
    /// The task's number.
    pub task: u32,
    host: Arc<dyn Host>,
}

/// The context of a source task.
#[derive(Clone)]
pub struct SourceTaskContext {
    /// What every task has.
    pub task: TaskContext,
    /// The connector's stored offsets when the task started.
    pub offsets: StoredOffsets,
}

/// The context of a sink task.
pub type SinkTaskContext = TaskContext;

/// The context of a sink's lane.
#[derive(Clone)]
pub struct LaneContext {
    /// The task's.
    pub task: TaskContext,
    /// The lane's partition.
    pub partition: TopicPartition,
    /// The assignment under which the lane was made.
    pub epoch: Epoch,
    /// Where to report.
    pub progress: Progress,
}

impl ConnectorContext {
    /// The context of `connector`.
    pub fn new(connector: impl Into<Arc<str>>, host: Arc<dyn Host>) -> Self {
        Self { connector: connector.into(), host }
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.host.clock()
    }

    /// The connector's source offsets as its tasks have stored them by now.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn source_offsets(&self) -> Result<StoredOffsets> {
        self.host.source_offsets().await
    }

    /// Reads a small state of the connector; see [`TaskContext::load_state`].
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn load_state(&self, key: OffsetMap) -> Result<Option<OffsetMap>> {
        self.host.load_state(key).await
    }

    /// Stores a small state of the connector; see [`TaskContext::store_state`].
    ///
    /// # Errors
    /// If it can't be stored. The outcome may be unknown: read it back.
    pub async fn store_state(&self, key: OffsetMap, value: Option<OffsetMap>) -> Result<()> {
        self.host.store_state(key, value).await
    }

    /// Runs `future` beside the planner; see [`TaskContext::spawn`].
    pub fn spawn(
        &self,
        what: impl Into<String>,
        future: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Background {
        self.host.spawn(what.into(), Box::pin(future))
    }
}

impl TaskContext {
    /// The context of task `task` of `connector`.
    pub fn new(connector: impl Into<Arc<str>>, task: u32, host: Arc<dyn Host>) -> Self {
        Self { connector: connector.into(), task, host }
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.host.clock()
    }

    /// A reason of its own for something that waits beside the task's other work.
    pub fn reason(&self) -> Reason {
        Reason { host: Arc::clone(&self.host), operation: OperationId::next() }
    }

    /// Says that the task waits and why, or that it goes on.
    pub fn waiting(&self, reason: Option<Waiting>) {
        self.host.waiting(reason);
    }

    /// Adds to a counter of this task.
    pub fn count(&self, name: &'static str, n: u64) {
        self.host.count(name, n);
    }

    /// A counter of this task, shown at `/metrics` as `towpath_connector_<name>_total` with `labels`
    /// beside `connector` and `task`. Get it once and keep it. Names are in snake case with the unit
    /// last; the values of labels must be few (tables, not keys): what exceeds the engine's bound is
    /// counted and not shown.
    #[must_use]
    pub fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        self.host.counter(name, Labels::new(labels))
    }

    /// A gauge of this task, shown as `towpath_connector_<name>`; otherwise as
    /// [`TaskContext::counter`].
    #[must_use]
    pub fn gauge(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        self.host.gauge(name, Labels::new(labels))
    }

    /// Says how far a long piece of work is, or, with `None`, that it is over.
    pub fn work(&self, work: Option<Work>) {
        self.host.work(work);
    }

    /// What people signal to this connector from now on (`POST
    /// /towpath/v1/connectors/<name>/signals`). Every task that asks gets every signal.
    #[must_use]
    pub fn signals(&self) -> Signals {
        self.host.signals()
    }

    /// Reads `topic` beside the records' way, for signals and the like: each partition from where `from`
    /// says, else from where the connector's group `connect-<name>-<topic>` stands, else from its
    /// beginning. A source that stores with its own offsets how far it is reads each record once.
    ///
    /// # Errors
    /// If the cluster can't be reached.
    pub async fn read_topic(
        &self,
        topic: impl Into<String>,
        from: TopicPositions,
    ) -> Result<Box<dyn TopicReader>> {
        self.host.read_topic(topic.into(), from).await
    }

    /// What a source connector has written so far, and how it would write a record.
    #[must_use]
    pub fn written(&self) -> Arc<dyn Written> {
        self.host.written()
    }

    /// Runs `future` beside the task's own calls: keep-alives, readers that fill a bounded channel. It
    /// ends when the result is dropped, and at the latest with the task. The engine watches it as it
    /// does every call, so that a thread that it holds is noticed; a plain `tokio::spawn` works too, but
    /// nobody can name it then.
    pub fn spawn(
        &self,
        what: impl Into<String>,
        future: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Background {
        self.host.spawn(what.into(), Box::pin(future))
    }

    /// The connector's source offsets as they are stored now.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn source_offsets(&self) -> Result<StoredOffsets> {
        self.host.source_offsets().await
    }

    /// Says which guarantee holds, as learnt at run time.
    pub fn guarantee(&self, guarantee: crate::guarantee::Guarantee) {
        self.host.guarantee(guarantee);
    }

    /// Reads a small state that an earlier task of this connector stored under `key`.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn load_state(&self, key: OffsetMap) -> Result<Option<OffsetMap>> {
        self.host.load_state(key).await
    }

    /// Stores a small state under `key`, durable when this resolves; `None` forgets it. The states of
    /// all tasks of a connector share one space: put the partition into the key.
    ///
    /// # Errors
    /// If it can't be stored. The outcome may be unknown: read it back.
    pub async fn store_state(&self, key: OffsetMap, value: Option<OffsetMap>) -> Result<()> {
        self.host.store_state(key, value).await
    }

    /// Calls `operation` until it succeeds or fails for a reason that waiting can't cure. Between
    /// tries it backs off from 100 ms to 60 s with jitter, or as long as the target asked, and the
    /// task's status says `waiting: <what>: <why>`, until this resolves. Drop the future to stop.
    ///
    /// # Errors
    /// The first error whose action is not [`Action::Retry`].
    pub async fn retry<T, F, O>(&self, what: &str, mut operation: O) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
        O: FnMut() -> F + Send,
    {
        let mut backoff = Backoff::default();
        let mut reason = None;
        loop {
            let error = match operation().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if error.action() != Action::Retry {
                return Err(error.context(what));
            }
            let delay = backoff.next(error.retry_after());
            reason.get_or_insert_with(|| self.reason()).give(Waiting {
                reason: format!("{what}: {}", error.chain()),
                next_try: Some(self.clock().now() + delay),
            });
            self.count("retries", 1);
            tokio::time::sleep(delay).await;
        }
    }
}

impl LaneContext {
    /// See [`TaskContext::retry`].
    ///
    /// # Errors
    /// The first error whose action is not [`Action::Retry`].
    pub async fn retry<T, F, O>(&self, what: &str, operation: O) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
        O: FnMut() -> F + Send,
    {
        self.task.retry(what, operation).await
    }
}

/// Delays that double from 100 ms to 60 s, each shortened by up to a quarter so that many tasks do
/// not come back together.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The first delay, before jitter.
    pub const FIRST: Duration = Duration::from_millis(100);
    /// The longest delay.
    pub const MAX: Duration = Duration::from_secs(60);

    /// The next delay, at least `at_least`.
    pub fn next(&mut self, at_least: Option<Duration>) -> Duration {
        let full = Self::FIRST.saturating_mul(1 << self.tries.min(16)).min(Self::MAX);
        self.tries = self.tries.saturating_add(1);
        // A hash of the try is jitter enough, and it keeps simulations reproducible.
        let spread = u64::from(self.tries).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
        let full_ms = u64::try_from(full.as_millis()).unwrap_or(u64::MAX);
        let delay = Duration::from_millis(full_ms - full_ms * spread / 1024);
        delay.max(at_least.unwrap_or_default())
    }

    /// How many delays were given.
    #[must_use]
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// Begins anew after a success.
    pub const fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_bound_and_honours_the_target() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..14).map(|_| backoff.next(None)).collect();
        assert!(delays[0] <= Backoff::FIRST && delays[0] >= Backoff::FIRST * 3 / 4);
        assert!(delays.iter().all(|d| *d <= Backoff::MAX));
        assert!(delays[13] >= Backoff::MAX * 3 / 4);
        let asked = Duration::from_secs(300);
        assert_eq!(backoff.next(Some(asked)), asked);
    }
}
