//! The engine's end of the contexts, for tests: time that stands still until it is moved, states in
//! memory, and a memory of what the connector said.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use towpath_sdk::Result;
use towpath_sdk::clock::{Clock, Timestamp};
use towpath_sdk::context::{
    ConnectorContext, Host, LaneContext, SourceTaskContext, TaskContext, Waiting, Work,
};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::instruments::{Counter, Gauge, Labels};
use towpath_sdk::offset::{OffsetMap, StoredOffsets};
use towpath_sdk::record::TopicPartition;
use towpath_sdk::signal::{SIGNALS_MAX, Signal, Signals, TopicPositions, TopicReader, TopicRecord};
use towpath_sdk::sink::{Epoch, Progress};
use towpath_sdk::written::{Nothing, Written};

/// A clock that shows what it was set to. Clones show the same time.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(now.millis())))
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.set(self.now() + by);
    }

    /// Sets the clock, be it back.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// A host in memory. What tasks store survives them, as it does in the engine.
pub struct FakeHost {
    clock: ManualClock,
    states: Arc<Mutex<Vec<(OffsetMap, OffsetMap)>>>,
    waiting: watch::Sender<Option<String>>,
    signals: Mutex<Vec<mpsc::Sender<Signal>>>,
    topics: Arc<Topics>,
    written: Mutex<Arc<dyn Written>>,
    said: Mutex<Said>,
}

/// Topics that connectors read beside the records' way.
#[derive(Default)]
struct Topics {
    records: Mutex<BTreeMap<String, Vec<TopicRecord>>>,
    /// How many records of each were taken care of.
    done: Mutex<BTreeMap<String, usize>>,
    grown: tokio::sync::Notify,
}

impl Topics {
    fn get(&self, topic: &str, at: usize) -> Option<TopicRecord> {
        lock(&self.records).get(topic)?.get(at).cloned()
    }
}

/// Reads one of them.
struct FakeTopic {
    topics: Arc<Topics>,
    topic: String,
    handed: usize,
}

impl TopicReader for FakeTopic {
    fn done(&mut self, _: i32, next: i64) {
        let next = usize::try_from(next).unwrap_or_default();
        lock(&self.topics.done).insert(self.topic.clone(), next);
    }

    fn next(&mut self) -> BoxFuture<'_, Result<TopicRecord>> {
        async move {
            loop {
                let grown = self.topics.grown.notified();
                if let Some(record) = self.topics.get(&self.topic, self.handed) {
                    self.handed += 1;
                    return Ok(record);
                }
                grown.await;
            }
        }
        .boxed()
    }
}

