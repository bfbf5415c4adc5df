//! Consuming as a member of a group.
//!
//! Duty: the engine's side of a consumer. The other side, a thread of its own, is `worker`.
//!
//! Invariants:
//! - every partition's batches carry the number of the start that they belong to; what was fetched
//!   before the latest [`Consumer::start`] or [`Consumer::halt`] is dropped here, so that it is never
//!   delivered after it;
//! - dropping the consumer ends its thread, which leaves the group.

mod fetch;
mod pattern;
mod worker;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use towpath_core::ports::{
    CommitOutcome, Consumer, ConsumerEvent, PortError, PortErrorKind, PortResult, Subscription,
};
use towpath_sdk::record::{RawBatch, TopicPartition};

use crate::admin::list_offsets;
use crate::bell::Bell;
use crate::context::Context;
use crate::error;
use crate::native;
use crate::options::{Matcher, Settings};
use crate::transaction::blocking;

/// Events and batches on their way to the engine. Batches hold permits, events are few.
const CHANNEL: usize = 8;

/// How often the cluster's topics are matched unless somebody chose: Java's `metadata.max.age.ms`.
const PATTERN_INTERVAL: Duration = Duration::from_secs(300);

/// A client of librdkafka's consuming kind.
pub(crate) type NativeConsumer = BaseConsumer<Context>;

/// What goes from the thread to the engine.
enum Item {
    Event(ConsumerEvent),
    /// A batch that belongs to the start of this number.
    Batch(u64, RawBatch),
    /// The consumer has ended, for this reason.
    Failed(PortError),
}

/// What goes from the engine to the thread. Each has a caller who waits for it, or replaces what was
/// asked before: their number is bounded by that.
enum Command {
    Start { at: Vec<(TopicPartition, i64)>, run: u64, reply: oneshot::Sender<PortResult<()>> },
    Halt(Vec<TopicPartition>),
    Commit { offsets: Vec<(TopicPartition, i64)>, reply: oneshot::Sender<CommitOutcome> },
    Subscribe(Vec<String>),
}

/// What engine and thread share.
struct Shared {
    native: Arc<NativeConsumer>,
    commands: Mutex<VecDeque<Command>>,
    bell: Arc<Bell>,
    closing: AtomicBool,
}

impl Shared {
    fn command(&self, command: Command) {
        self.commands.lock().push_back(command);
        self.bell.ring();
    }
}

/// Where to start where nothing was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reset {
    Earliest,
    Latest,
    None,
}

/// What a consumer is made of.
pub(crate) struct Start {
    pub(crate) settings: Settings,
    pub(crate) brokers: String,
    pub(crate) subscription: Subscription,
    pub(crate) matcher: Option<Matcher>,
    pub(crate) budget: towpath_core::budget::Budget,
    pub(crate) request_timeout: Duration,
}

/// A member of a consumer group.
pub(crate) struct KafkaConsumer {
    shared: Arc<Shared>,
    items: mpsc::Receiver<Item>,
    ended: Option<oneshot::Receiver<()>>,
    failed: Option<PortError>,
    runs: HashMap<TopicPartition, u64>,
    last_run: u64,
    reset: Reset,
    request_timeout: Duration,
    _pattern: Option<AbortOnDropHandle<()>>,
}

impl KafkaConsumer {
    /// Starts a consumer. It joins the group by itself. To be called within a runtime.
    pub(crate) fn start(start: Start) -> PortResult<Self> {
        let reset = match start.settings.get("auto.offset.reset").unwrap_or("earliest") {
            "latest" | "largest" | "end" => Reset::Latest,
            "none" | "error" => Reset::None,
            _ => Reset::Earliest,
        };
        let request_timeout = start.request_timeout;
        let (shared, items, ended) = worker::spawn(&start)?;
        let pattern = match (start.subscription, start.matcher) {
            (Subscription::Topics(topics), _) => {
                shared.command(Command::Subscribe(topics));
                None
            }
            (Subscription::Pattern(_), Some(matcher)) => {
                let interval = start.settings.chosen_millis("topic.metadata.refresh.interval.ms");
                let interval = interval.unwrap_or(PATTERN_INTERVAL);
                let task = pattern::follow(Arc::clone(&shared), matcher, interval, request_timeout);
                Some(AbortOnDropHandle::new(tokio::spawn(task)))
            }
            (Subscription::Pattern(pattern), None) => {
                let text = format!("the pattern {pattern} was not compiled");
                return Err(PortError::new(PortErrorKind::Internal, text));
            }
        };
        Ok(Self {
            shared,
            items,
            ended: Some(ended),
            failed: None,
            runs: HashMap::new(),
            last_run: 0,
            reset,
            request_timeout,
            _pattern: pattern,
        })
    }

    /// The generation of the group that this member is in.
    pub(crate) fn generation(&self) -> i32 {
        native::generation(&self.shared.native)
    }

