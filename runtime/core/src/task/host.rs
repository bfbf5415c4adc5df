//! The engine's end of the connectors' contexts.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use towpath_sdk::Result;
use towpath_sdk::background::Background;
use towpath_sdk::clock::Clock;
use towpath_sdk::context::{Host, OperationId, Waiting, Work};
use towpath_sdk::guarantee::Guarantee;
use towpath_sdk::instruments::{Counter, Gauge, Labels};
use towpath_sdk::offset::{OffsetMap, SourcePartition, StoredOffsets};
use towpath_sdk::signal::{SIGNALS_MAX, Signal, Signals, TopicPositions, TopicReader};
use towpath_sdk::written::{Nothing, Written};

use super::TaskId;
use super::side_topic::SideTopic;
use super::status::{StatusCell, Wait};
use crate::home::{Place, Tenant, Who};
use crate::metrics::TaskMetrics;
use crate::offsets::OffsetStore;
use crate::ports::{ClientOverrides, Cluster};
use crate::topics::TopicNotes;

/// Serves one task's contexts.
pub struct TaskHost {
    /// Whose.
    pub id: TaskId,
    /// Whether it is a task or the planner.
    pub who: Who,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Its condition.
    pub status: StatusCell,
    /// Its instruments.
    pub metrics: TaskMetrics,
    /// Where source offsets and small states live, under the connector's name.
    pub offsets: Arc<OffsetStore>,
    /// The topics it uses.
    pub topics: Arc<TopicNotes>,
    /// Where the connector's code runs.
    pub place: Place,
    /// The cluster, for topics that the connector reads beside.
    pub cluster: Arc<dyn Cluster>,
    /// `consumer.override.*`.
    pub consumer: ClientOverrides,
    /// What people signal.
    pub signals: SignalBox,
    /// What the connector has written; `None` if it is a sink.
    pub written: Option<Arc<dyn Written>>,
}

/// Hands a signal to all that asked for signals. Clones share.
#[derive(Debug, Clone, Default)]
pub struct SignalBox(Arc<Mutex<Vec<mpsc::Sender<Signal>>>>);

impl SignalBox {
    /// A new ear.
    #[must_use]
    pub fn listen(&self) -> Signals {
        let (sender, receiver) = mpsc::channel(SIGNALS_MAX);
        self.0.lock().push(sender);
        Signals::new(receiver)
    }

    /// Hands on `signal`; how many have taken it. One that does not keep up misses it.
    #[must_use]
    pub fn send(&self, signal: &Signal) -> usize {
        let mut ears = self.0.lock();
        ears.retain(|ear| !ear.is_closed());
        ears.iter().filter(|ear| ear.try_send(signal.clone()).is_ok()).count()
    }
}

impl TaskHost {
    /// Whose code runs when it is the connector's.
    #[must_use]
    pub fn tenant(&self) -> Tenant {
        Tenant { who: self.who.clone(), status: self.status.clone(), metrics: self.metrics.clone() }
    }

    /// The task waits on account of `wait`, or not any more.
    pub(crate) fn say(&self, wait: Wait, waiting: Option<Waiting>) {
        match waiting {
            Some(Waiting { reason, next_try }) => {
                self.status.waiting(wait, reason, self.clock.now(), next_try);
            }
            None => self.status.resumed(&wait),
        }
    }

    /// The task waits on account of `wait` for `reason`, and nobody knows for how long.
    pub(crate) fn waits(&self, wait: Wait, reason: String) {
        self.say(wait, Some(Waiting { reason, next_try: None }));
    }
}

impl Host for TaskHost {
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    fn waiting(&self, waiting: Option<Waiting>) {
        self.say(Wait::Connector, waiting);
    }

    fn operation_waiting(&self, operation: OperationId, waiting: Option<Waiting>) {
        self.say(Wait::Operation(operation), waiting);
    }

    fn load_state(&self, key: OffsetMap) -> BoxFuture<'static, Result<Option<OffsetMap>>> {
        let store = Arc::clone(&self.offsets);
        let connector = Arc::clone(&self.id.connector);
        async move { Ok(store.load(&connector, &SourcePartition(Arc::new(key)))) }.boxed()
    }

    fn store_state(
        &self,
        key: OffsetMap,
        value: Option<OffsetMap>,
    ) -> BoxFuture<'static, Result<()>> {
        let store = Arc::clone(&self.offsets);
        let connector = Arc::clone(&self.id.connector);
        async move {
            let entry = vec![(SourcePartition(Arc::new(key)), value)];
            store.store(&connector, entry).await.map_err(Into::into)
        }
        .boxed()
    }

    fn source_offsets(&self) -> BoxFuture<'static, Result<StoredOffsets>> {
        let store = Arc::clone(&self.offsets);
        let connector = Arc::clone(&self.id.connector);
        async move {
            store.ready().await;
            Ok(store.source_offsets(&connector))
        }
        .boxed()
    }

    fn count(&self, name: &'static str, n: u64) {
        match name {
            // What contexts count when they try again for a connector (`TaskContext::retry`).
            "retries" => {
                self.metrics.retries.inc_by(n);
            }
            _ => self.metrics.event(name, n),
        }
    }

    fn counter(&self, name: &'static str, labels: Labels) -> Counter {
        self.metrics.own_counter(name, labels)
    }

    fn gauge(&self, name: &'static str, labels: Labels) -> Gauge {
        self.metrics.own_gauge(name, labels)
    }

    fn work(&self, work: Option<Work>) {
        self.status.work(work);
    }

    fn signals(&self) -> Signals {
        self.signals.listen()
    }

    fn read_topic(
        &self,
        topic: String,
        from: TopicPositions,
    ) -> BoxFuture<'static, Result<Box<dyn TopicReader>>> {
        let cluster = Arc::clone(&self.cluster);
        let opening = SideTopic::open(cluster, self.id.clone(), topic, from, self.consumer.clone());
        async move { Ok(Box::new(opening.await?) as Box<dyn TopicReader>) }.boxed()
    }

    fn written(&self) -> Arc<dyn Written> {
        self.written.clone().unwrap_or_else(|| Arc::new(Nothing))
    }

    fn spawn(&self, what: String, future: BoxFuture<'static, Result<()>>) -> Background {
        Background::new(self.place.spawn(&self.tenant(), what, future))
    }

    fn guarantee(&self, guarantee: Guarantee) {
        self.status.guarantee(guarantee);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_ear_gets_every_signal_until_it_is_full() {
        let signals = SignalBox::default();
        let signal = |n: usize| Signal { id: None, kind: n.to_string(), data: Default::default() };
        assert_eq!(signals.send(&signal(0)), 0);
        let (mut one, two) = (signals.listen(), signals.listen());
        assert_eq!(signals.send(&signal(1)), 2);
        drop(two);
        for n in 2..SIGNALS_MAX + 1 {
            assert_eq!(signals.send(&signal(n)), 1);
        }
        assert_eq!(signals.send(&signal(99)), 0);
        assert_eq!(one.next().await.kind, "1");
    }
}