#[derive(Default)]
struct Said {
    reasons: Vec<String>,
    counters: BTreeMap<&'static str, u64>,
    gauges: BTreeMap<(&'static str, Labels), Gauge>,
    labelled: BTreeMap<(&'static str, Labels), Counter>,
    work: Option<Work>,
    guarantee: Option<Guarantee>,
}

impl FakeHost {
    /// What a new host's clock shows: 2023-11-14T22:13:20Z.
    pub const START: Timestamp = Timestamp(1_700_000_000_000);

    /// A host without states, at [`FakeHost::START`].
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            clock: ManualClock::at(Self::START),
            states: Arc::default(),
            waiting: watch::channel(None).0,
            signals: Mutex::default(),
            topics: Arc::default(),
            written: Mutex::new(Arc::new(Nothing)),
            said: Mutex::default(),
        })
    }

    /// The clock, to be moved.
    #[must_use]
    pub fn manual_clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Why the task waits now.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.waiting.borrow().clone()
    }

    /// Every reason that was given, in order.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        lock(&self.said).reasons.clone()
    }

    /// Resolves when the task waits for a reason that contains `text`.
    pub async fn waits_for(&self, text: &str) {
        let mut waiting = self.waiting.subscribe();
        let said = |reason: &Option<String>| reason.as_ref().is_some_and(|r| r.contains(text));
        // The sender lives as long as `self`.
        drop(waiting.wait_for(said).await);
    }

    /// Signals something to the tasks that listen; how many have taken it.
    pub fn signal(&self, signal: &Signal) -> usize {
        let signals = lock(&self.signals);
        signals.iter().filter(|ear| ear.try_send(signal.clone()).is_ok()).count()
    }

    /// Appends a record to a topic that connectors read beside the records' way.
    pub fn write(&self, topic: &str, key: &str, value: &str) {
        let mut records = lock(&self.topics.records);
        let all = records.entry(topic.to_owned()).or_default();
        all.push(TopicRecord {
            partition: 0,
            offset: all.len() as i64,
            key: Some(key.to_owned().into()),
            value: Some(value.to_owned().into()),
        });
        self.topics.grown.notify_waiters();
    }

    /// What the connector has written, from now on.
    pub fn set_written(&self, written: Arc<dyn Written>) {
        *lock(&self.written) = written;
    }

    /// What was counted under `name`.
    #[must_use]
    pub fn counted(&self, name: &str) -> u64 {
        lock(&self.said).counters.get(name).copied().unwrap_or_default()
    }

    /// What a gauge with these labels shows, if there is one.
    #[must_use]
    pub fn gauge(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Option<i64> {
        lock(&self.said).gauges.get(&(name, Labels::new(labels))).map(Gauge::get)
    }

    /// What a counter with these labels has counted, if there is one.
    #[must_use]
    pub fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Option<u64> {
        lock(&self.said).labelled.get(&(name, Labels::new(labels))).map(Counter::get)
    }

    /// How far a long piece of work was when the connector said so last; it stays when that is over.
    #[must_use]
    pub fn work(&self) -> Option<Work> {
        lock(&self.said).work.clone()
    }

    /// The guarantee as learnt at run time, if the connector said one.
    #[must_use]
    pub fn learnt_guarantee(&self) -> Option<Guarantee> {
        lock(&self.said).guarantee.clone()
    }

    /// The stored states.
    #[must_use]
    pub fn states(&self) -> Vec<(OffsetMap, OffsetMap)> {
        lock(&self.states).clone()
    }

    /// The context of a planner.
    #[must_use]
    pub fn connector(self: &Arc<Self>) -> ConnectorContext {
        ConnectorContext::new("suite", Arc::clone(self) as Arc<dyn Host>)
    }

    /// The context of a task.
    #[must_use]
    pub fn task(self: &Arc<Self>, number: u32) -> TaskContext {
        TaskContext::new("suite", number, Arc::clone(self) as Arc<dyn Host>)
    }

    /// The context of a source task that starts at `offsets`.
    #[must_use]
    pub fn source_task(self: &Arc<Self>, number: u32, offsets: StoredOffsets) -> SourceTaskContext {
        SourceTaskContext { task: self.task(number), offsets }
    }

    /// The context of a lane.
    #[must_use]
    pub fn lane(
        self: &Arc<Self>,
        partition: TopicPartition,
        epoch: Epoch,
        progress: Progress,
    ) -> LaneContext {
        LaneContext { task: self.task(0), partition, epoch, progress }
    }
}