    async fn next_event(&mut self) -> PortResult<ConsumerEvent> {
        loop {
            if let Some(error) = &self.failed {
                return Err(error.clone());
            }
            let item = self.items.recv().await;
            // There is room again.
            self.shared.bell.ring();
            match item {
                Some(Item::Batch(run, batch)) => {
                    if self.runs.get(&batch.topic_partition) == Some(&run) {
                        return Ok(ConsumerEvent::Batch(batch));
                    }
                }
                Some(Item::Event(event)) => {
                    if let ConsumerEvent::Revoking { partitions, .. }
                    | ConsumerEvent::Lost { partitions } = &event
                    {
                        self.runs.retain(|place, _| !partitions.contains(place));
                    }
                    return Ok(event);
                }
                Some(Item::Failed(error)) => self.failed = Some(error),
                None => {
                    let text = "the consumer's thread ended";
                    self.failed = Some(PortError::new(PortErrorKind::Internal, text));
                }
            }
        }
    }

    async fn start_at(&mut self, at: Vec<(TopicPartition, Option<i64>)>) -> PortResult<()> {
        self.last_run += 1;
        let run = self.last_run;
        for (place, _) in &at {
            self.runs.insert(place.clone(), run);
        }
        let (mut offsets, mut unknown) = (Vec::with_capacity(at.len()), Vec::new());
        for (place, offset) in at {
            match offset {
                Some(offset) => offsets.push((place, offset)),
                None => unknown.push(place),
            }
        }
        if !unknown.is_empty() {
            offsets.extend(self.where_to_start(unknown).await?);
        }
        let (reply, replied) = oneshot::channel();
        self.shared.command(Command::Start { at: offsets, run, reply });
        replied.await.unwrap_or_else(|_ended| {
            let text = "the consumer ended while partitions were being started";
            Err(PortError::new(PortErrorKind::Internal, text))
        })
    }

    /// The committed offsets, or where none is committed what `auto.offset.reset` leads to. Always a
    /// number: librdkafka would look the end up anew after a rebalance, and records in between would
    /// be lost.
    async fn where_to_start(
        &self,
        places: Vec<TopicPartition>,
    ) -> PortResult<Vec<(TopicPartition, i64)>> {
        let (native, timeout) = (Arc::clone(&self.shared.native), self.request_timeout);
        let reset = self.reset;
        blocking(move || {
            let mut found = committed(&native, &places, timeout)?;
            let rest: Vec<TopicPartition> =
                places.into_iter().filter(|p| !found.iter().any(|(f, _)| f == p)).collect();
            let ends = match (reset, rest.first()) {
                (_, None) => return Ok(found),
                (Reset::Earliest, _) => false,
                (Reset::Latest, _) => true,
                (Reset::None, Some(place)) => {
                    return Err(PortError::new(
                        PortErrorKind::Invalid,
                        format!(
                            "no offset is committed for {place} and auto.offset.reset is none; set \
                             it to earliest or latest, or set the offset"
                        ),
                    ));
                }
            };
            let what = "failed to find where partitions begin and end";
            let failed = |e| native.context().explain(e).context(what);
            let listed = list_offsets(&*native, &rest, ends, timeout)
                .map_err(|e| failed(error::with_text(e.code, &e.text)))?;
            for reply in listed {
                if reply.code != 0 {
                    return Err(failed(error::from_code(reply.code)));
                }
                found.push((TopicPartition::new(reply.topic, reply.partition), reply.offset));
            }
            Ok(found)
        })
        .await?
    }
}

/// The committed offsets of those partitions that have one. Blocks.
fn committed(
    native: &NativeConsumer,
    places: &[TopicPartition],
    timeout: Duration,
) -> PortResult<Vec<(TopicPartition, i64)>> {
    let mut list = TopicPartitionList::new();
    for place in places {
        list.add_partition(&place.topic, place.partition);
    }
    let failed = |e| {
        let error = error::from_kafka(&e);
        native.context().explain(error).context("failed to read committed offsets")
    };
    let list = native.committed_offsets(list, timeout).map_err(failed)?;
    let mut found = Vec::new();
    for element in list.elements() {
        element.error().map_err(failed)?;
        if let Offset::Offset(offset) = element.offset() {
            found.push((TopicPartition::new(element.topic(), element.partition()), offset));
        }
    }
    Ok(found)
}

impl Consumer for KafkaConsumer {
    fn next(&mut self) -> BoxFuture<'_, PortResult<ConsumerEvent>> {
        Box::pin(self.next_event())
    }

    fn start(&mut self, at: Vec<(TopicPartition, Option<i64>)>) -> BoxFuture<'_, PortResult<()>> {
        Box::pin(self.start_at(at))
    }

    fn halt(&mut self, partitions: &[TopicPartition]) -> PortResult<()> {
        self.last_run += 1;
        for place in partitions {
            self.runs.insert(place.clone(), self.last_run);
        }
        self.shared.command(Command::Halt(partitions.to_vec()));
        Ok(())
    }

    fn commit(&self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'static, CommitOutcome> {
        let (reply, replied) = oneshot::channel();
        self.shared.command(Command::Commit { offsets, reply });
        Box::pin(async move {
            replied.await.unwrap_or_else(|_ended| {
                let text = "the consumer ended before the broker answered";
                CommitOutcome::Unknown(PortError::new(PortErrorKind::Unknown, text))
            })
        })
    }

    fn end_offset(&self, partition: &TopicPartition) -> Option<i64> {
        native::known_watermarks(&*self.shared.native, &partition.topic, partition.partition)
            .map(|(_, end)| end)
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        let ended = self.ended.take();
        drop(self);
        Box::pin(async move {
            if let Some(ended) = ended {
                // An error says that the thread is gone, which is what is waited for.
                drop(ended.await);
            }
        })
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.shared.bell.ring();
    }
}