impl Host for FakeHost {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock.clone())
    }

    fn waiting(&self, reason: Option<Waiting>) {
        let reason = reason.map(|waiting| waiting.reason);
        lock(&self.said).reasons.extend(reason.clone());
        self.waiting.send_replace(reason);
    }

    // Both pause before and after, so that a crash can come in between.
    fn load_state(&self, key: OffsetMap) -> BoxFuture<'static, Result<Option<OffsetMap>>> {
        let states = Arc::clone(&self.states);
        async move {
            tokio::task::yield_now().await;
            let found = lock(&states).iter().find(|(k, _)| *k == key).map(|(_, v)| v.clone());
            Ok(found)
        }
        .boxed()
    }

    fn store_state(
        &self,
        key: OffsetMap,
        value: Option<OffsetMap>,
    ) -> BoxFuture<'static, Result<()>> {
        let states = Arc::clone(&self.states);
        async move {
            tokio::task::yield_now().await;
            {
                let mut states = lock(&states);
                states.retain(|(k, _)| *k != key);
                states.extend(value.map(|value| (key, value)));
            }
            tokio::task::yield_now().await;
            Ok(())
        }
        .boxed()
    }

    fn signals(&self) -> Signals {
        let (sender, receiver) = mpsc::channel(SIGNALS_MAX);
        lock(&self.signals).push(sender);
        Signals::new(receiver)
    }

    fn read_topic(
        &self,
        topic: String,
        from: TopicPositions,
    ) -> BoxFuture<'static, Result<Box<dyn TopicReader>>> {
        let topics = Arc::clone(&self.topics);
        let done = lock(&topics.done).get(&topic).copied().unwrap_or_default();
        let handed = from.get(&0).map_or(done, |from| usize::try_from(*from).unwrap_or_default());
        let reader: Box<dyn TopicReader> = Box::new(FakeTopic { topics, topic, handed });
        std::future::ready(Ok(reader)).boxed()
    }

    fn written(&self) -> Arc<dyn Written> {
        Arc::clone(&lock(&self.written))
    }

    fn count(&self, name: &'static str, n: u64) {
        *lock(&self.said).counters.entry(name).or_default() += n;
    }

    fn counter(&self, name: &'static str, labels: Labels) -> Counter {
        lock(&self.said).labelled.entry((name, labels)).or_default().clone()
    }

    fn gauge(&self, name: &'static str, labels: Labels) -> Gauge {
        lock(&self.said).gauges.entry((name, labels)).or_default().clone()
    }

    fn work(&self, work: Option<Work>) {
        if work.is_some() {
            lock(&self.said).work = work;
        }
    }

    fn guarantee(&self, guarantee: Guarantee) {
        lock(&self.said).guarantee = Some(guarantee);
    }
}

impl fmt::Debug for FakeHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeHost")
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn remembers_what_was_said_and_stored() {
        let host = FakeHost::new();
        let cx = host.task(0);
        let key = OffsetMap::of([("partition", 1)]);
        assert_eq!(cx.load_state(key.clone()).await.unwrap(), None);
        let state = OffsetMap::of([("upload", "x")]);
        cx.store_state(key.clone(), Some(state.clone())).await.unwrap();
        assert_eq!(cx.load_state(key.clone()).await.unwrap(), Some(state));
        cx.store_state(key, None).await.unwrap();
        assert!(host.states().is_empty());

        cx.count("retries", 2);
        cx.count("retries", 1);
        assert_eq!((host.counted("retries"), host.counted("others")), (3, 0));
        cx.waiting(Some(Waiting { reason: "no route".to_owned(), next_try: None }));
        host.waits_for("route").await;
        cx.waiting(None);
        assert_eq!((host.reason(), host.reasons()), (None, vec!["no route".to_owned()]));
        let mut signals = cx.signals();
        let signal = Signal { id: None, kind: "log".to_owned(), data: Default::default() };
        assert_eq!((host.signal(&signal), signals.next().await), (1, signal));
        host.write("t", "k", "1");
        host.write("t", "k", "2");
        let mut topic = cx.read_topic("t", TopicPositions::new()).await.unwrap();
        assert_eq!(topic.next().await.unwrap().value.as_deref(), Some(b"1".as_slice()));
        assert_eq!(topic.next().await.unwrap().value.as_deref(), Some(b"2".as_slice()));
        // The second was not taken care of.
        topic.done(0, 1);
        let mut topic = cx.read_topic("t", TopicPositions::new()).await.unwrap();
        assert_eq!(topic.next().await.unwrap().value.as_deref(), Some(b"2".as_slice()));
        let mut topic = cx.read_topic("t", TopicPositions::from([(0, 0)])).await.unwrap();
        assert_eq!(topic.next().await.unwrap().value.as_deref(), Some(b"1".as_slice()));
        host.manual_clock().advance(Duration::from_secs(1));
        assert_eq!(cx.clock().now().since(FakeHost::START), Duration::from_secs(1));
    }
}
